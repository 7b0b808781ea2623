"""A table of the lake that several threads read, each with the newest commits."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from punchcard.errors import LakeError
from punchcard.lake.object_table import ObjectTable
from punchcard.lake.table import LakeTable

AnyTable = LakeTable | ObjectTable


class SharedTable:
    """A view of the table for one thread at a time."""

    def __init__(self, table: AnyTable) -> None:
        self._table = table
        self._using = threading.Lock()
        self._failure: LakeError | None = None
        self._failed_at = 0.0

    @contextmanager
    def newest(self) -> Iterator[AnyTable | None]:
        """Yield the table with the newest commits, None if there is none.

        Who has waited while reading them failed gets the same error: a silent object store takes many
        seconds each time, and all threads of a process would wait for one another.

        Raises:
            LakeError: The lake cannot be read.
        """
        since = time.monotonic()
        with self._using:
            if self._failure is not None and self._failed_at >= since:
                raise type(self._failure)(self._failure.message, code=self._failure.code, **self._failure.context)
            try:
                has_table = self._table.refresh()
            except LakeError as error:
                self._failure, self._failed_at = error, time.monotonic()
                raise
            yield self._table if has_table else None
