"""A request body becomes events: each valid one typed and normalised, each other one named with Segment's reason.

Reading a body is pure and always ends the same way, so the log can be read again at any time.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from punchcard.clock import to_micros
from punchcard.events.deep import without_depths
from punchcard.events.faults import UNREADABLE, CheckedContext, Fault, context_fault, explain
from punchcard.events.forwarded import FORWARDED, plain_event
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.events.times import corrected, read_time

EVENT_BYTES_MAX = 32 * 1024
BATCH_BYTES_MAX = 500 * 1024
BATCH_EVENTS_MAX = 2_500
MESSAGE_ID_LENGTH_MAX = 100
BATCH: Final = "batch"
# A batch of 500 KB may hold 250,000 ones: that many failures would cost more than they tell.
_ITEMS_TOLD_MAX = 10_000


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
    sent_at: msgspec.Raw = msgspec.Raw()
    context: msgspec.Raw = msgspec.Raw()
    integrations: msgspec.Raw = msgspec.Raw()


_request = msgspec.json.Decoder(_Request)
_batch = msgspec.json.Decoder(_Batch)
_event = msgspec.json.Decoder(WireEvent)
_context = msgspec.json.Decoder(CheckedContext | None)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_encoder = msgspec.json.Encoder()
_NOTHING: Final = msgspec.Raw()
_NO_CONTEXT: Final = CheckedContext()
_OBJECT: Final = 0x7B  # {
_TYPES: Final[dict[str, EventType]] = {one.value: one for one in EventType}
# Looking a member of an enumeration up costs more than all else that is asked of it here.
_TRACK, _GROUP, _ALIAS = EventType.TRACK, EventType.GROUP, EventType.ALIAS
# A backslash with what belongs to it: a surrogate pair, a lone surrogate, or anything else.
_ESCAPES = re.compile(
    rb"\\(?:(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A body that is one JSON object.

    Attributes:
        body: The body to keep: as received, but lone surrogates stand as U+FFFD, and what is nested too deep to be
            read as null.
        write_key: The `writeKey` in it, None if there is no text under that name.
    """

    body: bytes
    write_key: str | None


def open_request(body: bytes) -> Opened | None:
    """See that a request body is one JSON object; None if it is not. Materialises nothing but the write key."""
    for text in mended(body):
        try:
            text.decode()  # strings are skipped over below without a look at their bytes
            return Opened(text, _write_key(text))
        except UNREADABLE:
            continue
    return None


def mended(body: bytes) -> Iterator[bytes]:
    """The body as it is, and then without what one event may do to its whole batch: take the first that can be read."""
    yield body
    # JavaScript writes half of a split character as an escape.
    mended = _ESCAPES.sub(_mend, body)
    yield mended
    yield without_depths(mended)


def read_request(
    body: bytes, *, call: str, received_at: datetime, position: int, ip: str = ""
) -> list[Event | IngestFailure]:
    """The events of one request body, in order.

    Args:
        body: What `open_request` let through, uncompressed.
        call: `batch`; `partner` or `webhook` for a batch that Segment's cloud forwards; or the name of the single call,
            which then is the event's type.
        received_at: When the Tracking API took it.
        position: Its place in the log: ids of events that have none are derived from it.
        ip: The sender's address if it is client-side traffic: `context.ip` of events that have none.

    Returns:
        One item per event (a forwarded deletion is none); one failure for a body that holds none.
    """
    if call != BATCH and call not in FORWARDED:
        return [_Reading(_Batch(), _TYPES.get(call), received_at, position, ip).item(body, 0)]
    batch = _open_batch(body)
    if not batch.batch:
        detail = "the request holds no events: `batch` must be a list with at least one"
        return [IngestFailure("empty_batch", detail, derived_id(received_at, position, 0), bytes(body))]
    reading = _Reading(batch, None, received_at, position, ip)
    if call in FORWARDED:
        events = [event for raw in batch.batch if (event := plain_event(bytes(raw))) is not None]
        return [reading.item(event, index) for index, event in enumerate(events)]
    items = [reading.item(raw, index) for index, raw in enumerate(batch.batch[:BATCH_EVENTS_MAX])]
    for index, raw in enumerate(batch.batch[BATCH_EVENTS_MAX:_ITEMS_TOLD_MAX], BATCH_EVENTS_MAX):
        detail = f"a batch has at most {BATCH_EVENTS_MAX:,} events; this is number {index + 1:,}"
        items.append(reading.failure(Fault("batch_too_many_events", detail), bytes(raw), index))
    if more := batch.batch[_ITEMS_TOLD_MAX:]:
        detail = f"a batch has at most {BATCH_EVENTS_MAX:,} events; these are the last {len(more):,} of it"
        items.append(reading.failure(Fault("batch_too_many_events", detail), bytes(more[0]), _ITEMS_TOLD_MAX))
    return items


