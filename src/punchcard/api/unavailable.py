"""Calls of Segment's Public API about what does not exist here: lists are empty, changes are refused with the reason.

Source: Segment's Public API, "Sources", "Destinations" and "Testing".
"""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import REQUIRED_ROLE, Dependencies
from punchcard.api.errors import unprocessable
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page
from punchcard.operations.executor import run_in_executor
from punchcard.store.token_store import Role
from punchcard.workspace.editing import NotFoundError, find_destination, find_source

_ALLOW = "ALLOW"
# Without a tracking plan nothing is blocked, in Segment's words.
_TRACK = {
    "allowUnplannedEvents": True,
    "allowUnplannedEventProperties": True,
    "allowEventOnViolations": True,
    "allowPropertiesOnViolations": True,
    "commonEventOnViolations": _ALLOW,
}
_TRAITS = {"allowUnplannedTraits": True, "allowTraitsOnViolations": True, "commonEventOnViolations": _ALLOW}
_SETTINGS: dict[str, dict[str, Any]] = {"track": _TRACK, "identify": _TRAITS, "group": _TRAITS}
_NO_SUBSCRIPTIONS = "destinations have no actions here, so they have no subscriptions: events are mapped by settings"
_NOT_SENT = frozenset({"authorization", "cookie"})


class SchemaSettings(msgspec.Struct, rename="camel"):
    """What happens to events that a tracking plan does not know: here, nothing."""

    source_id: str
    settings: dict[str, Any]


class WarehousePage(msgspec.Struct):
    """A page of warehouses; always empty."""

    warehouses: list[dict[str, Any]]
    pagination: bodies.Pagination


class SubscriptionPage(msgspec.Struct):
    """A page of subscriptions; always empty."""

    subscriptions: list[dict[str, Any]]
    pagination: bodies.Pagination


class Echo(msgspec.Struct):
    """What came."""

    method: str
    message: str
    headers: dict[str, str]


@get("/sources/{source_id:str}/settings", summary="A source's schema settings")
@run_in_executor
def get_schema_settings(source_id: FromPath[str], dependencies: Dependencies) -> dict[str, SchemaSettings]:
    """Everything is allowed: there are no tracking plans."""
    find_source(dependencies.workspace(), source_id)
    return {"data": SchemaSettings(source_id=source_id, settings=dict(_SETTINGS))}


@patch("/sources/{source_id:str}/settings", summary="Change a source's schema settings")
@run_in_executor
def update_schema_settings(
    source_id: FromPath[str], data: JSONBody[dict[str, Any]], dependencies: Dependencies
) -> dict[str, SchemaSettings]:
    """Only to what they are: nothing can be blocked without a tracking plan."""
    find_source(dependencies.workspace(), source_id)
    for section, values in data.items():
        standing = _SETTINGS.get(section)
        if standing is None or not isinstance(values, dict):
            raise unprocessable(f"{section} cannot be set: there are no tracking plans here", section)
        for key, value in values.items():
            if key not in standing or standing[key] != value:
                message = f"{key} cannot be set to {value!r}: there are no tracking plans here, so nothing is blocked"
                raise unprocessable(message, f"{section}.{key}")
    return {"data": SchemaSettings(source_id=source_id, settings=dict(_SETTINGS))}


@get("/sources/{source_id:str}/connected-warehouses", summary="Warehouses of a source")
@run_in_executor
def list_connected_warehouses(
    source_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, WarehousePage]:
    """None: every event is in the data lake."""
    find_source(dependencies.workspace(), source_id)
    _, pagination = page([], key=str, count=count, cursor=cursor)
    return {"data": WarehousePage(warehouses=[], pagination=pagination)}


@get("/destinations/{destination_id:str}/subscriptions", summary="A destination's subscriptions")
@run_in_executor
def list_subscriptions(
    destination_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, SubscriptionPage]:
    """None: what reaches a destination is said by its settings and filters."""
    find_destination(dependencies.workspace(), destination_id)
    _, pagination = page([], key=str, count=count, cursor=cursor)
    return {"data": SubscriptionPage(subscriptions=[], pagination=pagination)}


@post("/destinations/{destination_id:str}/subscriptions", status_code=200, summary="Create a subscription")
@run_in_executor
def create_subscription(
    destination_id: FromPath[str], data: JSONBody[dict[str, Any]], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Always refused."""
    find_destination(dependencies.workspace(), destination_id)
    raise unprocessable(_NO_SUBSCRIPTIONS)


@get("/destinations/{destination_id:str}/subscriptions/{subscription_id:str}", summary="One subscription")
@run_in_executor
def get_subscription(
    destination_id: FromPath[str], subscription_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """There is none."""
    raise _no_subscription(destination_id, subscription_id, dependencies)


@patch("/destinations/{destination_id:str}/subscriptions/{subscription_id:str}", summary="Change a subscription")
@run_in_executor
def update_subscription(
    destination_id: FromPath[str],
    subscription_id: FromPath[str],
    data: JSONBody[dict[str, Any]],
    dependencies: Dependencies,
) -> dict[str, dict[str, str]]:
    """There is none."""
    raise _no_subscription(destination_id, subscription_id, dependencies)


@delete(
    "/destinations/{destination_id:str}/subscriptions/{subscription_id:str}",
    status_code=200,
    summary="Delete a subscription",
)
@run_in_executor
def delete_subscription(
    destination_id: FromPath[str], subscription_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """There is none."""
    raise _no_subscription(destination_id, subscription_id, dependencies)


@get("/echo", summary="Echo", opt={REQUIRED_ROLE: Role.READ_ONLY}, sync_to_thread=False)
def echo(
    request: Request[Any, Any, Any],
    message: Annotated[str, QueryParameter(name="message")],
    trigger_error: Annotated[bool, QueryParameter(name="triggerError")] = False,
    trigger_multiple_errors: Annotated[bool, QueryParameter(name="triggerMultipleErrors")] = False,
) -> Response[dict[str, Echo]]:
    """The message, for who tries a client. On request it fails, as Segment's does; `delay` is not waited for."""
    # No part of the document: an answer of 500 would be none that it names.
    if request.query_params.get("triggerUnexpectedError") == "true":
        return _errors(500, "the unexpected error that was asked for")
    if trigger_multiple_errors:
        return _errors(400, "the first error that was asked for", "the second error that was asked for")
    if trigger_error:
        return _errors(400, "the error that was asked for")
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_SENT}
    content = {"data": Echo(method=request.method.lower(), message=message, headers=headers)}
    return Response(content, status_code=200, media_type="application/json")


def _errors(status: int, *messages: str) -> Response[Any]:
    type_ = "internal-error" if status == 500 else "bad-request"
    errors = [{"type": type_, "message": message, "field": None, "status": status} for message in messages]
    return Response({"errors": errors}, status_code=status, media_type="application/json")


def _no_subscription(destination_id: str, subscription_id: str, dependencies: Dependencies) -> NotFoundError:
    find_destination(dependencies.workspace(), destination_id)
    return NotFoundError(f"{destination_id} has no subscription {subscription_id}: {_NO_SUBSCRIPTIONS}")


UNAVAILABLE = (
    get_schema_settings,
    update_schema_settings,
    list_connected_warehouses,
    list_subscriptions,
    create_subscription,
    get_subscription,
    update_subscription,
    delete_subscription,
    echo,
)
