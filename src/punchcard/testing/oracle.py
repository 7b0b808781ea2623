"""The oracle of a simulated world: what must have happened, derived only from the log."""

import json
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import func, select

from punchcard.log.port import LogRecord
from punchcard.store.delivery import ledger
from punchcard.store.delivery.effects import EffectState, StoredEffect
from punchcard.store.delivery.schema import delivery_attempts
from punchcard.store.routing.positions import LAKE, position_of, results_after
from punchcard.testing.world import SLUG, WRITE_KEYS, World

# Final results that no retry changes: according to the ledger there is nothing to do.
_NOTHING_LEFT = "refund_nothing_left"
_UNKNOWN_ORDER = "refund_unknown_order"
_OTHER_CUSTOMER = "refund_other_customer"
_TRACKED_TWICE = "refund_tracked_twice"
_SETTLED_FOR_GOOD = frozenset({_NOTHING_LEFT, _UNKNOWN_ORDER, _OTHER_CUSTOMER, _TRACKED_TWICE})
_SAME_REFUND_MICROS = 24 * 3600 * 1_000_000


class BrokenPromiseError(AssertionError):
    """A promise was broken."""


@dataclass(frozen=True, kw_only=True)
class RequiredEffect:
    """One effect that the log requires, by its first event."""

    key: str
    customer: str
    quantity: Decimal | None
    order_id: str | None
    is_refund: bool
    place: int
    source: str
    refund_id: str | None
    received_at: int


