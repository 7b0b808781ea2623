"""Tells destinations what has changed: decides the calls, keeps them, and appends them to the event log, once each.

A call is decided in one unit of work with what the destination has been told by it. From there it is in the store until
the log has it; a crash in between appends it again under the same message id, and routing takes that for what it is.

Source: Segment's documentation, "Using Engage data", for the shapes of the calls.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, func, select

from punchcard.clock import Clock, to_micros
from punchcard.destinations.port import EffectKind
from punchcard.engage.reading import Untold
from punchcard.engage.telemetry import EngageTelemetry
from punchcard.log.port import EventLog, NewRecord
from punchcard.store import engage as stored
from punchcard.store.engage import NOBODY, Due, Synced
from punchcard.store.engine import Store
from punchcard.store.positions import ROUTING, position_of
from punchcard.store.profiles import ids_of, traits_of
from punchcard.store.schema import EffectState, effects
from punchcard.workspace.computations import OWN_SOURCES
from punchcard.workspace.model import Computation
from punchcard.workspace.snapshot import Snapshot

FLICKER = timedelta(minutes=1)
"""Somebody who was told of less than this ago is told of again only then, and not at all if nothing differs by then."""

# What may be on its way at once: what the destination does in some seconds, so that an award waits no longer.
_OPEN_SECONDS = 5
_OPEN_MIN = 2
_OPEN_UNLIMITED = 200
_AWARDS_WAIT = timedelta(seconds=2)
_INVALID_WAIT = timedelta(minutes=1)
_DECIDED_PER_STEP = 200
_CALLS_PER_RECORD = 100
_REQUESTS_PER_CALL = 2  # the person's connection is looked up, then changed


@dataclass(frozen=True, kw_only=True)
class Target:
    """One destination that is told of people.

    Attributes:
        name: Its key in the `integrations` object.
        write_key: Under which its calls enter the log.
        calls_per_second: What its partner takes.
    """

    slug: str
    name: str
    write_key: str
    calls_per_second: float


class Teller:
    """Sends what has changed. One at a time.

    Awards go first: nothing is sent while a destination is behind with them, and only so much is on its way at once as
    it does in some seconds. The rest waits here, where a change that is taken back costs nothing.
    """

    def __init__(self, *, store: Store, log: EventLog, clock: Clock) -> None:
        self._store = store
        self._log = log
        self._clock = clock
        self._telemetry = EngageTelemetry()
        self._appended = 0
        self._write_keys: Mapping[str, str] = {}

    def step(self, snapshot: Snapshot) -> int:
        """Send some of what is due; returns how many calls.

        Raises:
            StorageError: store or log failed; what was decided is sent later.
        """
        self._write_keys = snapshot.own_write_keys
        sent = self._append()
        with self._store.reading() as work:
            paused = stored.pauses(work)
            if position_of(work, ROUTING) < self._appended:
                return sent  # not all of what was sent last is known to the outbox yet
        for target in targets(snapshot):
            if target.slug not in paused:
                self._decide(target, snapshot)
        return sent + self._append()

    def _decide(self, target: Target, snapshot: Snapshot) -> None:
        now = self._clock.now()
        with self._store.reading() as work:
            room = 0 if _awards_wait(work, target.slug, now) else _room(target) - _on_its_way(work, target.slug)
            waiting = room > 0 and stored.due(work, destination=target.slug, at=now, limit=1)
        if not waiting:
            return
        with self._store.unit_of_work() as work:
            limit = min(room, _DECIDED_PER_STEP)
            rows: list[dict[str, object]] = []
            for one in stored.due(work, destination=target.slug, at=now, limit=limit):
                rows += decide(work, one, target, snapshot, now)
            stored.add_calls(work, rows)

    def _append(self) -> int:
        """Bring decided calls to the log, and forget them here."""
        with self._store.reading() as work:
            calls = stored.waiting_calls(work, _DECIDED_PER_STEP * 4)
        if not calls:
            return 0
        records = []
        received_at = to_micros(self._clock.now())
        by_destination: dict[str, list[str]] = {}
        for _, destination, body in calls:
            by_destination.setdefault(destination, []).append(body)
        for destination, bodies in by_destination.items():
            write_key = self._write_keys.get(destination)
            if write_key is None:
                continue  # the destination is gone: nobody is left to be told
            for begin in range(0, len(bodies), _CALLS_PER_RECORD):
                batch = ",".join(bodies[begin : begin + _CALLS_PER_RECORD])
                records.append(
                    NewRecord(received_at, write_key, "batch", "identity", f'{{"batch":[{batch}]}}'.encode(), "")
                )
        if records:
            self._appended = self._log.append(records)[-1]
        with self._store.unit_of_work() as work:
            stored.forget_calls(work, [message_id for message_id, _, _ in calls])
        for destination, bodies in by_destination.items():
            self._telemetry.calls_sent(destination, len(bodies))
        return len(calls)


def targets(snapshot: Snapshot) -> list[Target]:
    """The destinations that can be told."""
    found = []
    for slug, destination in snapshot.destinations.items():
        if destination.invalid is not None or not destination.destination.enabled:
            continue
        options = destination.partner.delivery_options(destination.settings)
        found.append(
            Target(
                slug=slug,
                name=destination.name,
                write_key=snapshot.own_write_keys[slug],
                calls_per_second=options.requests_per_second / _REQUESTS_PER_CALL,
            )
        )
    return found


def _room(target: Target) -> int:
    if not target.calls_per_second:
        return _OPEN_UNLIMITED
    return max(_OPEN_MIN, int(_OPEN_SECONDS * target.calls_per_second))


def _awards_wait(work: Connection, slug: str, now: datetime) -> bool:
    """Whether the destination is behind with awards: then it is told nothing else."""
    waiting = select(effects.c.id).where(
        effects.c.destination == slug,
        effects.c.is_open,
        effects.c.kind == EffectKind.TRANSACTION.value,
        effects.c.state == EffectState.PENDING,
        effects.c.due_at < now - _AWARDS_WAIT,
    )
    return work.execute(waiting.limit(1)).first() is not None


def _on_its_way(work: Connection, slug: str) -> int:
    wanted = select(func.count()).where(
        effects.c.destination == slug,
        effects.c.is_open,
        effects.c.source == OWN_SOURCES + slug,
        effects.c.kind == EffectKind.USER_PROPERTY.value,
        effects.c.reason.is_distinct_from("no_connection"),  # waits for a customer, not for its turn
    )
    return int(work.scalar(wanted) or 0)


def decide(work: Connection, one: Due, target: Target, snapshot: Snapshot, now: datetime) -> list[dict[str, object]]:
    """The calls about somebody who is due, as rows to keep; what they tell is noted as told."""
    if one.key in snapshot.invalid_computations:
        # What it would say is not known, so destinations keep what they have until it is corrected.
        stored.settle(work, one, due_at=now + _INVALID_WAIT)
        return []
    ready = snapshot.computations.get(one.key)
    computation = ready.configured if ready is not None else None
    is_told = computation is not None and computation.enabled and one.destination in computation.destinations
    wanted = _value(work, one) if is_told else "false"
    standing = stored.told_of(work, destination=one.destination, key=one.key, profile_id=one.profile_id)
    told = {row.email: row for row in standing}
    if any(row.value != wanted and now - row.sent_at < FLICKER for row in told.values()) and not one.is_resync:
        stored.settle(work, one, due_at=max(row.sent_at for row in told.values()) + FLICKER)
        return []
    newest = stored.newest_email(work, one.profile_id)
    if newest is None and not told and wanted not in NOBODY:
        stored.settle(work, one, waits_for="email")
        return []
    stored.settle(work, one)
    rows: list[dict[str, object]] = []
    for email in sorted({*told, *([newest] if newest else [])}):
        before = told.get(email) or stored.told_email(work, destination=one.destination, key=one.key, email=email)
        if before is None and wanted in NOBODY:
            continue  # it was never said that they were
        if before is not None and before.value == wanted and not one.is_resync:
            if before.profile_id != one.profile_id:
                stored.remember_told(work, replace(before, profile_id=one.profile_id))
            continue
        sequence = 1 if before is None else before.sequence + 1
        fresh = Synced(
            destination=one.destination,
            key=one.key,
            email=email,
            profile_id=one.profile_id,
            value=wanted,
            sequence=sequence,
            sent_at=now,
        )
        stored.remember_told(work, fresh)
        calls = _Calls(work, fresh, target, computation, entered=before is None or before.value != wanted)
        rows += calls.rows(is_newest=email == newest or newest is None)
    return rows


def _value(work: Connection, one: Due) -> str:
    for trait in traits_of(work, [one.profile_id], [one.key]):
        if trait.computation:
            return trait.value
    return "false"


class _Calls:
    """The calls that tell one email one value."""

    def __init__(
        self, work: Connection, fresh: Synced, target: Target, computation: Computation | None, *, entered: bool
    ) -> None:
        self._fresh = fresh
        self._target = target
        self._kind = computation.kind if computation is not None else "audience"
        self._send: Sequence[str] = computation.send if computation is not None else ("identify",)
        self._entered = entered
        ids = ids_of(work, [fresh.profile_id])[fresh.profile_id]
        user_ids = sorted(value for type_, value in ids if type_ == "user_id")
        self._user: dict[str, str] = (
            {"userId": user_ids[0]} if user_ids else {"anonymousId": f"profile-{fresh.profile_id}"}
        )

    def rows(self, *, is_newest: bool) -> list[dict[str, object]]:
        """As rows to keep. A track call goes to one email of a person only: what it awards is awarded once."""
        fresh = self._fresh
        told: list[dict[str, object]] = []
        for call in self._send:
            if call == "track" and not (is_newest and self._entered):
                continue
            message_id = _message_id(fresh, call)
            body = self._identify() if call == "identify" else self._track()
            body |= self._common(message_id)
            told.append(
                {
                    "message_id": message_id,
                    "destination": fresh.destination,
                    "body": msgspec.json.encode(body).decode(),
                    "created_at": fresh.sent_at,
                }
            )
        return told

    def _common(self, message_id: str) -> dict[str, object]:
        at = self._fresh.sent_at.isoformat().replace("+00:00", "Z")
        return {
            **self._user,
            "messageId": message_id,
            "timestamp": at,
            "integrations": {"All": False, self._target.name: True},
        }

    def _personas(self) -> dict[str, object]:
        key = self._fresh.key
        is_audience = self._kind == "audience"
        return {
            "computation_class": "audience" if is_audience else "trait",
            "computation_id": computation_id(self._kind, key),
            "computation_key": key,
            "namespace": SPACE_ID,
            "space_id": SPACE_ID,
        }

    def _identify(self) -> dict[str, object]:
        traits = {"email": self._fresh.email, self._fresh.key: msgspec.Raw(self._fresh.value.encode())}
        return {"type": "identify", "traits": traits, "context": {"personas": self._personas()}}

    def _track(self) -> dict[str, object]:
        key, value = self._fresh.key, msgspec.Raw(self._fresh.value.encode())
        if self._kind == "audience":
            event = "Audience Entered" if self._fresh.value == "true" else "Audience Exited"
            properties: dict[str, object] = {"audience_key": key, key: value}
        else:
            event, properties = "Trait Computed", {"trait_key": key, key: value}
        context = {"personas": self._personas(), "traits": {"email": self._fresh.email}}
        return {"type": "track", "event": event, "properties": properties, "context": context}


SPACE_ID = "spa_punchcard"
"""The one space that a workspace has."""


def computation_id(kind: str, key: str) -> str:
    """The id of a computation: `aud_…` or `tra_…`, the same for ever."""
    digest = hashlib.sha256(f"{kind}:{key}".encode()).hexdigest()
    return f"{'aud' if kind == 'audience' else 'tra'}_{digest[:24]}"


def send_again(work: Connection, untold: Sequence[Untold], now: datetime) -> None:
    """Queue those anew of whom a call did not reach its destination: it is sent once the destination takes calls."""
    for one in untold:
        profile_id = stored.forget_told(
            work, destination=one.destination, key=one.key, email=one.email, sequence=one.sequence
        )
        if profile_id is not None:
            row = {"destination": one.destination, "key": one.key, "profile_id": profile_id}
            stored.enqueue(work, [{**row, "queued_at": now, "due_at": now}])


def _message_id(fresh: Synced, call: str) -> str:
    about = hashlib.sha256(f"{fresh.destination}\0{fresh.key}\0{fresh.email}".encode()).hexdigest()[:24]
    return f"engage-{about}-{fresh.sequence}-{call}"
