"""What Segment's cloud calls: the partner endpoint, and the URL of a Webhook destination.

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
    """True for paths that Segment's cloud calls."""
    return path.startswith((PARTNERS, WEBHOOKS))


def read_settings_header(value: bytes | None, definition: Definition) -> dict[str, object]:
    """The settings of an `X-Segment-Settings` header under the definition's keys, without those that are null.

    Args:
        value: Base64 of a JSON object; its keys may be of any casing, and its numbers stand for text. None if there is
            no such header.

    Raises:
        IngestError: it is missing, or is not that.
    """
    given = _header_object(value)
    fields = {folded(field.key): field for field in definition.settings if not field.secret}
    found: dict[str, object] = {}
    for key, content in given.items():
        field = fields.get(folded(key))
        # Of several spellings of one key, the definition's own counts.
        if field is not None and content is not None and (key == field.key or field.key not in given):
            found[field.key] = _as_field(content, field.type)
    return found


def require_maps(settings: Mapping[str, object], definition: Definition) -> None:
    """Refuse settings without a map: that of an earlier call must not decide what this event earns.

    Raises:
        IngestError: a map is missing or null.
    """
    for field in definition.settings:
        if field.is_event_map and field.key not in settings:
            raise IngestError(
                f"{_SETTINGS_HEADER}: settings.{field.key} is missing or null, so the event is not in the {field.label}"
            )


def _header_object(value: bytes | None) -> dict[str, Any]:
    if value is None or not value.strip():
        raise IngestError(f"{_SETTINGS_HEADER} is missing: send the base64 of a JSON object with the settings")
    # Lines may be broken, letters may be those of URLs, and the padding may be left out.
    text = b"".join(value.split()).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        content = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise IngestError(f"{_SETTINGS_HEADER} is not base64") from error
    try:
        decoded = msgspec.json.decode(content)
    except UNREADABLE as error:
        raise IngestError(f"{_SETTINGS_HEADER} is the base64 of something that is not JSON") from error
    if not isinstance(decoded, dict):
        raise IngestError(f"{_SETTINGS_HEADER} is the base64 of JSON that is not an object")
    return decoded


def _as_field(content: object, type_: FieldType) -> object:
    """The value in the type of its field where Segment writes it in another."""
    if type_ is FieldType.STRING and isinstance(content, int) and not isinstance(content, bool):
        return str(content)
    if type_ is FieldType.BOOLEAN and isinstance(content, str) and content.lower() in ("true", "false"):
        return content.lower() == "true"
    if type_ is FieldType.TEXT_MAP and isinstance(content, Mapping):
        return {str(name): _as_field(one, FieldType.STRING) for name, one in content.items()}
    return content


def definition_of(path: str) -> Definition | None:
    """The destination that a path of the partner endpoint names."""
    partner = CATALOG.get(path.removeprefix(PARTNERS).rstrip("/"))
    if partner is None or Capability.EVENT_SETTINGS not in partner.definition.capabilities:
        return None  # Segment's cloud has no such listing to call us as
    return partner.definition


def callable_types() -> list[str]:
    """The destinations that have a partner endpoint, of those that are loaded."""
    definitions = (partner.definition for partner in CATALOG.loaded())
    return sorted(definition.slug for definition in definitions if Capability.EVENT_SETTINGS in definition.capabilities)


def is_signed(body: bytes, secret: str, signature: str) -> bool:
    """True if the signature is that of the body, or for a list of events that of the first of them."""
    for text in _signed_texts(body):
        wanted = hmac.new(secret.encode(), text, hashlib.sha1).hexdigest()
        if hmac.compare_digest(wanted.encode(), signature.strip().lower().encode("utf-8", "replace")):
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
    """The messages of a body that is one event or a list of them; None if it is neither."""
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
    """The events as bodies of log records, each of limited size.

    Args:
        settings: Those that came along, None for a webhook.
    """
    head = b'{"batch":[' if settings is None else b'{"settings":%s,"batch":[' % _encoder.encode(settings)
    bodies: list[bytes] = []
    chosen: list[bytes] = []
    size = 0
    for event in events:
        if chosen and size + len(event) > bytes_max:
            bodies.append(head + b",".join(chosen) + b"]}")
            chosen, size = [], 0
        chosen.append(event)
        size += len(event) + 1
    if chosen:
        bodies.append(head + b",".join(chosen) + b"]}")
    return bodies
