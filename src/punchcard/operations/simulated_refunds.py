"""The orders of a simulation: what their refunds and corrections come to, decided as at delivery.

Every award counts as delivered. What operators have decided about conflicts of the period holds for the simulation,
too: a correction is planned from what the second event would earn now, at the moment at which it was decided.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from punchcard.destinations.correcting import CorrectsEffects, EffectContent
from punchcard.destinations.definition import Capability
from punchcard.destinations.port import Intent, KeyScope
from punchcard.destinations.preparation import LedgerRow, PreparesEffects, Ready
from punchcard.errors import RefusedError
from punchcard.events.commerce import normalize_id
from punchcard.store.delivery.conflicts import StoredConflict, conflicts_of, effects_with_corrections
from punchcard.store.delivery.effects import NOTHING_TO_CORRECT, ConflictResolution, EffectState, StoredEffect
from punchcard.store.delivery.orders import effects_by_order
from punchcard.store.delivery.outbox import effects_by_key
from punchcard.store.values import decimal_text, storable
from punchcard.workspace.snapshot import RoutedDestination

_ORDERS_AT_ONCE = 1_000


@dataclass
class _Row:
    """An award or refund of an order as `prepare` sees a row of the ledger."""

    id: int
    intent: Intent
    source: str
    message_id: str
    received_at: datetime
    quantity: Decimal | None
    state: str = EffectState.DELIVERED.value
    reason: str | None = None
    attempts: int = 1
    corrects: int | None = None
    corrected_content: Mapping[str, object] | None = None

    @property
    def effect_key(self) -> str:
        return self.intent.effect_key

    @property
    def item(self) -> str | None:
        return self.intent.item

    @property
    def created_at(self) -> datetime:
        return self.received_at

    @property
    def customer(self) -> str:
        return self.intent.customer

    @property
    def email(self) -> str:
        return self.intent.email

    @property
    def order_id(self) -> str | None:
        return self.intent.order_id

    @property
    def is_refund(self) -> bool:
        return self.intent.is_refund

    @property
    def refund_id(self) -> str | None:
        return self.intent.refund_id

    @property
    def requested_quantity(self) -> Decimal | None:
        return self.intent.quantity


@dataclass(frozen=True, slots=True)
class _Correction:
    """A conflict that an operator has corrected to its second content.

    Attributes:
        first_key: Effect key of the first content.
        intent: What the second event would earn.
        at: When it was decided.
    """

    first_key: str
    intent: Intent
    source: str
    message_id: str
    received_at: datetime
    at: datetime


Decided = tuple[Intent, Decimal | None, str]
"""What an effect comes to: its units, or None and the reason if none."""


@dataclass
class _Order:
    """What is known of one order while its effects are decided.

    Attributes:
        decided: Rows with their result, oldest first; those of the ledger are before the period.
        waiting: Refunds that wait for an award.
        futile: Corrections that had nothing to do.
        results: What each effect of the period comes to, by the id of its row.
    """

    decided: list[LedgerRow]
    waiting: list[_Row] = field(default_factory=list)
    futile: list[_Row] = field(default_factory=list)
    results: dict[int, Decided] = field(default_factory=dict)

    def finish(self, row: _Row, quantity: Decimal | None, reason: str = "") -> None:
        """Add the result of a row."""
        self.results[row.id] = row.intent, quantity, reason
        if row not in self.decided:
            self.decided.append(row)


class SimulatedOrders:
    """Awards and refunds of orders that have a refund or a correction, or may get one.

    Args:
        before: What the ledger has of events received before is known, too.
        now: When refunds are decided: none of them waits any more.
        corrected: Conflicts that operators have corrected, by the effect key of the first content.
    """

    def __init__(
        self,
        destination: RoutedDestination,
        *,
        before: datetime,
        now: datetime,
        corrected: Mapping[str, Sequence[StoredConflict]],
    ) -> None:
        self._destination = destination
        self._before = before
        self._now = now
        self._corrected = corrected
        self._rows: defaultdict[str, list[_Row]] = defaultdict(list)
        self._corrections: defaultdict[str, list[_Correction]] = defaultdict(list)
        self._without_order: set[str] = set()  # of the groups, those that are a single effect
        self._next_id = 2**62  # behind every row of the ledger
        partner = destination.partner
        self._prepares = Capability.PREPARATION in partner.definition.capabilities

    def add(self, intent: Intent, *, source: str, message_id: str, at: datetime) -> bool:
        """Take an effect of an order, or one that was corrected; False if its amount is final."""
        is_of_order = intent.order_id is not None and self._prepares
        if not is_of_order and intent.effect_key not in self._corrected:
            return False
        quantity = None if intent.is_refund else intent.quantity
        row = self._new_row(intent, source=source, message_id=message_id, at=at, quantity=quantity)
        self._rows[self._group(intent, intent.effect_key)].append(row)
        return True

    def correct(self, first_key: str, intent: Intent, *, source: str, message_id: str) -> bool:
        """Take an event with other content; False if no operator has chosen its content.

        Args:
            first_key: Effect key of the first content.
        """
        chosen = [
            conflict for conflict in self._corrected.get(first_key, ()) if conflict.message_id == storable(message_id)
        ]
        group = self._group(intent, first_key)
        if not chosen:
            return False
        if any(known.message_id == message_id for known in self._corrections[group]):
            return True  # further copies of the event change nothing
        conflict = chosen[0]
        assert conflict.resolved_at is not None
        self._corrections[group].append(
            _Correction(first_key, intent, source, message_id, conflict.received_at, conflict.resolved_at)
        )
        return True

    def decide(self, work: Connection) -> Iterator[Decided]:
        """Decide every effect."""
        groups = list(dict.fromkeys((*self._rows, *self._corrections)))
        for begin in range(0, len(groups), _ORDERS_AT_ONCE):
            chunk = groups[begin : begin + _ORDERS_AT_ONCE]
            stored = self._stored(work, [group for group in chunk if self._depends_on_others(group)])
            for group in chunk:
                earlier = [row for row in stored.get(group, ()) if row.received_at < self._before]
                yield from self._decide_order(self._rows[group], self._corrections[group], earlier)

    def _new_row(self, intent: Intent, *, source: str, message_id: str, at: datetime, quantity: Decimal | None) -> _Row:
        self._next_id += 1
        return _Row(
            id=self._next_id, intent=intent, source=source, message_id=message_id, received_at=at, quantity=quantity
        )

    def _group(self, intent: Intent, effect_key: str) -> str:
        """Return what effects are decided together by: their order, or for an effect of none its key."""
        if intent.order_id is not None:
            return normalize_id(storable(intent.order_id))
        self._without_order.add(effect_key)
        return effect_key

    def _depends_on_others(self, group: str) -> bool:
        return bool(self._corrections[group]) or any(row.is_refund for row in self._rows[group])

    def _stored(self, work: Connection, groups: Sequence[str]) -> Mapping[str, Sequence[StoredEffect]]:
        """Return what the ledger has, by group. Corrections of the period are still to be decided."""
        slug = self._destination.slug
        orders = [group for group in groups if group not in self._without_order]
        stored: dict[str, Sequence[StoredEffect]] = dict(effects_by_order(work, slug, orders))
        keys = [group for group in groups if group in self._without_order]
        for key, effect in effects_by_key(work, slug, keys).items():
            stored[key] = effects_with_corrections(work, effect.id)
        return {group: self._as_before(work, rows) for group, rows in stored.items()}

    def _as_before(self, work: Connection, rows: Sequence[StoredEffect]) -> Sequence[StoredEffect]:
        """Return effects with the content that counted when the period began."""
        corrected = [row.id for row in rows if row.effect_key in self._corrected]
        contents: dict[int, Mapping[str, object] | None] = dict.fromkeys(corrected)
        for effect_id, conflicts in conflicts_of(work, corrected).items() if corrected else ():
            chosen = [
                (conflict.resolved_at, conflict.values)
                for conflict in conflicts
                if conflict.resolution is ConflictResolution.CORRECTED
                and conflict.resolved_at is not None
                and conflict.received_at < self._before
            ]
            if chosen:
                contents[effect_id] = max(chosen, key=lambda choice: choice[0])[1]
        return [replace(row, corrected_content=contents[row.id]) if row.id in contents else row for row in rows]

    def _decide_order(
        self, rows: Sequence[_Row], corrections: Sequence[_Correction], earlier: Sequence[LedgerRow]
    ) -> Iterator[Decided]:
        """Decide in the order of the log: a refund takes of what was awarded before, or waits for the first award."""
        order = _Order(list(earlier))
        chosen = sorted(corrections, key=lambda correction: correction.at)
        for row in rows:
            while chosen and chosen[0].at < row.received_at:
                self._correct(order, chosen.pop(0))
            if row.is_refund:
                order.waiting.append(row)
            else:
                order.finish(row, row.quantity)
            self._decide_waiting(order, now=row.received_at)
        for correction in chosen:
            self._correct(order, correction)
        # No refund waits for its order for ever.
        self._decide_waiting(order, now=self._now.replace(year=self._now.year + 1, day=1))
        yield from order.results.values()

    def _decide_waiting(self, order: _Order, *, now: datetime) -> None:
        partner = self._destination.partner
        options = partner.delivery_options(self._destination.settings)
        for refund in list(order.waiting):
            assert isinstance(partner, PreparesEffects)  # it declares so
            source = refund.source if options.order_scope is KeyScope.SOURCE else None
            others = [row for row in order.decided if row is not refund and source in (None, row.source)]
            ready = partner.prepare(refund, others, refusal=None, settings=self._destination.settings, now=now)
            if isinstance(ready, Ready):
                refund.quantity, refund.state, refund.reason = ready.quantity, EffectState.DELIVERED.value, None
                order.finish(refund, ready.quantity)
            elif ready.state == EffectState.REJECTED or now > self._now or self._may_follow_a_correction(ready.reason):
                refund.state, refund.reason, refund.attempts = ready.state, ready.reason, 0
                order.finish(refund, None, ready.reason)
            else:
                continue
            order.waiting.remove(refund)

    def _correct(self, order: _Order, correction: _Correction) -> None:
        """Apply the second content, as when an operator decides that it counts."""
        partner, settings = self._destination.partner, self._destination.settings
        first = next((row for row in order.decided if row.effect_key == correction.first_key), None)
        intent = correction.intent
        if first is None or not isinstance(partner, CorrectsEffects):
            return
        content = EffectContent(
            source=correction.source,
            message_id=correction.message_id,
            event_name=intent.event_name,
            email=intent.email,
            item=intent.item,
            quantity=intent.quantity,
            event_settings=intent.event_settings,
        )
        try:
            steps = partner.plan_correction(first, content, destination=self._destination.slug, settings=settings)
        except RefusedError:
            return  # under the simulated configuration there is nothing to correct
        if first.is_refund:
            reopened, order.futile = order.futile, []
            for step_row in reopened:
                self._decide_step(order, step_row, correction.at)
        first = self._with_content(order, first, correction)
        for step in steps:
            planned = replace(
                intent,
                effect_key=step.effect_key,
                customer=step.email.lower(),
                email=step.email,
                item=step.item,
                quantity=None,
                is_refund=True,
            )
            row = self._new_row(
                planned,
                source=correction.source,
                message_id=correction.message_id,
                at=correction.received_at,
                quantity=None,
            )
            row.corrects = first.id
            self._decide_step(order, row, correction.at)

    def _with_content(self, order: _Order, first: LedgerRow, correction: _Correction) -> LedgerRow:
        intent = correction.intent
        content: Mapping[str, object] = {
            "source": correction.source,
            "messageId": correction.message_id,
            "event": intent.event_name,
            "email": intent.email,
            "item": intent.item,
            "quantity": decimal_text(intent.quantity),
        }
        if isinstance(first, _Row):
            first.corrected_content = content
            return first
        assert isinstance(first, StoredEffect)
        changed = replace(first, corrected_content=content)
        order.decided[order.decided.index(first)] = changed
        return changed

    def _decide_step(self, order: _Order, step: _Row, now: datetime) -> None:
        partner, settings = self._destination.partner, self._destination.settings
        assert isinstance(partner, CorrectsEffects)
        rows = order.decided
        if partner.delivery_options(settings).order_scope is KeyScope.SOURCE:
            # With orders that are one within their source only, those of another source are other orders.
            sources = {row.source for row in rows if step.corrects in (row.id, row.corrects)}
            rows = [row for row in rows if row.source in sources]
        first = next(row for row in rows if row.id == step.corrects)
        others = [row for row in rows if row is not step]
        ready = partner.prepare_correction(step, first, others, settings=settings, now=now)
        if not isinstance(ready, Ready):
            step.state, step.reason = EffectState.REJECTED.value, ready.reason
            if ready.reason == NOTHING_TO_CORRECT and step not in order.futile:
                order.futile.append(step)
            return
        step.quantity, step.state, step.reason = ready.quantity, EffectState.DELIVERED.value, None
        if ready.item is not None:
            step.intent = replace(step.intent, item=ready.item)
        order.finish(step, ready.quantity)
        # A correction may give a refund something to take.
        for refund in [row for row in order.decided if isinstance(row, _Row) and row.is_refund]:
            if refund.state != EffectState.DELIVERED and self._may_follow_a_correction(refund.reason or ""):
                order.decided.remove(refund)
                del order.results[refund.id]
                order.waiting.append(refund)
        order.waiting.sort(key=lambda row: row.id)
        self._decide_waiting(order, now=now)

    def _may_follow_a_correction(self, reason: str) -> bool:
        return reason in self._destination.partner.definition.reopened.on_correction
