"""How each audience and computed trait stands, against how it is configured."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection

from punchcard.clock import to_micros
from punchcard.computations.model import depends_on_zone, trait_keys
from punchcard.engage.computing import RequestedComputation
from punchcard.engage.isolation import is_isolated
from punchcard.engage.telemetry import EngageTelemetry
from punchcard.store import engage_tables
from punchcard.store.engage_tables import ComputationState, Status
from punchcard.store.profiles import leave_as_custom
from punchcard.workspace.computations import ReadyComputation
from punchcard.workspace.snapshot import Snapshot

_DETAIL_CHARACTERS_MAX = 500


class LastSync(msgspec.Struct, frozen=True):
    """How a computation was told last, kept for when it is gone from the configuration."""

    kind: str = ""
    name: str = ""
    destinations: tuple[str, ...] = ()
    send: tuple[str, ...] = ("identify",)
    when_removed: str = "keep"


@dataclass
class States:
    """The states by key, as they stand in the store and as they are to be."""

    standing: dict[str, ComputationState] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    committed: dict[str, ComputationState] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)

    @classmethod
    def load(cls, work: Connection) -> "States":
        """As they stand."""
        found = {state.key: state for state in engage_tables.states(work)}
        return cls(found, committed=dict(found))

    def update(self, key: str, **values: object) -> None:
        """Let a state be another one."""
        new_state = replace(self.standing[key], **values)  # type: ignore[arg-type]  # names and types are the caller's
        if new_state != self.standing[key]:
            self.standing[key] = new_state
            self.changed.add(key)

    def is_live(self, computation: RequestedComputation) -> bool:
        """That its answers stand, as it is asked now, and are kept up to date."""
        state = self.standing[computation.key]
        return state.status is Status.LIVE and state.fingerprint == fingerprint(computation)

    def has_failed(self, computation: RequestedComputation) -> bool:
        """That it could not be computed, as it is asked now."""
        state = self.standing[computation.key]
        return state.status is Status.FAILED and state.fingerprint == fingerprint(computation)

    def tell_progress(self, detail: str) -> None:
        """Let those that wait for their first answer say how far it is."""
        for key, state in self.standing.items():
            if state.status is Status.PREPARING:
                self.update(key, detail=detail)

    def write(self, work: Connection) -> None:
        """Write down what has changed."""
        engage_tables.save_states(work, [self.standing[key] for key in sorted(self.changed)])

    def written(self) -> None:
        """What was changed is committed."""
        self.changed.clear()
        self.committed = dict(self.standing)

    def discard_changes(self) -> None:
        """Go back to what is committed: the unit of work that was to write the changes was rolled back."""
        self.standing = dict(self.committed)
        self.changed.clear()

    def hold(self, key: str, why: str) -> None:
        """Compute nothing of a computation that fails before it is computed, until the configuration changes."""
        self.held.add(key)
        self.update(key, status=Status.FAILED, detail=why[:_DETAIL_CHARACTERS_MAX], fingerprint="")

    def is_held(self, key: str) -> bool:
        """Whether `hold` was called for it since the configuration was followed last."""
        return key in self.held


def requested(ready: ReadyComputation, state: ComputationState, *, zone: ZoneInfo) -> RequestedComputation:
    """A computation in the form in which it is computed.

    Args:
        zone: In which a day begins and ends.
    """
    one = ready.configured
    return RequestedComputation(
        key=one.key,
        kind=one.kind,
        definition=ready.definition,
        includes_anonymous=one.include_anonymous,
        since=0 if one.include_history else to_micros(state.created_at),
        zone=zone,
    )


def fingerprint(computation: RequestedComputation) -> str:
    """Changes whenever the answers may."""
    parts = [computation.kind, computation.definition, computation.includes_anonymous, computation.since]
    if depends_on_zone(computation.definition) and computation.zone.key != "UTC":
        parts.append(computation.zone.key)
    text = msgspec.json.encode(parts)
    return hashlib.sha256(text).hexdigest()


def last_sync_of(state: ComputationState) -> LastSync:
    """How its destinations were told last."""
    return msgspec.json.decode(state.last_sync, type=LastSync) if state.last_sync else LastSync()


def follow_configuration(
    work: Connection,
    states: States,
    snapshot: Snapshot,
    now: datetime,
) -> None:
    """Bring states in line with the configuration: what is new, switched off, told elsewhere, or gone.

    A computation that cannot be used is not gone: its members stay what they were.
    """
    configured, invalid = snapshot.computations, snapshot.invalid_computations
    states.held.clear()
    for key in invalid.keys() & states.standing.keys():
        states.update(key, status=Status.FAILED, detail=invalid[key][:_DETAIL_CHARACTERS_MAX], fingerprint="")
    for key, ready in configured.items():
        if key not in states.standing:
            _begin(states, ready, now)
        _isolate(work, states, key, partial(_follow_one, work, states, ready, now))
    for key in [key for key in states.standing if key not in configured and key not in invalid]:
        _isolate(work, states, key, partial(_end, work, states, key, now))


def _isolate(work: Connection, states: States, key: str, follow: Callable[[], None]) -> None:
    """Follow the configuration of one computation; if that fails it is held, and the others go on."""
    before = states.standing[key]
    try:
        with work.begin_nested():
            follow()
    except Exception as error:
        if not is_isolated(error):
            raise
        EngageTelemetry().computing_failed(key, error=repr(error))
        states.standing[key] = before
        states.hold(key, f"Its last state cannot be read: {error}")


def _begin(states: States, ready: ReadyComputation, now: datetime) -> None:
    key = ready.configured.key
    states.standing[key] = ComputationState(
        key=key,
        kind=ready.configured.kind,
        fingerprint="",
        status=Status.PREPARING,
        detail="",
        size=0,
        computed_at=None,
        checked_at=None,
        differences=0,
        created_at=now,
        last_sync="",
    )
    states.changed.add(key)


def _follow_one(work: Connection, states: States, ready: ReadyComputation, now: datetime) -> None:
    computation = ready.configured
    state = states.standing[computation.key]
    before = last_sync_of(state)
    if not computation.enabled:
        if state.status is not Status.DISABLED:
            states.update(computation.key, status=Status.DISABLED, detail="", fingerprint="")
            _stop_sync(work, computation.key, before, before.destinations, now)
    elif state.status is Status.DISABLED:
        states.update(computation.key, status=Status.PREPARING)
        before = replace_destinations(before, ())
    new_sync = LastSync(
        kind=computation.kind,
        name=computation.name,
        destinations=tuple(sorted(computation.destinations)),
        send=computation.send,
        when_removed=computation.when_removed,
    )
    if computation.enabled and state.fingerprint:
        for slug in set(new_sync.destinations) - set(before.destinations):
            engage_tables.enqueue_everybody(work, destination=slug, key=computation.key, at=now)
    _stop_sync(work, computation.key, before, set(before.destinations) - set(new_sync.destinations), now)
    states.update(computation.key, last_sync=msgspec.json.encode(new_sync).decode())


def replace_destinations(last_sync: LastSync, destinations: tuple[str, ...]) -> LastSync:
    """The same with other destinations."""
    return msgspec.structs.replace(last_sync, destinations=destinations)


def _end(work: Connection, states: States, key: str, now: datetime) -> None:
    """Leave the last values as custom traits and, if so chosen, tell destinations that nobody is a member any more."""
    last_sync = last_sync_of(states.standing[key])
    _stop_sync(work, key, last_sync, last_sync.destinations, now)
    leave_as_custom(work, key)
    engage_tables.forget_state(work, key)
    del states.standing[key]
    states.changed.discard(key)


def _stop_sync(
    work: Connection, key: str, last_sync: LastSync, destinations: Sequence[str] | set[str], now: datetime
) -> None:
    if last_sync.kind == "audience" and last_sync.when_removed == "false":
        for slug in destinations:
            engage_tables.enqueue_synced(work, destination=slug, key=key, at=now)


def with_dependents(keys: set[str], computations: Sequence[RequestedComputation]) -> set[str]:
    """These computations, and all that ask for one of them, however indirectly."""
    all_keys = set(keys)
    while True:
        more = {
            computation.key for computation in computations if trait_keys(computation.definition) & all_keys
        } - all_keys
        if not more:
            return all_keys
        all_keys |= more


def due_at(now: datetime, rhythm: timedelta | None) -> datetime:
    """When a change is told: at once, or at the next full turn of the rhythm (UTC)."""
    if rhythm is None:
        return now
    micros, turn = to_micros(now), int(rhythm.total_seconds() * 1_000_000)
    return now + timedelta(microseconds=turn - micros % turn)
