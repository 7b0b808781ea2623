"""Whom an event is about, as its sender names them: the email by which everything of a person is found again. Pure."""

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.events.members import EMAIL, exact_members
from punchcard.events.model import Event

_EMAIL_CHARACTERS_MAX = 254
_NAMED = b"mail"  # of "email" in every spelling that is lower-cased: "E-mail", "e_mail"


class _Usual(msgspec.Struct, gc=False):
    """Members as nearly all senders write them: read in one go."""

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
    """The email that the event carries, trimmed and lower-cased; None if it carries none.

    Looked for as destinations do: `email`, `properties.email`, `context.traits.email`; and in the traits of an identify
    call; last in another spelling beside `properties`. It need not be one that a destination accepts: an event with a
    mistyped one is found by what was typed.
    """
    wire = event.wire
    if wire.email and (usual_email := _read(wire.email)):
        return usual_email
    # Most events have none: asking their bytes costs less than decoding them.
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
    except UNREADABLE:  # it is something else than text, or these are no members
        return None
    return None if email is None else _trimmed(email)


def _is_named(text: bytes) -> bool:
    """Whether the text holds the name in any spelling; the usual one is found without a copy of the text."""
    return _NAMED in text or _NAMED in text.lower()


def _email_in(raw: bytes | msgspec.Raw, *, is_context: bool = False) -> str | None:
    try:
        if is_context:
            context = _context.decode(raw)
            return _email_in(context.traits) if context and context.traits else None
        mailed = _mailed.decode(raw)
        if mailed is not None and mailed.email and (found := _read(mailed.email)):
            return found
        members = exact_members(raw, EMAIL)
    except UNREADABLE:
        return None
    return None if members is None else _read(members["email"])


def _read(raw: msgspec.Raw) -> str | None:
    try:
        return _trimmed(_text.decode(raw))
    except UNREADABLE:
        return None


def _trimmed(text: str) -> str | None:
    return text.strip().lower()[:_EMAIL_CHARACTERS_MAX] or None
