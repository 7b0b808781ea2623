"""The Public API's calls about destination filters, in Segment's shapes.

Source: Segment's Public API, "Destination Filters".
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import post
from litestar.params import JSONBody

from punchcard.api.errors import bad_request
from punchcard.errors import ConfigurationError
from punchcard.filters.destination_filters import FilterDefinition, preview


class PreviewedFilter(msgspec.Struct):
    """The filter to try."""

    if_: str = msgspec.field(name="if")
    actions: list[dict[str, Any]]
    title: str = ""


class PreviewRequest(msgspec.Struct):
    """A filter and an event to try it on; the event need not be valid."""

    filter: PreviewedFilter
    payload: dict[str, Any]


class PreviewAnswer(msgspec.Struct, rename="camel"):
    """The event before and after the filter; `result` is null if the filter drops it."""

    input_payload: dict[str, Any]
    result: dict[str, Any] | None


@post("/destination/filters/preview", status_code=200, sync_to_thread=True, summary="Try a filter on an event")
def preview_filter(data: JSONBody[PreviewRequest]) -> Mapping[str, PreviewAnswer]:
    """What a filter makes of an event. Nothing is saved and nothing is sent."""
    definition = FilterDefinition(title=data.filter.title, condition=data.filter.if_, actions=data.filter.actions)
    try:
        left = preview(definition, msgspec.json.encode(data.payload))
    except ConfigurationError as error:
        raise bad_request(error.message, "filter") from error
    result = None if left is None else msgspec.json.decode(left)
    return {"data": PreviewAnswer(input_payload=data.payload, result=result)}
