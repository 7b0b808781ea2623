"""What people call the sources and destinations of a snapshot, worked out once for each."""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from punchcard.workspace.part_names import name_destinations, name_sources
from punchcard.workspace.snapshot import Snapshot

_SNAPSHOTS_MAX = 8  # an old snapshot is kept only until newer ones have been read


@lru_cache(maxsize=_SNAPSHOTS_MAX)
def destination_names(snapshot: Snapshot) -> Mapping[str, str]:
    """Return the display name of each destination by its slug."""
    return MappingProxyType(name_destinations(routed.destination for routed in snapshot.destinations.values()))


@lru_cache(maxsize=_SNAPSHOTS_MAX)
def source_names(snapshot: Snapshot) -> Mapping[str, str]:
    """Return the display name of each source with a write key by its slug, those of Engage included."""
    return MappingProxyType(
        name_sources({route.source.slug: route.source for route in snapshot.routes.values()}.values())
    )
