"""Calls of Segment's Public API for features that Punchcard lacks: lists are empty, changes are refused with a reason.

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
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import NotFoundError, find_destination, find_source

_NO_SUBSCRIPTIONS = "Destinations have no subscriptions: events are mapped in the settings of a destination."
_HIDDEN_HEADERS = frozenset({"authorization", "cookie"})


class WarehousePage(msgspec.Struct):
    """A page of warehouses; always empty."""

    warehouses: list[dict[str, Any]]
    pagination: bodies.Pagination


class SubscriptionPage(msgspec.Struct):
    """A page of subscriptions; always empty."""

    subscriptions: list[dict[str, Any]]
    pagination: bodies.Pagination


class Echo(msgspec.Struct):
    """The received request."""

    method: str
    message: str
    headers: dict[str, str]


@get("/sources/{source_id:str}/connected-warehouses", summary="List connected warehouses")
@run_in_executor
def list_connected_warehouses(
    source_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, WarehousePage]:
    """List the connected warehouses. There are none: every event is in the data lake."""
    find_source(dependencies.workspace(), source_id)
    _, pagination = page([], key=str, count=count, cursor=cursor)
    return {"data": WarehousePage(warehouses=[], pagination=pagination)}


@get("/destinations/{destination_id:str}/subscriptions", summary="List a destination's subscriptions")
@run_in_executor
def list_subscriptions(
    destination_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, SubscriptionPage]:
    """List the subscriptions. There are none: settings and filters decide what a destination gets."""
    find_destination(dependencies.workspace(), destination_id)
    _, pagination = page([], key=str, count=count, cursor=cursor)
    return {"data": SubscriptionPage(subscriptions=[], pagination=pagination)}


@post("/destinations/{destination_id:str}/subscriptions", status_code=200, summary="Create a subscription")
@run_in_executor
def create_subscription(
    destination_id: FromPath[str], data: JSONBody[dict[str, Any]], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Refuse to create a subscription."""
    find_destination(dependencies.workspace(), destination_id)
    raise unprocessable(_NO_SUBSCRIPTIONS)


@get("/destinations/{destination_id:str}/subscriptions/{subscription_id:str}", summary="Get a subscription")
@run_in_executor
def get_subscription(
    destination_id: FromPath[str], subscription_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Return 404: there are no subscriptions."""
    raise _no_subscription(destination_id, subscription_id, dependencies)


@patch("/destinations/{destination_id:str}/subscriptions/{subscription_id:str}", summary="Update a subscription")
@run_in_executor
def update_subscription(
    destination_id: FromPath[str],
    subscription_id: FromPath[str],
    data: JSONBody[dict[str, Any]],
    dependencies: Dependencies,
) -> dict[str, dict[str, str]]:
    """Return 404: there are no subscriptions."""
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
    """Return 404: there are no subscriptions."""
    raise _no_subscription(destination_id, subscription_id, dependencies)


@get("/echo", summary="Echo", opt={REQUIRED_ROLE: Role.READ_ONLY}, sync_to_thread=False)
def echo(
    request: Request[Any, Any, Any],
    message: Annotated[str, QueryParameter(name="message")],
    trigger_error: Annotated[bool, QueryParameter(name="triggerError")] = False,
    trigger_multiple_errors: Annotated[bool, QueryParameter(name="triggerMultipleErrors")] = False,
) -> Response[dict[str, Echo]]:
    """Return the message, to test a client. It fails on request, as in Segment's Public API; `delay` is ignored."""
    # Not a declared parameter: the OpenAPI document does not list the status 500.
    if request.query_params.get("triggerUnexpectedError") == "true":
        return _errors(500, "The requested unexpected error.")
    if trigger_multiple_errors:
        return _errors(400, "The first requested error.", "The second requested error.")
    if trigger_error:
        return _errors(400, "The requested error.")
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _HIDDEN_HEADERS}
    content = {"data": Echo(method=request.method.lower(), message=message, headers=headers)}
    return Response(content, status_code=200, media_type="application/json")


def _errors(status: int, *messages: str) -> Response[Any]:
    type_ = "internal-error" if status == 500 else "bad-request"
    errors = [{"type": type_, "message": message, "field": None, "status": status} for message in messages]
    return Response({"errors": errors}, status_code=status, media_type="application/json")


def _no_subscription(destination_id: str, subscription_id: str, dependencies: Dependencies) -> NotFoundError:
    find_destination(dependencies.workspace(), destination_id)
    return NotFoundError(f"{destination_id} has no subscription {subscription_id}. {_NO_SUBSCRIPTIONS}")


UNAVAILABLE = (
    list_connected_warehouses,
    list_subscriptions,
    create_subscription,
    get_subscription,
    update_subscription,
    delete_subscription,
    echo,
)
