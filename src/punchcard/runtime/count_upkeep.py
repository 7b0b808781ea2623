"""Upkeep of the counts that pages show: old minutes become hours, and sums are renewed where versions are mixed."""

from collections.abc import Callable
from typing import Final

from punchcard.clock import Clock
from punchcard.store.delivery.counts import merge_old_minutes, renew_sums
from punchcard.store.engine import Store

_SUMS_SECONDS: Final = 3_600.0


class CountUpkeep:
    """Runs now and then in the process that leads routing."""

    def __init__(self, store: Store, clock: Clock, *, is_stopping: Callable[[], bool]) -> None:
        self._store = store
        self._clock = clock
        self._is_stopping = is_stopping
        self._sums_due_at = clock.monotonic()

    def run(self) -> None:
        """Merge old minutes, and once an hour add up the sums of the last days again.

        Raises:
            StorageError: The store is unavailable; call again.
        """
        merged = 1
        while merged and not self._is_stopping():
            with self._store.unit_of_work() as work:
                merged = merge_old_minutes(work, now=self._clock.now())
        # Several machines are upgraded one by one, and those of the version before add to no sums. One process writes
        # a store in SQLite at a time, and the migration has added up what it found.
        if not self._store.is_sqlite and self._clock.monotonic() >= self._sums_due_at:
            self._sums_due_at = self._clock.monotonic() + _SUMS_SECONDS
            with self._store.unit_of_work() as work:
                renew_sums(work, now=self._clock.now())
