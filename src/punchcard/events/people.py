"""Whom an event is about, as its sender names them: the email by which everything of a person is found again. Pure."""

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.events.model import Event

_EMAIL_CHARACTERS_MAX = 254
_NAMED = b"email"


class _Mailed(msgspec.Struct):
    email: msgspec.Raw = msgspec.Raw()


class _Context(msgspec.Struct):
    traits: _Mailed | None = None


_mailed = msgspec.json.Decoder(_Mailed | None)
_context = msgspec.json.Decoder(_Context | None)
_text = msgspec.json.Decoder(str)


def email_of(event: Event) -> str | None:
    """The email that the event carries, trimmed and lower-cased; None if it carries none.

    Looked for as destinations do: `email`, `properties.email`, `context.traits.email`; and in the traits of an identify
    call. It need not be one that a destination accepts: an event with a mistyped one is found by what was typed.
    """
    wire = event.wire
    if wire.email and (found := _read(wire.email)):
        return found
    for raw in (wire.properties, wire.context, wire.traits):
        # Most members have none: asking their bytes costs less than decoding them.
        if _NAMED not in bytes(raw):
            continue
        try:
            if raw is wire.context:
                context = _context.decode(raw)
                held = context.traits if context else None
            else:
                held = _mailed.decode(raw)
        except UNREADABLE:
            continue
        if held is not None and held.email and (found := _read(held.email)):
            return found
    return None


def _read(raw: msgspec.Raw) -> str | None:
    try:
        text = _text.decode(raw).strip().lower()
    except UNREADABLE:
        return None
    return text[:_EMAIL_CHARACTERS_MAX] or None
