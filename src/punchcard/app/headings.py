"""Names of sources and destinations as pages show them, with the marks of their types."""

from markupsafe import Markup

from punchcard.app.lettermarks import lettermark
from punchcard.destinations.catalog import CATALOG
from punchcard.workspace.model import Destination, Source
from punchcard.workspace.part_names import destination_title
from punchcard.workspace.source_types import SOURCE_TYPES


def destination_mark(destination: Destination) -> Markup:
    """Return the mark of a destination's type; of the type as it is configured, if this version does not have it."""
    partner = CATALOG.get(destination.type)
    return lettermark(partner.definition.name if partner else destination.type)


def destination_heading(destination: Destination) -> Markup:
    """Return mark and name of a destination."""
    return _marked(destination_mark(destination), destination_title(destination))


def source_heading(source: Source) -> Markup:
    """Return mark and name of a source."""
    source_type = SOURCE_TYPES.get(source.type)
    return _marked(lettermark(source_type.name if source_type else source.type), source.name)


def _marked(mark: Markup, text: str) -> Markup:
    return Markup('<span class="marked">{} {}</span>').format(mark, text)
