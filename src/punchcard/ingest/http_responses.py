"""The Tracking API's responses, built once: ASGI messages that are sent unchanged."""

from typing import Any, Final

import msgspec

Message = dict[str, Any]  # ASGI's own
HttpResponse = tuple[int, Message, Message]  # status, start, body

_CORS: Final = [(b"access-control-allow-origin", b"*")]
_JSON: Final = (b"content-type", b"application/json")
RETRY_AFTER_SECONDS: Final = b"1"
# Without this header the browser hides the other one from the library that sends.
EXPOSE_RETRY_AFTER: Final = (b"access-control-expose-headers", b"retry-after")

# A transparent GIF of one pixel, the usual response of pixel services.
_GIF: Final = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")


def make(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> HttpResponse:
    """Return a response with CORS headers for every origin."""
    all_headers = [*_CORS, *headers, (b"content-length", str(len(body)).encode())]
    return (
        status,
        {"type": "http.response.start", "status": status, "headers": all_headers},
        {"type": "http.response.body", "body": body},
    )


def fault(
    status: int, message: str, *headers: tuple[bytes, bytes], code: str, index: int | None = None
) -> HttpResponse:
    """Return an error in Segment's format; `index` is the position of the event in a batch."""
    content: dict[str, object] = {"success": False, "message": message, "code": code}
    if index is not None:
        content["index"] = index
    return make(status, msgspec.json.encode(content), _JSON, *headers)


def bad_request(message: str) -> HttpResponse:
    """Return a 400 response with Segment's code."""
    return fault(400, message, code="invalid_request")


def unavailable(message: str, code: str) -> HttpResponse:
    """Return a 503 response: nothing is durable, and the sender should retry."""
    return fault(503, message, (b"retry-after", RETRY_AFTER_SECONDS), EXPOSE_RETRY_AFTER, code=code)


def document(content: object) -> HttpResponse:
    """Return a 200 response with a JSON document."""
    return make(200, msgspec.json.encode(content), _JSON)


SUCCESS: Final = make(200, b'{"success":true}', _JSON)
PIXEL: Final = make(200, _GIF, (b"content-type", b"image/gif"), (b"cache-control", b"no-store"))
MALFORMED: Final = bad_request("malformed JSON")
NO_WRITE_KEY: Final = bad_request("No write key. Send it with HTTP Basic, or as `writeKey` in the body.")
UNKNOWN_KEY: Final = fault(401, "No source has this write key.", code="unknown_source")
TOO_SLOW: Final = fault(408, "The body did not arrive in time.", (b"connection", b"close"), code="request_timeout")
UNKNOWN_SOURCE: Final = fault(404, "No source has this write key.", code="not_found")
NOT_FOUND: Final = fault(404, "There is no such call in the Tracking API.", code="not_found")
ONLY_POST: Final = fault(405, "This call takes POST.", (b"allow", b"POST, OPTIONS"), code="method_not_allowed")
ONLY_GET: Final = fault(405, "This call takes GET.", (b"allow", b"GET, HEAD, OPTIONS"), code="method_not_allowed")
UNSUPPORTED_ENCODING: Final = fault(
    415,
    "This Content-Encoding is not supported. Use gzip or identity.",
    (b"accept-encoding", b"gzip, identity"),
    code="unsupported_encoding",
)
EVENT_TOO_LARGE: Final = bad_request("An event has at most 32 KB.")
BATCH_TOO_LARGE: Final = bad_request("A batch has at most 500 KB.")
FAILED: Final = unavailable("The request could not be stored.", "internal")
