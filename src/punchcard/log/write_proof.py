"""Whether storage takes writes: known from the writes of this process, and else found out by one without effect."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

from punchcard.errors import StorageError

FAILURE_SECONDS: Final = 5.0
"""How long a failed write is enough: a load balancer that sends nothing meanwhile must learn of its end."""

SUCCESS_SECONDS: Final = 15.0
"""How long one that succeeded is enough."""


class WriteProof:
    """What is known of writing to one storage. Thread-safe.

    Args:
        prove: Writes without effect; raises StorageError if that fails.
    """

    def __init__(self, prove: Callable[[], object]) -> None:
        self._prove = prove
        self._proving = threading.Lock()
        self._known: tuple[StorageError | None, float] | None = None

    def note(self, failure: StorageError | None) -> None:
        """Note how a write has ended: why it failed, or None."""
        self._known = failure, monotonic()

    def failure(self) -> StorageError | None:
        """Return why the storage takes no writes; None if it does. It may have to write to find out."""
        with self._proving:  # threads that ask meanwhile get the same result
            known = self._known
            if known is None or monotonic() - known[1] > (FAILURE_SECONDS if known[0] else SUCCESS_SECONDS):
                try:
                    self._prove()
                except StorageError as error:
                    result: StorageError | None = error
                else:
                    result = None
                if self._known is known:  # a write that has ended meanwhile says more
                    self.note(result)
            return None if self._known is None else self._known[0]
