"""Conditions on keys of several columns."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, tuple_


def key_in(columns: Sequence[ColumnElement[Any]], keys: Collection[Sequence[object]]) -> ColumnElement[bool]:
    """Return the condition that a key is one of these; both engines use an index that begins with its columns.

    SQLite reads the whole table for `(a, b) IN (VALUES …)`: the condition on the first column makes it use the index.
    """
    return and_(columns[0].in_({key[0] for key in keys}), tuple_(*columns).in_(list(keys)))
