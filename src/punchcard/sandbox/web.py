"""HTTP requests and responses as plain values, so that everything behind the front is a function between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import msgspec

QUERY_FIELDS_MAX = 100
"""Maximum number of fields in a query or form; honest requests have fewer."""

_ENCODER = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Request:
    """A received request: header names are in lower case, the path is decoded, the body is complete."""

    method: str
    path: str
    query_string: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def query(self) -> dict[str, str]:
        """Return the query's fields; of a repeated field, the last.

        Raises:
            ValueError: There are too many fields.
        """
        return dict(parse_qsl(self.query_string, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX))

    def form(self) -> dict[str, str]:
        """Return the fields of a posted form, without surrounding blanks.

        Raises:
            ValueError: There are too many fields.
        """
        text = self.body.decode("utf-8", "replace")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
        return {name: value.strip() for name, value in pairs}

    @property
    def is_write(self) -> bool:
        """Whether the request may change data."""
        return self.method not in {"GET", "HEAD", "OPTIONS"}


@dataclass(frozen=True, slots=True)
class SandboxResponse:
    """A response to send."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def json_response(status: int, value: object) -> SandboxResponse:
    """Return a response with `value` as its JSON body; a Decimal is written as an exact number."""
    return SandboxResponse(status, _ENCODER.encode(value))


def html_response(status: int, page: str, *, headers: tuple[tuple[str, str], ...] = ()) -> SandboxResponse:
    """Return a response with an HTML page as its body."""
    return SandboxResponse(status, page.encode(), "text/html; charset=utf-8", headers)
