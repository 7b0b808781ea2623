"""The schema of a source as Public API and command line write it."""

from typing import Any

import msgspec

from punchcard.clock import to_iso
from punchcard.operations.source_schema import SchemaEvent
from punchcard.store.source_schema.reading import ListedProperty


class MappedToBody(msgspec.Struct, rename="camel"):
    """A destination that maps the event, and the value that its map has for it."""

    destination_id: str
    value: str


class SchemaEventBody(msgspec.Struct, rename="camel"):
    """An event that a source sends.

    `received`, `planned` and `filtered` are numbers of the last 30 days, `receivedTotal` is since `firstSeenAt`;
    properties were read of `sampled` events of that total. `name` is empty for all types but `track`. The entry with
    `isOther` stands for all names beyond the limit.
    """

    type: str
    name: str
    received: int
    planned: int
    filtered: int
    received_total: int
    sampled: int
    property_count: int
    mapped_to: list[MappedToBody]
    is_other: bool
    first_seen_at: str
    last_seen_at: str


class FrequentValueBody(msgspec.Struct, rename="camel"):
    """A value, and bounds of the number of sampled events that have it."""

    value: Any
    count_min: int
    count_max: int


class SchemaPropertyBody(msgspec.Struct, rename="camel"):
    """A property or trait.

    `count` is the number of sampled events that have it; `types`, `formats` and `personalData` count their values. If
    any value looks like personal data, there are no `frequentValues`.
    """

    path: str
    count: int
    types: dict[str, int]
    formats: dict[str, int]
    personal_data: dict[str, int]
    frequent_values: list[FrequentValueBody]
    first_seen_at: str
    last_seen_at: str


def event_body(event: SchemaEvent) -> SchemaEventBody:
    """Return the body of an event."""
    listed = event.listed
    return SchemaEventBody(
        type=listed.key.event_type,
        name=listed.key.event_name,
        received=listed.count,
        planned=listed.planned,
        filtered=listed.filtered,
        received_total=listed.total,
        sampled=listed.sampled,
        property_count=listed.properties,
        mapped_to=[MappedToBody(destination_id=target.destination, value=target.value) for target in event.mapped],
        is_other=listed.is_other,
        first_seen_at=to_iso(listed.first_seen),
        last_seen_at=to_iso(listed.last_seen),
    )


def property_body(known: ListedProperty) -> SchemaPropertyBody:
    """Return the body of a property or trait."""
    return SchemaPropertyBody(
        path=known.path,
        count=known.count,
        types=dict(known.types),
        formats=dict(known.formats),
        personal_data=dict(known.personal),
        frequent_values=[
            FrequentValueBody(value=_decode(value.value), count_min=value.count_min, count_max=value.count_max)
            for value in known.frequent
        ],
        first_seen_at=to_iso(known.first_seen),
        last_seen_at=to_iso(known.last_seen),
    )


def _decode(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
