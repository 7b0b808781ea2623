"""The catalog of sources. All types use the Tracking API; the type selects the snippets that the App shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

DEFAULT_SOURCE_TYPE: Final = "http-api"


@dataclass(frozen=True, kw_only=True)
class SourceType:
    """An entry of the catalog."""

    slug: str
    name: str
    description: str
    category: str


_TYPES: Final = (
    SourceType(
        slug="javascript",
        name="Javascript",
        description="A website with analytics.js, Segment's library for browsers.",
        category="Website",
    ),
    SourceType(
        slug="ios", name="iOS", description="An app with Segment's library for Apple devices.", category="Mobile"
    ),
    SourceType(
        slug="android", name="Android", description="An app with Segment's library for Android.", category="Mobile"
    ),
    SourceType(slug="python", name="Python", description="A server with Segment's Python library.", category="Server"),
    SourceType(
        slug="node-js", name="Node.js", description="A server with Segment's Node.js library.", category="Server"
    ),
    SourceType(
        slug=DEFAULT_SOURCE_TYPE,
        name="HTTP API",
        description="Anything that can send JSON over HTTP: curl, a POS, a back office.",
        category="Server",
    ),
    SourceType(
        slug="segment",
        name="Segment's cloud",
        description="Segment's Webhook destination, for sources that stay at Segment.",
        category="Cloud app",
    ),
)

SOURCE_TYPES: Final[Mapping[str, SourceType]] = MappingProxyType({type_.slug: type_ for type_ in _TYPES})
