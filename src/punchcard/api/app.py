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
from punchcard.api.events import get_event, run_event_tester
from punchcard.api.filters import preview_filter
from punchcard.api.parts import ApiParts
from punchcard.api.regulations import list_regulations
from punchcard.api.transactions import list_transactions
from punchcard.errors import PunchcardError
from punchcard.store.tokens import verify_token

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
        route_handlers=[get_event, run_event_tester, list_transactions, preview_filter, list_regulations],
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
