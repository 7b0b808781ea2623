"""The columns that are read from within an event: its email and the members that e-commerce events have."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import structlog

from punchcard.events.commerce import Commerce, commerce_of, usual_commerce, usual_order_id, usual_product_ids
from punchcard.events.emails import email_of, trimmed_email
from punchcard.events.model import Event, EventType
from punchcard.events.usual_properties import UsualProperties, UsualPropertiesReader

_log = structlog.get_logger("punchcard.lake")

EXTRACTED: Final = ("email", *Commerce._fields)
"""The columns in the order of `extract_columns`."""

NOTHING_EXTRACTED: Final = (None,) * len(EXTRACTED)

ExtractedColumns = tuple[list[Any], ...]
"""A list of values for each of the columns, in their order."""

_NO_COMMERCE: Final = NOTHING_EXTRACTED[1:]
_TRACK: Final = EventType.TRACK
_NOTHING_USUAL: Final = UsualProperties()
_reader: Final = UsualPropertiesReader()


def extract_columns(event: Event) -> tuple[Any, ...]:
    """Return the columns `EXTRACTED`; empty if reading them fails, because the row must not be lost.

    Amounts may have more places than the lake keeps.
    """
    try:
        wire = event.wire
        properties = wire.properties
        usual = _reader.read(properties) if properties else None
        if usual is None:
            return email_of(event), *commerce_of(event)
        email = trimmed_email(usual.email) if usual.email and not wire.email else None
        commerce = usual_commerce(usual) if event.type is _TRACK else _NO_COMMERCE
        return email or email_of(event), *(commerce or commerce_of(event))
    except Exception as error:  # noqa: BLE001  # an event that our code fails on still gets its row
        _log.warning("lake_columns_left_empty", message_id=event.message_id, error=repr(error))
        return NOTHING_EXTRACTED


def extract_email(event: Event) -> str | None:
    """Return the first of the columns alone, in less time."""
    try:
        return email_of(event)
    except Exception as error:  # noqa: BLE001  # as above
        _log.warning("lake_columns_left_empty", message_id=event.message_id, error=repr(error))
        return None


def extract_column_lists(items: Sequence[object]) -> ExtractedColumns:
    """Return the columns `EXTRACTED` of many items: what `extract_columns` returns of each, in less time.

    Args:
        items: Events; an item of another kind has nothing in any column.
    """
    try:
        return _extract_usual(items)
    except Exception as error:  # noqa: BLE001  # as above: each event is then read by itself
        _log.warning("lake_columns_read_singly", error=repr(error))
        rows = [extract_columns(item) if isinstance(item, Event) else NOTHING_EXTRACTED for item in items]
        return tuple(map(list, zip(*rows, strict=True))) if rows else tuple([] for _ in EXTRACTED)


def part_columns(columns: ExtractedColumns, begins: Sequence[int]) -> list[ExtractedColumns]:
    """Return the parts of columns between each two of some indices that follow each other."""
    return [tuple([column[begin:end] for column in columns]) for begin, end in pairwise(begins)]


def _extract_usual(items: Sequence[object]) -> ExtractedColumns:
    # A list per column: most of them are read from usual properties without a call for an event.
    many = _reader.read_all(
        [
            item.wire.properties if isinstance(item, Event) and item.type is _TRACK and not item.wire.email else None
            for item in items
        ]
    )
    usuals = [usual or _NOTHING_USUAL for usual in many]
    product_ids = [usual_product_ids(usual) for usual in usuals]
    columns: ExtractedColumns = (
        [usual.email and trimmed_email(usual.email) for usual in usuals],
        [None if usual.order_id is None else usual_order_id(usual.order_id) for usual in usuals],
        [usual.revenue for usual in usuals],
        [usual.value for usual in usuals],
        [usual.total for usual in usuals],
        [usual.currency or None for usual in usuals],
        [ids or None for ids in product_ids],
    )
    for index, (item, usual, email, ids) in enumerate(zip(items, many, columns[0], product_ids, strict=True)):
        if (usual is None or ids is None) and isinstance(item, Event):
            for column, value in zip(columns, extract_columns(item), strict=True):
                column[index] = value
        elif not email and isinstance(item, Event):
            columns[0][index] = email_of(item)
    return columns
