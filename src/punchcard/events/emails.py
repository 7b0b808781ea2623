"""The email of an event, by which all events of a person are found. Pure."""

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.events.members import EMAIL, exact_members
from punchcard.events.model import Event

_EMAIL_CHARACTERS_MAX = 254
_NAMED = b"mail"  # part of "email" in every lower-cased spelling: "E-mail", "e_mail"


class _Usual(msgspec.Struct, gc=False):
    """Members as nearly all senders write them, decoded in one step."""

    email: str | None = None


class _Mailed(msgspec.Struct):
    email: msgspec.Raw = msgspec.Raw()


class _Context(msgspec.Struct):
    traits: msgspec.Raw = msgspec.Raw()


_usual = msgspec.json.Decoder(_Usual)
_mailed = msgspec.json.Decoder(_Mailed | None)
_context = msgspec.json.Decoder(_Context | None)
_text = msgspec.json.Decoder(str)


def email_of(event: Event) -> str | None:
    """Return the event's email, trimmed and lower-cased; None if it has none.

    Searched in the same places as destinations search: `email`, `properties.email`, `context.traits.email`, the traits
    of an identify call, and last in other spellings beside `properties`. It need not be valid for a destination: an
    event with a mistyped email is found by the mistyped text.
    """
    wire = event.wire
    if wire.email and (usual_email := _read(wire.email)):
        return usual_email
    # Most events have no email: searching their bytes is cheaper than decoding them.
    if not _is_named(event.raw):
        return None
    if wire.properties and (usual_email := _usual_email(wire.properties)):
        return usual_email
    for raw in (wire.properties, wire.context, wire.traits):
        if _is_named(bytes(raw)) and (usual_email := _email_in(raw, is_context=raw is wire.context)):
            return usual_email
    return _email_in(event.raw)


def _usual_email(properties: msgspec.Raw) -> str | None:
    try:
        email = _usual.decode(properties).email
    except UNREADABLE:  # the email is not text, or the properties are not an object
        return None
    return None if email is None else trimmed_email(email)


def _is_named(text: bytes) -> bool:
    """Return whether the text contains the name in any spelling; the usual one is found without copying the text."""
    return _NAMED in text or _NAMED in text.lower()


def _email_in(raw: bytes | msgspec.Raw, *, is_context: bool = False) -> str | None:
    try:
        if is_context:
            context = _context.decode(raw)
            return _email_in(context.traits) if context and context.traits else None
        mailed = _mailed.decode(raw)
        if mailed is not None and mailed.email and (email := _read(mailed.email)):
            return email
        members = exact_members(raw, EMAIL)
    except UNREADABLE:
        return None
    return None if members is None else _read(members["email"])


def _read(raw: msgspec.Raw) -> str | None:
    try:
        return trimmed_email(_text.decode(raw))
    except UNREADABLE:
        return None


def trimmed_email(text: str) -> str | None:
    """Return an email in the form in which it is looked up; None if it is blank."""
    return text.strip().lower()[:_EMAIL_CHARACTERS_MAX] or None
