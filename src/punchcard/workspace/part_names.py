"""What people call the parts of a configuration: pages and messages say the name, keys and addresses have the slug."""

from collections import Counter
from collections.abc import Iterable, Mapping

from punchcard.destinations.catalog import CATALOG
from punchcard.tracking_plans.model import TrackingPlan
from punchcard.workspace.document import Catalog, ConfigurationPart
from punchcard.workspace.model import AlertChannel, Computation, Destination, Source, Transformation
from punchcard.workspace.persistence import PartKey


def destination_title(destination: Destination, *, catalog: Catalog = CATALOG) -> str:
    """Return a destination's display name; its slug if it has no name and this version does not have its type."""
    partner = catalog.get(destination.type)
    return destination.name or (partner.definition.name if partner else destination.slug)


def name_destinations(destinations: Iterable[Destination]) -> dict[str, str]:
    """Return the display name of each destination by its slug. Equal names are followed by the slug."""
    titles = {("destination", destination.slug): destination_title(destination) for destination in destinations}
    return {slug: name for (_, slug), name in _distinct(titles).items()}


def name_sources(sources: Iterable[Source]) -> dict[str, str]:
    """Return the display name of each source by its slug. Equal names are followed by the slug."""
    titles = {("source", source.slug): source.name or source.slug for source in sources}
    return {slug: name for (_, slug), name in _distinct(titles).items()}


def name_parts(parts: Mapping[PartKey, ConfigurationPart], *, catalog: Catalog = CATALOG) -> dict[PartKey, str]:
    """Return what people call each part, with its slug if two of a kind have one name."""
    return _distinct({key: _title(key, part, catalog) for key, part in parts.items()})


def describe_part(key: PartKey, *configurations: Mapping[PartKey, ConfigurationPart]) -> str:
    """Return how a message names a part: `destination Loyalty`, `the workspace's settings`.

    Args:
        configurations: The parts of one or more configurations: the first that has the part knows its name. A part
            that none has is named by its slug.
    """
    kind, slug = key
    if kind == "workspace":
        return "the workspace's settings"
    parts = next((parts for parts in configurations if key in parts), None)
    return f"{kind.replace('_', ' ')} {slug if parts is None else name_parts(parts)[key]}"


def _title(key: PartKey, part: ConfigurationPart, catalog: Catalog) -> str:
    match part:
        case Destination():
            return destination_title(part, catalog=catalog)
        case Source() | Computation() | AlertChannel() | TrackingPlan() | Transformation():
            return part.name or key[1]
        case _:
            return key[1]


def _distinct(titles: Mapping[PartKey, str]) -> dict[PartKey, str]:
    """Return the titles, each followed by the slug if two of a kind are equal."""
    counts = Counter((kind, title) for (kind, _), title in titles.items())
    return {
        (kind, slug): f"{title} ({slug})" if counts[kind, title] > 1 else title
        for (kind, slug), title in titles.items()
    }
