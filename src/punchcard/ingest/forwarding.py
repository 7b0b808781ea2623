"""The calls of Segment's cloud: the partner endpoint, and the URL of a Webhook destination.

Source: Segment's partner documentation, "Build a subscription webhook", and its catalog page "Webhooks".
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import Capability, Definition, FieldType
from punchcard.errors import IngestError
from punchcard.events.faults import UNREADABLE
from punchcard.events.members import folded
from punchcard.events.repair import decode_repaired

WEBHOOKS: Final = "/v1/webhooks/segment/"
PARTNERS: Final = "/partner/"
_SETTINGS_HEADER: Final = "X-Segment-Settings"
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_encoder = msgspec.json.Encoder()


def handles_forwarded(path: str) -> bool:
    """Return whether Segment's cloud calls a path."""
    return path.startswith((PARTNERS, WEBHOOKS))


def read_settings_header(value: bytes | None, definition: Definition) -> dict[str, object]:
    """Return the settings of an `X-Segment-Settings` header under the definition's keys, without null values.

    Args:
        value: Base64 of a JSON object with keys in any casing, in which numbers may represent text. None if the header
            is missing.

    Raises:
        IngestError: The header is missing or invalid.
    """
    content = _header_object(value)
    fields = {folded(field.key): field for field in definition.settings if not field.secret}
    settings: dict[str, object] = {}
    for key, value_of_key in content.items():
        field = fields.get(folded(key))
        # If a key has several spellings, the definition's own counts.
        if field is not None and value_of_key is not None and (key == field.key or field.key not in content):
            settings[field.key] = _as_field(value_of_key, field.type)
    return settings


def require_maps(settings: Mapping[str, object], definition: Definition) -> None:
    """Refuse settings without a map, because the map of an earlier call must not decide what this event earns.

    Raises:
        IngestError: A map is missing or null.
    """
    for field in definition.settings:
        if field.is_event_map and field.key not in settings:
            raise IngestError(
                f"{_SETTINGS_HEADER}: settings.{field.key} is missing or null: the event is not in the {field.label}."
            )


def _header_object(value: bytes | None) -> dict[str, Any]:
    if value is None or not value.strip():
        raise IngestError(f"{_SETTINGS_HEADER} is missing. Send the base64 of a JSON object with the settings.")
    # Lines may be broken, the alphabet may be the one for URLs, and the padding may be missing.
    text = b"".join(value.split()).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        content = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise IngestError(f"{_SETTINGS_HEADER} is not base64.") from error
    try:
        decoded = msgspec.json.decode(content)
    except UNREADABLE as error:
        raise IngestError(f"{_SETTINGS_HEADER} is base64, but its content is not JSON.") from error
    if not isinstance(decoded, dict):
        raise IngestError(f"{_SETTINGS_HEADER} is base64, but its content is not a JSON object.")
    return decoded


def _as_field(content: object, type_: FieldType) -> object:
    """Return the value in the type of its field, where Segment sends another type."""
    if type_ is FieldType.STRING and isinstance(content, int) and not isinstance(content, bool):
        return str(content)
    if type_ is FieldType.BOOLEAN and isinstance(content, str) and content.lower() in ("true", "false"):
        return content.lower() == "true"
    if type_ is FieldType.TEXT_MAP and isinstance(content, Mapping):
        return {str(name): _as_field(text, FieldType.STRING) for name, text in content.items()}
    return content


def definition_of(path: str) -> Definition | None:
    """Return the destination that a path of the partner endpoint names."""
    partner = CATALOG.get(path.removeprefix(PARTNERS).rstrip("/"))
    if partner is None or Capability.EVENT_SETTINGS not in partner.definition.capabilities:
        return None  # Segment's catalog has no such destination, so its cloud cannot call it
    return partner.definition


def callable_types() -> list[str]:
    """Return the loaded destinations that have a partner endpoint."""
    definitions = (partner.definition for partner in CATALOG.loaded())
    return sorted(definition.slug for definition in definitions if Capability.EVENT_SETTINGS in definition.capabilities)


def is_signed(body: bytes, secret: str, signature: str) -> bool:
    """Return whether the signature is the one of the body, or of the first event of a list."""
    for text in _signed_texts(body):
        expected = hmac.new(secret.encode(), text, hashlib.sha1).hexdigest()
        if hmac.compare_digest(expected.encode(), signature.strip().lower().encode("utf-8", "replace")):
            return True
    return False


def _signed_texts(body: bytes) -> Sequence[bytes]:
    if not body.lstrip().startswith(b"["):
        return [body]
    try:
        elements = _elements.decode(body)
    except UNREADABLE:
        return [body]
    return [body, bytes(elements[0])] if elements else [body]


def events_of(body: bytes) -> list[bytes] | None:
    """Return the messages of a body that is one event or a list of events; None if it is neither."""
    try:
        body.decode()
        if body.lstrip().startswith(b"["):
            elements, _ = decode_repaired(_elements.decode, body, has_batch=False)
            return [bytes(element) for element in elements]
        _, reading = decode_repaired(_object.decode, body, has_batch=False)
    except UNREADABLE:
        return None
    return [reading.text]


def record_bodies(events: Sequence[bytes], *, settings: Mapping[str, object] | None, bytes_max: int) -> list[bytes]:
    """Return the events as bodies of log records, each of limited size.

    Args:
        settings: Settings of the request, None for a webhook.
    """
    head = b'{"batch":[' if settings is None else b'{"settings":%s,"batch":[' % _encoder.encode(settings)
    bodies: list[bytes] = []
    selected: list[bytes] = []
    size = 0
    for event in events:
        if selected and size + len(event) > bytes_max:
            bodies.append(head + b",".join(selected) + b"]}")
            selected, size = [], 0
        selected.append(event)
        size += len(event) + 1
    if selected:
        bodies.append(head + b",".join(selected) + b"]}")
    return bodies
