"""`schema`: which events and properties a source sends, on the command line."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from sqlalchemy import Connection

from punchcard.cli.output import printable
from punchcard.clock import SystemClock, to_iso
from punchcard.errors import ConfigurationError
from punchcard.operations.sentences import count_noun
from punchcard.operations.source_schema import SchemaEvent, find_details, list_schema, plain_text
from punchcard.operations.source_schema_views import event_body, property_body
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.source_schema.model import SchemaKey
from punchcard.store.source_schema.reading import ListedProperty
from punchcard.workspace.editing import find_source
from punchcard.workspace.model import Workspace
from punchcard.workspace.persistence import load

_VALUES_SHOWN = 5


def print_schema(settings: Settings, source: str, *, as_json: bool) -> None:
    """Print the events of a source, most frequent first.

    Raises:
        ConfigurationError: There is no such source.
        StorageError: The store is unavailable.
    """
    with _opened(settings, source) as (work, workspace):
        events = list_schema(work, workspace, source, now=SystemClock().now())
    for event in events:
        if as_json:
            print(msgspec.json.encode(event_body(event)).decode())
        else:
            print(_event_line(event))
    if not events and not as_json:
        print("No events yet")


def print_event(settings: Settings, source: str, *, event_type: str, event_name: str, as_json: bool) -> None:
    """Print the properties or traits of one event, most frequent first.

    Raises:
        ConfigurationError: There is no such source, or it has sent no such event.
        StorageError: The store is unavailable.
    """
    with _opened(settings, source) as (work, workspace):
        key = SchemaKey(source, event_type, event_name)
        details = find_details(work, workspace, key, now=SystemClock().now())
    if details is None:
        raise ConfigurationError(f"The source {source} has sent no such event: {event_name or event_type}.")
    if not as_json:
        print(_event_line(details.event))
    for known in details.properties:
        if as_json:
            print(msgspec.json.encode(property_body(known)).decode())
        else:
            print(f"  {_property_line(known, details.event.listed.sampled)}")


@contextmanager
def _opened(settings: Settings, source: str) -> Iterator[tuple[Connection, Workspace]]:
    """The store for reading, and the configuration, which must have the source."""
    store = open_store(settings)
    try:
        workspace = load(store, open_keyring(settings)).workspace
        find_source(workspace, source)
        with store.reading() as work:
            yield work, workspace
    finally:
        store.close()


def _event_line(event: SchemaEvent) -> str:
    listed = event.listed
    name = printable(listed.key.event_name or f"({listed.key.event_type} calls)")
    mapped = ", ".join(f"{target.destination}: {printable(target.value)}" for target in event.mapped)
    parts = [
        name,
        f"{listed.count:,} in 30 days",
        count_noun(listed.properties, "property", "properties"),
        f"mapped to {mapped}" if mapped else "not mapped" if event.is_mappable else "",
        f"{listed.filtered:,} filtered" if listed.filtered else "",
        f"last seen {to_iso(listed.last_seen)}",
    ]
    return " · ".join(filter(None, parts))


def _property_line(known: ListedProperty, sampled: int) -> str:
    personal = ", ".join(kind.replace("_", " ") for kind in known.personal)
    values = ", ".join(printable(plain_text(value.value)) for value in known.frequent[:_VALUES_SHOWN])
    parts = [
        printable(known.path),
        ", ".join([*known.types, *known.formats]),
        f"in {known.count:,} of {max(sampled, known.count):,} sampled events",
        f"looks like personal data: {personal}" if personal else values,
    ]
    return " · ".join(filter(None, parts))
