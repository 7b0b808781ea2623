"""A request body becomes events: each valid one typed and normalised, each other one named with Segment's reason.

Reading a body is pure and always ends the same way, so the log can be read again at any time.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from punchcard.events.faults import Fault, context_fault, explain
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.events.times import corrected, read_time

EVENT_BYTES_MAX = 32 * 1024
BATCH_BYTES_MAX = 500 * 1024
BATCH_EVENTS_MAX = 2_500
MESSAGE_ID_LENGTH_MAX = 100
BATCH: Final = "batch"


@dataclass(frozen=True, slots=True)
class IngestFailure:
    """Something received that is no valid event.

    Attributes:
        reason: Segment's code where it has one (`event_not_defined` …), else ours.
        detail: A sentence for a person.
        message_id: Its id, derived from its place in the log if it has none that can be read.
        raw: Its JSON text as received.
    """

    reason: str
    detail: str
    message_id: str
    raw: bytes


class _Request(msgspec.Struct, rename="camel"):
    write_key: msgspec.Raw = msgspec.Raw()


class _Batch(msgspec.Struct, rename="camel"):
    batch: list[msgspec.Raw] | None = None
    sent_at: object = None
    context: msgspec.Raw = msgspec.Raw()
    integrations: msgspec.Raw = msgspec.Raw()


_request = msgspec.json.Decoder(_Request)
_batch = msgspec.json.Decoder(_Batch)
_event = msgspec.json.Decoder(WireEvent)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_encoder = msgspec.json.Encoder()
_TYPES: Final[dict[str, EventType]] = {one.value: one for one in EventType}
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
# A backslash with what belongs to it: a surrogate pair, a lone surrogate, or anything else.
_ESCAPES = re.compile(
    rb"\\(?:(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A body that is one JSON object.

    Attributes:
        body: The body to keep: as received, but lone surrogates stand as U+FFFD.
        write_key: The `writeKey` in it, None if there is no text under that name.
    """

    body: bytes
    write_key: str | None


def open_request(body: bytes) -> Opened | None:
    """See that a request body is one JSON object; None if it is not. Materialises nothing but the write key."""
    try:
        body.decode()  # strings are skipped over below without a look at their bytes
        return Opened(body, _write_key(body))
    except _UNREADABLE:
        pass
    try:
        # JavaScript writes half of a split character as an escape: one such event must not cost its whole batch.
        mended = _ESCAPES.sub(_mend, body)
        mended.decode()
        return Opened(mended, _write_key(mended))
    except _UNREADABLE:
        return None


def read_request(
    body: bytes, *, call: str, received_at: datetime, position: int, ip: str = ""
) -> list[Event | IngestFailure]:
    """The events of one request body, in order.

    Args:
        body: What `open_request` let through, uncompressed.
        call: `batch`, or the name of the single call, which then is the event's type.
        received_at: When the Tracking API took it.
        position: Its place in the log: ids of events that have none are derived from it.
        ip: The sender's address if it is client-side traffic: `context.ip` of events that have none.

    Returns:
        One item per event; one failure for a body that holds none.
    """
    if call != BATCH:
        text = _merged(body, _shared(_Batch(), ip)) if ip else body
        return [_read_event(text, _TYPES.get(call), None, received_at, position, 0)]
    try:
        batch = _batch.decode(body)
    except _UNREADABLE:
        batch = _Batch()
    if not batch.batch:
        detail = "the request holds no events: `batch` must be a list with at least one"
        return [IngestFailure("empty_batch", detail, _derived_id(position, 0), bytes(body))]
    shared = _shared(batch, ip)
    items: list[Event | IngestFailure] = []
    for index, raw in enumerate(batch.batch):
        if index >= BATCH_EVENTS_MAX:
            detail = f"a batch has at most {BATCH_EVENTS_MAX} events; this is number {index + 1}"
            items.append(IngestFailure("batch_too_many_events", detail, _id_of(raw, position, index), bytes(raw)))
            continue
        text = _merged(raw, shared) if shared else raw
        items.append(_read_event(text, None, batch.sent_at, received_at, position, index))
    return items


