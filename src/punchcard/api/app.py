"""The Public API as one ASGI app: its calls, tokens, errors and OpenAPI document."""

import asyncio
import functools
import re
from dataclasses import fields
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp, ExceptionHandlersMap, Receive, Scope, Send

from punchcard import __version__
from punchcard.api import errors
from punchcard.api.alerts import HANDLERS as ALERTS
from punchcard.api.api_dependencies import REQUIRED_ROLE, ApiDependencies
from punchcard.api.audit import list_audit_events
from punchcard.api.catalog import (
    get_destination_catalog,
    get_source_catalog,
    list_destination_catalog,
    list_source_catalog,
)
from punchcard.api.computations import HANDLERS as COMPUTATIONS
from punchcard.api.configuration_versions import HANDLERS as CONFIGURATION_VERSIONS
from punchcard.api.conflicts import HANDLERS as CONFLICTS
from punchcard.api.delivery_overview import get_delivery_metrics, get_overview_stage, get_pipeline
from punchcard.api.destination_states import HANDLERS as DESTINATION_STATES
from punchcard.api.destinations import (
    create_destination,
    delete_destination,
    get_destination,
    list_destinations,
    update_destination,
)
from punchcard.api.events import get_event, get_event_named_like_a_call, list_earned, run_event_tester
from punchcard.api.filters import (
    create_filter,
    delete_filter,
    get_filter,
    list_filters,
    preview_filter,
    update_filter,
)
from punchcard.api.invites import HANDLERS as INVITES
from punchcard.api.labels import add_source_labels, create_label, delete_label, list_labels, replace_source_labels
from punchcard.api.list_files import ASGI_SCOPE, FOR_FILE, return_list_as_file
from punchcard.api.list_uploads import HANDLERS as LIST_UPLOADS
from punchcard.api.lists import HANDLERS as LISTS
from punchcard.api.memberships import HANDLERS as MEMBERSHIPS
from punchcard.api.openapi import DocumentedErrors
from punchcard.api.property_controls import HANDLERS as PROPERTY_CONTROLS
from punchcard.api.reconciliations import HANDLERS as RECONCILIATIONS
from punchcard.api.regulations import HANDLERS as REGULATIONS
from punchcard.api.replays import HANDLERS as REPLAYS
from punchcard.api.schema_settings import HANDLERS as SCHEMA_SETTINGS
from punchcard.api.simulations import HANDLERS as SIMULATIONS
from punchcard.api.source_schema import HANDLERS as SOURCE_SCHEMA
from punchcard.api.sources import (
    create_source,
    create_write_key,
    delete_source,
    delete_write_key,
    get_source,
    list_connected_destinations,
    list_rejected_requests,
    list_rejected_requests_without_source,
    list_sources,
    update_source,
)
from punchcard.api.tokens import create_token_call, list_tokens_call, revoke_token_call
from punchcard.api.tracking_plans import HANDLERS as TRACKING_PLANS
from punchcard.api.transactions import (
    dismiss_transactions,
    list_transactions,
    resolve_transaction,
    retry_transactions,
)
from punchcard.api.transformations import HANDLERS as TRANSFORMATIONS
from punchcard.api.unavailable import UNAVAILABLE
from punchcard.api.workspaces import change_settings, get_settings, get_workspace
from punchcard.errors import PunchcardError
from punchcard.operations.dependencies import Dependencies
from punchcard.operations.litestar_app import PlainLitestar
from punchcard.store.access.token_store import Role, StoredToken, note_use, verify_token

