"""The schema of a source beside the configuration: which of its events are mapped, and what is suggested in forms."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import Connection

from punchcard.destinations.catalog import CATALOG
from punchcard.store.source_schema.model import SchemaKey
from punchcard.store.source_schema.reading import (
    ListedEvent,
    ListedProperty,
    find_event,
    list_events,
    list_names,
    list_paths,
    list_properties,
    list_values,
    read_days,
)
from punchcard.workspace.model import Destination, Workspace

PERIOD: Final = timedelta(days=30)
"""The period of the counts."""

_VALUED_PATHS_MAX: Final = 50  # paths of which values are suggested
_TRACK: Final = ("track",)
_TRAITS: Final = ("identify", "group")


@dataclass(frozen=True, kw_only=True)
class MappedTo:
    """A destination that maps an event, and the value that its map has for it."""

    destination: str
    value: str


@dataclass(frozen=True, kw_only=True)
class SchemaEvent:
    """An event of a source.

    Attributes:
        listed: What was received.
        mapped: Destinations that map it.
        is_mappable: Whether a connected destination has an event map that it could be in.
    """

    listed: ListedEvent
    mapped: Sequence[MappedTo]
    is_mappable: bool


@dataclass(frozen=True, kw_only=True)
class EventDetails:
    """An event with its properties or traits, and its counts by UTC day."""

    event: SchemaEvent
    properties: Sequence[ListedProperty]
    days: Sequence[tuple[datetime, int]]


def list_schema(work: Connection, workspace: Workspace, source: str, *, now: datetime) -> list[SchemaEvent]:
    """Return the events of a source with counts of the last 30 days, most frequent first."""
    destinations = _connected(workspace, source)
    return [_with_maps(event, destinations) for event in list_events(work, source, since=now - PERIOD)]


def find_details(work: Connection, workspace: Workspace, key: SchemaKey, *, now: datetime) -> EventDetails | None:
    """Return an event of a source with its properties or traits, None if it is not listed."""
    listed = find_event(work, key, since=now - PERIOD)
    if listed is None:
        return None
    return EventDetails(
        event=_with_maps(listed, _connected(workspace, key.source)),
        properties=list_properties(work, key),
        days=read_days(work, key, since=now - PERIOD),
    )


@dataclass(frozen=True, kw_only=True)
class Suggestions:
    """What a form suggests.

    Attributes:
        names: Names of track calls, most frequent first.
        paths: Paths, as the form writes them, most frequent first.
        frequent: Frequent values by path, as a person types them.
    """

    names: Sequence[str] = ()
    paths: Sequence[str] = ()
    frequent: Mapping[str, Sequence[str]] = field(default_factory=dict)


def suggest_properties(
    work: Connection, sources: Collection[str], *, prefix: str = "", traits: bool = False
) -> Suggestions:
    """Return names, and properties of track calls or traits with frequent values, of what these sources send.

    Args:
        prefix: Written before each path, such as `properties.`.
        traits: Return the traits of identify and group calls in the place of properties.
    """
    event_types = _TRAITS if traits else _TRACK
    # A form writes no items of lists, and no name that needs a backslash.
    paths = [path for path in list_paths(work, sources, event_types) if "[" not in path and "\\" not in path]
    values = list_values(work, sources, event_types, paths[:_VALUED_PATHS_MAX])
    return Suggestions(
        names=list_names(work, sources),
        paths=[f"{prefix}{path}" for path in paths],
        frequent={f"{prefix}{path}": [plain_text(value) for value in known] for path, known in values.items()},
    )


def plain_text(value: str) -> str:
    """Return a value as a person types it: a text without quotes."""
    try:
        decoded = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value
    return decoded if isinstance(decoded, str) else value


def _connected(workspace: Workspace, source: str) -> list[Destination]:
    return [destination for destination in workspace.destinations if source in destination.sources]


def _with_maps(listed: ListedEvent, destinations: Sequence[Destination]) -> SchemaEvent:
    mapped = []
    is_mappable = False
    if listed.key.event_type == "track" and not listed.is_other:
        for destination in destinations:
            partner = CATALOG.get(destination.type)
            event_map = None if partner is None else partner.definition.event_map
            if event_map is None:
                continue
            is_mappable = True
            values = destination.settings.get(event_map.key)
            if isinstance(values, Mapping) and listed.key.event_name in values:
                mapped.append(MappedTo(destination=destination.slug, value=str(values[listed.key.event_name])))
    return SchemaEvent(listed=listed, mapped=mapped, is_mappable=is_mappable)
