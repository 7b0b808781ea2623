"""Delete what the source schema names of persons."""

from sqlalchemy import Connection

from punchcard.profiles.erasure import ErasedIds
from punchcard.store.source_schema.schema import schema_properties
from punchcard.store.text_scrubbing import scrub_columns


def erase_from_source_schema(work: Connection, ids: ErasedIds) -> int:
    """Replace the ids of subjects among frequent values; return the number of changed rows."""
    return scrub_columns(work, schema_properties, [schema_properties.c.frequent], ids)