class Oracle:
    """Compares the partner's book, the store and the lake with what the log requires."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._read_through = 0
        self._seen: set[tuple[str, str]] = set()
        self._events = 0
        self.due: dict[str, RequiredEffect] = {}

    def always(self) -> None:
        """Check what must be true at any moment."""
        self._read_on()
        world = self._world
        _require(not world.crowded, f"two effects of one customer were in delivery at once: {world.crowded}")
        times = Counter(world.partner.keys())
        twice = [key for key, count in times.items() if count > 1]
        _require(not twice, f"performed more than once: {twice}")
        for booking in world.partner.book:
            due = self.due.get(booking.effect.effect_key)
            _require(due is not None, f"performed without an event: {booking.effect.effect_key}")
            if due is not None and not due.is_refund:
                performed = booking.effect.quantity
                _require(performed == due.quantity, f"{due.key}: {performed} performed, {due.quantity} due")
        self._check_removals()

    def when_idle(self) -> None:
        """Check what must also be true once nothing is left to do."""
        self.always()
        world = self._world
        with world.store.reading() as connection:
            stored = ledger.page(connection, ledger.LedgerQuery(destination=SLUG), count=10**6)
            unsettled = connection.scalar(
                select(func.count()).select_from(delivery_attempts).where(delivery_attempts.c.outcome.is_(None))
            )
            counted = select(delivery_attempts.c.effect_id, func.count()).group_by(delivery_attempts.c.effect_id)
            made: dict[int, int] = {row[0]: row[1] for row in connection.execute(counted)}
            waiting = results_after(connection, position_of(connection, LAKE), batches_max=1)
        effects = {effect.effect_key: effect for effect in stored}
        _require(unsettled == 0, f"{unsettled} attempts have no outcome")
        _require(
            effects.keys() == self.due.keys(), f"in the ledger or the log only: {effects.keys() ^ self.due.keys()}"
        )
        _require(not waiting, "results are not in the lake")
        for due in self.due.values():
            effect = effects[due.key]
            _require(made.get(effect.id, 0) == effect.attempts, f"{due.key}: attempts are missing")
            self._check_effect(due, effect)
        for order_id in {due.order_id for due in self.due.values() if due.order_id}:
            self._check_order(order_id, effects)
        self._check_lake()

    def _check_effect(self, due: RequiredEffect, effect: StoredEffect) -> None:
        booking = self._world.partner.first_booking(due.key)
        if effect.state is EffectState.DELIVERED:
            _require(booking is not None, f"{due.key} is delivered in the ledger; the partner has nothing")
            if booking is not None:
                _require(booking.effect.quantity == effect.quantity, f"{due.key}: the ledger has another amount")
                _require(booking.partner_id == effect.partner_id, f"{due.key}: the ledger has another id")
            return
        _require(due.is_refund and effect.reason in _SETTLED_FOR_GOOD, f"{due.key} ended as {effect}")
        _require(booking is None, f"{due.key} was performed; its state in the ledger is {effect.state}")

    def _check_removals(self) -> None:
        """Check that at no moment more is taken back for an order than was given for it."""
        balance: Counter[str] = Counter()
        for booking in self._world.partner.book:
            due = self.due.get(booking.effect.effect_key)
            if due is not None and due.order_id is not None:
                balance[due.order_id] += int((booking.effect.quantity or Decimal(0)) * 100)
        short = [order_id for order_id, hundredths in balance.items() if hundredths < 0]
        _require(not short, f"more was removed than awarded for {short}")

    def _check_order(self, order_id: str, effects: dict[str, StoredEffect]) -> None:
        own = [due for due in self.due.values() if due.order_id == order_id]
        awards = [due for due in own if not due.is_refund]
        refunds = sorted((due for due in own if due.is_refund), key=lambda due: due.place)
        removed = -sum((_booked(effects[due.key]) for due in refunds), Decimal(0))
        awarded = sum((due.quantity or Decimal(0) for due in awards), Decimal(0))
        customers = {due.customer for due in awards}
        requested: list[Decimal | None] = []
        for due in refunds:
            reasons: set[str | None]
            if _is_tracked_twice(due, refunds):
                reasons = {_TRACKED_TWICE}
            elif not awards:
                reasons = {_UNKNOWN_ORDER}
            elif due.customer not in customers:
                reasons = {_OTHER_CUSTOMER}
            else:
                reasons = {None, _NOTHING_LEFT}
                requested.append(due.quantity)
            effect = effects[due.key]
            reason = None if effect.state is EffectState.DELIVERED else effect.reason
            _require(reason in reasons, f"{due.key} ended as {effect}, {reasons} was due")
        if None in requested:
            expected = awarded
        else:
            expected = min(awarded, -sum((quantity or Decimal(0) for quantity in requested), Decimal(0)))
        _require(removed == expected, f"order {order_id}: {removed} removed of {awarded}, {expected} was due")

    def _check_lake(self) -> None:
        lake = self._world.lake()
        seen = Counter(key for keys in lake.recent_message_keys(10**6) for key in keys)
        _require(seen.total() == self._events, f"{seen.total()} of {self._events} events are in the lake")

    def _read_on(self) -> None:
        for record in self._world.log_records(self._read_through):
            self._read_through = record.position
            self._read_record(record)

    def _read_record(self, record: LogRecord) -> None:
        body = record.body
        if record.encoding == "zstd":
            import zstandard

            body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        source = next(slug for slug, key in WRITE_KEYS.items() if key == record.write_key)
        for index, event in enumerate(json.loads(body)["batch"]):
            self._events += 1
            self._oblige(event, source=source, place=record.position * 1_000 + index, received_at=record.received_at)

    def _oblige(self, event: dict[str, object], *, source: str, place: int, received_at: int) -> None:
        message_id, properties = str(event["messageId"]), event["properties"]
        if (source, message_id) in self._seen or not isinstance(properties, dict) or "email" not in properties:
            return
        self._seen.add((source, message_id))
        order_id, refund, quantity = properties.get("order_id"), properties["refund"], properties.get("quantity")
        refund_id = properties.get("refund_id")
        if refund:
            key = f"SEG:{SLUG}:REFUND:{order_id}:{refund_id or message_id}"
        else:
            key = f"SEG:{SLUG}:ORDER:{order_id}" if order_id else f"SEG:{source}:EVENT:{message_id}"
        amount = None if quantity is None else Decimal(quantity) * (-1 if refund else 1)
        # Only the first event of a key counts; others are duplicates or conflicts.
        self.due.setdefault(
            key,
            RequiredEffect(
                key=key,
                customer=properties["email"].lower(),
                quantity=amount,
                order_id=order_id,
                is_refund=refund,
                place=place,
                source=source,
                refund_id=refund_id,
                received_at=received_at,
            ),
        )


def _is_tracked_twice(due: RequiredEffect, refunds: list[RequiredEffect]) -> bool:
    """Return whether the other source has reported the same refund before.

    Args:
        refunds: All refunds of the order, in log order.
    """
    alike = [refund for refund in refunds if (refund.customer, refund.quantity) == (due.customer, due.quantity)]
    own = [refund for refund in alike if refund.source == due.source]
    theirs = [refund for refund in alike if refund.source != due.source]
    number = own.index(due)
    if number >= len(theirs):
        return False
    pair = theirs[number]
    return (
        pair.place < due.place
        and due.received_at - pair.received_at <= _SAME_REFUND_MICROS
        and None in (pair.refund_id, due.refund_id)
    )


def _booked(effect: StoredEffect) -> Decimal:
    return (effect.quantity or Decimal(0)) if effect.state is EffectState.DELIVERED else Decimal(0)


def _require(condition: bool, message: str) -> None:  # noqa: FBT001
    if not condition:
        raise BrokenPromiseError(message)