def rewritten(event: Event, raw: bytes) -> Event:
    """The event with another text, which says the same or less.

    Args:
        raw: The event's JSON text, with members taken out.
    """
    return Event(event.type, event.message_id, event.timestamp, event.received_at, _event.decode(raw), raw)


def _open_batch(body: bytes) -> _Batch:
    try:
        return _batch.decode(body)
    except RecursionError:
        # How deep is too deep depends on the caller's own depth, which is not the one that let the body in. An event
        # nested like that must not cost its neighbours.
        try:
            return _batch.decode(without_depths(body))
        except UNREADABLE:
            return _Batch()
    except UNREADABLE:
        return _Batch()


class _Reading:
    """Reads the events of one request."""

    __slots__ = ("_implied", "_position", "_received_at", "_sent_at", "_shared", "_shared_bytes")

    def __init__(self, batch: _Batch, implied: EventType | None, received_at: datetime, position: int, ip: str) -> None:
        self._implied = implied
        self._received_at = received_at
        self._position = position
        self._sent_at = _time(batch.sent_at)
        self._shared = _shared(batch, ip)
        self._shared_bytes = len(_encoder.encode(self._shared)) if self._shared else 0

    def item(self, raw: bytes | msgspec.Raw, index: int) -> Event | IngestFailure:
        """One event, or what is wrong with it."""
        text = bytes(raw)
        if len(text) > EVENT_BYTES_MAX or self._shared_bytes > EVENT_BYTES_MAX:
            return self.failure(self._size_fault(len(text)), text, index)
        if self._shared:
            text = _merged(text, self._shared)
        try:
            wire = _event.decode(text)
            context = _context.decode(wire.context) if wire.context else None
        except UNREADABLE as error:
            return self.failure(explain(text, error), text, index)
        type_ = self._implied or _TYPES.get(wire.type or "")
        fault = _fault(wire, type_, context or _NO_CONTEXT)
        if fault is not None or type_ is None:
            return self.failure(fault or _type_fault(wire), text, index)
        message_id = wire.message_id or derived_id(self._received_at, self._position, index)
        timestamp = corrected(
            _time(wire.original_timestamp) or _time(wire.timestamp),
            sent_at=_time(wire.sent_at) or self._sent_at,
            received_at=self._received_at,
        )
        return Event(type_, MessageId(message_id), timestamp, self._received_at, wire, text)

    def failure(self, fault: Fault, text: bytes, index: int) -> IngestFailure:
        """The failure with the event's id, as far as one can be read."""
        try:
            found = _text.decode(_object.decode(text)["messageId"])
        except (*UNREADABLE, KeyError):
            found = ""
        if not 0 < len(found) <= MESSAGE_ID_LENGTH_MAX:
            found = derived_id(self._received_at, self._position, index)
        return IngestFailure(fault.reason, fault.detail, found, text)

    def _size_fault(self, size: int) -> Fault:
        if size > EVENT_BYTES_MAX:
            detail = f"an event has at most 32 KB; this one has {size:,} bytes"
        else:
            detail = (
                "`context` and `integrations` of a batch have at most 32 KB, as they count for each event; "
                f"these have {self._shared_bytes:,} bytes"
            )
        return Fault("event_too_large", detail)


