"""Whether anything was committed since the last look, for loops that wait for what operators request."""

from typing import Final

from punchcard.clock import Clock
from punchcard.store.engine import Store

_LOOK_AFTER_SECONDS: Final = 5.0  # whatever the file says: it may have been replaced, and time alone makes work due


class StoreChanges:
    """Whether a look at the store is worth its statements. For one thread at a time.

    SQLite keeps a number that every commit changes, and reading it costs a hundredth of a query. PostgreSQL has nothing
    like it, so there each look is worth it.
    """

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._commits = store.commits
        self._clock = clock
        self._seen: int | None = None
        self._looked_at = 0.0

    def have_come(self) -> bool:
        """Return whether to look, after which this is False until the next commit; True also after a few seconds."""
        now = self._clock.monotonic()
        number = self._commits.read()
        if number is not None and number == self._seen and now < self._looked_at + _LOOK_AFTER_SECONDS:
            return False
        self._seen, self._looked_at = number, now
        return True

    def forget(self) -> None:
        """Look again the next time, because this look failed or left something to do."""
        self._seen = None
