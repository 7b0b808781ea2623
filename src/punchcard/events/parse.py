"""Parse a request body into events: valid ones typed and normalised, the others with Segment's reason.

Parsing is pure and always has the same result, so the log can be read again at any time.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import msgspec

from punchcard.clock import to_micros
from punchcard.events.batch_context import shared_members, with_shared
from punchcard.events.envelope import normalize
from punchcard.events.faults import UNREADABLE, CheckedContext, Fault, context_fault, explain
from punchcard.events.forwarded import FORWARDED, plain_event
from punchcard.events.malformed import SINGLE_EVENT_TO_BATCH, is_single_event
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.events.noted_times import future_time_note, read_noted_time
from punchcard.events.notes import Note, limited
from punchcard.events.repair import decode_repaired
from punchcard.events.times import FUTURE_MAX, YEAR_MAX, YEAR_MIN, correct_time

EVENT_BYTES_MAX = 32 * 1024
BATCH_BYTES_MAX = 500 * 1024
BATCH_EVENTS_MAX = 2_500
MESSAGE_ID_LENGTH_MAX = 100
BATCH: Final = "batch"
# A batch of 500 KB may hold 250,000 items: that many failures would cost more than they explain.
_FAILURES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class IngestFailure:
    """An item of a request that is not a valid event.

    Attributes:
        reason: Segment's code where it has one (`event_not_defined` …), otherwise ours.
        detail: A sentence for people.
        message_id: The item's id, derived from its position in the log if it has no readable one.
        raw: The JSON text as received.
        notes: Values that were converted before it failed.
    """

    reason: str
    detail: str
    message_id: str
    raw: bytes
    notes: tuple[Note, ...] = ()


class _Request(msgspec.Struct, rename="camel"):
    write_key: msgspec.Raw = msgspec.Raw()
    batch: msgspec.Raw = msgspec.Raw()


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
_decode_event = _event.decode
_decode_context = _context.decode
_decode_text = _text.decode
_NO_CONTEXT: Final = CheckedContext()
_OBJECT: Final = 0x7B  # {
_TYPES: Final[dict[str, EventType]] = {type_.value: type_ for type_ in EventType}
# Looking up a member of an enumeration costs more than everything else that is done with it here.
_TRACK, _GROUP, _ALIAS = EventType.TRACK, EventType.GROUP, EventType.ALIAS
_USUAL_TYPES: Final[Mapping[str | None, EventType]] = {
    type_.value: type_ for type_ in EventType if type_ not in (EventType.GROUP, EventType.ALIAS)
}
_NOT_USUAL: Final = (ValueError, OverflowError, *UNREADABLE)


@dataclass(frozen=True, slots=True)
class OpenedRequest:
    """A body that is one JSON object.

    Attributes:
        body: The body to store, as received. What JSON does not allow is repaired on reading.
        write_key: The `writeKey` of the body, None if there is no text with that name.
        has_batch: True if it has a member `batch`.
    """

    body: bytes
    write_key: str | None
    has_batch: bool


def open_request(body: bytes) -> OpenedRequest | None:
    """Check that a request body is one JSON object, possibly after repairs; None if it is not.

    Decodes nothing but the write key.
    """
    try:
        body.decode()  # the decoder below skips strings without checking their bytes
        (write_key, has_batch), _ = decode_repaired(_open, body, has_batch=True)
    except UNREADABLE:
        return None
    return OpenedRequest(body, write_key, has_batch)


def read_request(
    body: bytes, *, call: str, received_at: datetime, position: int, ip: str = ""
) -> list[Event | IngestFailure]:
    """Read the events of one request body, in order.

    Args:
        body: A body accepted by `open_request`, decompressed.
        call: `batch`; `partner` or `webhook` for a batch that Segment's cloud forwards; or the name of the single call,
            which is then the event's type.
        received_at: Time at which the Tracking API received it.
        position: Position in the log, from which the ids of events without one are derived.
        ip: Address of a client-side sender: `context.ip` of events that have none.

    Returns:
        One item per event (not for a forwarded deletion); one failure for a body without events.
    """
    if call != BATCH and call not in FORWARDED:
        return [_Reading(_Batch(), {}, _TYPES.get(call), received_at, position, ip).item(body, 0)]
    batch, notes = _open_batch(body)
    if not batch.batch:
        detail = "The request has no events: `batch` must be a list with at least one event."
        if is_single_event(body):
            detail = SINGLE_EVENT_TO_BATCH
        return [IngestFailure("empty_batch", detail, derived_id(received_at, position, 0), bytes(body))]
    reading = _Reading(batch, notes, None, received_at, position, ip)
    if call in FORWARDED:
        events = [event for raw in batch.batch if (event := plain_event(bytes(raw))) is not None]
        return [reading.item(event, index) for index, event in enumerate(events)]
    items = reading.items(batch.batch[:BATCH_EVENTS_MAX])
    for index, raw in enumerate(batch.batch[BATCH_EVENTS_MAX:_FAILURES_MAX], BATCH_EVENTS_MAX):
        detail = f"A batch has at most {BATCH_EVENTS_MAX:,} events; this is number {index + 1:,}."
        items.append(reading.failure(Fault("batch_too_many_events", detail), bytes(raw), index))
    if more := batch.batch[_FAILURES_MAX:]:
        detail = f"A batch has at most {BATCH_EVENTS_MAX:,} events; these are the last {len(more):,}."
        items.append(reading.failure(Fault("batch_too_many_events", detail), bytes(more[0]), _FAILURES_MAX))
    return items


def read_events_at(
    body: bytes, indices: Collection[int], *, received_at: datetime, position: int, ip: str = ""
) -> dict[int, Event | IngestFailure]:
    """Read some events of a batch: what `read_request` returns at these indices, without reading the others.

    Raises:
        IndexError: The batch has no event at an index.
    """
    batch, notes = _open_batch(body)
    raws = (batch.batch or [])[:BATCH_EVENTS_MAX]
    reading = _Reading(batch, notes, None, received_at, position, ip)
    return {index: reading.item(raws[index], index) for index in indices}


def with_text(event: Event, raw: bytes, notes: Sequence[Note] = ()) -> Event:
    """Return the event with another text that is known to be valid, such as one with fewer members.

    Args:
        raw: The event's JSON text.
        notes: What was changed, in addition to the notes of the event.
    """
    all_notes = limited((*event.notes, *notes)) if notes else event.notes
    return Event(event.type, event.message_id, event.timestamp, event.received_at, _event.decode(raw), raw, all_notes)


def read_rewritten(event: Event, raw: bytes) -> Event | Fault:
    """Return the event with the JSON text that was made of it, or why that is not a valid event of its type."""
    if len(raw) > EVENT_BYTES_MAX:
        return Fault("event_too_large", f"An event has at most 32 KB; this one has {len(raw):,} bytes.")
    try:
        wire = _event.decode(raw)
        context = _context.decode(wire.context) if wire.context else None
    except UNREADABLE as error:
        return explain(raw, error)
    if (fault := _fault(wire, event.type, context or _NO_CONTEXT)) is not None:
        return fault
    return Event(event.type, event.message_id, event.timestamp, event.received_at, wire, raw, event.notes)


def _open_batch(body: bytes) -> tuple[_Batch, Mapping[int | None, Sequence[Note]]]:
    """Return the batch, and notes about the repairs that were needed to read it."""
    try:
        # The text as received, as on acceptance: the nesting limit depends on the depth of the caller's stack.
        batch, reading = decode_repaired(_batch.decode, body, has_batch=True)
    except UNREADABLE:
        return _Batch(), {}
    return batch, reading.notes


class _Reading:
    """Reads the events of one request."""

    __slots__ = (
        "_clock_error",
        "_has_notes",
        "_implied",
        "_latest",
        "_notes",
        "_notes_of_all",
        "_position",
        "_received_at",
        "_sent_at",
        "_shared",
        "_shared_bytes",
    )

    def __init__(
        self,
        batch: _Batch,
        notes: Mapping[int | None, Sequence[Note]],
        implied: EventType | None,
        received_at: datetime,
        position: int,
        ip: str,
    ) -> None:
        self._implied = implied
        self._received_at = received_at
        self._latest = received_at + FUTURE_MAX
        self._position = position
        self._notes = notes
        self._notes_of_all = list(notes.get(None, ()))
        sent_at = batch.sent_at
        self._sent_at = read_noted_time(sent_at, "sentAt of the batch", self._notes_of_all) if sent_at else None
        self._clock_error = None if self._sent_at is None else received_at - self._sent_at
        self._shared = shared_members(batch.context, batch.integrations, ip, self._notes_of_all)
        self._has_notes = bool(self._notes or self._notes_of_all)
        self._shared_bytes = len(_encoder.encode(self._shared)) if self._shared else 0

    def items(self, raws: Sequence[msgspec.Raw]) -> list[Event | IngestFailure]:
        """Return the events or failures of a batch: what `item` returns of each, in half of its time."""
        if self._shared or self._has_notes or self._implied is not None:
            return [self.item(raw, index) for index, raw in enumerate(raws)]
        items: list[Event | IngestFailure] = []
        for index, raw in enumerate(raws):
            try:
                event = self._usual_event(bytes(raw))
            except _NOT_USUAL:
                event = None
            items.append(self.item(raw, index) if event is None else event)
        return items

    def _usual_event(self, text: bytes) -> Event | None:
        """Return an event as nearly all are: valid, with an ISO time of its own, and nothing to note.

        Returns:
            None if any of it is in doubt: `_read` then decides. Whatever is returned, `_read` would return too.

        Raises:
            _NOT_USUAL: The same.
        """
        wire = _decode_event(text)
        type_ = _USUAL_TYPES.get(wire.type)
        user_id, anonymous_id, message_id, time_text = wire.user_id, wire.anonymous_id, wire.message_id, wire.timestamp
        if (
            type_ is None
            or (type_ is _TRACK and not wire.event)
            or not message_id
            or len(message_id) > MESSAGE_ID_LENGTH_MAX
            or not message_id.strip()
            or (user_id is None and anonymous_id is None)
            or (user_id is not None and not user_id.strip())
            or (anonymous_id is not None and not anonymous_id.strip())
            or not time_text
            or wire.original_timestamp
            or wire.sent_at
            or len(text) > EVENT_BYTES_MAX
            or ((raw := wire.properties) and bytes(raw)[0] != _OBJECT)
            or ((raw := wire.traits) and bytes(raw)[0] != _OBJECT)
            or ((raw := wire.integrations) and bytes(raw)[0] != _OBJECT)
        ):
            return None
        if wire.context:
            context = _decode_context(wire.context)
            if context is not None and (context.consent or context.device):
                return None
        instant = datetime.fromisoformat(_decode_text(time_text))
        if instant.tzinfo is not UTC or not YEAR_MIN <= instant.year <= YEAR_MAX:
            return None
        if self._clock_error is not None:
            instant += self._clock_error
            if not YEAR_MIN <= instant.year <= YEAR_MAX:
                return None
        if instant > self._latest:
            return None
        return Event(type_, message_id, instant, self._received_at, wire, text)

    def item(self, raw: bytes | msgspec.Raw, index: int) -> Event | IngestFailure:
        """Return one event, or its failure."""
        text = bytes(raw)
        if len(text) > EVENT_BYTES_MAX or self._shared_bytes > EVENT_BYTES_MAX:
            return self.failure(self._size_fault(len(text)), text, index)
        notes = [*self._notes_of_all, *self._notes.get(index, ())] if self._has_notes else []
        if self._shared:
            text = with_shared(text, self._shared, notes)
        item = self._read(text, index, notes)
        if isinstance(item, IngestFailure) or _is_list(item.wire.integrations):
            return self._converted(text, index, notes) or item
        return item

    def _converted(self, text: bytes, index: int, notes: list[Note]) -> Event | IngestFailure | None:
        """Return the event after conversions, None if there is nothing to convert."""
        conversion = normalize(text)
        if conversion is None:
            return None
        notes += conversion.notes
        item = self._read(conversion.text, index, notes)
        return replace(item, notes=limited(notes)) if isinstance(item, IngestFailure) else item

    def _read(self, text: bytes, index: int, notes: list[Note]) -> Event | IngestFailure:
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
        first, second, sent = wire.original_timestamp, wire.timestamp, wire.sent_at
        original = read_noted_time(first, "originalTimestamp", notes) if first else None
        if original is None and second:
            original = read_noted_time(second, "timestamp", notes)
        sent_at = (read_noted_time(sent, "sentAt", notes) if sent else None) or self._sent_at
        timestamp = correct_time(original, sent_at=sent_at, received_at=self._received_at)
        if timestamp > self._latest:
            notes.append(future_time_note(timestamp))
            timestamp = self._received_at
        event_notes = limited(notes) if notes else ()
        return Event(type_, MessageId(message_id), timestamp, self._received_at, wire, text, event_notes)

    def failure(self, fault: Fault, text: bytes, index: int) -> IngestFailure:
        """Return a failure with the event's id, if one can be read."""
        try:
            decoded = _text.decode(_object.decode(text)["messageId"])
        except (*UNREADABLE, KeyError):
            decoded = ""
        if not 0 < len(decoded) <= MESSAGE_ID_LENGTH_MAX:
            decoded = derived_id(self._received_at, self._position, index)
        return IngestFailure(fault.reason, fault.detail, decoded, text)

    def _size_fault(self, size: int) -> Fault:
        if size > EVENT_BYTES_MAX:
            detail = f"An event has at most 32 KB; this one has {size:,} bytes."
        else:
            detail = (
                "The `context` and `integrations` of a batch have at most 32 KB, because they count for each event; "
                f"these have {self._shared_bytes:,} bytes."
            )
        return Fault("event_too_large", detail)