def _fault(wire: WireEvent, type_: EventType | None, context: CheckedContext) -> Fault | None:
    """What is wrong with an event whose envelope has the right types, None if nothing is."""
    if type_ is None:
        return _type_fault(wire)
    if not wire.user_id or not wire.anonymous_id:
        if wire.user_id == "" or wire.anonymous_id == "":
            return Fault("id_not_string", "`userId` and `anonymousId` must not be empty where they are given")
        if wire.user_id is None and wire.anonymous_id is None:
            return Fault("no_user_anon_id", "an event needs a `userId` or an `anonymousId`")
    if type_ is _TRACK and not wire.event:
        return Fault("event_not_defined", "a track call needs the event's name in `event`")
    if type_ is _GROUP and not wire.group_id:
        return Fault("id_required", "a group call needs a `groupId`")
    if type_ is _ALIAS and not wire.previous_id:
        return Fault("id_required", "an alias call needs a `previousId`")
    if wire.message_id is not None and len(wire.message_id) > MESSAGE_ID_LENGTH_MAX:
        return Fault("message_id_too_long", f"`messageId` has at most {MESSAGE_ID_LENGTH_MAX} characters")
    if wire.properties and not _is_object(wire.properties):
        return Fault("properties_not_object", "`properties` must be an object")
    if wire.traits and not _is_object(wire.traits):
        return Fault("traits_not_object", "`traits` must be an object")
    return context_fault(context) if context.consent or context.device else None


def _type_fault(wire: WireEvent) -> Fault:
    named = "none" if wire.type is None else f'"{wire.type[:100]}"'
    return Fault("unknown_type", f"`type` must be one of {', '.join(_TYPES)}; it is {named}")


def _is_object(raw: msgspec.Raw) -> bool:
    text = bytes(raw)
    return text[0] == _OBJECT or text == b"null"


def _time(raw: msgspec.Raw) -> datetime | None:
    if not raw:
        return None
    try:
        return read_time(_text.decode(raw))
    except UNREADABLE:
        return None


def derived_id(received_at: datetime, position: int, index: int) -> str:
    """The message id of an event that has none: of its place in the log."""
    # With the time of receipt, for a log that is begun anew gives the same positions again, and the partner remembers.
    return f"derived-{to_micros(received_at)}-{position}-{index}"


def _shared(batch: _Batch, ip: str) -> dict[str, dict[str, msgspec.Raw]]:
    """The batch's own `context` and `integrations` and the sender's address, which every item gets under its own."""
    shared: dict[str, dict[str, msgspec.Raw]] = {"context": {"ip": msgspec.Raw(_encoder.encode(ip))}} if ip else {}
    for name, raw in (("context", batch.context), ("integrations", batch.integrations)):
        if raw and (members := _members(raw)):
            shared[name] = {**shared.get(name, {}), **members}
    return shared


def _merged(text: bytes, shared: Mapping[str, Mapping[str, msgspec.Raw]]) -> bytes:
    """The event's text with the shared members under its own; as it is if it is no object."""
    event = _members(text)
    if event is None:
        return text
    for name, members in shared.items():
        own = event.get(name, _NOTHING)
        below = {} if not own or bytes(own) == b"null" else _members(own)
        if below is not None:
            event[name] = msgspec.Raw(_encoder.encode({**members, **below}))
    return _encoder.encode(event)


def _members(raw: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    try:
        return _object.decode(raw)
    except UNREADABLE:
        return None


def _write_key(body: bytes) -> str | None:
    raw = _request.decode(body).write_key
    text = bytes(raw)
    return _text.decode(text) if text.startswith(b'"') else None


def _mend(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape[2] else escape[0]
