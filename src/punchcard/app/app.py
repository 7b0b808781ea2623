"""The App as one ASGI app: its pages, access control and security headers."""

import asyncio
import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote

import structlog
from litestar import Request, Response, get
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotFoundException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from punchcard.app.assets import PREFIX, Assets
from punchcard.app.hosts import AllowedHosts
from punchcard.app.pages import HANDLERS
from punchcard.app.passwords import PasswordPool, PasswordsBusyError
from punchcard.app.rendering import Renderer
from punchcard.app.request_context import (
    NEEDS_NO_SECOND_FACTOR,
    NOTICE_COOKIE,
    PUBLIC,
    REQUIRED_ROLE,
    SESSION_COOKIE,
    SHOWS_AWARDS,
    TAKES_FILE,
    Page,
    RequestContext,
    read_notices,
)
from punchcard.errors import ConfigurationError, LakeError, PunchcardError, StorageError
from punchcard.lake.damage import repair_advice
from punchcard.operations.dependencies import Dependencies
from punchcard.operations.litestar_app import PlainLitestar, allow_header, options_response
from punchcard.operations.oidc import OidcClient
from punchcard.operations.partner_queries import MappingChoiceCache
from punchcard.operations.password_resets import PasswordResetMailer
from punchcard.operations.sentences import as_sentence, shorten
from punchcard.store.access.operators import Operator, count_operators
from punchcard.store.access.sessions import SignedInOperator, operator_of_session
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.ownership import ManagedByFileError

_BODY_BYTES_MAX = 1 << 20
_HOST_CHARACTERS_MAX = 100
_GATE = "punchcard.gate"  # of a request, in its scope
_TITLES_WAITED_SECONDS = 0.5
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-store"),
)