def _read_event(
    raw: bytes | msgspec.Raw,
    implied: EventType | None,
    batch_sent_at: object,
    received_at: datetime,
    position: int,
    index: int,
) -> Event | IngestFailure:
    text = bytes(raw)
    try:
        wire = _event.decode(text)
    except _UNREADABLE as error:
        return _failed(explain(text, error), text, position, index)
    type_ = implied or _TYPES.get(wire.type or "")
    fault = _fault(wire, type_, text)
    if fault is not None:
        return _failed(fault, text, position, index)
    assert type_ is not None
    message_id = wire.message_id or _derived_id(position, index)
    original = read_time(wire.original_timestamp) or read_time(wire.timestamp)
    sent_at = read_time(wire.sent_at if wire.sent_at is not None else batch_sent_at)
    timestamp = corrected(original, sent_at=sent_at, received_at=received_at)
    return Event(type_, MessageId(message_id), timestamp, received_at, wire, text)


def _fault(wire: WireEvent, type_: EventType | None, text: bytes) -> Fault | None:
    """What is wrong with an event whose envelope has the right types, None if nothing is."""
    if len(text) > EVENT_BYTES_MAX:
        return Fault("event_too_large", f"an event has at most 32 KB; this one has {len(text):,} bytes")
    if type_ is None:
        named = "none" if wire.type is None else f'"{wire.type}"'
        return Fault("unknown_type", f"`type` must be one of {', '.join(_TYPES)}; it is {named}")
    if wire.user_id == "" or wire.anonymous_id == "":
        return Fault("id_not_string", "`userId` and `anonymousId` must not be empty where they are given")
    if wire.user_id is None and wire.anonymous_id is None:
        return Fault("no_user_anon_id", "an event needs a `userId` or an `anonymousId`")
    if type_ is EventType.TRACK and not wire.event:
        return Fault("event_not_defined", "a track call needs the event's name in `event`")
    if type_ is EventType.GROUP and not wire.group_id:
        return Fault("id_required", "a group call needs a `groupId`")
    if type_ is EventType.ALIAS and not wire.previous_id:
        return Fault("id_required", "an alias call needs a `previousId`")
    if wire.message_id is not None and len(wire.message_id) > MESSAGE_ID_LENGTH_MAX:
        return Fault("message_id_too_long", f"`messageId` has at most {MESSAGE_ID_LENGTH_MAX} characters")
    if not _is_object(wire.properties):
        return Fault("properties_not_object", "`properties` must be an object")
    if not _is_object(wire.traits):
        return Fault("traits_not_object", "`traits` must be an object")
    if not _is_object(wire.context):
        return Fault("context_not_object", "`context` must be an object")
    return context_fault(wire.context)


def _is_object(raw: msgspec.Raw) -> bool:
    if not raw:
        return True
    text = bytes(raw)
    return text.startswith(b"{") or text == b"null"


def _failed(fault: Fault, text: bytes, position: int, index: int) -> IngestFailure:
    return IngestFailure(fault.reason, fault.detail, _id_of(text, position, index), text)


def _id_of(raw: bytes | msgspec.Raw, position: int, index: int) -> str:
    """The id of something that is no valid event, as far as one can be read."""
    try:
        found = _text.decode(_object.decode(raw)["messageId"])
    except (*_UNREADABLE, KeyError):
        found = ""
    return found if 0 < len(found) <= MESSAGE_ID_LENGTH_MAX else _derived_id(position, index)


def _derived_id(position: int, index: int) -> str:
    return f"derived-{position}-{index}"


def _shared(batch: _Batch, ip: str) -> dict[str, dict[str, msgspec.Raw]]:
    """The batch's own `context` and `integrations` and the sender's address, which every item gets under its own."""
    shared: dict[str, dict[str, msgspec.Raw]] = {"context": {"ip": msgspec.Raw(_encoder.encode(ip))}} if ip else {}
    for name, raw in (("context", batch.context), ("integrations", batch.integrations)):
        if raw and bytes(raw).startswith(b"{") and (members := _object.decode(raw)):
            shared[name] = {**shared.get(name, {}), **members}
    return shared


def _merged(raw: bytes | msgspec.Raw, shared: dict[str, dict[str, msgspec.Raw]]) -> bytes | msgspec.Raw:
    try:
        event = _object.decode(raw)
    except _UNREADABLE:
        return raw
    for name, members in shared.items():
        own = event.get(name)
        if own is None or bytes(own) == b"null":
            event[name] = msgspec.Raw(_encoder.encode(members))
        elif bytes(own).startswith(b"{"):
            event[name] = msgspec.Raw(_encoder.encode({**members, **_object.decode(own)}))
    return _encoder.encode(event)


def _write_key(body: bytes) -> str | None:
    raw = _request.decode(body).write_key
    text = bytes(raw)
    return _text.decode(text) if text.startswith(b'"') else None


def _mend(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape[2] else escape[0]
