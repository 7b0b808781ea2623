"""Events that Segment's cloud forwards: keys in any casing, deletion requests, events without ids.

Source: Segment's partner documentation, "Build a subscription webhook" and "Webhooks"; a sender's casing varies.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.events.members import folded

PARTNER: Final = "partner"
WEBHOOK: Final = "webhook"
FORWARDED: Final = frozenset({PARTNER, WEBHOOK})
"""Calls of log records with a body `{"batch": [event, …]}` and events as written by Segment's cloud."""

_MESSAGE_ID_LENGTH_MAX: Final = 128
_DELETE: Final = b'"delete"'
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_encoder = msgspec.json.Encoder()


def _by_folded(*names: str) -> dict[str, str]:
    return {folded(name): name for name in names}


_EVENT: Final = _by_folded(
    "type",
    "event",
    "userId",
    "anonymousId",
    "groupId",
    "previousId",
    "messageId",
    "timestamp",
    "originalTimestamp",
    "sentAt",
    "name",
    "category",
    "properties",
    "traits",
    "context",
    "integrations",
)
# The members that points rules use.
_INSIDE: Final[Mapping[str, Mapping[str, str]]] = {
    "properties": _by_folded("email", "order_id", "revenue", "value", "total"),
    "traits": _by_folded("email"),
    "context": _by_folded("traits", "consent"),
}


class _Settings(msgspec.Struct):
    settings: msgspec.Raw = msgspec.Raw()


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """A request to delete all data of a user.

    Attributes:
        message_id: The same for every retry of the request.
    """

    user_id: str
    message_id: str


def plain_event(raw: bytes) -> bytes | None:
    """Return the event's text with keys in the spelling of the spec, and an id; None for a deletion.

    The result for a text never changes. A text that is not a JSON object is returned unchanged.
    """
    try:
        decoded = _object.decode(raw)
    except UNREADABLE:
        return raw
    event = _respelled(decoded, _EVENT)
    if bytes(event.get("type", b"")) == _DELETE:
        return None
    for name, spelling in _INSIDE.items():
        if name in event:
            event[name] = _inside(event[name], spelling)
    if "messageId" not in event and any(name in event for name in ("timestamp", "originalTimestamp", "sentAt")):
        # Segment retries a request until it gets a response. An event with a time is the same event each time.
        event["messageId"] = msgspec.Raw(_encoder.encode(_id_of(raw)))
    return raw if event == decoded else _encoder.encode(event)


def read_deletion(raw: bytes) -> Deletion | None:
    """Return the deletion that a message requests, None if it is an event or names no user."""
    try:
        message = _respelled(_object.decode(raw), _EVENT)
        if bytes(message.get("type", b"")) != _DELETE:
            return None
        user_id = _text.decode(message["userId"])
        message_id = _text.decode(message["messageId"]) if "messageId" in message else ""
    except (*UNREADABLE, KeyError):
        return None
    if not 0 < len(message_id) <= _MESSAGE_ID_LENGTH_MAX:
        message_id = _id_of(raw)
    return Deletion(user_id=user_id, message_id=message_id) if user_id else None


def is_deletion(raw: bytes) -> bool:
    """Return whether the message requests a deletion."""
    return plain_event(raw) is None


def settings_of(body: bytes) -> bytes:
    """Return the settings of a record of the partner endpoint, as JSON text."""
    return bytes(msgspec.json.decode(body, type=_Settings).settings)


def _inside(raw: msgspec.Raw, spelling: Mapping[str, str]) -> msgspec.Raw:
    try:
        decoded = _object.decode(raw)
    except UNREADABLE:
        return raw
    members = _respelled(decoded, spelling)
    if spelling is _INSIDE["context"] and "traits" in members:
        members["traits"] = _inside(members["traits"], _INSIDE["traits"])
    return raw if members == decoded else msgspec.Raw(_encoder.encode(members))


def _respelled(members: Mapping[str, msgspec.Raw], spelling: Mapping[str, str]) -> dict[str, msgspec.Raw]:
    """Return the members with known spellings; a member that already has the known spelling keeps it."""
    respelled: dict[str, msgspec.Raw] = {}
    for name, value in members.items():
        known = spelling.get(folded(name), name)
        respelled[name if known in members or known in respelled else known] = value
    return respelled


def _id_of(raw: bytes) -> str:
    return f"content-{hashlib.sha256(raw).hexdigest()[:40]}"
