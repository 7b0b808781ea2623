"""The state of each audience and computed trait, compared with its configuration."""

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
from punchcard.engage.computing import RequestedComputation, leave_as_custom
from punchcard.engage.facts import Facts
from punchcard.engage.isolation import is_isolated
from punchcard.engage.telemetry import EngageTelemetry
from punchcard.store.engage import engage_tables
from punchcard.store.engage.engage_tables import ComputationState, Status
from punchcard.store.engage.profiles import leave_traits_as_custom
from punchcard.store.engage.synced import enqueue_synced
from punchcard.workspace.computations import ReadyComputation
from punchcard.workspace.snapshot import Snapshot

_DETAIL_CHARACTERS_MAX = 500


class LastSync(msgspec.Struct, frozen=True):
    """How a computation was last synced, kept for when it is removed from the configuration."""

    kind: str = ""
    name: str = ""
    destinations: tuple[str, ...] = ()
    send: tuple[str, ...] = ("identify",)
    when_removed: str = "keep"


@dataclass
class States:
    """The states by key: committed and current."""

    current: dict[str, ComputationState] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    committed: dict[str, ComputationState] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)

    @classmethod
    def load(cls, work: Connection) -> "States":
        """Load the states from the store."""
        current = {state.key: state for state in engage_tables.states(work)}
        return cls(current, committed=dict(current))

    def update(self, key: str, **values: object) -> None:
        """Update the state of a computation."""
        new_state = replace(self.current[key], **values)  # type: ignore[arg-type]  # names and types are the caller's
        if new_state != self.current[key]:
            self.current[key] = new_state
            self.changed.add(key)

    def is_live(self, computation: RequestedComputation) -> bool:
        """Return whether the results are valid for the current definition and kept up to date."""
        state = self.current[computation.key]
        return state.status is Status.LIVE and state.fingerprint == fingerprint(computation)

    def has_failed(self, computation: RequestedComputation) -> bool:
        """Return whether the current definition could not be computed."""
        state = self.current[computation.key]
        return state.status is Status.FAILED and state.fingerprint == fingerprint(computation)

    def report_progress(self, detail: str) -> None:
        """Set the progress detail of computations that wait for their first result."""
        for key, state in self.current.items():
            if state.status is Status.PREPARING:
                self.update(key, detail=detail)

    def note_progress(self, key: str, detail: str) -> None:
        """Set the progress detail of a computation if it waits for its first result."""
        if self.current[key].status is Status.PREPARING:
            self.update(key, detail=detail)

    def write(self, work: Connection) -> None:
        """Save the changed states."""
        engage_tables.save_states(work, [self.current[key] for key in sorted(self.changed)])

    def mark_committed(self) -> None:
        """Note that the changes are committed."""
        self.changed.clear()
        self.committed = dict(self.current)

    def discard_changes(self) -> None:
        """Return to the committed states, because the unit of work with the changes was rolled back."""
        self.current = dict(self.committed)
        self.changed.clear()

    def hold(self, key: str, reason: str) -> None:
        """Mark a computation as failed that cannot be prepared; it is not computed until the configuration changes."""
        self.held.add(key)
        self.update(key, status=Status.FAILED, detail=reason[:_DETAIL_CHARACTERS_MAX], fingerprint="")

    def is_held(self, key: str) -> bool:
        """Return whether the computation was held since the configuration was last applied."""
        return key in self.held


def prepare_computation(ready: ReadyComputation, state: ComputationState, *, zone: ZoneInfo) -> RequestedComputation:
    """Return a computation in the form in which it is computed.

    Args:
        zone: Time zone in which days begin and end.
    """
    configured = ready.configured
    return RequestedComputation(
        key=configured.key,
        kind=configured.kind,
        definition=ready.definition,
        includes_anonymous=configured.include_anonymous,
        since=0 if configured.include_history else to_micros(state.created_at),
        zone=zone,
    )