HANDLERS = (
    get_workspace,
    get_settings,
    change_settings,
    list_destination_catalog,
    get_destination_catalog,
    list_source_catalog,
    get_source_catalog,
    list_sources,
    create_source,
    get_source,
    update_source,
    delete_source,
    list_connected_destinations,
    create_write_key,
    list_rejected_requests,
    list_rejected_requests_without_source,
    delete_write_key,
    list_destinations,
    create_destination,
    get_destination,
    update_destination,
    delete_destination,
    get_overview_stage,
    get_delivery_metrics,
    get_pipeline,
    list_filters,
    create_filter,
    get_filter,
    update_filter,
    delete_filter,
    preview_filter,
    get_event,
    get_event_named_like_a_call,
    list_earned,
    run_event_tester,
    list_transactions,
    retry_transactions,
    dismiss_transactions,
    resolve_transaction,
    list_tokens_call,
    create_token_call,
    revoke_token_call,
    list_audit_events,
    list_labels,
    create_label,
    delete_label,
    add_source_labels,
    replace_source_labels,
    *LISTS,
    *INVITES,
    *ALERTS,
    *CONFLICTS,
    *CONFIGURATION_VERSIONS,
    *DESTINATION_STATES,
    *REGULATIONS,
    *PROPERTY_CONTROLS,
    *REPLAYS,
    *UNAVAILABLE,
    *COMPUTATIONS,
    *MEMBERSHIPS,
    *LIST_UPLOADS,
    *RECONCILIATIONS,
    *SIMULATIONS,
    *SOURCE_SCHEMA,
    *SCHEMA_SETTINGS,
    *TRACKING_PLANS,
    *TRANSFORMATIONS,
)
_OPEN_PATHS = ("/api/openapi.json",)
_TOKEN = "token"
_DEPENDENCIES = "punchcard.dependencies"  # of a request, in its scope


_EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    HTTPException: errors.http_error,
    PunchcardError: errors.punchcard_error,
    RecursionError: errors.too_deep,
    UnicodeDecodeError: errors.not_utf8,
    Exception: errors.defect,
}

# What Segment's clients put behind the name of a parameter with several values: `types[0]=a&types[1]=b`.
_INDEX = re.compile(rb"(?:\[|%5B)\d*(?:\]|%5D)(?==)", re.IGNORECASE)


def build_api(dependencies: Dependencies) -> ASGIApp:
    """Build the app, to be mounted at `/api`."""
    calls = _calls()

    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        query = _INDEX.sub(b"", scope.get("query_string", b""))
        inner: Any = {**scope, "query_string": query, _DEPENDENCIES: dependencies}
        inner[ASGI_SCOPE] = dict(inner)
        await calls(inner, receive, send)

    return api


@functools.cache
def _calls() -> PlainLitestar:
    """Build the calls, which find what they depend on in the scope of each request.

    Building them takes a tenth of a second, and one process may serve several APIs, as tests do.
    """
    return PlainLitestar(
        path="/api",
        route_handlers=HANDLERS,
        dependencies={"dependencies": Provide(_get_dependencies, sync_to_thread=False)},
        guards=[_require_token],
        before_request=return_list_as_file,
        exception_handlers=_EXCEPTION_HANDLERS,
        openapi_config=OpenAPIConfig(
            title="Punchcard",
            version=__version__,
            path="/openapi.json",  # not `/`: Litestar serves HTML pages below this path
            render_plugins=[DocumentedErrors(path="/")],
        ),
        logging_config=None,
    )


async def _require_token(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    if connection.url.path in _OPEN_PATHS:
        return
    scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
    token = None
    if scheme.lower() == "bearer":
        token = await asyncio.to_thread(_find_token, _dependencies(connection), secret.strip())
    if token is None:
        raise NotAuthorizedException("Send the header `Authorization: Bearer <token>` with a token of this workspace.")
    needed = handler.opt.get(REQUIRED_ROLE) or (
        Role.READ_ONLY if connection.scope.get("method") == "GET" else Role.EDITOR
    )
    if not token.role.may(needed):
        raise PermissionDeniedException(
            f"This token has the role {token.role}. The call needs a token with the role {needed}."
        )
    connection.state[_TOKEN] = token


def _find_token(dependencies: Dependencies, secret: str) -> StoredToken | None:
    with dependencies.store.reading() as work:
        token = verify_token(work, secret) if secret else None
    if token is not None:
        note_use(dependencies.store, token, clock=dependencies.clock)
    return token


def _dependencies(connection: ASGIConnection[Any, Any, Any, Any]) -> Dependencies:
    scope: Any = connection.scope
    dependencies: Dependencies = scope[_DEPENDENCIES]
    return dependencies


def _get_dependencies(request: Request[Any, Any, Any]) -> ApiDependencies:
    dependencies = _dependencies(request)
    shared = {field.name: getattr(dependencies, field.name) for field in fields(dependencies)}
    token: StoredToken = request.state[_TOKEN]
    scope: Any = request.scope
    shared["hides_write_keys"] = scope.get(FOR_FILE, False) or not token.role.may(Role.EDITOR)
    return ApiDependencies(**shared, token=token)
