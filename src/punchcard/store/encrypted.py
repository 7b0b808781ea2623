"""Walk through the texts of a column that hold encrypted values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, Connection, Table, select, tuple_, update

Key = tuple[Any, ...]
_ROWS_PER_PORTION: Final = 200


@dataclass(frozen=True)
class EncryptedColumn:
    """A column with texts that are encrypted, or that have encrypted values inside."""

    table: Table
    column: Column[Any]


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts of a portion of a column.

    Attributes:
        rows: Primary key and text of each row with one.
        after: The key after which the next portion begins; None if there is none.
    """

    rows: Sequence[tuple[Key, str]]
    after: Key | None


def read_texts(work: Connection, encrypted: EncryptedColumn, *, after: Key | None) -> Texts:
    """Return the next texts of a column, in the order of its primary key."""
    keys = list(encrypted.table.primary_key)
    statement = select(*keys, encrypted.column.label("text")).order_by(*keys).limit(_ROWS_PER_PORTION)
    if after is not None:
        statement = statement.where(tuple_(*keys) > tuple_(*after))
    rows = work.execute(statement).all()
    return Texts(
        rows=[(tuple(row[:-1]), row.text) for row in rows if row.text],
        after=tuple(rows[-1][:-1]) if len(rows) == _ROWS_PER_PORTION else None,
    )


def replace_texts(
    work: Connection, encrypted: EncryptedColumn, *, after: Key | None, change: Callable[[str], str]
) -> tuple[int, Key | None]:
    """Replace the next texts of a column by what a function returns.

    A text that another process has changed meanwhile is left as it is.

    Returns:
        The number of rows changed, and the key after which the next portion begins, None at the end.
    """
    texts = read_texts(work, encrypted, after=after)
    changed = 0
    for key, text in texts.rows:
        if (replaced := change(text)) != text:
            where = [column == value for column, value in zip(encrypted.table.primary_key, key, strict=True)]
            statement = update(encrypted.table).where(*where, encrypted.column == text)
            changed += work.execute(statement.values({encrypted.column: replaced})).rowcount
    return changed, texts.after
