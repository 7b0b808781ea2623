"""Destination filters, in Segment's format.

Source: Segment's Public API, "Destination Filters".
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from litestar import delete, get, patch, post
from litestar.params import FromPath, JSONBody

from punchcard.api import bodies
from punchcard.api.api_dependencies import REQUIRED_ROLE, Dependencies
from punchcard.api.errors import bad_request, unprocessable
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page
from punchcard.clock import to_iso
from punchcard.errors import ConfigurationError
from punchcard.filters.destination_filters import FilterDefinition, preview
from punchcard.operations.executor import run_in_executor
from punchcard.store.access.token_store import Role
from punchcard.store.workspace.configuration import changed_at
from punchcard.workspace.editing import change_destination, change_filter, find_destination, find_filter
from punchcard.workspace.model import Destination, DestinationFilter


class FilterView(msgspec.Struct, rename="camel"):
    """A filter. `description` is absent if there is none."""

    id: str
    source_id: str
    destination_id: str
    if_: str = msgspec.field(name="if")
    actions: list[Mapping[str, Any]]
    title: str
    enabled: bool
    created_at: str
    updated_at: str
    description: str | msgspec.UnsetType = msgspec.UNSET


class SavedFilter(msgspec.Struct):
    """A saved filter. `warnings` say which of last week's events that earn points it would have dropped."""

    filter: FilterView
    warnings: list[str]


class FilterPage(msgspec.Struct):
    """A page of filters, in the order in which they are applied."""

    filters: list[FilterView]
    pagination: bodies.Pagination


class NewFilter(msgspec.Struct, rename="camel"):
    """A filter to create."""

    if_: str = msgspec.field(name="if")
    actions: list[dict[str, Any]]
    title: str
    enabled: bool
    source_id: str = ""
    description: str | None = None


class FilterUpdate(msgspec.Struct):
    """Members to change; absent members stay."""

    if_: str | None = msgspec.field(name="if", default=None)
    actions: list[dict[str, Any]] | None = None
    title: str | None = None
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool | None = None


class PreviewedFilter(msgspec.Struct):
    """The filter to preview."""

    if_: str = msgspec.field(name="if")
    actions: list[dict[str, Any]]
    title: str = ""


class PreviewRequest(msgspec.Struct):
    """A filter and an event to preview it with; the event need not be valid."""

    filter: PreviewedFilter
    payload: dict[str, Any]


class PreviewResult(msgspec.Struct, rename="camel"):
    """The event before and after the filter. `result` is null if the filter drops it."""

    input_payload: dict[str, Any]
    result: dict[str, Any] | None


@get("/destination/{destination_id:str}/filters", summary="List a destination's filters")
@run_in_executor
def list_filters(
    destination_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, FilterPage]:
    """List the filters of a destination."""
    destination = find_destination(dependencies.workspace(), destination_id)
    numbered = [(f"{number:04}", destination_filter) for number, destination_filter in enumerate(destination.filters)]
    page_filters, pagination = page(numbered, key=lambda pair: pair[0], count=count, cursor=cursor)
    changed_at = _changed_at(dependencies, destination_id)
    return {
        "data": FilterPage(
            filters=[_view(destination, destination_filter, changed_at) for _, destination_filter in page_filters],
            pagination=pagination,
        )
    }


@post("/destination/{destination_id:str}/filters", status_code=200, summary="Create a filter")
@run_in_executor
def create_filter(
    destination_id: FromPath[str], data: JSONBody[NewFilter], dependencies: Dependencies
) -> dict[str, SavedFilter]:
    """Create a filter. It is applied after the existing ones."""
    before: set[str] = set()

    def changed(destination: Destination) -> Destination:
        if data.source_id and data.source_id not in destination.sources:
            raise unprocessable(f"{destination_id} is not connected to a source {data.source_id}.", "sourceId")
        before.update(destination_filter.id for destination_filter in destination.filters)
        destination_filter = DestinationFilter(
            title=data.title,
            condition=data.if_,
            enabled=data.enabled,
            actions=tuple(data.actions),
            description=data.description or "",
            source=data.source_id,
        )
        return replace(destination, filters=(*destination.filters, destination_filter))

    warnings = list(dependencies.edit(change_destination(destination_id, changed)))
    destination = find_destination(dependencies.workspace(), destination_id)
    created = next(
        destination_filter for destination_filter in destination.filters if destination_filter.id not in before
    )
    return _saved(dependencies, destination, created, warnings)


