"""The Profile API as one ASGI app: authentication, rate limit and errors. `profile_routes` has the calls.

Source: Segment's "Profile API": HTTP Basic with the token as user name; paths below `/v1/spaces/{space}/collections/`.
"""

import asyncio
import base64
import binascii
from typing import Any, Final

import structlog
from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotAuthorizedException, TooManyRequestsException
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from punchcard.api.profile_routes import HANDLERS
from punchcard.api.rate_limit import RateLimit
from punchcard.api.validation_messages import explain, handler_of
from punchcard.errors import PunchcardError, StorageError
from punchcard.operations.dependencies import Dependencies
from punchcard.operations.litestar_app import PlainLitestar, allow_header, options_response
from punchcard.operations.sentences import shorten
from punchcard.store.access.token_store import note_use, verify_token

REQUESTS_PER_SECOND: Final = 100
"""Segment's limit for a space."""

_REQUEST_ID: Final = "punchcard.request_id"
_CODES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found",
    429: "rate_limit_error",
    500: "internal_error",
    503: "unavailable",
}


def build_profile_app(
    dependencies: Dependencies, *, requests_per_second: int = REQUESTS_PER_SECOND, processes: int = 1
) -> ASGIApp:
    """Build the app, to be mounted at `/v1/spaces/`."""
    limit = RateLimit(max(1, requests_per_second // processes), clock=dependencies.clock)

    async def authorize(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        secret = _secret(connection.headers.get("authorization", ""))
        if not secret or not await asyncio.to_thread(is_known, secret):
            raise NotAuthorizedException(
                "Send a token of the Public API as user name of HTTP Basic, without a password."
            )
        if not limit.acquire():
            raise TooManyRequestsException(
                f"The limit is {requests_per_second} requests per second. Try again in a second."
            )

    def is_known(secret: str) -> bool:
        with dependencies.store.reading() as work:
            token = verify_token(work, secret)
        if token is not None:
            note_use(dependencies.store, token, clock=dependencies.clock)
        return token is not None

    app = PlainLitestar(
        path="/v1/spaces",
        route_handlers=HANDLERS,
        dependencies={"shared": Provide(lambda: dependencies, sync_to_thread=False)},
        guards=[authorize],
        exception_handlers={HTTPException: _http_error, PunchcardError: _our_error, Exception: _defect},
        openapi_config=None,
        logging_config=None,
    )
    return _with_request_ids(app, dependencies)


def _with_request_ids(app: ASGIApp, dependencies: Dependencies) -> ASGIApp:
    async def numbered(scope: Scope, receive: Receive, send: Send) -> None:
        request_id = dependencies.clock.new_id()

        async def send_numbered(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"request-id", request_id.encode())]
            await send(message)

        # The raw path: an id may contain an encoded slash.
        path = scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1") or scope["path"]
        inner: Any = {**scope, "path": path, _REQUEST_ID: request_id}
        await app(inner, receive, send_numbered)

    return numbered


def _secret(header: str) -> str:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() == "bearer":
        return encoded.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""


def _http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    if (options := options_response(request, error)) is not None:
        return options
    extra = error.extra
    if error.status_code == 400 and isinstance(extra, list) and extra and isinstance(extra[0], dict):
        first = extra[0]  # the framework's own validation
        message, _ = explain(str(first.get("message", error.detail)), first.get("key"), handler_of(request))
        return _error_response(400, message, code="validation_error")
    if error.status_code == 400 and extra:
        return _error_response(400, error.detail, code="validation_error")
    response = _error_response(error.status_code, error.detail)
    response.headers.update(allow_header(error))
    return response


def _our_error(_: Request[Any, Any, Any], error: PunchcardError) -> Response[Any]:
    return _error_response(503 if isinstance(error, StorageError) else 400, error.message)


def _defect(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    request_id = dict(request.scope).get(_REQUEST_ID)
    structlog.get_logger("punchcard.api").error(
        "request_failed", path=request.url.path, request_id=request_id, exc_info=error
    )
    return _error_response(500, "Internal error. This is a defect; the server's log has the details.")


def _error_response(status: int, message: str, *, code: str = "") -> Response[Any]:
    body = {"error": {"code": code or _CODES.get(status, "invalid_request_error"), "message": shorten(message)}}
    headers = {401: {"WWW-Authenticate": "Basic"}, 429: {"Retry-After": "1"}, 503: {"Retry-After": "1"}}
    return Response(body, status_code=status, headers=headers.get(status, {}), media_type="application/json")