class _RedirectError(Exception):  # control flow: ends the request with a redirect
    """Redirects the browser to another page."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class _FormExpiredError(PermissionDeniedException):
    """A form has the token of a session that has ended."""


def build_app(dependencies: Dependencies, *, hosts: AllowedHosts = AllowedHosts()) -> ASGIApp:  # noqa: B008  # a frozen value
    """Build the App, which handles every path that no other app handles.

    Args:
        hosts: Host names that it responds to.
    """
    assets = Assets()
    renderer = Renderer(assets, zone=lambda: dependencies.current().zone, now=dependencies.clock.now)
    return _add_security_headers(_restrict_hosts(hosts, _with_gate(_Gate(dependencies, renderer, assets))))


def _with_gate(gate: "_Gate") -> ASGIApp:
    """Return the pages as an ASGI app; its requests pass this gate."""
    pages = _pages()

    async def gated(scope: Scope, receive: Receive, send: Send) -> None:
        inner: Any = {**scope, _GATE: gate}
        await pages(inner, receive, send)

    return gated


@functools.cache
def _pages() -> PlainLitestar:
    """Build the pages, which find what they depend on in the scope of each request.

    Building them takes a tenth of a second, and one process may serve several Apps, as tests do.
    """

    @get(PREFIX + "{file:str}", opt={PUBLIC: True})
    async def read_asset(request: Request[Any, Any, Any], file: FromPath[str]) -> Response[bytes]:
        """Return an asset. Its name contains a hash of its content, so that browsers may cache it forever."""
        accepted = "gzip" in request.headers.get("accept-encoding", "")
        asset = await asyncio.to_thread(_gate(request).assets.read, file, gzipped=accepted)
        if asset is None:
            raise NotFoundException
        lifetime = "public, max-age=31536000, immutable" if asset.is_requested else "no-store"
        headers = {"Cache-Control": lifetime, "Vary": "Accept-Encoding"}
        if asset.is_gzipped:
            headers["Content-Encoding"] = "gzip"
        return Response(asset.content, media_type=asset.content_type, headers=headers)

    async def admit(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        await _gate(connection).admit(connection, handler)

    def get_context(request: Request[Any, Any, Any]) -> RequestContext:
        """Return the context of an admitted request."""
        context: RequestContext = request.state.context
        return context

    return PlainLitestar(
        route_handlers=[read_asset, *HANDLERS],
        dependencies={"context": Provide(get_context, sync_to_thread=False)},
        guards=[admit],
        request_max_body_size=_BODY_BYTES_MAX,
        exception_handlers={
            _RedirectError: lambda request, error: _gate(request).redirect(request, error),
            NotFoundError: lambda request, error: _gate(request).not_found(request, error),
            HTTPException: lambda request, error: _gate(request).http_error(request, error),
            PunchcardError: lambda request, error: _gate(request).punchcard_error(request, error),
            Exception: lambda request, error: _gate(request).defect(request, error),
        },
        openapi_config=None,
        logging_config=None,
    )


def _gate(connection: ASGIConnection[Any, Any, Any, Any]) -> "_Gate":
    """Return the gate of a request."""
    scope: Any = connection.scope
    gate: _Gate = scope[_GATE]
    return gate


def _restrict_hosts(hosts: AllowedHosts, app: ASGIApp) -> ASGIApp:
    """Wrap the app so that requests with a `Host` that is not allowed are refused first."""

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        sent = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(sent) == 1 and hosts.allows(sent[0]):
            await app(scope, receive, send)
            return
        host = sent[0] if sent else ""
        text = (
            f'The host name "{host[:_HOST_CHARACTERS_MAX]}" is not allowed. If this is your Punchcard, add the name to '
            "the setting allowed_hosts (PUNCHCARD_ALLOWED_HOSTS) and restart Punchcard.\n"
        ).encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": 421, "headers": headers})
        await send({"type": "http.response.body", "body": text, "more_body": False})

    return checked


def _add_security_headers(app: ASGIApp) -> ASGIApp:
    """Wrap the app so that every response has the security headers, unless it sets a header itself."""

    async def with_headers(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(header for header in _HEADERS if header[0] not in present)]
            await send(message)

        await app(scope, receive, sent)

    return with_headers


class _Gate:
    """Authenticates and authorizes every request, and renders error pages."""

    def __init__(self, dependencies: Dependencies, renderer: Renderer, assets: Assets) -> None:
        self.assets = assets
        self._dependencies = dependencies
        self._renderer = renderer
        self._mapping_choices = MappingChoiceCache(dependencies.clock)
        self._passwords = PasswordPool()
        self._password_resets = PasswordResetMailer(dependencies)
        self._oidc = OidcClient(clock=dependencies.clock)
        self._has_operators = False

    async def admit(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Check that the request comes from a page of the App and that the operator may make it."""
        request = connection
        assert isinstance(request, Request)
        is_open = bool(handler.opt.get(PUBLIC))
        if request.url.path.startswith(PREFIX):
            return
        secret = request.cookies.get(SESSION_COOKIE, "")
        signed_in, revision = await asyncio.to_thread(self._operator, secret)
        operator = signed_in.operator if signed_in else None
        form: Mapping[str, list[str]] = {}
        if request.method not in _SAFE_METHODS:
            if not _is_same_origin(request):
                raise PermissionDeniedException(
                    "This form was not sent from a page of the App. Open the page and send the form again."
                )
            if handler.opt.get(TAKES_FILE):  # a file is read from those only who may send it
                self._build_context(request, operator, secret, form, revision).require_role(Role.EDITOR)
            sent = await request.form()
            # Browsers end the lines of a field with CR LF, whatever the field was filled with.
            form = {name: [str(value).replace("\r\n", "\n") for value in sent.getall(name)] for name in sent}
        context = self._build_context(request, operator, secret if operator else "", form, revision)
        request.state.context = context
        if is_open:
            return
        if operator is None:
            if not await asyncio.to_thread(self._has_any_operator):
                raise _RedirectError("/welcome")
            url = request.url
            path = url.path + (f"?{url.query}" if url.query else "") if request.method == "GET" else "/"
            raise _RedirectError("/sign-in" + (f"?next={quote(path)}" if path != "/" else ""))
        assert signed_in is not None
        if signed_in.must_set_up_two_factor and not handler.opt.get(NEEDS_NO_SECOND_FACTOR):
            raise _RedirectError("/settings/two-factor")
        if request.method not in _SAFE_METHODS:
            token = request.headers.get("x-csrf-token") or context.field("_csrf")
            if token != context.csrf:
                raise _FormExpiredError(
                    "Its session has ended. Nothing was changed. Open the page and send the form again."
                )
        context.require_role(
            handler.opt.get(REQUIRED_ROLE) or (Role.READ_ONLY if request.method in _SAFE_METHODS else Role.EDITOR)
        )
        if handler.opt.get(SHOWS_AWARDS):
            snapshot = await asyncio.to_thread(self._dependencies.current)
            await self._mapping_choices.load(
                [routed for routed in snapshot.destinations.values() if routed.destination.enabled],
                wait_seconds=_TITLES_WAITED_SECONDS,
            )

    def redirect(self, request: Request[Any, Any, Any], error: _RedirectError) -> Page:
        """Redirect to another page."""
        return self._current_context(request).redirect(error.path)

    def not_found(self, request: Request[Any, Any, Any], error: NotFoundError) -> Page:
        """Render the page for something that does not exist."""
        return self._error(request, 404, "Not found", error.message)

    def http_error(self, request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
        """Render a request that a handler or the framework has refused."""
        if (options := options_response(request, error)) is not None:
            return options
        if error.status_code == 404:
            if "text/html" not in request.headers.get("accept", ""):
                missing = {
                    "type": "not-found",
                    "message": "There is nothing at this path.",
                    "field": None,
                    "status": 404,
                }
                return Response({"errors": [missing]}, status_code=404, media_type="application/json")
            text = f"There is no page at {unquote(request.url.path)}. Check the address, or search for what you need."
            return self._error(request, 404, "Page not found", text)
        if isinstance(error, _FormExpiredError):
            return self._error(request, 403, "This form has expired", error.detail)
        titles = {403: "Not allowed", 405: "No page of its own", 413: "Request too large"}
        title = titles.get(error.status_code, "Request failed")
        # Such as an address that a browser kept from a form.
        text = "This address takes what a form of the App sends. Open the page with that form."
        page = self._error(request, error.status_code, title, text if error.status_code == 405 else error.detail)
        page.headers.update(allow_header(error))
        return page

    def punchcard_error(self, request: Request[Any, Any, Any], error: PunchcardError) -> Page:
        """Render one of Punchcard's errors that no page has shown beside a field."""
        if isinstance(error, LakeError):
            text = f"{as_sentence(error.message)} Awards continue. {repair_advice(error)}".strip()
            return self._error(request, 503, "The data lake cannot be read", text)
        if isinstance(error, StorageError):
            structlog.get_logger("punchcard.app").error("storage_failed", error=error.message)
            return self._error(
                request, 503, "Storage is unavailable", f"{as_sentence(error.message)} Nothing was changed. Try again."
            )
        if isinstance(error, PasswordsBusyError):
            return self._error(request, 503, "Try again in a moment", error.message)
        if isinstance(error, ManagedByFileError):
            toml = str(error.context.get("toml", ""))
            return self._error(request, 409, "Managed by the config file", error.message, toml=toml)
        is_save = isinstance(error, ConfigurationError) and request.method not in _SAFE_METHODS
        title = "Not saved" if is_save else "Request failed"
        return self._error(request, 422, title, as_sentence(error.message))

    def defect(self, request: Request[Any, Any, Any], error: Exception) -> Page:
        """Render an unexpected error. The log has the details."""
        structlog.get_logger("punchcard.app").error("request_failed", path=request.url.path, exc_info=error)
        return self._error(
            request,
            500,
            "Internal error",
            "This is a defect in Punchcard, and its log says what went wrong. Tell the person who runs Punchcard.",
        )

    def _error(self, request: Request[Any, Any, Any], status: int, title: str, text: str, *, toml: str = "") -> Page:
        context, text = self._current_context(request), shorten(text)
        try:
            values = {"title": title, "text": text, "toml": toml, "back": _sending_page(request)}
            return context.page("error.html", status=status, code=status, **values)
        except PunchcardError:  # the layout needs the store, which may be what is unavailable
            return Response(f"{title}: {text}", status_code=status, media_type="text/plain")

    def _current_context(self, request: Request[Any, Any, Any]) -> RequestContext:
        context = request.scope.get("state", {}).get("context")
        if isinstance(context, RequestContext):
            return context
        # No page was found for the path, so nothing has read the session yet.
        secret = request.cookies.get(SESSION_COOKIE, "")
        try:
            signed_in, revision = self._operator(secret)
        except PunchcardError:  # the error page without the menu is better than none
            signed_in, revision = None, 0
        if signed_in is None or signed_in.must_set_up_two_factor:
            return self._build_context(request, None, "", {})
        return self._build_context(request, signed_in.operator, secret, {}, revision)

    def _build_context(
        self,
        request: Request[Any, Any, Any],
        operator: Operator | None,
        secret: str,
        form: Mapping[str, list[str]],
        revision: int = 0,
    ) -> RequestContext:
        dependencies = self._dependencies
        if operator is not None and not operator.role.may(Role.EDITOR):
            dependencies = replace(dependencies, hides_write_keys=True)
        return RequestContext(
            dependencies=dependencies,
            renderer=self._renderer,
            passwords=self._passwords,
            password_resets=self._password_resets,
            oidc=self._oidc,
            mapping_choices=self._mapping_choices,
            request=request,
            operator=operator,
            secret=secret,
            form=form,
            notices=read_notices(request.cookies.get(NOTICE_COOKIE)),
            revision=revision,
        )

    def _operator(self, secret: str) -> tuple[SignedInOperator | None, int]:
        """Return the operator of a session, with the revision of the configuration before the page is built."""
        if not secret:
            return None, 0
        signed_in = operator_of_session(self._dependencies.store, secret, clock=self._dependencies.clock)
        return signed_in, 0 if signed_in is None else self._dependencies.configuration.versions.current_revision()

    def _has_any_operator(self) -> bool:
        if not self._has_operators:
            with self._dependencies.store.reading() as work:
                self._has_operators = count_operators(work) > 0
        return self._has_operators


def _sending_page(request: Request[Any, Any, Any]) -> str:
    """Return the path of the page that has sent a form, "" if it is not known or nothing was sent."""
    host, slash, page = request.headers.get("referer", "").partition("://")[2].partition("/")
    if request.method in _SAFE_METHODS or host != request.headers.get("host") or page.startswith("/"):
        return ""
    return slash + page.partition("#")[0]


def _is_same_origin(request: Request[Any, Any, Any]) -> bool:
    """Return True if a form comes from a page of this App. Clients that are not browsers have no cookie to abuse."""
    fetch_site = request.headers.get("sec-fetch-site")
    if fetch_site is not None:
        return fetch_site == "same-origin"
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")
