"""Respond to the preflight requests of browsers.

Source: the Fetch standard, "CORS protocol"; and the draft "Private Network Access".
"""

import re
from collections.abc import Sequence
from typing import Final

from punchcard.ingest.http_responses import HttpResponse, make

_REQUEST_HEADERS: Final = b"access-control-request-headers"
_REQUEST_PRIVATE_NETWORK: Final = b"access-control-request-private-network"
_DEFAULT_HEADERS: Final = b"authorization, content-type, content-encoding, x-retry-count, x-punchcard-strict"
_HEADERS_BYTES_MAX: Final = 4096
# A header's name is a token (RFC 9110, 5.6.2).
_NAMES: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")


def preflight(headers: Sequence[tuple[bytes, bytes]]) -> HttpResponse:
    """Respond to OPTIONS: all requested headers are allowed, because tracing libraries add theirs to every call.

    Args:
        headers: Headers of the request, names in lower case.
    """
    given = dict(headers)
    requested = given.get(_REQUEST_HEADERS, b"").strip(b" \t,")
    is_usable = len(requested) <= _HEADERS_BYTES_MAX and _NAMES.fullmatch(requested)
    private = [(b"access-control-allow-private-network", b"true")] if _REQUEST_PRIVATE_NETWORK in given else []
    return make(
        204,
        b"",
        (b"allow", b"GET, HEAD, POST, OPTIONS"),
        (b"access-control-allow-methods", b"GET, HEAD, POST, OPTIONS"),
        (b"access-control-allow-headers", requested + b", " + _DEFAULT_HEADERS if is_usable else _DEFAULT_HEADERS),
        (b"access-control-max-age", b"86400"),
        *private,
        (b"vary", b"Access-Control-Request-Headers, Access-Control-Request-Private-Network"),
    )
