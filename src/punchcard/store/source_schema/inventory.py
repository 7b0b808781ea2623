"""Reads all properties and traits that any source sends."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from punchcard.store.source_schema.model import SchemaKey
from punchcard.store.source_schema.reading import ListedProperty, read_property
from punchcard.store.source_schema.schema import schema_properties


@dataclass(frozen=True, kw_only=True)
class SentProperty:
    """A property or trait of one event of one source."""

    key: SchemaKey
    known: ListedProperty


def list_sent_properties(work: Connection, *, kinds: Collection[str] = ()) -> list[SentProperty]:
    """Return the properties and traits of every event of every source; at most some ten thousand for each source.

    Args:
        kinds: Only those with values of one of these kinds of personal data; empty for all.
    """
    columns = schema_properties.c
    query = select(schema_properties).order_by(columns.path, columns.source, columns.event_name)
    if kinds:
        query = query.where(or_(*(columns.personal.contains(f'"{kind}"', autoescape=True) for kind in kinds)))
    rows = work.execute(query)
    return [
        SentProperty(key=SchemaKey(row.source, row.event_type, row.event_name), known=read_property(row))
        for row in rows
    ]
