"""Destinations.

Source: Segment's Public API, "Destinations".
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
from litestar import delete, get, patch, post
from litestar.params import FromPath, JSONBody

from punchcard.api.api_dependencies import Dependencies
from punchcard.api.catalog import find_definition
from punchcard.api.destination_views import ConnectedPage, DestinationView, destination_view
from punchcard.api.errors import bad_request, unprocessable
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page
from punchcard.operations.executor import run_in_executor
from punchcard.operations.queued_awards import count_queued
from punchcard.workspace.editing import (
    Edit,
    add_destination,
    add_with_new_slug,
    change_destination,
    find_destination,
    merge_settings,
    remove_destination,
    unique_slug,
)
from punchcard.workspace.model import Destination, Workspace


class NewDestination(msgspec.Struct, rename="camel"):
    """A destination to create. `metadataId` is an id or slug of the catalog of destinations."""

    source_id: str
    metadata_id: str
    settings: dict[str, Any]
    enabled: bool = True
    name: str = ""
    options: dict[str, Any] = {}


class DestinationUpdate(msgspec.Struct, rename="camel"):
    """Members to change; absent members stay. A masked secret keeps the stored one."""

    name: str | None = None
    enabled: bool | None = None
    settings: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    source_ids: list[str] | None = None


@get("/destinations", summary="List destinations")
@run_in_executor
def list_destinations(
    dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, ConnectedPage]:
    """List destinations by slug."""
    destinations, pagination = page(
        dependencies.workspace().destinations, key=lambda destination: destination.slug, count=count, cursor=cursor
    )
    return {
        "data": ConnectedPage(
            destinations=[destination_view(destination) for destination in destinations], pagination=pagination
        )
    }


@post("/destinations", status_code=200, summary="Create a destination")
@run_in_executor
def create_destination(
    data: JSONBody[NewDestination], dependencies: Dependencies
) -> dict[str, dict[str, DestinationView]]:
    """Create a destination that is connected to a source."""
    definition = find_definition(data.metadata_id)
    if definition is None:
        raise bad_request(f"There is no destination {data.metadata_id} in the catalog.", "metadataId")

    def choose_slug(workspace: Workspace) -> str:
        if all(source.slug != data.source_id for source in workspace.sources):
            raise unprocessable(f"There is no source {data.source_id}.", "sourceId")
        return unique_slug(definition.slug, {destination.slug for destination in workspace.destinations})

    def add(slug: str) -> Edit:
        destination = Destination(
            slug=slug,
            type=definition.slug,
            name=data.name,
            sources=(data.source_id,),
            enabled=data.enabled,
            settings=data.settings,
            options=data.options,
        )
        return add_destination(destination)

    slug, warnings = add_with_new_slug(dependencies.edit, choose_slug, add)
    return _response(dependencies, slug, warnings)


@get("/destinations/{destination_id:str}", summary="Get a destination")
@run_in_executor
def get_destination(destination_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, DestinationView]]:
    """Get the destination with this slug."""
    return _response(dependencies, destination_id)


@patch("/destinations/{destination_id:str}", summary="Update a destination")
@run_in_executor
def update_destination(
    destination_id: FromPath[str], data: JSONBody[DestinationUpdate], dependencies: Dependencies
) -> dict[str, dict[str, DestinationView]]:
    """Update name, status and sources, and the settings and options in the request."""

    def changed(destination: Destination) -> Destination:
        return replace(
            destination,
            name=destination.name if data.name is None else data.name,
            enabled=destination.enabled if data.enabled is None else data.enabled,
            sources=destination.sources if data.source_ids is None else tuple(data.source_ids),
            settings=merge_settings(destination.settings, data.settings),
            options=merge_settings(destination.options, data.options),
        )

    warnings = dependencies.edit(change_destination(destination_id, changed))
    return _response(dependencies, destination_id, warnings)


@delete("/destinations/{destination_id:str}", status_code=200, summary="Delete a destination")
@run_in_executor
def delete_destination(destination_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, str]]:
    """Delete a destination with an empty queue. Its ledger is kept."""
    queued = partial(count_queued, dependencies.store, destination_id)
    dependencies.edit(remove_destination(destination_id, queued=queued))
    return {"data": {"status": "SUCCESS"}}


def _response(
    dependencies: Dependencies, slug: str, warnings: Sequence[str] = ()
) -> dict[str, dict[str, DestinationView]]:
    view = destination_view(find_destination(dependencies.workspace(), slug))
    view.warnings += warnings
    return {"data": {"destination": view}}
