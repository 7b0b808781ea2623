"""The JSON bodies of destinations, with masked secrets."""

from typing import Any

import msgspec

from punchcard.api import bodies
from punchcard.api.catalog import DestinationMetadata, destination_metadata
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import Definition
from punchcard.destinations.event_names import find_map_warnings, mapped_names
from punchcard.workspace.document import mask_secrets
from punchcard.workspace.model import Destination


class DestinationView(msgspec.Struct, rename="camel"):
    """A destination. `sourceId` is the first of its sources; `sourceIds`, `options` and `warnings` are Punchcard's own.

    `warnings` are sentences about likely mistakes: in its event map and, in the response to a change, in what was
    saved, such as an account that the partner does not know.
    """

    id: str
    name: str
    enabled: bool
    metadata: DestinationMetadata
    source_id: str
    source_ids: list[str]
    settings: dict[str, Any]
    options: dict[str, Any]
    warnings: list[str]


class ConnectedPage(msgspec.Struct):
    """A page of destinations."""

    destinations: list[DestinationView]
    pagination: bodies.Pagination


def destination_view(destination: Destination) -> DestinationView:
    """Return the body of a destination."""
    partner = CATALOG.get(destination.type)
    definition = partner.definition if partner else _unknown(destination.type)
    masked = mask_secrets(destination)
    return DestinationView(
        id=destination.slug,
        name=destination.name or definition.name,
        enabled=destination.enabled,
        metadata=destination_metadata(definition),
        source_id=destination.sources[0] if destination.sources else "",
        source_ids=list(destination.sources),
        settings=dict(masked.settings),
        options=dict(masked.options),
        warnings=[
            map_warning.message for map_warning in find_map_warnings(mapped_names(definition, destination.settings))
        ],
    )


def _unknown(type_: str) -> Definition:
    """Return a placeholder for a definition that this version does not have."""
    return Definition(
        id=type_,
        slug=type_,
        name=type_,
        description="",
        website="",
        categories=(),
        supported=frozenset(),
        settings=(),
        options=(),
    )
