"""Writes the source schema. Bounded in every direction: names per source, paths per event, values per property.

Anybody with a public write key can send any name. Names that a destination maps and established ones (received for more
than a day, and often) are never displaced by new ones; of the others the rarest gives way, and only to a name that was
received more often.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Insert, Row, Table, delete, func, select, tuple_

from punchcard.clock import from_micros
from punchcard.store.bulk import BulkStatement
from punchcard.store.delivery.counts import OTHER_NAMES
from punchcard.store.source_schema.model import (
    EventDelta,
    FrequentValue,
    PropertyDelta,
    SchemaKey,
    merge_frequent,
)
from punchcard.store.source_schema.schema import schema_event_days, schema_events, schema_properties
from punchcard.store.upsert import insert_in

NAMES_MAX: Final = 300
"""Events listed for each source, besides those that destinations map."""

PATHS_MAX: Final = 100
"""Paths listed for each event."""

DAYS_KEPT: Final = timedelta(days=100)
"""How long counts by day are kept."""

PRUNED_PER_UNIT: Final = 1_000
"""Rows deleted in one unit of work."""

UNKNOWN_KIND: Final = "unknown"
"""The kind of personal data of a property of which the stored kinds cannot be read."""

_ESTABLISHED_AGE: Final = timedelta(days=1)
_ESTABLISHED_COUNT_MIN: Final = 10
_KEY: Final = ("source", "event_type", "event_name")
_EMPTY: Final = "{}"
_counts_decoder = msgspec.json.Decoder(dict[str, int])
_frequent_decoder = msgspec.json.Decoder(list[FrequentValue])


def read_names(work: Connection) -> dict[str, set[SchemaKey]]:
    """Return the events that are listed, by source."""
    columns = schema_events.c
    names: dict[str, set[SchemaKey]] = {}
    for source, event_type, event_name in work.execute(
        select(columns.source, columns.event_type, columns.event_name)
    ).all():
        names.setdefault(source, set()).add(SchemaKey(source, event_type, event_name))
    return names


def record_schema(
    work: Connection,
    *,
    events: Mapping[SchemaKey, EventDelta],
    properties: Mapping[SchemaKey, Mapping[str, PropertyDelta]],
    mapped: Collection[SchemaKey] = (),
    names_max: int = NAMES_MAX,
    paths_max: int = PATHS_MAX,
) -> None:
    """Add what was received since the last write.

    Args:
        mapped: Events that a destination maps: they are always listed.
    """
    by_source: dict[str, dict[SchemaKey, EventDelta]] = {}
    for key, delta in events.items():
        by_source.setdefault(key.source, {})[key] = delta
    listed: dict[SchemaKey, EventDelta] = {}
    for deltas in by_source.values():
        listed |= _admit(work, deltas, mapped, names_max)
    _write_events(work, listed)
    _write_properties(work, {key: properties[key] for key in listed if key in properties}, paths_max)


def prune_schema(work: Connection, *, before: datetime, limit: int = PRUNED_PER_UNIT) -> int:
    """Delete at most `limit` of the events, and of the properties, that were last seen before an instant.

    Returns:
        The number of rows deleted of the table of which most were.
    """
    return max(
        _prune(work, schema_properties, schema_properties.c.last_seen, before, limit),
        _prune(work, schema_events, schema_events.c.last_seen, before, limit),
    )


def prune_schema_days(work: Connection, *, now: datetime, limit: int = PRUNED_PER_UNIT) -> int:
    """Delete at most `limit` counts of days that are no longer shown; returns how many."""
    return _prune(work, schema_event_days, schema_event_days.c.day, now - DAYS_KEPT, limit)


def _prune(work: Connection, table: Table, column: ColumnElement[Any], before: datetime, limit: int) -> int:
    keys = list(table.primary_key)
    chosen = select(*keys).where(column < before).order_by(*keys).limit(limit)
    return work.execute(delete(table).where(tuple_(*keys).in_(chosen))).rowcount


def read_number_by_name(text: str) -> dict[str, int]:
    """Return stored counts by name; none if they cannot be read."""
    try:
        return _counts_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {}


def read_personal(text: str) -> dict[str, int]:
    """Return how many values look like personal data, by kind. What cannot be read counts as personal."""
    try:
        return _counts_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {UNKNOWN_KIND: 1}


def read_frequent(text: str) -> list[FrequentValue]:
    """Return the stored values of a property; none if they cannot be read."""
    try:
        return _frequent_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return []


def _admit(
    work: Connection, deltas: Mapping[SchemaKey, EventDelta], mapped: Collection[SchemaKey], names_max: int
) -> dict[SchemaKey, EventDelta]:
    """Return the deltas of the listed names of one source; those of all other names together under one name."""
    source = next(iter(deltas)).source
    columns = schema_events.c
    rows = {
        SchemaKey(row.source, row.event_type, row.event_name): row
        for row in work.execute(select(schema_events).where(columns.source == source))
    }
    listed = {key: delta for key, delta in deltas.items() if key in rows}
    # Rarest first. What this very write counts is seen to be in use.
    displaceable = sorted(
        (key for key, row in rows.items() if key not in mapped and key not in listed and _may_give_way(key, row)),
        key=lambda key: -rows[key].received,
    )
    room = names_max - len(rows)
    left_out: list[EventDelta] = []
    displaced: list[SchemaKey] = []
    newcomers = [key for key in deltas if key not in rows]
    newcomers.sort(key=lambda key: (key not in mapped, -deltas[key].count))
    for key in newcomers:
        if room > 0:
            room -= 1
        elif displaceable and (key in mapped or deltas[key].count > rows[displaceable[-1]].received):
            displaced.append(displaceable.pop())
        elif key not in mapped:
            left_out.append(deltas[key])
            continue
        listed[key] = deltas[key]
    for key in displaced:
        _forget(work, key)
    if left_out:
        other = SchemaKey(source, "track", OTHER_NAMES)
        listed[other] = _sum([*left_out, *([listed[other]] if other in listed else [])])
    return listed


def _may_give_way(key: SchemaKey, row: Row[Any]) -> bool:
    is_established = row.last_seen - row.first_seen >= _ESTABLISHED_AGE and row.received >= _ESTABLISHED_COUNT_MIN
    return not is_established and key.event_name not in ("", OTHER_NAMES)


def _sum(deltas: Sequence[EventDelta]) -> EventDelta:
    total = EventDelta(min(delta.first_seen for delta in deltas), max(delta.last_seen for delta in deltas))
    for delta in deltas:
        for begin, day in delta.days.items():
            numbers = total.days.setdefault(begin, type(day)())
            numbers.count += day.count
            numbers.planned += day.planned
            numbers.filtered += day.filtered
    return total


def _forget(work: Connection, key: SchemaKey) -> None:
    for table in (schema_properties, schema_event_days, schema_events):
        work.execute(delete(table).where(*(table.c[name] == value for name, value in key._asdict().items())))


def _write_events(work: Connection, deltas: Mapping[SchemaKey, EventDelta]) -> None:
    # In one order everywhere: two processes that add to the same rows must not wait for each other.
    keys = sorted(deltas)
    _ADD_EVENTS.execute(
        work,
        [
            {
                **key._asdict(),
                "received": deltas[key].count,
                "planned": deltas[key].planned,
                "sampled": deltas[key].sampled,
                "first_seen": from_micros(deltas[key].first_seen),
                "last_seen": from_micros(deltas[key].last_seen),
            }
            for key in keys
        ],
    )
    _ADD_DAYS.execute(
        work,
        [
            {
                **key._asdict(),
                "day": from_micros(begin),
                "received": day.count,
                "planned": day.planned,
                "filtered": day.filtered,
            }
            for key in keys
            for begin, day in sorted(deltas[key].days.items())
        ],
    )


def _write_properties(
    work: Connection, deltas: Mapping[SchemaKey, Mapping[str, PropertyDelta]], paths_max: int
) -> None:
    rows: list[dict[str, object]] = []
    for key in sorted(deltas):
        stored = _stored_properties(work, key)
        displaceable = sorted(
            (
                path
                for path, row in stored.items()
                if path not in deltas[key] and row.last_seen - row.first_seen < _ESTABLISHED_AGE
            ),
            key=lambda path: -stored[path].occurrences,
        )
        room = paths_max - len(stored)
        for path, delta in sorted(deltas[key].items(), key=lambda item: (-item[1].count, item[0])):
            if path not in stored:
                if room > 0:
                    room -= 1
                elif displaceable and delta.count > stored[displaceable[-1]].occurrences:
                    _forget_path(work, key, displaceable.pop())
                else:
                    continue
            rows.append({**key._asdict(), "path": path, **_merged(stored.get(path), delta)})
    _PUT_PROPERTIES.execute(work, sorted(rows, key=lambda row: [str(row[name]) for name in (*_KEY, "path")]))


def _stored_properties(work: Connection, key: SchemaKey) -> dict[str, Row[Any]]:
    table = schema_properties
    matches = [table.c[name] == value for name, value in key._asdict().items()]
    return {row.path: row for row in work.execute(select(table).where(*matches))}


def _forget_path(work: Connection, key: SchemaKey, path: str) -> None:
    table = schema_properties
    matches = [table.c[name] == value for name, value in key._asdict().items()]
    work.execute(delete(table).where(*matches, table.c.path == path))


def _merged(row: Row[Any] | None, delta: PropertyDelta) -> dict[str, object]:
    """Return the columns of a property with the delta added."""
    first, last = from_micros(delta.first_seen), from_micros(delta.last_seen)
    personal = delta.personal + Counter(read_personal(row.personal) if row else {})
    frequent: list[FrequentValue] = []
    # Where personal data was seen once, other values are likely to be personal too, in a form that nobody recognizes.
    if not personal:
        frequent = merge_frequent(read_frequent(row.frequent) if row else [], delta.values)
    return {
        "occurrences": delta.count + (row.occurrences if row else 0),
        "first_seen": min(first, row.first_seen) if row else first,
        "last_seen": max(last, row.last_seen) if row else last,
        "types": _encode(delta.types + _counter(row.types if row else _EMPTY)),
        "formats": _encode(delta.formats + _counter(row.formats if row else _EMPTY)),
        "personal": _encode(personal),
        "frequent": _encode(frequent),
    }


def _counter(text: str) -> Counter[str]:
    return Counter(read_number_by_name(text))


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _statement(table: Table, *, added: Sequence[str] = (), replaced: Sequence[str] = ()) -> BulkStatement:
    """Return the statement that adds rows to those with the same key, or replaces their columns."""

    def build(engine: str) -> Insert:
        adding = insert_in(engine, table)
        columns: dict[str, Any] = {name: table.c[name] + adding.excluded[name] for name in added}
        columns |= {name: adding.excluded[name] for name in replaced}
        if table is schema_events:
            greatest, least = (func.max, func.min) if engine == "sqlite" else (func.greatest, func.least)
            columns["last_seen"] = greatest(table.c.last_seen, adding.excluded.last_seen)
            columns["first_seen"] = least(table.c.first_seen, adding.excluded.first_seen)
        statement: Insert = adding.on_conflict_do_update(
            index_elements=[column.name for column in table.primary_key], set_=columns
        )
        return statement

    return BulkStatement(build, [column.name for column in table.columns])


_ADD_EVENTS = _statement(schema_events, added=("received", "planned", "sampled"))
_ADD_DAYS = _statement(schema_event_days, added=("received", "planned", "filtered"))
_PUT_PROPERTIES = _statement(
    schema_properties,
    replaced=("occurrences", "first_seen", "last_seen", "types", "formats", "personal", "frequent"),
)
