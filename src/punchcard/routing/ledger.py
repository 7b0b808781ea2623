"""What the ledger of a destination knows of the effects, messages and orders that a batch is about to add."""

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from punchcard.events.commerce import normalize_id
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import NewEffect, StoredEffect
from punchcard.store.delivery.orders import request_effects_by_order
from punchcard.store.values import storable

LedgerRow = StoredEffect | NewEffect


@dataclass
class Ledger:
    """What one unit of work knows of one destination's ledger: what is stored, and what it adds itself."""

    destination: str
    by_key: dict[str, LedgerRow] = field(default_factory=dict)
    by_message: dict[tuple[str, str], LedgerRow] = field(default_factory=dict)
    by_order: defaultdict[str, list[LedgerRow]] = field(default_factory=lambda: defaultdict(list))

    def before(self, instant: datetime) -> "Ledger":
        """Return what is known of effects of events that were received before an instant."""
        earlier = Ledger(
            destination=self.destination,
            by_key={key: row for key, row in self.by_key.items() if row.received_at < instant},
            by_message={key: row for key, row in self.by_message.items() if row.received_at < instant},
        )
        for order_id, rows in self.by_order.items():
            earlier.by_order[order_id] += [row for row in rows if row.received_at < instant]
        return earlier

    def add(self, new: NewEffect) -> None:
        """Add an effect that is not stored yet."""
        self.by_key[new.effect_key] = new
        self.by_message.setdefault((new.source, new.message_id), new)
        if new.order_id is not None:
            self.by_order[normalize_id(storable(new.order_id))].append(new)


def request_ledger(
    work: Connection, destination: str, *, keys: Collection[str], messages: Collection[str], orders: Collection[str]
) -> Callable[[], Ledger]:
    """Ask for the rows with one of these keys, message ids or order ids; returns what gives them.

    To be called in a block of `pipelined`, and its result behind the block: then all questions are one exchange.
    """
    by_key = outbox.request_effects_by_key(work, destination, keys)
    by_message = outbox.request_effects_by_message(work, destination, messages)
    by_order = request_effects_by_order(work, destination, orders) if orders else dict

    def read() -> Ledger:
        ledger = Ledger(destination, dict(by_key()), dict(by_message()))
        for order_id, rows in by_order().items():
            ledger.by_order[order_id] += rows
        return ledger

    return read
