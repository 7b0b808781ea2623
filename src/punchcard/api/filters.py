"""The Public API's calls about destination filters, in Segment's shapes.

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
from punchcard.store.configuration import changed_at
from punchcard.store.token_store import Role
from punchcard.workspace.editing import change_destination, change_filter, find_destination, find_filter
from punchcard.workspace.model import Destination, DestinationFilter


class FilterView(msgspec.Struct, rename="camel"):
    """A filter; `description` is absent if there is none."""

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
    """A filter that was saved. `warnings` say what it would have dropped of last week's events that earn points."""

    filter: FilterView
    warnings: list[str]


class FilterPage(msgspec.Struct):
    """A page of filters, in the order in which they are asked."""

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
    """What to change of a filter; what is left out stays."""

    if_: str | None = msgspec.field(name="if", default=None)
    actions: list[dict[str, Any]] | None = None
    title: str | None = None
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool | None = None


class PreviewedFilter(msgspec.Struct):
    """The filter to try."""

    if_: str = msgspec.field(name="if")
    actions: list[dict[str, Any]]
    title: str = ""


class PreviewRequest(msgspec.Struct):
    """A filter and an event to try it on; the event need not be valid."""

    filter: PreviewedFilter
    payload: dict[str, Any]


class PreviewResult(msgspec.Struct, rename="camel"):
    """The event before and after the filter; `result` is null if the filter drops it."""

    input_payload: dict[str, Any]
    result: dict[str, Any] | None


@get("/destination/{destination_id:str}/filters", summary="A destination's filters")
@run_in_executor
def list_filters(
    destination_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, FilterPage]:
    """Every filter of a destination."""
    destination = find_destination(dependencies.workspace(), destination_id)
    numbered = [(f"{number:04}", one) for number, one in enumerate(destination.filters)]
    shown, pagination = page(numbered, key=lambda pair: pair[0], count=count, cursor=cursor)
    when = _changed_at(dependencies, destination_id)
    return {"data": FilterPage(filters=[_view(destination, one, when) for _, one in shown], pagination=pagination)}


@post("/destination/{destination_id:str}/filters", status_code=200, summary="Create a filter")
@run_in_executor
def create_filter(
    destination_id: FromPath[str], data: JSONBody[NewFilter], dependencies: Dependencies
) -> dict[str, SavedFilter]:
    """A new filter, asked after those that are there."""
    before: set[str] = set()

    def changed(destination: Destination) -> Destination:
        if data.source_id and data.source_id not in destination.sources:
            raise unprocessable(f"{destination_id} gets no events of a source {data.source_id}", "sourceId")
        before.update(one.id for one in destination.filters)
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
    made = next(one for one in destination.filters if one.id not in before)
    return _saved(dependencies, destination, made, warnings)


@get("/destination/{destination_id:str}/filters/{filter_id:str}", summary="One filter")
@run_in_executor
def get_filter(
    destination_id: FromPath[str], filter_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, FilterView]]:
    """The filter with this id."""
    destination = find_destination(dependencies.workspace(), destination_id)
    found = find_filter(destination, filter_id)
    return {"data": {"filter": _view(destination, found, _changed_at(dependencies, destination_id))}}


@patch("/destination/{destination_id:str}/filters/{filter_id:str}", summary="Change a filter")
@run_in_executor
def update_filter(
    destination_id: FromPath[str], filter_id: FromPath[str], data: JSONBody[FilterUpdate], dependencies: Dependencies
) -> dict[str, SavedFilter]:
    """Those of its parts that are given."""

    def changed(one: DestinationFilter) -> DestinationFilter:
        return replace(
            one,
            condition=one.condition if data.if_ is None else data.if_,
            actions=one.actions if data.actions is None else tuple(data.actions),
            title=one.title if data.title is None else data.title,
            description=one.description if data.description is msgspec.UNSET else data.description or "",
            enabled=one.enabled if data.enabled is None else data.enabled,
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
    """Events reach the destination as if it had never been."""
    dependencies.edit(change_destination(destination_id, change_filter(filter_id, lambda _: None)))
    return {"data": {"status": "SUCCESS"}}


@post(
    "/destination/filters/preview",
    status_code=200,
    opt={REQUIRED_ROLE: Role.READ_ONLY},
    summary="Try a filter on an event",
)
@run_in_executor
def preview_filter(data: JSONBody[PreviewRequest]) -> Mapping[str, PreviewResult]:
    """What a filter makes of an event. Nothing is saved and nothing is sent."""
    definition = FilterDefinition(title=data.filter.title, condition=data.filter.if_, actions=data.filter.actions)
    try:
        payload = msgspec.json.encode(data.payload)
    except (OverflowError, ValueError, RecursionError) as error:  # a number beyond all bounds, say
        raise bad_request(f"the payload cannot be read: {error}", "payload") from error
    try:
        left = preview(definition, payload)
    except ConfigurationError as error:
        raise bad_request(error.message, "filter") from error
    result = None if left is None else msgspec.json.decode(left)
    return {"data": PreviewResult(input_payload=data.payload, result=result)}


def _view(destination: Destination, one: DestinationFilter, when: datetime) -> FilterView:
    return FilterView(
        id=one.id,
        source_id=_source_of(destination, one),
        destination_id=destination.slug,
        if_=one.condition,
        actions=list(one.actions),
        title=one.title,
        description=one.description or msgspec.UNSET,
        enabled=one.enabled,
        created_at=one.created_at or to_iso(when),
        updated_at=one.updated_at or to_iso(when),
    )


def _source_of(destination: Destination, one: DestinationFilter) -> str:
    """The source that the filter was created for, as long as the destination gets its events; else the first one."""
    if one.source in destination.sources:
        return one.source
    return destination.sources[0] if destination.sources else ""


def _saved(
    dependencies: Dependencies, destination: Destination, one: DestinationFilter, warnings: list[str]
) -> dict[str, SavedFilter]:
    shown = _view(destination, one, _changed_at(dependencies, destination.slug))
    return {"data": SavedFilter(filter=shown, warnings=warnings)}


def _changed_at(dependencies: Dependencies, slug: str) -> datetime:
    with dependencies.store.reading() as work:
        return changed_at(work, "destination", slug) or dependencies.clock.now()
