"""Reads in views, and writes in small units of work: for what changes many rows while routing and delivery go on."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Executable, Row, Select

from punchcard.store.engine import Store

_STATEMENTS_AT_ONCE: Final = 50


class Portions:
    """One pass over a store that may be interrupted anywhere and made again."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, statement: Select[Any]) -> list[Row[Any]]:
        """Return the rows of a query.

        Raises:
            StorageError: The store is unavailable.
        """
        with self._store.reading() as work:
            return list(work.execute(statement).all())

    def write(self, statements: Sequence[Executable]) -> int:
        """Execute statements that change rows, some in each unit of work; return the number of changed rows.

        Raises:
            StorageError: The store is unavailable; what was changed before stays changed.
        """
        changed = 0
        for begin in range(0, len(statements), _STATEMENTS_AT_ONCE):
            with self._store.unit_of_work() as work:
                for statement in statements[begin : begin + _STATEMENTS_AT_ONCE]:
                    changed += max(work.execute(statement).rowcount, 0)
        return changed
