"""The faults of an event, as Segment's reason codes and sentences. The slow path: valid events skip it."""

from typing import Final, NamedTuple

import msgspec

UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""All exceptions that msgspec raises on any text."""

_NOTHING: Final = msgspec.Raw()
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ABSENT: Final = "absent"
_OBJECT: Final = "object"
_TEXT: Final = "text"
_BOOLEAN: Final = "boolean"
_NUMBER: Final = "number"
_KINDS: Final = {
    b"": _ABSENT,
    b"n": _ABSENT,  # null
    b"{": _OBJECT,
    b"[": "list",
    b'"': _TEXT,
    b"t": _BOOLEAN,
    b"f": _BOOLEAN,
}

# Members of an event that must be text, with the reason when they are not.
_TEXTS = {
    "type": ("unknown_type", "`type` must be text."),
    "event": ("event_not_string", "`event` must be text."),
    "userId": ("id_not_string", "`userId` must be text."),
    "anonymousId": ("id_not_string", "`anonymousId` must be text."),
    "groupId": ("id_not_string", "`groupId` must be text."),
    "previousId": ("id_not_string", "`previousId` must be text."),
    "messageId": ("message_id_not_string", "`messageId` must be text."),
    "name": ("name_not_string", "`name` must be text."),
    "category": ("category_not_string", "`category` must be text."),
}


class Fault(NamedTuple):
    """A reason code with its sentence."""

    reason: str
    detail: str


class CheckedContext(msgspec.Struct, gc=False):
    """The members of `context` that are checked."""

    consent: msgspec.Raw = msgspec.Raw()
    device: msgspec.Raw = msgspec.Raw()


class _Device(msgspec.Struct, rename="camel"):
    advertising_id: msgspec.Raw = msgspec.Raw()


class _Consent(msgspec.Struct, rename="camel"):
    category_preferences: msgspec.Raw = msgspec.Raw()
    version: msgspec.Raw = msgspec.Raw()


_device = msgspec.json.Decoder(_Device)
_consent = msgspec.json.Decoder(_Consent)


def explain(text: bytes, error: Exception) -> Fault:
    """Explain why an event's envelope could not be read."""
    try:
        members = _object.decode(text)
    except msgspec.ValidationError:
        return Fault("event_not_object", "An event must be a JSON object.")
    except UNREADABLE:
        return Fault("unreadable_json", f"The event cannot be read: {error}.")
    for name, (reason, sentence) in _TEXTS.items():
        if _kind(members.get(name, _NOTHING)) not in (_ABSENT, _TEXT):
            return Fault(reason, sentence)
    if _kind(members.get("context", _NOTHING)) not in (_ABSENT, _OBJECT):
        return Fault("context_not_object", "`context` must be an object.")
    return Fault("unreadable_json", f"The event cannot be read: {error}.")


def context_fault(context: CheckedContext) -> Fault | None:
    """Return the fault of `context.consent` or `context.device`; None if there is none."""
    try:
        if _kind(context.device) is _OBJECT:
            advertising_id = _device.decode(context.device).advertising_id
            if _kind(advertising_id) not in (_ABSENT, _TEXT):
                return Fault("device_advertisingid_should_be_string", "`context.device.advertisingId` must be text.")
        return _consent_fault(context.consent)
    except UNREADABLE as error:
        return Fault("unreadable_json", f"The context of the event cannot be read: {error}.")


def _consent_fault(raw: msgspec.Raw) -> Fault | None:
    if _kind(raw) is _ABSENT:
        return None
    consent = _consent.decode(raw) if _kind(raw) is _OBJECT else _Consent()
    if _kind(consent.category_preferences) is _ABSENT:
        return Fault(
            "consent_categorypreferences_should_exist", "`context.consent` must contain `categoryPreferences`."
        )
    if _kind(consent.category_preferences) is not _OBJECT:
        return Fault(
            "consent_categorypreferences_fields_should_be_object",
            "`context.consent.categoryPreferences` must be an object.",
        )
    if not all(_kind(value) is _BOOLEAN for value in _object.decode(consent.category_preferences).values()):
        return Fault(
            "consent_categorypreferences_fields_should_be_bool",
            "Each value of `context.consent.categoryPreferences` must be true or false.",
        )
    if _kind(consent.version) not in (_ABSENT, _NUMBER):
        return Fault("consent_version_should_be_number", "`context.consent.version` must be a number.")
    return None


def _kind(raw: msgspec.Raw) -> str:
    """Return the kind of a value by its first character, without decoding it: a number may exceed every range."""
    return _KINDS.get(bytes(raw)[:1], _NUMBER)
