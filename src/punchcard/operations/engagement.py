"""Audiences, computed traits and profiles as operators see and change them: the same for App, Public API and CLI."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from punchcard.clock import Clock
from punchcard.computations.errors import DefinitionError
from punchcard.engage.call_size import INVALID, TOO_LARGE
from punchcard.engage.requests import Preview, PreviewRequest, ask_preview
from punchcard.engage.sync_calls import computation_id
from punchcard.errors import ConfigurationError
from punchcard.store import audit, engage_tables, profile_queries, sync_outcomes
from punchcard.store.engage_tables import ComputationState, Status
from punchcard.store.engine import Store
from punchcard.store.profiles import ids_of
from punchcard.store.synced import count_cut_lists
from punchcard.workspace.computations import OWN_SOURCES
from punchcard.workspace.editing import Edit, NotFoundError
from punchcard.workspace.model import Computation, Workspace
from punchcard.workspace.problems import Problem
from punchcard.workspace.snapshot import Snapshot

KINDS = {"audience": "audience", "computed_trait": "computed trait"}
"""What each kind is called."""


def describe_failed_syncs(destination: str, failed: Sequence[sync_outcomes.FailedSync]) -> str:
    """How many values a destination does not have because it rejected them or they are parked, and why."""
    many = f"{len(failed):,}" if len(failed) < sync_outcomes.FAILED_MAX else f"{sync_outcomes.FAILED_MAX:,} or more"
    values = "1 value is" if len(failed) == 1 else f"{many} values are"
    newest = failed[0]
    said = newest.detail.rstrip(".") or newest.reason
    return (
        f"{values} not at {destination}: rejected or parked. The newest is {newest.value[:_VALUE_CHARACTERS_MAX]} of "
        f"{newest.email} ({newest.reason}: {said})."
    )


_VALUE_CHARACTERS_MAX = 100
RESYNC_CHANGES = '[{"path": "resync", "before": null, "after": true}]'
"""What the audit log has as changes where everybody was told again: nothing of the computation itself."""

_REQUESTS_PER_CALL = 2


@dataclass(frozen=True, kw_only=True)
class PendingSync:
    """What one destination is still to be told of one computation.

    Attributes:
        queued: People whose turn will come.
        without_email: People who are told of once an email leads to them.
        too_large: People whose value does not fit into a call of 32 KB; the destination keeps what it has.
        invalid: People whose value cannot be sent as JSON; likewise.
        failed: People whose value is not sent because Punchcard fails on it.
        last_failure: The error of the last of them, "" for none.
        refused: People whose value the destination's mapping refused.
        last_refusal: Why it refused the last of them, "" for none.
        cut_lists: Emails whose list was cut so that the call has at most 32 KB.
        seconds: How long the queued ones take at the destination's rate, None if it has none.
        paused_since: When somebody paused it.
        outcome: How it took what it was told; only by `add_sync_outcomes`.
    """

    destination: str
    queued: int
    without_email: int
    too_large: int
    invalid: int
    failed: int
    last_failure: str
    refused: int
    last_refusal: str
    cut_lists: int
    seconds: float | None
    paused_since: datetime | None
    outcome: sync_outcomes.SyncOutcome | None = None

    @property
    def warnings(self) -> list[str]:
        """What of the values is not sent, or not whole, as sentences."""
        sentences = []
        if self.outcome is not None and self.outcome.failed:
            sentences.append(describe_failed_syncs(self.destination, self.outcome.failed))
        if self.too_large:
            people = "1 person has" if self.too_large == 1 else f"{self.too_large:,} people have"
            sentences.append(
                f"{people} a value that is too large: a call has at most 32 KB. It is not sent; "
                f"{self.destination} keeps the value before it."
            )
        if self.invalid:
            people = "1 person has" if self.invalid == 1 else f"{self.invalid:,} people have"
            sentences.append(
                f"{people} a value that cannot be written as JSON, such as a number beyond every range. It is not "
                f"sent; {self.destination} keeps the value before it."
            )
        if self.refused:
            people = "1 value was" if self.refused == 1 else f"{self.refused:,} values were"
            sentences.append(f"{people} refused by {self.destination}'s mapping ({self.last_refusal}).")
        if self.failed:
            people = "1 person" if self.failed == 1 else f"{self.failed:,} people"
            sentences.append(
                f"{people} could not be synced because of a defect in Punchcard ({self.last_failure}). Please report "
                "it. The others are synced; these are tried again when their value changes, after a resync and when "
                "Engage starts."
            )
        if self.cut_lists:
            lists = (
                "1 list is sent without its"
                if self.cut_lists == 1
                else f"{self.cut_lists:,} lists are sent without their"
            )
            sentences.append(f"{lists} last entries, because a call has at most 32 KB.")
        return sentences


@dataclass(frozen=True, kw_only=True)
class ComputationStatus:
    """A computation with how it stands.

    Attributes:
        state: None until Engage has seen it.
        pending_syncs: Of each of its destinations.
    """

    computation: Computation
    state: ComputationState | None
    pending_syncs: tuple[PendingSync, ...]

    @property
    def id(self) -> str:
        """Its id in payloads and in the Public API."""
        return computation_id(self.computation.kind, self.computation.key)

    @property
    def status(self) -> Status:
        """Where it stands."""
        if not self.computation.enabled:
            return Status.DISABLED
        return self.state.status if self.state is not None else Status.PREPARING


def list_computation_statuses(
    store: Store, workspace: Workspace, *, kind: str | None = None, rates: Callable[[str], float] | None = None
) -> list[ComputationStatus]:
    """All computations, or those of a kind, with how they stand; by name.

    Args:
        rates: Requests per second that a destination takes, 0 for no limit.

    Raises:
        StorageError: the store is away.
    """
    with store.reading() as work:
        states = {state.key: state for state in engage_tables.states(work)}
        queues = engage_tables.queue_sizes(work)
        pauses = engage_tables.pauses(work)
        cuts = {
            (slug, computation.key): count_cut_lists(work, destination=slug, key=computation.key)
            for computation in workspace.computations
            if kind in (None, computation.kind)
            for slug in computation.destinations
        }
    statuses = []
    for one in sorted(workspace.computations, key=lambda computation: computation.name.lower()):
        if kind is not None and one.kind != kind:
            continue
        waiting = []
        for slug in one.destinations:
            queued = queues.get((slug, one.key, ""), 0)
            rate = rates(slug) if rates is not None else 0.0
            waiting.append(
                PendingSync(
                    destination=slug,
                    queued=queued,
                    without_email=queues.get((slug, one.key, "email"), 0),
                    too_large=queues.get((slug, one.key, TOO_LARGE), 0),
                    invalid=queues.get((slug, one.key, INVALID), 0),
                    failed=(failed := queues.get((slug, one.key, engage_tables.SYNC_FAILED), 0)),
                    last_failure=_last_failure(store, slug, one.key, engage_tables.SYNC_FAILED) if failed else "",
                    refused=(refused := queues.get((slug, one.key, engage_tables.SYNC_REFUSED), 0)),
                    last_refusal=_last_failure(store, slug, one.key, engage_tables.SYNC_REFUSED) if refused else "",
                    cut_lists=cuts.get((slug, one.key), 0),
                    seconds=queued * _REQUESTS_PER_CALL * len(one.send) / rate if rate else None,
                    paused_since=pauses.get(slug),
                )
            )
        statuses.append(ComputationStatus(computation=one, state=states.get(one.key), pending_syncs=tuple(waiting)))
    return statuses


def _last_failure(store: Store, slug: str, key: str, waits_for: str) -> str:
    with store.reading() as work:
        return engage_tables.last_failure(work, destination=slug, key=key, waits_for=waits_for)


def request_rates(snapshot: Snapshot) -> Callable[[str], float]:
    """How many requests a second each destination takes, 0 for no limit or none that is known."""

    def rate(slug: str) -> float:
        found = snapshot.destinations.get(slug)
        if found is None or found.invalid is not None:
            return 0.0
        return found.partner.delivery_options(found.settings).requests_per_second

    return rate


def find_computation_status(
    store: Store, workspace: Workspace, key_or_id: str, *, kind: str | None = None
) -> ComputationStatus:
    """The computation with this key or id.

    Raises:
        NotFoundError: there is none.
        StorageError: the store is away.
    """
    for one in list_computation_statuses(store, workspace, kind=kind):
        if key_or_id in (one.computation.key, one.id):
            return one
    raise NotFoundError(f"there is no {KINDS.get(kind or '', 'audience or computed trait')} {key_or_id}")


def add_sync_outcomes(store: Store, one: ComputationStatus) -> ComputationStatus:
    """The same, and of each of its destinations how it took what it was told.

    Raises:
        StorageError: the store is away.
    """
    key = one.computation.key
    with store.reading() as work:
        waiting = [
            replace(
                each,
                outcome=sync_outcomes.outcome_of(
                    work, key, destination=each.destination, source=OWN_SOURCES + each.destination
                ),
            )
            for each in one.pending_syncs
        ]
    return replace(one, pending_syncs=tuple(waiting))


def preview(store: Store, request: PreviewRequest, *, clock: Clock) -> Preview:
    """Whom a definition would hold now: how many, ten of them, and what in it may be a mistake.

    Raises:
        ConfigurationError: the definition cannot be read; the context says where, as `position`.
        StorageError: Engage does not answer, or the store is away.
    """
    try:
        return ask_preview(store, request, clock=clock)
    except DefinitionError as error:
        # As when it is saved: what is wrong, under the key that it is wrong in.
        problem = Problem(path=(f"{request.kind}s", 0, "definition"), message=error.message)
        raise ConfigurationError(error.message, problems=(problem,), position=error.position) from error


def resync(store: Store, one: ComputationStatus, *, destination: str | None, actor: str, clock: Clock) -> int:
    """Tell destinations of everybody again, whether or not anything has changed; returns of how many people.

    Raises:
        ConfigurationError: the destination is not told of it.
        StorageError: the store is away.
    """
    computation = one.computation
    if destination is not None and destination not in computation.destinations:
        raise ConfigurationError(f"{destination} is not told of {computation.key}", field="destination")
    count = 0
    with store.unit_of_work() as work:
        for slug in (destination,) if destination is not None else computation.destinations:
            count += engage_tables.enqueue_everybody(
                work, destination=slug, key=computation.key, at=clock.now(), is_resync=True
            )
        audit.record(
            work,
            at=clock.now(),
            actor=actor,
            kind="change",
            resource_type=computation.kind,
            resource_id=computation.key,
            changes=RESYNC_CHANGES,
        )
    return count


def pause(store: Store, destination: str, *, actor: str, clock: Clock) -> None:
    """Tell a destination nothing of audiences and traits until `resume`; its awards go on."""
    with store.unit_of_work() as work:
        engage_tables.pause(work, destination, at=clock.now(), actor=actor)


def resume(store: Store, destination: str) -> None:
    """Go on telling a destination."""
    with store.unit_of_work() as work:
        engage_tables.resume(work, destination)


def add_computation(computation: Computation) -> Edit:
    """With one computation more.

    Raises:
        ConfigurationError: (the edit) its key is taken.
    """

    def change(workspace: Workspace) -> Workspace:
        if any(one.key == computation.key for one in workspace.computations):
            raise ConfigurationError(
                f"there is an audience or computed trait with the key {computation.key} already", field="key"
            )
        return replace(workspace, computations=(*workspace.computations, computation))

    return change


def change_computation(key: str, changed: Callable[[Computation], Computation]) -> Edit:
    """With another computation in the place of one; its key stays.

    Raises:
        NotFoundError: (the edit) there is none with this key.
    """

    def change(workspace: Workspace) -> Workspace:
        if all(computation.key != key for computation in workspace.computations):
            raise NotFoundError(f"there is no audience or computed trait {key}")
        fresh = [
            replace(changed(computation), key=key, kind=computation.kind) if computation.key == key else computation
            for computation in workspace.computations
        ]
        return replace(workspace, computations=tuple(fresh))

    return change


def remove_computation(key: str) -> Edit:
    """Without a computation that no other asks for.

    Raises:
        NotFoundError: (the edit) there is none with this key.
        ConfigurationError: (the edit) another asks for it.
    """
    from punchcard.computations.model import trait_keys
    from punchcard.workspace.computations import read_definition

    def change(workspace: Workspace) -> Workspace:
        left = tuple(computation for computation in workspace.computations if computation.key != key)
        if len(left) == len(workspace.computations):
            raise NotFoundError(f"there is no audience or computed trait {key}")
        using = [one.key for one in left if key in trait_keys(read_definition(one))]
        if using:
            raise ConfigurationError(f"{', '.join(using)} asks for it: change or delete that first", code="in_use")
        return replace(workspace, computations=left)

    return change


@dataclass(frozen=True, kw_only=True)
class Members:
    """Some people with a value, and those who entered or left last; `ids` are the external ids of these."""

    people: Sequence[profile_queries.Member]
    ids: Mapping[int, Sequence[tuple[str, str]]]
    changes: Sequence[profile_queries.TraitChange]
    sizes: Sequence[tuple[datetime, int]]


def list_members(store: Store, key: str, *, limit: int, clock: Clock) -> Members:
    """Who has a value of a computation, who got or lost one lately, and how many there were each hour of 30 days.

    Raises:
        StorageError: the store is away.
    """
    with store.reading() as work:
        changes = profile_queries.changes_of(work, key, limit=limit)
        ids = ids_of(work, {change.profile_id for change in changes})
        return Members(
            people=profile_queries.members(work, key, limit=limit),
            ids={profile: sorted(some) for profile, some in ids.items()},
            changes=changes,
            sizes=engage_tables.sizes(work, key, since=clock.now() - timedelta(days=30)),
        )
