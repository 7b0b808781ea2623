"""Litestar for App and API, without what it adds for libraries that Punchcard does not use."""

from typing import Any, Final

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin

# The server leaves out the body of a response to HEAD. Litestar's own response to OPTIONS names the methods of one
# handler of a path and asks for credentials; the refusal of a method that no handler takes names those of all.
_METHOD_OF_NO_HANDLER: Final = "NONE"
_METHODS: Final = {"HEAD": "GET", "OPTIONS": _METHOD_OF_NO_HANDLER}


class PlainLitestar(Litestar):
    """Litestar for handlers with msgspec types only, which answers HEAD and OPTIONS for all of them.

    It would import pydantic and attrs, if they are installed, for types of theirs: 0.15 s of the start of a process.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Respond to one request."""
        if (method := _METHODS.get(scope.get("method", ""))) is not None:
            scope = {**scope, "method": method}
        await super().__call__(scope, receive, send)

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def allow_header(error: HTTPException) -> dict[str, str]:
    """Return the header with the methods of a path, of the error that refuses another one; no header of other errors.

    Litestar leaves out HEAD, and OPTIONS of some paths.
    """
    if error.status_code != 405:
        return {}
    methods = {*(error.headers or {}).get("allow", "").split(", "), "OPTIONS"}
    return {"Allow": ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))}


def options_response(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any] | None:
    """Return the response to a request for the methods of a path, None if the refused request is another one."""
    allow = allow_header(error)
    return Response(None, status_code=204, headers=allow) if allow and request.method == _METHOD_OF_NO_HANDLER else None
