"""Delete what the source schema names of persons."""

from punchcard.profiles.erasure import ErasedIds
from punchcard.store.portions import Portions
from punchcard.store.source_schema.schema import schema_properties
from punchcard.store.text_scrubbing import scrub_columns


def erase_from_source_schema(portions: Portions, ids: ErasedIds) -> int:
    """Replace the ids of subjects among frequent values; return the number of changed rows."""
    return scrub_columns(portions, schema_properties, [schema_properties.c.frequent], ids)
