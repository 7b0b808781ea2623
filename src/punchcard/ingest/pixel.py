"""Convert the query string of a tracking pixel into the JSON of an event."""

import base64
import binascii
from urllib.parse import parse_qsl

import msgspec

_PARTS_MAX = 200


def pixel_body(query: bytes) -> bytes | None:
    """Return the event of a pixel's query string, None if it has none.

    Either `data=<base64 of JSON>`, or plain keys with dots for nested members: `properties.x=1&writeKey=…`; their
    values are text.
    """
    try:
        pairs = parse_qsl(query.decode(), keep_blank_values=True, max_num_fields=_PARTS_MAX)
    except (ValueError, UnicodeDecodeError):
        return None
    data = next((value for name, value in pairs if name == "data"), None)
    if data is None:
        return msgspec.json.encode(_nested(pairs)) if pairs else None
    # A plus sign that was not escaped has become a space; padding is often left out.
    text = data.replace(" ", "+").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _nested(pairs: list[tuple[str, str]]) -> dict[str, object]:
    event: dict[str, object] = {}
    for name, value in pairs:
        *path, last = name.split(".")
        parent = event
        for part in path:
            child = parent.setdefault(part, {})
            if not isinstance(child, dict):
                break
            parent = child
        else:
            parent[last] = value
    return event
