"""What people call destinations: pages and messages say the name, keys and addresses have the slug."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

from punchcard.destinations.catalog import CATALOG
from punchcard.workspace.model import Destination
from punchcard.workspace.snapshot import Snapshot

_SNAPSHOTS_MAX = 8  # an old snapshot is kept only until newer ones have been read


def destination_title(destination: Destination) -> str:
    """Return a destination's display name; its slug if it has no name and this version does not have its type."""
    partner = CATALOG.get(destination.type)
    return destination.name or (partner.definition.name if partner else destination.slug)


def name_destinations(destinations: Iterable[Destination]) -> dict[str, str]:
    """Return the display name of each destination by its slug. Equal names are followed by the slug."""
    titles = {destination.slug: destination_title(destination) for destination in destinations}
    counts = Counter(titles.values())
    return {slug: f"{title} ({slug})" if counts[title] > 1 else title for slug, title in titles.items()}


@lru_cache(maxsize=_SNAPSHOTS_MAX)
def names_of_snapshot(snapshot: Snapshot) -> Mapping[str, str]:
    """Return the display name of each destination by its slug, as `name_destinations` does, worked out once."""
    return MappingProxyType(name_destinations(routed.destination for routed in snapshot.destinations.values()))
