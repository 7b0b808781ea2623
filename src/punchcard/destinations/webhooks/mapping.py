"""What one event becomes at a webhook: a call with a body, as pure functions of event and settings."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from punchcard.destinations.keys import event_key, hashed_part
from punchcard.destinations.port import Intent, OnRepeat
from punchcard.destinations.webhooks.definition import WEBHOOK_CALL
from punchcard.destinations.webhooks.settings import WebhooksSettings
from punchcard.errors import RefusedError
from punchcard.events.emails import email_of
from punchcard.events.faults import UNREADABLE
from punchcard.events.model import EMPTY_OBJECT, Event, EventType

BODY_BYTES_MAX: Final = 512 * 1024
_VERSION: Final = 2  # of the form of Segment's events
_ORDERING_KEY_CHARACTERS_MAX: Final = 200
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


class WebhookCall(msgspec.Struct, rename="camel"):
    """The payload of an effect: decided when the event is planned, so that every try sends the same bytes.

    Attributes:
        message_id: The receiver's key for dropping repeats.
        body: JSON text of what is sent for the event.
    """

    message_id: str
    body: msgspec.Raw


_call_decoder = msgspec.json.Decoder(WebhookCall)


def read_call(payload: str | None) -> WebhookCall:
    """Return the payload of an effect as it was planned."""
    return _call_decoder.decode(payload or "")


def plan(event: Event, settings: WebhooksSettings, *, source: str) -> Intent:
    """Return the call that an event makes.

    Raises:
        RefusedError: the event cannot be made into a body: `unreadable_value` or `webhook_body_too_large`.
    """
    try:
        body = segment_event(event, source=source)
        if settings.template is not None:
            body = settings.template.apply(body)
        payload = _encode(WebhookCall(message_id=event.message_id, body=msgspec.Raw(body))).decode()
    except UNREADABLE as error:
        raise RefusedError(f"the event cannot be read whole: {error}", code="unreadable_value") from error
    if len(body) > BODY_BYTES_MAX:
        raise RefusedError(
            f"the body would have {len(body)} bytes, at most {BODY_BYTES_MAX} are sent", code="webhook_body_too_large"
        )
    email = email_of(event) or ""
    return Intent(
        kind=WEBHOOK_CALL,
        effect_key=event_key(source, message_id=event.message_id),
        customer=email,
        email=email,
        event_name=_name_of(event),
        ordering_key=_ordering_key(event, source),
        on_repeat=OnRepeat.DUPLICATE,
        payload=payload,
        summary=f"{event.type} call",
    )


def plan_deletion(user_id: str, *, source: str, message_id: str, requested_at: datetime) -> Intent:
    """Return the call that requests the receiver to delete a user: Segment's `delete` message."""
    instant = _iso(requested_at)
    body = _encode(
        {
            "channel": "server",
            "context": {},
            "integrations": {},
            "messageId": message_id,
            "projectId": source,
            "receivedAt": instant,
            "timestamp": instant,
            "type": "delete",
            "userId": user_id,
            "version": _VERSION,
        }
    )
    return Intent(
        kind=WEBHOOK_CALL,
        effect_key=event_key(source, message_id=message_id),
        customer="",
        email="",
        event_name="delete",
        ordering_key=_limited(f"{source}:user:{user_id}"),
        on_repeat=OnRepeat.DUPLICATE,
        payload=_encode(WebhookCall(message_id=message_id, body=msgspec.Raw(body))).decode(),
        summary="delete call",
    )


def segment_event(event: Event, *, source: str) -> bytes:
    """Return the event's JSON text as Segment's Webhooks send it: the sender's members, and those of the server.

    Raises:
        msgspec.DecodeError, RecursionError, UnicodeDecodeError: see `events.faults.UNREADABLE`.
    """
    members = _object.decode(event.raw)
    # A write key lets its holder send events: the receiver has no use for it.
    members.pop("writeKey", None)
    original = event.wire.original_timestamp or event.wire.timestamp
    members["version"] = _raw(_VERSION)
    members["type"] = _raw(event.type.value)
    members["messageId"] = _raw(event.message_id)
    members["projectId"] = _raw(source)
    members.setdefault("channel", _raw("server"))
    members.setdefault("context", EMPTY_OBJECT)
    members.setdefault("integrations", EMPTY_OBJECT)
    members["originalTimestamp"] = original if original else _raw(_iso(event.timestamp))
    members["timestamp"] = _raw(_iso(event.timestamp))
    members["receivedAt"] = _raw(_iso(event.received_at))
    return _encode(members)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _name_of(event: Event) -> str:
    if event.type in (EventType.PAGE, EventType.SCREEN):
        return event.wire.name or event.type
    return event.wire.event or event.type


def _ordering_key(event: Event, source: str) -> str:
    """Return the key of the user or the device: its events stay in order; an event of neither waits for no other."""
    wire = event.wire
    if wire.user_id:
        key = f"{source}:user:{wire.user_id}"
    elif wire.anonymous_id:
        key = f"{source}:anonymous:{wire.anonymous_id}"
    else:
        key = f"{source}:message:{event.message_id}"
    return _limited(key)


def _limited(key: str) -> str:
    return key if len(key) <= _ORDERING_KEY_CHARACTERS_MAX else hashed_part(key)
