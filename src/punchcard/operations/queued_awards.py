"""How many awards of a destination are queued: it cannot be deleted before they are completed."""

from punchcard.store.delivery import ledger
from punchcard.store.delivery.effects import EffectState
from punchcard.store.engine import Store
from punchcard.store.routing.held import count_held_for

_QUEUED = tuple(state for state in EffectState if state.is_open or state is EffectState.PARKED)


def count_queued(store: Store, destination: str) -> int:
    """Return how many transactions of a destination are queued or parked, and how many events are held for it.

    Raises:
        StorageError: The store is unavailable.
    """
    with store.reading() as work:
        queued = ledger.count(work, ledger.LedgerQuery(destination=destination, states=_QUEUED))
        return queued + count_held_for(work, destination)