@get("/destination/{destination_id:str}/filters/{filter_id:str}", summary="Get a filter")
@run_in_executor
def get_filter(
    destination_id: FromPath[str], filter_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, FilterView]]:
    """Get the filter with this id."""
    destination = find_destination(dependencies.workspace(), destination_id)
    destination_filter = find_filter(destination, filter_id)
    return {"data": {"filter": _view(destination, destination_filter, _changed_at(dependencies, destination_id))}}


@patch("/destination/{destination_id:str}/filters/{filter_id:str}", summary="Update a filter")
@run_in_executor
def update_filter(
    destination_id: FromPath[str], filter_id: FromPath[str], data: JSONBody[FilterUpdate], dependencies: Dependencies
) -> dict[str, SavedFilter]:
    """Update the members in the request."""

    def changed(destination_filter: DestinationFilter) -> DestinationFilter:
        return replace(
            destination_filter,
            condition=destination_filter.condition if data.if_ is None else data.if_,
            actions=destination_filter.actions if data.actions is None else tuple(data.actions),
            title=destination_filter.title if data.title is None else data.title,
            description=destination_filter.description if data.description is msgspec.UNSET else data.description or "",
            enabled=destination_filter.enabled if data.enabled is None else data.enabled,
        )

    warnings = list(dependencies.edit(change_destination(destination_id, change_filter(filter_id, changed))))
    destination = find_destination(dependencies.workspace(), destination_id)
    return _saved(dependencies, destination, find_filter(destination, filter_id), warnings)


@delete(
    "/destination/{destination_id:str}/filters/{filter_id:str}",
    status_code=200,
    summary="Delete a filter",
)
@run_in_executor
def delete_filter(
    destination_id: FromPath[str], filter_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Delete a filter."""
    dependencies.edit(change_destination(destination_id, change_filter(filter_id, lambda _: None)))
    return {"data": {"status": "SUCCESS"}}


@post(
    "/destination/filters/preview",
    status_code=200,
    opt={REQUIRED_ROLE: Role.READ_ONLY},
    summary="Preview a filter",
)
@run_in_executor
def preview_filter(data: JSONBody[PreviewRequest]) -> Mapping[str, PreviewResult]:
    """Apply a filter to an event. Nothing is saved or sent."""
    definition = FilterDefinition(title=data.filter.title, condition=data.filter.if_, actions=data.filter.actions)
    try:
        payload = msgspec.json.encode(data.payload)
    except (OverflowError, ValueError, RecursionError) as error:  # such as a number that is out of range
        raise bad_request(f"The payload cannot be read: {error}.", "payload") from error
    try:
        filtered = preview(definition, payload)
    except ConfigurationError as error:
        raise bad_request(error.message, "filter") from error
    result = None if filtered is None else msgspec.json.decode(filtered)
    return {"data": PreviewResult(input_payload=data.payload, result=result)}


def _view(destination: Destination, destination_filter: DestinationFilter, changed_at: datetime) -> FilterView:
    return FilterView(
        id=destination_filter.id,
        source_id=_source_of(destination, destination_filter),
        destination_id=destination.slug,
        if_=destination_filter.condition,
        actions=list(destination_filter.actions),
        title=destination_filter.title,
        description=destination_filter.description or msgspec.UNSET,
        enabled=destination_filter.enabled,
        created_at=destination_filter.created_at or to_iso(changed_at),
        updated_at=destination_filter.updated_at or to_iso(changed_at),
    )


def _source_of(destination: Destination, destination_filter: DestinationFilter) -> str:
    """Return the source that the filter was created for if it is still connected, else the first source."""
    if destination_filter.source in destination.sources:
        return destination_filter.source
    return destination.sources[0] if destination.sources else ""


def _saved(
    dependencies: Dependencies, destination: Destination, destination_filter: DestinationFilter, warnings: list[str]
) -> dict[str, SavedFilter]:
    view = _view(destination, destination_filter, _changed_at(dependencies, destination.slug))
    return {"data": SavedFilter(filter=view, warnings=warnings)}


def _changed_at(dependencies: Dependencies, slug: str) -> datetime:
    with dependencies.store.reading() as work:
        return changed_at(work, "destination", slug) or dependencies.clock.now()
