"""Appends violations of tracking plans to the event log, as events of the sources that they are forwarded to.

A portion is two writes: its records in the log, then the queue in the store. A crash between them appends the portion
again; the events have the same message ids, so they are received once.
"""

from collections.abc import Callable
from typing import Final

from punchcard.clock import Clock, to_micros
from punchcard.log.port import EventLog, NewRecord
from punchcard.store.engine import Store
from punchcard.store.tracking_plans.violations import delete_violation_events, next_violation_events
from punchcard.workspace.snapshot import Snapshot

_PORTION: Final = 200


class ViolationForwarder:
    """Forwards violations. For one thread.

    Args:
        current: Returns the configuration as stored.
        before_append: Called before anything is appended; if it raises, nothing is.
    """

    def __init__(
        self,
        *,
        store: Store,
        log: EventLog,
        clock: Clock,
        current: Callable[[], Snapshot],
        before_append: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._log = log
        self._clock = clock
        self._current = current
        self._before_append = before_append

    def step(self) -> bool:
        """Forward the first queued violations; True if there were any.

        A violation is dropped if the source that should receive it does not exist any more.

        Raises:
            StorageError: The store or the log cannot be written; nothing is lost.
        """
        with self._store.reading() as work:
            queued = next_violation_events(work, limit=_PORTION)
        if not queued:
            return False
        keys = {route.source.slug: key for key, route in self._current().by_write_key.items()}
        received_at = to_micros(self._clock.now())
        records = [
            NewRecord(
                received_at=received_at, write_key=keys[source], call="track", encoding="identity", body=body, ip=""
            )
            for _, source, body in queued
            if source in keys
        ]
        if records:
            self._before_append()
            self._log.append(records)
        with self._store.unit_of_work() as work:
            delete_violation_events(work, [row_id for row_id, _, _ in queued])
        return True
