"""The Public API as one ASGI app: its calls, tokens, errors and OpenAPI document."""

from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from punchcard import __version__
from punchcard.api import errors
from punchcard.api.catalog import (
    get_destination_catalog,
    get_source_catalog,
    list_destination_catalog,
    list_source_catalog,
)
from punchcard.api.destinations import (
    create_destination,
    delete_destination,
    get_destination,
    list_destinations,
    update_destination,
)
from punchcard.api.events import get_event, run_event_tester
from punchcard.api.filters import (
    create_filter,
    delete_filter,
    get_filter,
    list_filters,
    preview_filter,
    update_filter,
)
from punchcard.api.parts import ApiParts
from punchcard.api.regulations import list_regulations
from punchcard.api.sources import (
    create_source,
    create_write_key,
    delete_source,
    delete_write_key,
    get_source,
    list_connected_destinations,
    list_sources,
    update_source,
)
from punchcard.api.transactions import list_transactions
from punchcard.api.workspaces import get_workspace
from punchcard.errors import PunchcardError
from punchcard.store.tokens import verify_token

HANDLERS = (
    get_workspace,
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
    delete_write_key,
    list_destinations,
    create_destination,
    get_destination,
    update_destination,
    delete_destination,
    list_filters,
    create_filter,
    get_filter,
    update_filter,
    delete_filter,
    preview_filter,
    get_event,
    run_event_tester,
    list_transactions,
    list_regulations,
)
_OPEN_PATHS = ("/api/openapi.json",)


def build_api(parts: ApiParts) -> Litestar:
    """The app, to be mounted where paths begin with `/api`."""

    def needs_token(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        if connection.url.path in _OPEN_PATHS:
            return
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            with parts.store.reading() as work:
                if verify_token(work, token.strip()) is not None:
                    return
        raise NotAuthorizedException("send `Authorization: Bearer <token>` with a token of this workspace")

    return Litestar(
        path="/api",
        route_handlers=HANDLERS,
        dependencies={"parts": Provide(lambda: parts, sync_to_thread=False)},
        guards=[needs_token],
        exception_handlers={
            HTTPException: errors.http_error,
            PunchcardError: errors.punchcard_error,
            Exception: errors.defect,
        },
        openapi_config=OpenAPIConfig(
            title="Punchcard",
            version=__version__,
            path="/openapi.json",  # of its own: it answers everything below it, with pages in HTML
            render_plugins=[JsonRenderPlugin(path="/")],
        ),
        logging_config=None,
    )
