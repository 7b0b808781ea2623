"""One HTTP request and one answer as plain values, so that everything behind the front is a function between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import msgspec

QUERY_FIELDS_MAX = 100
"""More fields than this in a query or a form are nobody's honest request."""

_ENCODER = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Request:
    """What came in: header names are lower-case, the path is decoded, the body is whole."""

    method: str
    path: str
    query_string: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def query(self) -> dict[str, str]:
        """The query's fields; of a repeated one, the last.

        Raises:
            ValueError: there are too many fields.
        """
        return dict(parse_qsl(self.query_string, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX))

    def form(self) -> dict[str, str]:
        """The fields of a posted form, stripped of surrounding blanks.

        Raises:
            ValueError: there are too many fields.
        """
        text = self.body.decode("utf-8", "replace")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
        return {name: value.strip() for name, value in pairs}

    @property
    def is_write(self) -> bool:
        """Whether the request asks for a change."""
        return self.method not in {"GET", "HEAD", "OPTIONS"}


@dataclass(frozen=True, slots=True)
class SandboxResponse:
    """What goes out."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def json_response(status: int, value: object, *, headers: tuple[tuple[str, str], ...] = ()) -> SandboxResponse:
    """An answer whose body is `value` as JSON; a Decimal is written as an exact number."""
    return SandboxResponse(status, _ENCODER.encode(value), headers=headers)


def html_response(status: int, page: str, *, headers: tuple[tuple[str, str], ...] = ()) -> SandboxResponse:
    """An answer whose body is an HTML page."""
    return SandboxResponse(status, page.encode(), "text/html; charset=utf-8", headers)
