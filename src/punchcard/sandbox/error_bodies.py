"""Error responses: Perkville's v2 error body, and the pages of the edge in front of it."""

from dataclasses import dataclass

from punchcard.sandbox.web import SandboxResponse, html_response, json_response

WHOLE_REQUEST = "__all__"
"""The key of an error that belongs to the whole request."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """A problem of a request: the field, a sentence, and a code."""

    field: str
    message: str
    code: str


def refusal(status: int, error_type: str, problems: list[FieldError]) -> SandboxResponse:
    """Return a response with the v2 error body.

    `{"error_type": "validation_error", "errors": {"perk": [{"message": "Perk 5 does not exist", "code":
    "does_not_exist"}]}}`. Only `oauth_error` is known from the real service; the other types are named here.
    """
    errors: dict[str, list[dict[str, str]]] = {}
    for problem in problems:
        errors.setdefault(problem.field, []).append({"message": problem.message, "code": problem.code})
    return json_response(status, {"error_type": error_type, "errors": errors})


def invalid(*problems: FieldError, status: int = 400) -> SandboxResponse:
    """Return the response for invalid data."""
    return refusal(status, "validation_error", list(problems))


def not_authenticated() -> SandboxResponse:
    """Return the response for a missing, unknown or revoked token."""
    message = "Invalid or expired bearer token"
    return refusal(401, "oauth_error", [FieldError(WHOLE_REQUEST, message, "invalid_token")])


def not_found(path: str) -> SandboxResponse:
    """Return the response for an object or URL that does not exist."""
    return refusal(404, "not_found", [FieldError(WHOLE_REQUEST, f"There is nothing at {path}", "not_found")])


def method_not_allowed(method: str, allowed: tuple[str, ...]) -> SandboxResponse:
    """Return the response for a method that the URL does not support."""
    problem = FieldError(WHOLE_REQUEST, f"{method} is not allowed here", "method_not_allowed")
    response = refusal(405, "method_not_allowed", [problem])
    return SandboxResponse(response.status, response.body, headers=(("Allow", ", ".join(allowed)),))


def unavailable(status: int, *, retry_after_seconds: int | None = None, html: bool = False) -> SandboxResponse:
    """Return the response of an unavailable service, as JSON, or as HTML like the edge in front of it."""
    headers = () if retry_after_seconds is None else (("Retry-After", str(retry_after_seconds)),)
    if html:
        page = f"<!DOCTYPE html><html><head><title>{status}</title></head><body><h1>Error {status}</h1></body></html>"
        return html_response(status, page, headers=headers)
    problem = FieldError(WHOLE_REQUEST, f"The service answers with status {status} at the moment", "unavailable")
    response = refusal(status, "service_error", [problem])
    return SandboxResponse(response.status, response.body, headers=headers)


def throttled(retry_after_seconds: int) -> SandboxResponse:
    """Return the response to too many requests per second."""
    problem = FieldError(WHOLE_REQUEST, "Request was throttled", "throttled")
    response = refusal(429, "throttled", [problem])
    return SandboxResponse(response.status, response.body, headers=(("Retry-After", str(retry_after_seconds)),))


def edge_block() -> SandboxResponse:
    """Return the HTML page with which the edge refuses clients without a User-Agent."""
    page = "<!DOCTYPE html><html><head><title>Access denied</title></head><body><h1>Access denied</h1></body></html>"
    return html_response(403, page)
