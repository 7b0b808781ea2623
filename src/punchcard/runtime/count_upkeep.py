"""Upkeep of the counts that pages show: hours that are over are added up, and old minutes become hours."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.store.delivery.count_sums import mark_last_days, sum_next_hour
from punchcard.store.delivery.counts import merge_old_minutes
from punchcard.store.engine import Store

_RENEWAL_SECONDS: Final = 3_600.0


class CountUpkeep:
    """Runs now and then in the process that leads routing."""

    def __init__(self, store: Store, clock: Clock, *, is_stopping: Callable[[], bool]) -> None:
        self._store = store
        self._clock = clock
        self._is_stopping = is_stopping
        self._renewal_due_at = clock.monotonic()

    def run(self) -> None:
        """Add up the hours that are over and have changed, and merge old minutes: each in short units of work.

        Raises:
            StorageError: The store is unavailable; call again.
        """
        # Several machines are upgraded one by one, and those of an older version mark no hours. One process writes a
        # store in SQLite at a time.
        if not self._store.is_sqlite and self._clock.monotonic() >= self._renewal_due_at:
            with self._store.unit_of_work() as work:
                mark_last_days(work, now=self._clock.now())
            self._renewal_due_at = self._clock.monotonic() + _RENEWAL_SECONDS
        self._repeat(lambda work: sum_next_hour(work, now=self._clock.now()))
        self._repeat(lambda work: merge_old_minutes(work, now=self._clock.now()))

    def _repeat(self, step: Callable[[Connection], int]) -> None:
        """Run a step in units of work of its own until it finds nothing to do."""
        has_more = True
        while has_more and not self._is_stopping():
            with self._store.unit_of_work() as work:
                has_more = bool(step(work))
