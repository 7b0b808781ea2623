"""Recover the record of synced values from the lake, after the store was restored from an older copy.

The calls that Engage sent since then are events of the lake. Without them the store would give its next calls the same
numbers, and routing would drop them as duplicates.
"""

from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.engage.sync_calls import read_message_id
from punchcard.events.faults import UNREADABLE
from punchcard.lake.reader import LakeEvent, LakeReader
from punchcard.store.delivery.recoveries import mark_finished, newest_recovery
from punchcard.store.engage.synced import Synced, save_synced, synced_value_of_email
from punchcard.store.engine import Store
from punchcard.store.routing.positions import ROUTING, position_of
from punchcard.workspace.computations import OWN_SOURCES

_EVENTS_PER_STEP = 20_000
_NO_PROFILE = 0  # unknown: the next call about this email sets it


class _Personas(msgspec.Struct):
    computation_key: str = ""


class _Context(msgspec.Struct):
    personas: _Personas = msgspec.field(default_factory=_Personas)
    traits: msgspec.Raw = msgspec.Raw(b"{}")


class _Call(msgspec.Struct):
    context: _Context = msgspec.field(default_factory=_Context)
    traits: msgspec.Raw = msgspec.Raw(b"{}")
    properties: msgspec.Raw = msgspec.Raw(b"{}")


_call = msgspec.json.Decoder(_Call)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)


@dataclass(frozen=True, kw_only=True)
class SentCall:
    """A call of Engage as the lake holds it: the value that a destination was sent for an email.

    Attributes:
        account: Digest of the account that it was planned for.
        is_track: True for a track call, False for an identify call.
    """

    destination: str
    key: str
    email: str
    value: str
    sequence: int
    sent_at: datetime
    account: str = ""
    is_track: bool = False


class RestoredSync:
    """Brings the record of synced values up to date, once, before Engage goes on. For the process that leads Engage."""

    def __init__(self, *, store: Store, lake: LakeReader, clock: Clock) -> None:
        self._store = store
        self._lake = lake
        self._clock = clock
        self._position: int | None = None

    def step(self) -> bool:
        """Read a part of the lake; True once nothing is left, False if it must be called again later.

        Raises:
            StorageError: Lake or store is not available; call again.
        """
        with self._store.reading() as work:
            recovery = newest_recovery(work)
        if recovery is None or recovery.finished_at is not None:
            return True
        if recovery.routed_at is None or self._lake.last_position() < self._through(recovery.through_position):
            return False  # routing is not finished, or the lake does not hold all routed events yet
        position = recovery.from_position if self._position is None else self._position
        while position < recovery.through_position:
            events = self._lake.after(position, limit=_EVENTS_PER_STEP)
            if not events:
                break
            position = events[-1].log_position
            with self._store.unit_of_work() as work:
                for event in events:
                    if (call := read_call(event)) is not None:
                        record_call(work, call)
            self._position = position
        with self._store.unit_of_work() as work:
            mark_finished(work, recovery.id, now=self._clock.now())
        return True

    def _through(self, through: int) -> int:
        """Return the position that the lake must have reached: the last routed one, where later records are lost."""
        with self._store.reading() as work:
            return min(through, position_of(work, ROUTING))


def record_call(work: Connection, call: SentCall) -> None:
    """Record the value that a destination was sent, unless a later one is recorded."""
    known = synced_value_of_email(
        work, destination=call.destination, key=call.key, email=call.email, account=call.account
    )
    if known is None:
        known = Synced(
            destination=call.destination,
            key=call.key,
            email=call.email,
            profile_id=_NO_PROFILE,
            value=call.value,
            sequence=0,
            sent_at=call.sent_at,
            account=call.account,
        )
    # The identify and the track call of one change have the same sequence: each is recorded separately.
    updated = known
    if call.sequence > known.sequence:
        updated = replace(updated, value=call.value, sequence=call.sequence, sent_at=call.sent_at)
    if call.is_track and call.sequence > known.track_sequence:
        updated = replace(updated, tracked=call.value, track_sequence=call.sequence)
    if updated != known:
        save_synced(work, updated)


def read_call(event: LakeEvent) -> SentCall | None:
    """Return the call that an event of the lake holds, None if the event is not Engage's."""
    call_id = read_message_id(event.message_id)
    if call_id is None or event.source is None or not event.source.startswith(OWN_SOURCES):
        return None
    try:
        call = _call.decode(event.payload)
        key = call.context.personas.computation_key
        traits = _members.decode(call.traits)
        email = _text.decode(traits.get("email") or _members.decode(call.context.traits)["email"])
        value = (traits if event.type == "identify" else _members.decode(call.properties))[key]
    except (*UNREADABLE, KeyError):
        return None
    return SentCall(
        destination=event.source.removeprefix(OWN_SOURCES),
        key=key,
        email=email,
        value=bytes(value).decode(),
        sequence=call_id.sequence,
        account=call_id.account,
        is_track=call_id.call == "track",
        sent_at=event.timestamp or event.received_at,
    )
