"""Whether Engage has work: its process is started only then, because it takes more memory than the worker.

Engage has work once a computation is configured, or once somebody has asked for profiles or a preview. From its first
step on it always has: what it has begun must not fall behind, and removed computations are synced too.
"""

from typing import Final

from sqlalchemy import Connection

from punchcard.store.engine import Store
from punchcard.store.routing.positions import note_position, position_of
from punchcard.workspace.snapshot import Snapshot

POSITION: Final = "engage"
"""The consumer for the position through which Engage has processed the lake."""
STAMP: Final = "engage_stamp"
"""The consumer for the number of the store's state, which rises with each unit of work of Engage."""
ERASED: Final = "engage_erased"
"""The consumer for the state of the store since which the facts have nothing of deleted persons."""
_REQUESTED: Final = "engage_requested"  # 1 once somebody has asked for what only Engage can compute


def has_engage_work(work: Connection, snapshot: Snapshot) -> bool:
    """Return whether an Engage process is to run.

    Raises:
        StorageError: The store is not available.
    """
    if snapshot.computations or snapshot.invalid_computations:
        return True
    return position_of(work, POSITION) > 0 or position_of(work, _REQUESTED) > 0


def request_engage(store: Store) -> None:
    """Request that Engage runs from now on, because somebody needs profiles or a preview.

    Raises:
        StorageError: The store is not available.
    """
    with store.reading() as work:
        if position_of(work, _REQUESTED):
            return
    with store.unit_of_work() as work:
        note_position(work, _REQUESTED, 1)
