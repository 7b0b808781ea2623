"""Reads all properties and traits that any source sends."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from punchcard.store.source_schema.model import SchemaKey
from punchcard.store.source_schema.reading import ListedProperty, read_property
from punchcard.store.source_schema.schema import schema_properties


@dataclass(frozen=True, kw_only=True)
class SentProperty:
    """A property or trait of one event of one source."""

    key: SchemaKey
    known: ListedProperty


def list_sent_properties(work: Connection) -> list[SentProperty]:
    """Return the properties and traits of every event of every source; at most some ten thousand for each source."""
    columns = schema_properties.c
    rows = work.execute(select(schema_properties).order_by(columns.path, columns.source, columns.event_name))
    return [
        SentProperty(key=SchemaKey(row.source, row.event_type, row.event_name), known=read_property(row))
        for row in rows
    ]
