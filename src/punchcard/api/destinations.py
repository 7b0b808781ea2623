"""Destinations: where events become points.

Source: Segment's Public API, "Destinations".
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count as counting
from typing import Any

import msgspec
from litestar import delete, get, patch, post
from litestar.exceptions import HTTPException
from litestar.params import FromPath, JSONBody

from punchcard.api.catalog import definition_named
from punchcard.api.destination_views import ConnectedPage, DestinationView, destination_view
from punchcard.api.errors import bad_request, unprocessable
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page
from punchcard.api.parts import Parts
from punchcard.operations.threads import in_thread
from punchcard.store import ledger
from punchcard.store.schema import EffectState
from punchcard.workspace.model import Destination, Workspace

_OPEN = tuple(state for state in EffectState if state.is_open or state is EffectState.PARKED)


class NewDestination(msgspec.Struct, rename="camel"):
    """A destination to create; `metadataId` is an id or slug of the catalog of destinations."""

    source_id: str
    metadata_id: str
    settings: dict[str, Any]
    enabled: bool = True
    name: str = ""
    options: dict[str, Any] = {}


class DestinationUpdate(msgspec.Struct, rename="camel"):
    """What to change of a destination; what is left out stays. A masked secret stands for the stored one."""

    name: str | None = None
    enabled: bool | None = None
    settings: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    source_ids: list[str] | None = None


@get("/destinations", summary="All destinations")
@in_thread
def list_destinations(parts: Parts, count: Count = COUNT_DEFAULT, cursor: Cursor = None) -> dict[str, ConnectedPage]:
    """Every destination, by slug."""
    shown, pagination = page(parts.workspace().destinations, key=lambda one: one.slug, count=count, cursor=cursor)
    return {"data": ConnectedPage(destinations=[destination_view(one) for one in shown], pagination=pagination)}


@post("/destinations", status_code=200, summary="Create a destination")
@in_thread
def create_destination(data: JSONBody[NewDestination], parts: Parts) -> dict[str, dict[str, DestinationView]]:
    """A destination for a source's events."""
    definition = definition_named(data.metadata_id)
    if definition is None:
        raise bad_request(f"there is no destination {data.metadata_id} in the catalog", "metadataId")
    made: list[str] = []

    def change(workspace: Workspace) -> Workspace:
        if all(one.slug != data.source_id for one in workspace.sources):
            raise unprocessable(f"there is no source {data.source_id}", "sourceId")
        taken = {one.slug for one in workspace.destinations}
        names = (definition.slug if number == 1 else f"{definition.slug}-{number}" for number in counting(1))
        slug = next(name for name in names if name not in taken)
        made[:] = [slug]
        destination = Destination(
            slug=slug,
            type=definition.slug,
            name=data.name,
            sources=(data.source_id,),
            enabled=data.enabled,
            settings=data.settings,
            options=data.options,
        )
        return replace(workspace, destinations=(*workspace.destinations, destination))

    parts.edit(change)
    return _answer(parts, made[0])


@get("/destinations/{destination_id:str}", summary="One destination")
@in_thread
def get_destination(destination_id: FromPath[str], parts: Parts) -> dict[str, dict[str, DestinationView]]:
    """The destination with this slug."""
    return _answer(parts, destination_id)


@patch("/destinations/{destination_id:str}", summary="Change a destination")
@in_thread
def update_destination(
    destination_id: FromPath[str], data: JSONBody[DestinationUpdate], parts: Parts
) -> dict[str, dict[str, DestinationView]]:
    """Its name, whether it is on, its sources, and those of its settings and options that are given."""

    def changed(destination: Destination) -> Destination:
        return replace(
            destination,
            name=destination.name if data.name is None else data.name,
            enabled=destination.enabled if data.enabled is None else data.enabled,
            sources=destination.sources if data.source_ids is None else tuple(data.source_ids),
            settings=_merged(destination.settings, data.settings),
            options=_merged(destination.options, data.options),
        )

    change_destination(parts, destination_id, changed)
    return _answer(parts, destination_id)


@delete("/destinations/{destination_id:str}", status_code=200, summary="Delete a destination")
@in_thread
def delete_destination(destination_id: FromPath[str], parts: Parts) -> dict[str, dict[str, str]]:
    """Only one with nothing in its queue; its ledger stays."""

    def change(workspace: Workspace) -> Workspace:
        find_destination(workspace, destination_id)
        with parts.store.reading() as work:
            queued = ledger.count(work, ledger.LedgerQuestion(destination=destination_id, states=_OPEN))
        if queued:
            raise unprocessable(
                f"{queued:,} transactions of {destination_id} wait to be sent or are parked: deleting it would lose "
                "them. Switch it off instead, or let them end first"
            )
        return replace(
            workspace, destinations=tuple(one for one in workspace.destinations if one.slug != destination_id)
        )

    parts.edit(change)
    return {"data": {"status": "SUCCESS"}}


def find_destination(workspace: Workspace, slug: str) -> Destination:
    """The destination with this slug.

    Raises:
        HTTPException: there is none.
    """
    for one in workspace.destinations:
        if one.slug == slug:
            return one
    raise HTTPException(f"there is no destination {slug}", status_code=404)


def change_destination(parts: Parts, slug: str, changed: Callable[[Destination], Destination]) -> list[str]:
    """Put another destination in the place of one; returns what whoever saves it should know.

    Raises:
        HTTPException: there is none with this slug, or it belongs to callers of the partner endpoint.
        ConfigurationError: the other one is not valid.
    """

    def change(workspace: Workspace) -> Workspace:
        found = find_destination(workspace, slug)
        if found.is_kept:
            raise unprocessable(f"{slug} is kept for callers of the partner endpoint: it can only be deleted")
        fresh = changed(found)
        return replace(
            workspace, destinations=tuple(fresh if one.slug == slug else one for one in workspace.destinations)
        )

    return list(parts.edit(change))


def _answer(parts: Parts, slug: str) -> dict[str, dict[str, DestinationView]]:
    return {"data": {"destination": destination_view(find_destination(parts.workspace(), slug))}}


def _merged(standing: Mapping[str, Any], given: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return standing if given is None else {**standing, **given}