def _fault(wire: WireEvent, type_: EventType | None, context: CheckedContext) -> Fault | None:
    """Return the fault of an event with the right types in its envelope, None if there is none."""
    if type_ is None:
        return _type_fault(wire)
    user_id, anonymous_id = wire.user_id, wire.anonymous_id
    if user_id is None and anonymous_id is None:
        return Fault("no_user_anon_id", "An event needs a `userId` or an `anonymousId`.")
    if (user_id is not None and not user_id.strip()) or (anonymous_id is not None and not anonymous_id.strip()):
        return Fault("id_not_string", "`userId` and `anonymousId` must not be empty if present.")
    if type_ is _TRACK and not wire.event:
        return Fault("event_not_defined", "A track call needs the event's name in `event`.")
    if type_ is _GROUP and not wire.group_id:
        return Fault("id_required", "A group call needs a `groupId`.")
    if type_ is _ALIAS and not wire.previous_id:
        return Fault("id_required", "An alias call needs a `previousId`.")
    message_id = wire.message_id
    if message_id is not None and (len(message_id) > MESSAGE_ID_LENGTH_MAX or not message_id.strip()):
        return Fault("message_id_too_long", f"`messageId` has at most {MESSAGE_ID_LENGTH_MAX} characters.")
    if wire.properties and not _is_object(wire.properties):
        return Fault("properties_not_object", "`properties` must be an object.")
    if wire.traits and not _is_object(wire.traits):
        return Fault("traits_not_object", "`traits` must be an object.")
    return context_fault(context) if context.consent or context.device else None


def _type_fault(wire: WireEvent) -> Fault:
    type_text = "missing" if wire.type is None else f'"{wire.type[:100]}"'
    return Fault("unknown_type", f"`type` must be one of {', '.join(_TYPES)}; it is {type_text}.")


def _is_list(raw: msgspec.Raw) -> bool:
    return bytes(raw)[:1] == b"["


def _is_object(raw: msgspec.Raw) -> bool:
    text = bytes(raw)
    return text[0] == _OBJECT or text == b"null"


def derived_id(received_at: datetime, position: int, index: int) -> str:
    """Return the message id of an event that has none, derived from its position in the log."""
    # With the time of receipt, because a new log assigns the same positions again, and the partner
    # remembers.
    return f"derived-{to_micros(received_at)}-{position}-{index}"


def _open(body: bytes) -> tuple[str | None, bool]:
    request = _request.decode(body)
    text = bytes(request.write_key)
    return _text.decode(text) if text.startswith(b'"') else None, bool(request.batch)
