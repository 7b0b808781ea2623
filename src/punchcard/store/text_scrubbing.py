"""Remove what names deleted persons from columns with texts that people read: details, samples, reports."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, and_, delete, or_, select, true, update

from punchcard.profiles.erasure import ErasedIds


def scrub_columns(work: Connection, table: Table, columns: Sequence[Column[Any]], ids: ErasedIds) -> int:
    """Replace the ids of subjects in columns of a table; return the number of changed rows.

    Args:
        columns: With text. Only rows where one of them may name somebody are read.
    """
    keys = list(table.primary_key.columns)
    may_name = or_(*(column.is_not(None) for column in columns))
    rows = work.execute(select(*keys, *columns).where(may_name)).all()
    changed = 0
    for row in rows:
        texts = row[len(keys) :]
        replaced = [text if text is None else ids.scrub(text) for text in texts]
        if list(texts) == replaced:
            continue
        changed += 1
        is_row = and_(*(key == value for key, value in zip(keys, row, strict=False)))
        values = {column.name: text for column, text in zip(columns, replaced, strict=True)}
        work.execute(update(table).where(is_row).values(values))
    return changed


def delete_mentioning(
    work: Connection,
    table: Table,
    columns: Sequence[Column[Any]],
    ids: ErasedIds,
    *,
    where: ColumnElement[bool] | None = None,
) -> int:
    """Delete the rows of a table with a text that names a subject; return their number.

    Args:
        where: Only rows that meet this condition; None for all.
    """
    keys = list(table.primary_key.columns)
    deleted = 0
    for row in work.execute(select(*keys, *columns).where(true() if where is None else where)).all():
        if any(text is not None and ids.mentions(text) for text in row[len(keys) :]):
            deleted += 1
            work.execute(delete(table).where(and_(*(key == value for key, value in zip(keys, row, strict=False)))))
    return deleted


def rows_mentioning(
    work: Connection, table: Table, columns: Sequence[Column[Any]], ids: ErasedIds
) -> list[dict[str, Any]]:
    """Return the rows of a table with a text that names a subject, without their keys."""
    keys = [column.name for column in table.primary_key.columns]
    return [
        {name: value for name, value in row._mapping.items() if name not in keys}
        for row in work.execute(select(table))
        if any(isinstance(text := row._mapping[column.name], str) and ids.mentions(text) for column in columns)
    ]
