"""The `integrations` object of an event: which destinations its sender wants it to reach.

Source: Segment's documentation, "Filtering with the Integrations object". A destination's own key beats `All`; keys
are case-sensitive display names; an object means enabled, with options; `All: false` keeps back what is not named.
"""

import msgspec

_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FALSE = b"false"
_NULL = b"null"


def allows(integrations: bytes | memoryview, destination_name: str) -> bool:
    """True if the object lets the event through to the destination of that display name.

    Args:
        integrations: The object's JSON text, empty if the event has none. Anything but an object counts as none.
        destination_name: As its definition says.
    """
    if not integrations:
        return True
    try:
        switches = _decoder.decode(integrations)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return True
    own = _switch(switches.get(destination_name))
    if own is not None:
        return own
    return _switch(switches.get("All")) is not False


def _switch(value: msgspec.Raw | None) -> bool | None:
    if value is None:
        return None
    text = bytes(value).strip()
    if text == _NULL:
        return None
    return text != _FALSE
