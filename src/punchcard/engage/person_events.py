"""Convert events of the lake into what Engage works with: external ids, traits, and facts for computations."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from punchcard.clock import to_micros
from punchcard.engage.call_size import INVALID, TOO_LARGE
from punchcard.engage.facts import FactRows
from punchcard.engage.sync_calls import read_message_id
from punchcard.engage.telemetry import EngageTelemetry
from punchcard.events.faults import UNREADABLE
from punchcard.events.members import exact_properties
from punchcard.events.model import EventType
from punchcard.events.sequence import seq_of
from punchcard.lake.person_query import PAGE_VIEWED, SCREEN_VIEWED
from punchcard.lake.reader import LakeEvent
from punchcard.profiles.external_ids import IdReader
from punchcard.profiles.rules import ExternalId
from punchcard.store.engage.engage_tables import SYNC_REFUSED
from punchcard.store.routing.event_results import is_stopped_by_rules
from punchcard.workspace.computations import OWN_SOURCES

TRAITS_MAX = 300
"""An identify call with this many traits is treated as a mistake; Segment rejects it too."""

_TRAIT_NAME_CHARACTERS_MAX = 256
_IDENTIFY = "identify"
# Unrelated to the call: it is sent again. Earlier versions wrote `destination_disabled`.
_NOT_REACHED = frozenset({"destination_off", "destination_disabled", "INVALID_SETTINGS"})
_VIEWED = {EventType.PAGE: (PAGE_VIEWED, "page_name"), EventType.SCREEN: (SCREEN_VIEWED, "screen_name")}


class _Personas(msgspec.Struct, gc=False):
    computation_key: str = ""


class _OwnTraits(msgspec.Struct, gc=False):
    email: str = ""


class _OwnContext(msgspec.Struct, gc=False):
    personas: _Personas = msgspec.field(default_factory=_Personas)
    traits: _OwnTraits = msgspec.field(default_factory=_OwnTraits)


class _OwnCall(msgspec.Struct, gc=False):
    context: _OwnContext = msgspec.field(default_factory=_OwnContext)
    traits: _OwnTraits = msgspec.field(default_factory=_OwnTraits)


class _Payload(msgspec.Struct, gc=False):
    name: msgspec.Raw = msgspec.Raw()
    properties: msgspec.Raw = msgspec.Raw()
    traits: msgspec.Raw = msgspec.Raw()
    context: msgspec.Raw = msgspec.Raw()


_own_call = msgspec.json.Decoder(_OwnCall)
_payload = msgspec.json.Decoder(_Payload)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class PersonEvent(msgspec.Struct, frozen=True, gc=False):
    """An event with the person it is about.

    Attributes:
        ids: The external ids, strongest first, at least one.
        at: Time of the event.
        seq: Position in the log: see `seq_of`.
        traits: JSON text of each trait of an identify call; `null` removes the trait.
    """

    ids: tuple[ExternalId, ...]
    at: datetime
    received_at: datetime
    source: str
    message_id: str
    seq: int
    traits: dict[str, str] | None


@dataclass(frozen=True, slots=True)
class UnsyncedCall:
    """A call of Engage that did not reach its destination, because the destination was disabled or refused it.

    Attributes:
        sequence: Number of the call about this email and key in its account.
        call: `identify` or `track`.
        waits_for: What must change before it is sent again; "" for nothing.
        detail: Why the destination's mapping refused it, "" if it did not.
        account: Digest of the account that it was planned for.
    """

    destination: str
    key: str
    email: str
    sequence: int
    call: str
    waits_for: str = ""
    detail: str = ""
    account: str = ""


@dataclass
class PersonEvents:
    """A batch of events, read.

    Attributes:
        people: The events that are about a person.
        facts: The facts of those events that computations use, without profiles yet.
        fact_people: For each fact, its index in `people`.
        unsynced: The calls of Engage that must be sent again.
        through: The last log position read.
    """

    people: list[PersonEvent] = field(default_factory=list)
    facts: FactRows = field(default_factory=FactRows)
    fact_people: list[int] = field(default_factory=list)
    unsynced: list[UnsyncedCall] = field(default_factory=list)
    through: int = 0


def read_events(events: Sequence[LakeEvent], reader: IdReader) -> PersonEvents:
    """Read a batch of events in log order."""
    reading = PersonEvents()
    for event in events:
        reading.through = event.log_position
        try:
            if is_counted(event):
                _read(event, reader, reading)
            elif event.source is not None and event.source.startswith(OWN_SOURCES):
                _read_own(event, reading)
        except Exception as error:  # noqa: BLE001  # an event that our code fails on must not stop the others
            EngageTelemetry().event_not_read(message_id=event.message_id, error=error)
    return reading


def _read_own(event: LakeEvent, reading: PersonEvents) -> None:
    call_id = read_message_id(event.message_id)
    if call_id is None:
        return
    has_failed = any(result.status == "failed_on_ingest" for result in event.results)
    refusal = next((result for result in event.results if result.status == "refused"), None)
    if call_id.call != _IDENTIFY:
        refusal = None  # a track call without a mapping is normal: its name is not in the event map
    if not has_failed and refusal is None and not any(result.reason in _NOT_REACHED for result in event.results):
        return
    waits_for = ""
    if has_failed:  # the same call would fail again
        waits_for = TOO_LARGE if any(result.reason == "event_too_large" for result in event.results) else INVALID
    elif refusal is not None:
        waits_for = SYNC_REFUSED
    try:
        call = _own_call.decode(event.payload)
    except UNREADABLE:
        return
    reading.unsynced.append(
        UnsyncedCall(
            destination=(event.source or "").removeprefix(OWN_SOURCES),
            key=call.context.personas.computation_key,
            email=call.traits.email or call.context.traits.email,
            sequence=call_id.sequence,
            call=call_id.call,
            account=call_id.account,
            waits_for=waits_for,
            detail="" if refusal is None else refusal.detail or refusal.reason or "",
        )
    )


def is_counted(event: LakeEvent) -> bool:
    """Return False for events that failed on ingest, were stopped, are duplicates, or were sent by Engage itself."""
    if not event.type or event.timestamp is None or event.source is None or event.source.startswith(OWN_SOURCES):
        return False
    if is_stopped_by_rules(event.results):
        return False
    return not any(
        result.status == "failed_on_ingest" or result.reason == "duplicate_message_id" for result in event.results
    )


def _read(event: LakeEvent, reader: IdReader, reading: PersonEvents) -> None:
    ids = reader.ids_of(
        user_id=event.user_id, anonymous_id=event.anonymous_id, email=event.email, payload=event.payload
    )
    if not ids or event.timestamp is None:
        return
    kind = EventType(event.type)
    try:
        payload = _payload.decode(event.payload)
    except UNREADABLE:
        payload = _Payload()
    traits = _traits(payload.traits) if kind is EventType.IDENTIFY else None
    if kind in (EventType.TRACK, EventType.PAGE, EventType.SCREEN):
        _add_fact(event, kind, payload, reading)
    seq = seq_of(event.log_position, event.event_index)
    reading.people.append(
        PersonEvent(ids, event.timestamp, event.received_at, event.source or "", event.message_id, seq, traits)
    )


def _add_fact(event: LakeEvent, kind: EventType, payload: _Payload, reading: PersonEvents) -> None:
    # Computations find an amount or order id under its exact name, however the sender spells it, as points rules do.
    name, properties = event.event or "", exact_properties(payload.properties) or None
    if kind in _VIEWED:
        name, key = _VIEWED[kind]
        properties = _with_name(properties, key, payload.name)
    rows = reading.facts
    rows.happened.append(to_micros(event.timestamp) if event.timestamp else 0)
    rows.seqs.append(seq_of(event.log_position, event.event_index))
    rows.events.append(name)
    rows.sources.append(event.source or "")
    rows.properties.append(properties)
    rows.contexts.append(bytes(payload.context) or None)
    reading.fact_people.append(len(reading.people))


def _with_name(properties: bytes | None, key: str, name: msgspec.Raw) -> bytes | None:
    """Return the properties of a page or screen call with its name added."""
    if not bytes(name):
        return properties
    try:
        members = _members.decode(properties) if properties else {}
    except UNREADABLE:
        return properties
    return msgspec.json.encode({**members, key: name})


def _traits(raw: msgspec.Raw) -> dict[str, str] | None:
    if not bytes(raw):
        return None
    try:
        members = _members.decode(raw)
    except UNREADABLE:
        return None
    if len(members) >= TRAITS_MAX:
        return None
    return {
        name.replace("\x00", "\ufffd"): bytes(value).decode(errors="replace").replace("\\u0000", "\\ufffd")
        for name, value in members.items()
        if 0 < len(name) <= _TRAIT_NAME_CHARACTERS_MAX
    }
