"""What is wrong with an event, in Segment's reason codes and in a sentence. The slow road: valid events skip it."""

from typing import NamedTuple

import msgspec

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_anything = msgspec.json.Decoder()
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)

# Members of an event that must be text, with the reason when they are not.
_TEXTS = {
    "type": ("unknown_type", "`type` must be text"),
    "event": ("event_not_string", "`event` must be text"),
    "userId": ("id_not_string", "`userId` must be text"),
    "anonymousId": ("id_not_string", "`anonymousId` must be text"),
    "groupId": ("id_not_string", "`groupId` must be text"),
    "previousId": ("id_not_string", "`previousId` must be text"),
    "messageId": ("message_id_not_string", "`messageId` must be text"),
    "name": ("name_not_string", "`name` must be text"),
    "category": ("category_not_string", "`category` must be text"),
}


class Fault(NamedTuple):
    """One reason code with its sentence."""

    reason: str
    detail: str


def explain(text: bytes, error: Exception) -> Fault:
    """Why an event's envelope could not be read."""
    try:
        members = _object.decode(text)
    except msgspec.ValidationError:
        return Fault("event_not_object", "an event must be a JSON object")
    except _UNREADABLE:
        return Fault("unreadable_json", f"the event cannot be read: {error}")
    for name, (reason, sentence) in _TEXTS.items():
        raw = bytes(members.get(name, b""))
        if raw and not raw.startswith(b'"') and raw != b"null":
            return Fault(reason, sentence)
    for name in ("timestamp", "originalTimestamp", "sentAt"):
        if bytes(members.get(name, b""))[:1] in (b"{", b"[", b"t", b"f"):
            return Fault("timestamp_not_string", f"`{name}` must be a time as text")
    return Fault("unreadable_json", f"the event cannot be read: {error}")


def context_fault(context: msgspec.Raw) -> Fault | None:
    """What is wrong in `context.consent` and `context.device`; nearly every event pays a glance for it, no more."""
    text = bytes(context)
    if b'"consent"' not in text and b'"advertisingId"' not in text:
        return None
    try:
        members = _anything.decode(text)
    except _UNREADABLE as error:
        return Fault("unreadable_json", f"the event's context cannot be read: {error}")
    if not isinstance(members, dict):
        return None
    device = members.get("device")
    if isinstance(device, dict) and not isinstance(device.get("advertisingId"), str | None):
        return Fault("device_advertisingid_should_be_string", "`context.device.advertisingId` must be text")
    return _consent_fault(members["consent"]) if "consent" in members else None


def _consent_fault(consent: object) -> Fault | None:
    if consent is None:
        return None
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if preferences is None or not isinstance(consent, dict):
        return Fault("consent_categorypreferences_should_exist", "`context.consent` needs `categoryPreferences` inside")
    if not isinstance(preferences, dict):
        return Fault(
            "consent_categorypreferences_fields_should_be_object",
            "`context.consent.categoryPreferences` must be an object",
        )
    if not all(isinstance(value, bool) for value in preferences.values()):
        return Fault(
            "consent_categorypreferences_fields_should_be_bool",
            "each value of `context.consent.categoryPreferences` must be true or false",
        )
    version = consent.get("version")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int | float)):
        return Fault("consent_version_should_be_number", "`context.consent.version` must be a number")
    return None
