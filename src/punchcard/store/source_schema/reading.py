"""Reads the source schema: what each source sends, with counts, properties and frequent values."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select

from punchcard.clock import from_micros, to_micros
from punchcard.store.bulk import is_listed
from punchcard.store.delivery.counts import OTHER_NAMES
from punchcard.store.source_schema.model import DAY_MICROS, FrequentValue, SchemaKey, merge_frequent
from punchcard.store.source_schema.recording import read_frequent, read_number_by_name, read_personal
from punchcard.store.source_schema.schema import schema_event_days, schema_events, schema_properties

SHOWN_VALUES_MAX: Final = 10
"""Values shown of a property."""

_PATHS_MAX: Final = 200  # suggested in forms
_SHOWN_TEXT_MIN: Final = 3  # sampled events that must have a text of several words before it is shown


@dataclass(frozen=True, kw_only=True)
class ListedEvent:
    """An event that a source sends.

    Attributes:
        key: Its source, type and name.
        count: Events received in the period.
        planned: Effects planned in the period, at all destinations.
        filtered: Results of destination filters in the period.
        total: Events received since it was first seen.
        sampled: Events of `total` of which the properties were read.
        properties: Number of its properties or traits.
    """

    key: SchemaKey
    count: int
    planned: int
    filtered: int
    total: int
    sampled: int
    properties: int
    first_seen: datetime
    last_seen: datetime

    @property
    def is_other(self) -> bool:
        """Whether it stands for all names beyond the limit."""
        return self.key.event_name == OTHER_NAMES


@dataclass(frozen=True, kw_only=True)
class ListedProperty:
    """A property or trait.

    Attributes:
        path: Path below `properties` or `traits`.
        count: Sampled events that have it.
        types: Number of values by JSON type, most frequent first.
        formats: Number of texts by form.
        personal: Number of values by kind of personal data. If there are any, no values are kept.
        frequent: Frequent values, most frequent first, with bounds of their counts.
    """

    path: str
    count: int
    types: Mapping[str, int]
    formats: Mapping[str, int]
    personal: Mapping[str, int]
    frequent: Sequence[FrequentValue]
    first_seen: datetime
    last_seen: datetime


def list_events(work: Connection, source: str, *, since: datetime) -> list[ListedEvent]:
    """Return the events of a source, most frequent in the period first.

    Args:
        since: The period begins with the UTC day of this instant.
    """
    days, properties = schema_event_days.c, schema_properties.c
    numbers = {
        (row.event_type, row.event_name): row
        for row in work.execute(
            select(
                days.event_type,
                days.event_name,
                func.sum(days.received).label("received"),
                func.sum(days.planned).label("planned"),
                func.sum(days.filtered).label("filtered"),
            )
            .where(days.source == source, days.day >= _day(since))
            .group_by(days.event_type, days.event_name)
        )
    }
    widths = {
        (event_type, event_name): number
        for event_type, event_name, number in work.execute(
            select(properties.event_type, properties.event_name, func.count())
            .where(properties.source == source)
            .group_by(properties.event_type, properties.event_name)
        )
    }
    listed = [
        _listed(row, numbers.get((row.event_type, row.event_name)), widths.get((row.event_type, row.event_name), 0))
        for row in work.execute(select(schema_events).where(schema_events.c.source == source))
    ]
    return sorted(listed, key=lambda event: (event.is_other, -event.count, -event.total, event.key))


def find_event(work: Connection, key: SchemaKey, *, since: datetime) -> ListedEvent | None:
    """Return one event of a source, None if it is not listed."""
    return next((event for event in list_events(work, key.source, since=since) if event.key == key), None)


def list_properties(work: Connection, key: SchemaKey) -> list[ListedProperty]:
    """Return the properties or traits of an event, most frequent first."""
    rows = work.execute(select(schema_properties).where(*_matches(schema_properties.c, key)))
    return sorted(map(read_property, rows), key=lambda known: (-known.count, known.path))


def read_days(work: Connection, key: SchemaKey, *, since: datetime) -> list[tuple[datetime, int]]:
    """Return how many events were received on each UTC day that has any, oldest first."""
    columns = schema_event_days.c
    rows = work.execute(
        select(columns.day, columns.received)
        .where(*_matches(columns, key), columns.day >= _day(since))
        .order_by(columns.day)
    )
    return [(row.day, row.received) for row in rows]


def list_names(work: Connection, sources: Collection[str], *, limit: int = 500) -> list[str]:
    """Return the names of track calls of these sources, most frequent first."""
    columns = schema_events.c
    rows = work.execute(
        select(columns.event_name)
        .where(is_listed(columns.source, "b_sources"), columns.event_type == "track", columns.event_name != OTHER_NAMES)
        .group_by(columns.event_name)
        .order_by(func.sum(columns.received).desc(), columns.event_name)
        .limit(limit),
        {"b_sources": sorted(sources)},
    )
    return list(rows.scalars())


def list_paths(work: Connection, sources: Collection[str], event_types: Collection[str]) -> dict[str, int]:
    """Return the most frequent paths of properties or traits of these calls, most frequent first, with their counts."""
    columns = schema_properties.c
    number = func.sum(columns.occurrences)
    rows = work.execute(
        select(columns.path, number)
        .where(is_listed(columns.source, "b_sources"), is_listed(columns.event_type, "b_types"))
        .group_by(columns.path)
        .order_by(number.desc(), columns.path)
        .limit(_PATHS_MAX),
        {"b_sources": sorted(sources), "b_types": sorted(event_types)},
    )
    return {path: int(count) for path, count in rows}


def list_values(
    work: Connection, sources: Collection[str], event_types: Collection[str], paths: Collection[str]
) -> dict[str, list[str]]:
    """Return frequent values of these paths over all events, as JSON texts; none of what may be personal data."""
    columns = schema_properties.c
    rows = work.execute(
        select(columns.path, columns.personal, columns.frequent).where(
            is_listed(columns.source, "b_sources"),
            is_listed(columns.event_type, "b_types"),
            is_listed(columns.path, "b_paths"),
        ),
        {"b_sources": sorted(sources), "b_types": sorted(event_types), "b_paths": sorted(paths)},
    ).all()
    personal = {row.path for row in rows if read_personal(row.personal)}
    merged: dict[str, list[FrequentValue]] = {}
    for row in rows:
        if row.path not in personal and row.frequent != "[]":
            counts = Counter({known.value: known.count_min for known in read_frequent(row.frequent)})
            merged[row.path] = merge_frequent(merged.get(row.path, []), counts)
    values = {path: [known.value for known in _shown(frequent)] for path, frequent in merged.items()}
    return {path: texts for path, texts in values.items() if texts}


def _listed(row: Row[*tuple[Any, ...]], numbers: Row[*tuple[Any, ...]] | None, properties: int) -> ListedEvent:
    return ListedEvent(
        key=SchemaKey(row.source, row.event_type, row.event_name),
        count=int(numbers.received) if numbers else 0,
        planned=int(numbers.planned) if numbers else 0,
        filtered=int(numbers.filtered) if numbers else 0,
        total=row.received,
        sampled=row.sampled,
        properties=properties,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
    )


def read_property(row: Row[Any]) -> ListedProperty:
    """Return the property of a row."""
    personal = read_personal(row.personal)
    return ListedProperty(
        path=row.path,
        count=row.occurrences,
        types=dict(Counter(read_number_by_name(row.types)).most_common()),
        formats=dict(Counter(read_number_by_name(row.formats)).most_common()),
        personal=dict(Counter(personal).most_common()),
        frequent=() if personal else _shown(read_frequent(row.frequent)),
        first_seen=row.first_seen,
        last_seen=row.last_seen,
    )


def _shown(tracked: Sequence[FrequentValue]) -> list[FrequentValue]:
    """Return the values that are shown. A text of several words may be a name or a message until it is seen again."""
    shown = [known for known in tracked if " " not in known.value or known.count_min >= _SHOWN_TEXT_MIN]
    return shown[:SHOWN_VALUES_MAX]


def _matches(columns: Any, key: SchemaKey) -> list[Any]:
    return [columns[name] == value for name, value in key._asdict().items()]


def _day(instant: datetime) -> datetime:
    micros = to_micros(instant)
    return from_micros(micros - micros % DAY_MICROS)
