"""The oracle and the judge of a simulated world: what must have happened, read from the log alone."""

import json
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import func, select

from punchcard.store import ledger
from punchcard.store.effects import StoredEffect
from punchcard.store.positions import LAKE, fates_after, position_of
from punchcard.store.schema import EffectState, delivery_attempts
from punchcard.testing.world import SLUG, SOURCE, World

# Ends that no retry changes: the ledger itself says that there is nothing to do.
_SETTLED_FOR_GOOD = frozenset({"refund_nothing_left", "refund_unknown_order"})


class BrokenPromiseError(AssertionError):
    """A promise was broken."""


@dataclass(frozen=True, kw_only=True)
class Due:
    """One effect that the log obliges to, by its first event."""

    key: str
    customer: str
    quantity: Decimal | None
    order_id: str | None
    is_refund: bool
    place: int


class Judge:
    """Compares the partner's book, the store and the lake with what the log obliges to."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._read_through = 0
        self._seen: set[str] = set()
        self._events = 0
        self.due: dict[str, Due] = {}

    def always(self) -> None:
        """What must hold at any moment."""
        self._read_on()
        world = self._world
        _require(not world.crowded, f"two effects of one customer were on their way at once: {world.crowded}")
        times = Counter(world.partner.keys())
        twice = [key for key, count in times.items() if count > 1]
        _require(not twice, f"performed more than once: {twice}")
        for booking in world.partner.book:
            due = self.due.get(booking.effect.effect_key)
            _require(due is not None, f"performed without an event: {booking.effect.effect_key}")
            if due is not None and not due.is_refund:
                got = booking.effect.quantity
                _require(got == due.quantity, f"{due.key}: {got} performed, {due.quantity} due")

    def when_idle(self) -> None:
        """What must hold besides once nothing is left to do."""
        self.always()
        world = self._world
        with world.store.reading() as connection:
            stored = ledger.page(connection, ledger.LedgerQuestion(destination=SLUG), count=10**6)
            unsettled = connection.scalar(
                select(func.count()).select_from(delivery_attempts).where(delivery_attempts.c.outcome.is_(None))
            )
            counted = select(delivery_attempts.c.effect_id, func.count()).group_by(delivery_attempts.c.effect_id)
            made: dict[int, int] = {row[0]: row[1] for row in connection.execute(counted)}
            waiting = fates_after(connection, position_of(connection, LAKE), batches_max=1)
        effects = {one.effect_key: one for one in stored}
        _require(unsettled == 0, f"{unsettled} attempts have no outcome")
        _require(
            effects.keys() == self.due.keys(), f"in the ledger or the log only: {effects.keys() ^ self.due.keys()}"
        )
        _require(not waiting, "fates are not in the lake")
        for due in self.due.values():
            effect = effects[due.key]
            _require(made.get(effect.id, 0) == effect.attempts, f"{due.key}: attempts are missing")
            self._judge_effect(due, effect)
        for order_id in {due.order_id for due in self.due.values() if due.order_id}:
            self._judge_order(order_id, effects)
        self._judge_lake()

    def _judge_effect(self, due: Due, effect: StoredEffect) -> None:
        booking = self._world.partner.standing(due.key)
        if effect.state is EffectState.DELIVERED:
            _require(booking is not None, f"{due.key} is delivered, says the ledger; the partner has nothing")
            if booking is not None:
                _require(booking.effect.quantity == effect.quantity, f"{due.key}: the ledger has another amount")
                _require(booking.partner_id == effect.partner_id, f"{due.key}: the ledger has another id")
            return
        _require(due.is_refund and effect.reason in _SETTLED_FOR_GOOD, f"{due.key} ended as {effect}")
        _require(booking is None, f"{due.key} was performed; the ledger says {effect.state}")

    def _judge_order(self, order_id: str, effects: dict[str, StoredEffect]) -> None:
        own = [due for due in self.due.values() if due.order_id == order_id]
        awards = [due for due in own if not due.is_refund]
        refunds = [due for due in own if due.is_refund]
        removed = -sum((_booked(effects[due.key]) for due in refunds), Decimal(0))
        if not awards or min(due.place for due in awards) > min((due.place for due in refunds), default=10**9):
            return  # a refund that came first removes what it asks
        awarded = sum((due.quantity or Decimal(0) for due in awards), Decimal(0))
        if any(due.quantity is None for due in refunds):
            wanted = awarded
        else:
            wanted = min(awarded, -sum((due.quantity or Decimal(0) for due in refunds), Decimal(0)))
        _require(removed == wanted, f"order {order_id}: {removed} removed of {awarded}, {wanted} was due")

    def _judge_lake(self) -> None:
        lake = self._world.lake()
        seen = Counter(one for some in lake.recent_message_ids(10**6) for one in some)
        _require(seen.total() == self._events, f"{seen.total()} of {self._events} events are in the lake")

    def _read_on(self) -> None:
        for record in self._world.log_records(self._read_through):
            self._read_through = record.position
            body = record.body
            if record.encoding == "zstd":
                import zstandard

                body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
            for index, event in enumerate(json.loads(body)["batch"]):
                self._events += 1
                self._oblige(event, place=record.position * 1_000 + index)

    def _oblige(self, event: dict[str, object], *, place: int) -> None:
        message_id, properties = str(event["messageId"]), event["properties"]
        if message_id in self._seen or not isinstance(properties, dict) or "email" not in properties:
            return
        self._seen.add(message_id)
        order_id, refund, quantity = properties.get("order_id"), properties["refund"], properties.get("quantity")
        if refund:
            key = f"SEG:{SOURCE}:REFUND:{order_id}:{message_id}"
        else:
            key = f"SEG:{SOURCE}:ORDER:{order_id}" if order_id else f"SEG:{SOURCE}:EVENT:{message_id}"
        amount = None if quantity is None else Decimal(quantity) * (-1 if refund else 1)
        # The first event of a key is the one that counts; others are duplicates or conflicts.
        self.due.setdefault(
            key,
            Due(
                key=key,
                customer=properties["email"].lower(),
                quantity=amount,
                order_id=order_id,
                is_refund=refund,
                place=place,
            ),
        )


def _booked(effect: StoredEffect) -> Decimal:
    return (effect.quantity or Decimal(0)) if effect.state is EffectState.DELIVERED else Decimal(0)


def _require(holds: bool, words: str) -> None:  # noqa: FBT001
    if not holds:
        raise BrokenPromiseError(words)
