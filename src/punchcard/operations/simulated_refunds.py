"""The orders of a simulation: what their refunds take, decided as at delivery, with every award delivered."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from punchcard.destinations.definition import Capability
from punchcard.destinations.port import Intent, KeyScope
from punchcard.destinations.preparation import LedgerRow, PreparesEffects, Ready
from punchcard.events.commerce import normalize_id
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.orders import effects_by_order
from punchcard.store.values import storable
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


class SimulatedOrders:
    """Awards and refunds of orders that have a refund, or may get one.

    Args:
        before: What the ledger has of events received before is known, too.
        now: When refunds are decided: none of them waits any more.
    """

    def __init__(self, destination: RoutedDestination, *, before: datetime, now: datetime) -> None:
        self._destination = destination
        self._before = before
        self._now = now
        self._rows: dict[str, list[_Row]] = {}
        self._next_id = 2**62  # behind every row of the ledger
        partner = destination.partner
        self._prepares = Capability.PREPARATION in partner.definition.capabilities

    def add(self, intent: Intent, *, source: str, message_id: str, at: datetime) -> bool:
        """Take an effect of an order; False if its amount is known already, as it is of no order."""
        if intent.order_id is None or not self._prepares:
            return False
        self._next_id += 1
        row = _Row(
            id=self._next_id,
            intent=intent,
            source=source,
            message_id=message_id,
            received_at=at,
            quantity=None if intent.is_refund else intent.quantity,
        )
        self._rows.setdefault(normalize_id(storable(intent.order_id)), []).append(row)
        return True

    def decide(self, work: Connection) -> Iterator[tuple[Intent, Decimal | None, str]]:
        """Say of every effect how many units it comes to; None and the reason if none."""
        order_ids = list(self._rows)
        for begin in range(0, len(order_ids), _ORDERS_AT_ONCE):
            chunk = order_ids[begin : begin + _ORDERS_AT_ONCE]
            refunded = [order_id for order_id in chunk if any(row.is_refund for row in self._rows[order_id])]
            stored = effects_by_order(work, self._destination.slug, refunded)
            for order_id in chunk:
                earlier: list[LedgerRow] = [row for row in stored.get(order_id, ()) if row.received_at < self._before]
                yield from self._decide_order(self._rows[order_id], earlier)

    def _decide_order(
        self, rows: list[_Row], earlier: Sequence[LedgerRow]
    ) -> Iterator[tuple[Intent, Decimal | None, str]]:
        """Decide in the order of the log: a refund takes of what was awarded before, or waits for the first award."""
        decided: list[LedgerRow] = list(earlier)
        waiting: list[_Row] = []
        for row in rows:
            if row.is_refund:
                waiting.append(row)
            else:
                yield row.intent, row.quantity, ""
                decided.append(row)
            yield from self._decide_waiting(waiting, decided, now=row.received_at)
        # No refund waits for its order for ever.
        yield from self._decide_waiting(waiting, decided, now=self._now.replace(year=self._now.year + 1, day=1))

    def _decide_waiting(
        self, waiting: list[_Row], decided: list[LedgerRow], *, now: datetime
    ) -> Iterator[tuple[Intent, Decimal | None, str]]:
        partner = self._destination.partner
        options = partner.delivery_options(self._destination.settings)
        assert isinstance(partner, PreparesEffects)  # it declares so
        for refund in list(waiting):
            source = refund.source if options.order_scope is KeyScope.SOURCE else None
            others = [row for row in decided if source in (None, row.source)]
            ready = partner.prepare(refund, others, refusal=None, settings=self._destination.settings, now=now)
            if isinstance(ready, Ready):
                refund.quantity = ready.quantity
                yield refund.intent, ready.quantity, ""
            elif ready.state == EffectState.REJECTED or now > self._now:
                refund.state, refund.reason, refund.attempts = ready.state, ready.reason, 0
                yield refund.intent, None, ready.reason
            else:
                continue
            waiting.remove(refund)
            decided.append(refund)
