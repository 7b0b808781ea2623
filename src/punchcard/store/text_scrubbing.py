"""Remove what names deleted persons from columns with texts that people read: details, samples, reports."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Table, and_, delete, or_, select, update

from punchcard.profiles.erasure import ErasedIds
from punchcard.store.portions import Portions


def scrub_columns(portions: Portions, table: Table, columns: Sequence[Column[Any]], ids: ErasedIds) -> int:
    """Replace the ids of subjects in columns of a table; return the number of changed rows.

    Args:
        columns: With text. Only rows where one of them may name somebody are read.
    """
    keys = list(table.primary_key.columns)
    may_name = or_(*(column.is_not(None) for column in columns))
    changes = []
    for row in portions.read(select(*keys, *columns).where(may_name)):
        texts = row[len(keys) :]
        replaced = [text if text is None else ids.scrub(text) for text in texts]
        if list(texts) != replaced:
            values = {column.name: text for column, text in zip(columns, replaced, strict=True)}
            changes.append(update(table).where(_is_as_read(keys, columns, row)).values(values))
    return portions.write(changes)


def delete_mentioning(portions: Portions, table: Table, columns: Sequence[Column[Any]], ids: ErasedIds) -> int:
    """Delete the rows of a table with a text that names a subject; return their number."""
    keys = list(table.primary_key.columns)
    rows = portions.read(select(*keys, *columns))
    return portions.write(
        [
            delete(table).where(_is_as_read(keys, (), row))
            for row in rows
            if any(text is not None and ids.mentions(text) for text in row[len(keys) :])
        ]
    )


def _is_as_read(keys: Sequence[Column[Any]], columns: Sequence[Column[Any]], row: Row[Any]) -> ColumnElement[bool]:
    """Return the condition that a row still has the texts with which it was read."""
    return and_(*(column.is_not_distinct_from(value) for column, value in zip((*keys, *columns), row, strict=False)))


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
