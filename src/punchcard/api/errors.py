"""Error responses of the API: `{"errors": [{type, message, field, status}]}`, as in Segment's Public API.

For an error within a text, `data` has its `position`, counted from 0.
"""

from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.utils.scope.state import ScopeState

from punchcard.api.validation_messages import explain, handler_of
from punchcard.errors import ConfigurationError, IngestError, PunchcardError, StorageError
from punchcard.events.json_problems import describe_json_problem
from punchcard.operations.conflict_resolution import AlreadyResolvedError
from punchcard.operations.litestar_app import allow_header, options_response
from punchcard.operations.sentences import capitalize, shorten
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.ownership import ManagedByFileError
from punchcard.workspace.problems import KeyPath, render_path

# `destinations.points`, or `workspace`: the request names the part, so its path is left out.
_PATH_PREFIX_KEYS = 2
_WORKSPACE_PREFIX_KEYS = 1
_FILTER_PREFIX_KEYS = 4  # `destinations.points.filters[2]`: a call is about one filter

# Members of the API that have another name in config files.
_MEMBERS = {
    ("destinations", "sources"): "sourceIds",
    ("transformations", "source"): "sourceId",
    ("transformations", "destination"): "destinationMetadataId",
}

_ABSENT_BODY = "'data'"  # Litestar's message: the name of the parameter of the body

_TYPES = {
    400: "bad-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    422: "unprocessable",
}


def bad_request(message: str, field: str | None = None) -> HTTPException:
    """Return an error to raise for an invalid request; `field` names the parameter or member."""
    return HTTPException(message, status_code=400, extra={"field": field} if field else None)


def unprocessable(message: str, field: str | None = None) -> HTTPException:
    """Return an error to raise for a valid request that cannot be executed."""
    return HTTPException(message, status_code=422, extra={"field": field} if field else None)


def http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Return the response to a request that a handler or the framework has refused."""
    if (options := options_response(request, error)) is not None:
        return options
    if (malformed := _malformed_body(request, error)) is not None:
        return malformed
    extra = error.extra
    if isinstance(extra, list) and extra and isinstance(extra[0], dict):  # Litestar's own validation
        first = extra[0]
        if first.get("message") == _ABSENT_BODY:
            return _error_response(error.status_code, "The body is missing. Send a JSON object.")
        message, field = explain(str(first.get("message", error.detail)), first.get("key"), handler_of(request))
        return _error_response(error.status_code, message, field=field)
    message, field = error.detail, extra.get("field") if isinstance(extra, dict) else None
    if isinstance(error, ValidationException):
        message, field = explain(message, field, handler_of(request))
    allow = allow_header(error)
    if allow:
        message = f"{message}. Use {allow['Allow']}."
    response = _error_response(error.status_code, message, field=field)
    response.headers.update(allow)
    return response


def punchcard_error(_: Request[Any, Any, Any], error: PunchcardError) -> Response[Any]:
    """Return the response to one of Punchcard's errors."""
    if isinstance(error, StorageError):
        response = _error_response(503, error.message, type_="unavailable")
        response.headers["Retry-After"] = "1"
        return response
    if isinstance(error, NotFoundError):
        return _error_response(404, error.message)
    if isinstance(error, ManagedByFileError):
        toml = error.context.get("toml")
        return _error_response(409, error.message, type_=error.code, data={"toml": toml} if toml else None)
    if isinstance(error, AlreadyResolvedError):
        return _error_response(409, error.message, type_=error.code)
    if isinstance(error, ConfigurationError) and (problems := error.context.get("problems")):
        return _problems_response(problems)
    is_bad = isinstance(error, IngestError) or error.code == "invalid_request"
    field, position = error.context.get("field"), error.context.get("position")
    return _error_response(400 if is_bad else 422, error.message, type_=error.code, field=field, position=position)


def too_deep(_: Request[Any, Any, Any], error: RecursionError) -> Response[Any]:
    """Return the response to a body that is nested too deeply: nothing else here recurses as deeply as a body."""
    return _error_response(400, "The body is nested too deeply.")


def not_utf8(_: Request[Any, Any, Any], error: UnicodeDecodeError) -> Response[Any]:
    """Return the response to a body with bytes that are no text: parameters are decoded without errors."""
    return _error_response(400, "The body is not UTF-8. Send JSON in UTF-8.")


def defect(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Return the response to an unexpected error. The log has the details."""
    structlog.get_logger("punchcard.api").error("request_failed", path=request.url.path, exc_info=error)
    return _error_response(
        500, "Internal error. This is a defect; the server's log has the details.", type_="internal-error"
    )


def _malformed_body(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any] | None:
    """Return the response to a body that is not JSON, None if the error is another one."""
    cause = error.__cause__ and error.__cause__.__cause__
    body = ScopeState.from_scope(request.scope).body
    if not isinstance(body, bytes) or not isinstance(cause, msgspec.DecodeError):
        return None
    if isinstance(cause, msgspec.ValidationError):  # without a member, or the framework's own validation has it
        message, field = explain(str(cause), None, handler_of(request))
        return _error_response(400, message, field=field)
    return _error_response(400, f"The body is not JSON: {describe_json_problem(body, cause)}.")


def _problems_response(problems: object) -> Response[Any]:
    """Return the problems of a part of the configuration, each with its path within the part."""
    assert isinstance(problems, tuple)
    errors = [
        {
            "type": ConfigurationError.code,
            "message": capitalize(shorten(problem.message)),
            "field": shorten(_field(problem.path)) or None,
            "status": 422,
        }
        for problem in problems
    ]
    return Response({"errors": errors}, status_code=422, media_type="application/json")


def _field(path: KeyPath) -> str:
    """Return the place of a problem in the body of the request, with the names of the API."""
    kind, is_filter = path[:1], path[2:3] == ("filters",) and len(path) > _FILTER_PREFIX_KEYS
    prefix = _WORKSPACE_PREFIX_KEYS if kind == ("workspace",) else _PATH_PREFIX_KEYS
    within = path[_FILTER_PREFIX_KEYS if kind == ("destinations",) and is_filter else prefix :]
    if not within or not isinstance(within[0], str):
        return render_path(within)
    member = _MEMBERS.get((str(path[0]), within[0])) or _camel(within[0])
    return render_path((member, *within[1:]))


def _camel(name: str) -> str:
    first, *words = name.split("_")
    return first + "".join(word.capitalize() for word in words)


def _error_response(
    status: int,
    message: str,
    *,
    field: object = None,
    type_: str | None = None,
    position: object = None,
    data: dict[str, object] | None = None,
) -> Response[Any]:
    error = {
        "type": type_ or _TYPES.get(status, "error"),
        "message": capitalize(shorten(message)),
        "field": shorten(field) if isinstance(field, str) else field,
        "status": status,
    }
    if position is not None:
        data = {"position": position}
    if data is not None:
        error["data"] = data
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Response({"errors": [error]}, status_code=status, headers=headers, media_type="application/json")
