"""Log records without the events of some persons: the other events of a record stay as they were received."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from punchcard.errors import UnreadableRecordError
from punchcard.events.faults import UNREADABLE
from punchcard.events.forwarded import FORWARDED, plain_event
from punchcard.events.model import Event
from punchcard.events.parse import BATCH
from punchcard.lake.extraction import extract_email
from punchcard.log.bodies import decompress, salvage
from punchcard.log.port import LogRecord
from punchcard.profiles.erasure import ErasedIds
from punchcard.routing.records import Item, read_items_at, read_record
from punchcard.routing.replay_record import REPLAY
from punchcard.routing.suppression import as_event, without_person

_EMPTY: Final = msgspec.Raw(b"{}")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def without_events(record: LogRecord, indices: Collection[int], ids: ErasedIds) -> LogRecord:
    """Return the record with placeholders for some of its events, at the same indices.

    A placeholder has the event's type, name and message id, so that its results still belong to it. Reading it gives a
    failure, never an event that earns something.

    Args:
        indices: Of the events to replace.
        ids: What must not be left in the members that all events of a batch share; empty if nothing is known of it.
    """
    try:
        plain = decompress(record)
        items = read_items_at(record, plain, indices)
        placeholders = {index: msgspec.Raw(_placeholder(item, ids)) for index, item in items.items()}
        shared = [ids, _ids_in(items.values())]
        body = _replaced(record.call, _members.decode(plain), placeholders, ids, shared)
    except (UnreadableRecordError, *UNREADABLE):
        # Not plain JSON, or damaged: what was read of the other events is written.
        everything = read_record(record)
        placeholders = {
            index: msgspec.Raw(_placeholder(everything[index], ids)) for index in indices if index < len(everything)
        }
        body = _rebuilt(record, everything, placeholders)
    return replace(record, encoding="identity", body=body, ip="", damage="")


def text_of(record: LogRecord) -> str:
    """Return what can be read of the body of a record."""
    return salvage(record).decode(errors="replace")


def _ids_in(items: Iterable[Item]) -> ErasedIds:
    """Return the ids that these events have, also those that they have from what their batch shares."""
    events = [item if isinstance(item, Event) else as_event(item) for item in items]
    return ErasedIds(
        user_ids=frozenset(event.wire.user_id for event in events if event.wire.user_id),
        anonymous_ids=frozenset(event.wire.anonymous_id for event in events if event.wire.anonymous_id),
        emails=frozenset(email for event in events if (email := extract_email(event))),
    )


def _replaced(
    call: str,
    members: dict[str, msgspec.Raw],
    placeholders: dict[int, msgspec.Raw],
    ids: ErasedIds,
    shared: Sequence[ErasedIds],
) -> bytes:
    if call == REPLAY:
        return _replaced_in_replay(members, placeholders, ids)
    if call != BATCH and call not in FORWARDED:
        return bytes(placeholders.get(0, _EMPTY)) if placeholders else _encode(members)
    raws = _list.decode(members["batch"])
    # Deletions that Segment's cloud forwards are not events, and are not counted among them.
    numbers = [number for number, raw in enumerate(raws) if call == BATCH or plain_event(bytes(raw)) is not None]
    for index, placeholder in placeholders.items():
        if index < len(numbers):
            raws[numbers[index]] = placeholder
    if call in FORWARDED:
        events = set(numbers)
        raws = [raw for number, raw in enumerate(raws) if number in events or not ids.mentions(bytes(raw).decode())]
    members["batch"] = msgspec.Raw(_encode(raws))
    for name in members.keys() - {"batch"}:
        text = bytes(members[name]).decode()
        if any(known.mentions(text) for known in shared):
            del members[name]
    return _encode(members)


def _replaced_in_replay(members: dict[str, msgspec.Raw], placeholders: dict[int, msgspec.Raw], ids: ErasedIds) -> bytes:
    events = [_members.decode(raw) for raw in _list.decode(members["events"])]
    for index, placeholder in placeholders.items():
        if index < len(events):
            events[index]["event"] = placeholder
            events[index]["result"] = msgspec.Raw(b"null")
            if "messageId" in events[index]:
                events[index]["messageId"] = msgspec.Raw(ids.scrub(bytes(events[index]["messageId"]).decode()).encode())
    members["events"] = msgspec.Raw(_encode(events))
    return _encode(members)


def _rebuilt(record: LogRecord, items: Collection[Item], placeholders: dict[int, msgspec.Raw]) -> bytes:
    if record.call != BATCH:
        return bytes(placeholders.get(0, _EMPTY))
    raws = [placeholders.get(index) or _readable(item) for index, item in enumerate(items)]
    return _encode({"batch": raws})


def _readable(item: Item) -> msgspec.Raw:
    try:
        msgspec.json.decode(item.raw, type=msgspec.Raw)
    except UNREADABLE:
        return _EMPTY
    return msgspec.Raw(item.raw)


def _placeholder(item: Item, ids: ErasedIds) -> bytes:
    return ids.scrub(without_person(item).raw.decode()).encode()
