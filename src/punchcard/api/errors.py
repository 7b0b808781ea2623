"""How the API says that something went wrong: `{"errors": [{type, message, field, status}]}`, as Segment does.

Where a text is wrong at one place, `data` has its `position`, from 0.
"""

from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from punchcard.errors import ConfigurationError, IngestError, PunchcardError, StorageError
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.problems import render_path

_PART_KEYS = 2  # `destinations.points` or so: which part it is, the request says

_TYPES = {
    400: "bad-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    422: "unprocessable",
}


def bad_request(message: str, field: str | None = None) -> HTTPException:
    """To be raised when the request is wrong; `field` names its parameter or member."""
    return HTTPException(message, status_code=400, extra={"field": field} if field else None)


def unprocessable(message: str, field: str | None = None) -> HTTPException:
    """To be raised when the request is understood and cannot be done."""
    return HTTPException(message, status_code=422, extra={"field": field} if field else None)


def http_error(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Answer to what a handler or the framework refuses."""
    extra = error.extra
    if isinstance(extra, list) and extra and isinstance(extra[0], dict):  # Litestar's own validation
        first = extra[0]
        return _answer(error.status_code, str(first.get("message", error.detail)), field=first.get("key"))
    field = extra.get("field") if isinstance(extra, dict) else None
    response = _answer(error.status_code, error.detail, field=field)
    response.headers.update(error.headers or {})  # which methods a path takes, say
    return response


def punchcard_error(_: Request[Any, Any, Any], error: PunchcardError) -> Response[Any]:
    """Answer to an error of ours."""
    if isinstance(error, StorageError):
        response = _answer(503, error.message, type_="unavailable")
        response.headers["Retry-After"] = "1"
        return response
    if isinstance(error, NotFoundError):
        return _answer(404, error.message)
    if isinstance(error, ConfigurationError) and (problems := error.context.get("problems")):
        return _problems(problems)
    is_bad = isinstance(error, IngestError) or error.code == "invalid_request"
    field, position = error.context.get("field"), error.context.get("position")
    return _answer(400 if is_bad else 422, error.message, type_=error.code, field=field, position=position)


def too_deep(_: Request[Any, Any, Any], error: RecursionError) -> Response[Any]:
    """Answer to a body that is nested deeper than a JSON reader goes: nothing else here is as deep as what comes in."""
    return _answer(400, "the body is nested too deep")


def defect(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer to what nobody expected; the log gets the rest."""
    structlog.get_logger("punchcard.api").error("request_failed", path=request.url.path, exc_info=error)
    return _answer(500, "Punchcard failed on this request; the log has the details", type_="internal-error")


def _problems(problems: object) -> Response[Any]:
    """All that is wrong with a part of the configuration, each under the path of its key within the part."""
    assert isinstance(problems, tuple)
    found = [
        {
            "type": ConfigurationError.code,
            "message": problem.message,
            "field": render_path(problem.path[_PART_KEYS:]) or None,
            "status": 422,
        }
        for problem in problems
    ]
    return Response({"errors": found}, status_code=422, media_type="application/json")


def _answer(
    status: int, message: str, *, field: object = None, type_: str | None = None, position: object = None
) -> Response[Any]:
    error = {"type": type_ or _TYPES.get(status, "error"), "message": message, "field": field, "status": status}
    if position is not None:
        error["data"] = {"position": position}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Response({"errors": [error]}, status_code=status, headers=headers, media_type="application/json")
