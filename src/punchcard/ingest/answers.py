"""The Tracking API's answers, made once: ASGI messages that are sent as they stand."""

from typing import Any, Final

import msgspec

Message = dict[str, Any]  # ASGI's own
Answer = tuple[int, Message, Message]  # status, start, body

_CORS: Final = [(b"access-control-allow-origin", b"*")]
_JSON: Final = (b"content-type", b"application/json")
RETRY_AFTER_SECONDS: Final = b"1"

# A transparent GIF of one pixel, as every pixel service answers.
_GIF: Final = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")


def make(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    """An answer with CORS headers for every origin."""
    every = [*_CORS, *headers, (b"content-length", str(len(body)).encode())]
    return (
        status,
        {"type": "http.response.start", "status": status, "headers": every},
        {"type": "http.response.body", "body": body},
    )


def fault(status: int, message: str, *headers: tuple[bytes, bytes], code: str, index: int | None = None) -> Answer:
    """An error in Segment's shape; `index` says which event of a batch."""
    content: dict[str, object] = {"success": False, "message": message, "code": code}
    if index is not None:
        content["index"] = index
    return make(status, msgspec.json.encode(content), _JSON, *headers)


def bad_request(message: str) -> Answer:
    """400 with Segment's code."""
    return fault(400, message, code="invalid_request")


def unavailable(message: str, code: str) -> Answer:
    """503: nothing is durable, the sender shall come again."""
    return fault(503, message, (b"retry-after", RETRY_AFTER_SECONDS), code=code)


def document(content: object) -> Answer:
    """200 with a JSON document."""
    return make(200, msgspec.json.encode(content), _JSON)


SUCCESS: Final = make(200, b'{"success":true}', _JSON)
PIXEL: Final = make(200, _GIF, (b"content-type", b"image/gif"), (b"cache-control", b"no-store"))
PREFLIGHT: Final = make(
    204,
    b"",
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, content-encoding, x-retry-count, x-punchcard-strict",
    ),
    (b"access-control-max-age", b"86400"),
)
MALFORMED: Final = bad_request("malformed JSON")
NO_WRITE_KEY: Final = bad_request("no write key: send it by HTTP Basic, or as `writeKey` in the body")
UNKNOWN_KEY: Final = fault(401, "no source has this write key", code="unknown_source")
TOO_SLOW: Final = fault(408, "the body did not arrive in time", (b"connection", b"close"), code="request_timeout")
NOT_FOUND: Final = fault(404, "there is no such call in the Tracking API", code="not_found")
WRONG_METHOD: Final = fault(405, "this call takes another HTTP method", code="method_not_allowed")
EVENT_TOO_LARGE: Final = bad_request("one event has at most 32 KB")
BATCH_TOO_LARGE: Final = bad_request("a batch has at most 500 KB")
FAILED: Final = unavailable("the request could not be taken in", "internal")
