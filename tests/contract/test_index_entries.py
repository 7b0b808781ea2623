"""No value of an event can make an entry of an index too long for PostgreSQL, which would refuse the row."""

from collections.abc import Iterator

from sqlalchemy import Column, Index, LargeBinary, PrimaryKeyConstraint, String, Text, UniqueConstraint
from sqlalchemy.sql.elements import ColumnElement

import punchcard.store.engine  # noqa: F401  # with all tables
from punchcard.store.schema import metadata

_ENTRY_BYTES_MAX = 2_704  # of a B-tree of PostgreSQL
_BEGINNING = "1, 100)"  # of a text: `substr(value, 1, 100)`
# Of a length that is checked before: ids of perks and orders, decimal numbers.
CHECKED = {"effects.item": 64, "effects.quantity": 32, "effects.requested_quantity": 32, "effects.order_id": 255}
ASCII = {"passkeys.credential_id", "plan_violations.source"}


def _bytes_max(part: ColumnElement[object]) -> int | None:
    """Return how long an indexed value may become, None if nothing limits it."""
    if not isinstance(part, Column):
        return 400 if str(part).endswith(_BEGINNING) else None
    name = f"{part.table.name}.{part.name}"
    if isinstance(part.type, Text | LargeBinary):
        return CHECKED.get(name)
    if isinstance(part.type, String):
        assert part.type.length is not None, name
        return part.type.length * (1 if name in ASCII else 4)
    return 8


def _is_of_postgresql(index: Index) -> bool:
    return index._ddl_if is None or index._ddl_if.dialect == "postgresql"


def _keys() -> Iterator[tuple[str, list[ColumnElement[object]]]]:
    for table in metadata.sorted_tables:
        for index in filter(_is_of_postgresql, table.indexes):
            yield f"{table.name}: {index.name}", [part for part in index.expressions if not isinstance(part, str)]
        for constraint in table.constraints:
            if isinstance(constraint, UniqueConstraint | PrimaryKeyConstraint):
                yield f"{table.name}: {constraint.name}", list(constraint.columns)


def test_entries_of_indexes_are_short_enough_for_postgresql() -> None:
    sizes = {name: [_bytes_max(part) for part in parts] for name, parts in _keys()}
    assert len(sizes) > 100
    assert {name for name, of in sizes.items() if None in of or sum(filter(None, of)) > _ENTRY_BYTES_MAX} == set()