def fingerprint(computation: RequestedComputation) -> str:
    """Return a digest that changes whenever the results may change."""
    inputs = [computation.kind, computation.definition, computation.includes_anonymous, computation.since]
    if depends_on_zone(computation.definition) and computation.zone.key != "UTC":
        inputs.append(computation.zone.key)
    if computation.list_revision:
        inputs.append(computation.list_revision)
    text = msgspec.json.encode(inputs)
    return hashlib.sha256(text).hexdigest()


def last_sync_of(state: ComputationState) -> LastSync:
    """Return how a computation was last synced."""
    return msgspec.json.decode(state.last_sync, type=LastSync) if state.last_sync else LastSync()


def follow_configuration(
    work: Connection,
    states: States,
    facts: Facts,
    snapshot: Snapshot,
    now: datetime,
) -> None:
    """Align states with the configuration: new, disabled, synced to other destinations, or removed computations.

    An invalid computation is not removed: its members stay.
    """
    configured, invalid = snapshot.computations, snapshot.invalid_computations
    states.held.clear()
    for key in invalid.keys() & states.current.keys():
        states.update(key, status=Status.FAILED, detail=invalid[key][:_DETAIL_CHARACTERS_MAX], fingerprint="")
    for key, ready in configured.items():
        if key not in states.current:
            leave_as_custom(facts, key)
            _add_state(states, ready, now)
        _isolate(work, states, key, partial(_follow_computation, work, states, ready, now))
    for key in [key for key in states.current if key not in configured and key not in invalid]:
        _isolate(work, states, key, partial(_remove_state, work, states, key, now))


def _isolate(work: Connection, states: States, key: str, follow: Callable[[], None]) -> None:
    """Apply the configuration of one computation; if that fails it is held, and the others go on."""
    before = states.current[key]
    try:
        with work.begin_nested():
            follow()
    except Exception as error:
        if not is_isolated(error):
            raise
        EngageTelemetry().computing_failed(key, error=repr(error))
        states.current[key] = before
        states.hold(key, f"The stored state of the last sync cannot be read: {error}.")


def _add_state(states: States, ready: ReadyComputation, now: datetime) -> None:
    key = ready.configured.key
    states.current[key] = ComputationState(
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


def _follow_computation(work: Connection, states: States, ready: ReadyComputation, now: datetime) -> None:
    computation = ready.configured
    state = states.current[computation.key]
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
    """Return the last sync with other destinations."""
    return msgspec.structs.replace(last_sync, destinations=destinations)


def _remove_state(work: Connection, states: States, key: str, now: datetime) -> None:
    """Keep the last values as custom traits and, if configured, sync that nobody is a member any more."""
    last_sync = last_sync_of(states.current[key])
    _stop_sync(work, key, last_sync, last_sync.destinations, now)
    leave_traits_as_custom(work, key)
    engage_tables.forget_state(work, key)
    del states.current[key]
    states.changed.discard(key)


def _stop_sync(
    work: Connection, key: str, last_sync: LastSync, destinations: Sequence[str] | set[str], now: datetime
) -> None:
    if last_sync.kind == "audience" and last_sync.when_removed == "false":
        for slug in destinations:
            enqueue_synced(work, destination=slug, key=key, at=now)


def with_dependents(keys: set[str], computations: Sequence[RequestedComputation]) -> set[str]:
    """Return these computations and all that depend on them, directly or indirectly."""
    all_keys = set(keys)
    while True:
        more = {
            computation.key for computation in computations if trait_keys(computation.definition) & all_keys
        } - all_keys
        if not more:
            return all_keys
        all_keys |= more


def due_at(now: datetime, rhythm: timedelta | None) -> datetime:
    """Return when a change is synced: at once, or at the next full interval of the rhythm (UTC)."""
    if rhythm is None:
        return now
    micros, turn = to_micros(now), int(rhythm.total_seconds() * 1_000_000)
    return now + timedelta(microseconds=turn - micros % turn)
