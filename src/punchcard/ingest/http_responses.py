"""The Tracking API's answers, made once: ASGI messages that are sent as they stand."""

from typing import Any, Final

import msgspec

Message = dict[str, Any]  # ASGI's own
HttpResponse = tuple[int, Message, Message]  # status, start, body

_CORS: Final = [(b"access-control-allow-origin", b"*")]
_JSON: Final = (b"content-type", b"application/json")
RETRY_AFTER_SECONDS: Final = b"1"
# Without it a browser does not show the header to the library that sends.
EXPOSE_RETRY_AFTER: Final = (b"access-control-expose-headers", b"retry-after")

# A transparent GIF of one pixel, as every pixel service answers.
_GIF: Final = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")


def make(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> HttpResponse:
    """An answer with CORS headers for every origin."""
    every = [*_CORS, *headers, (b"content-length", str(len(body)).encode())]
    return (
        status,
        {"type": "http.response.start", "status": status, "headers": every},
        {"type": "http.response.body", "body": body},
    )


def fault(
    status: int, message: str, *headers: tuple[bytes, bytes], code: str, index: int | None = None
) -> HttpResponse:
    """An error in Segment's shape; `index` says which event of a batch."""
    content: dict[str, object] = {"success": False, "message": message, "code": code}
    if index is not None:
        content["index"] = index
    return make(status, msgspec.json.encode(content), _JSON, *headers)


def bad_request(message: str) -> HttpResponse:
    """400 with Segment's code."""
    return fault(400, message, code="invalid_request")


def unavailable(message: str, code: str) -> HttpResponse:
    """503: nothing is durable, the sender shall come again."""
    return fault(503, message, (b"retry-after", RETRY_AFTER_SECONDS), EXPOSE_RETRY_AFTER, code=code)


def document(content: object) -> HttpResponse:
    """200 with a JSON document."""
    return make(200, msgspec.json.encode(content), _JSON)


SUCCESS: Final = make(200, b'{"success":true}', _JSON)
PIXEL: Final = make(200, _GIF, (b"content-type", b"image/gif"), (b"cache-control", b"no-store"))
MALFORMED: Final = bad_request("malformed JSON")
NO_WRITE_KEY: Final = bad_request("no write key: send it by HTTP Basic, or as `writeKey` in the body")
UNKNOWN_KEY: Final = fault(401, "no source has this write key", code="unknown_source")
TOO_SLOW: Final = fault(408, "the body did not arrive in time", (b"connection", b"close"), code="request_timeout")
UNKNOWN_SOURCE: Final = fault(404, "no source has this write key", code="not_found")
NOT_FOUND: Final = fault(404, "there is no such call in the Tracking API", code="not_found")
ONLY_POST: Final = fault(405, "This call takes POST.", (b"allow", b"POST, OPTIONS"), code="method_not_allowed")
ONLY_GET: Final = fault(405, "This call takes GET.", (b"allow", b"GET, HEAD, OPTIONS"), code="method_not_allowed")
UNSUPPORTED_ENCODING: Final = fault(
    415,
    "Content-Encoding may be gzip or identity: this one cannot be read.",
    (b"accept-encoding", b"gzip, identity"),
    code="unsupported_encoding",
)
EVENT_TOO_LARGE: Final = bad_request("one event has at most 32 KB")
BATCH_TOO_LARGE: Final = bad_request("a batch has at most 500 KB")
FAILED: Final = unavailable("the request could not be taken in", "internal")
