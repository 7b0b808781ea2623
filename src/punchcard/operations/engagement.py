"""Queries and changes of audiences, computed traits and profiles, shared by App, Public API and CLI."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from punchcard.clock import Clock
from punchcard.computations.errors import DefinitionError
from punchcard.engage.call_size import INVALID, TOO_LARGE
from punchcard.engage.requests import Preview, PreviewRequest, request_preview
from punchcard.engage.sync_calls import computation_id
from punchcard.errors import ConfigurationError
from punchcard.operations.natural_order import natural_key
from punchcard.store.access import audit
from punchcard.store.delivery.sync_results import FAILED_MAX, FailedSync
from punchcard.store.engage import engage_tables, profile_queries, sync_outcomes
from punchcard.store.engage.engage_tables import ComputationState, Status
from punchcard.store.engage.profiles import ids_of
from punchcard.store.engage.synced import count_cut_lists
from punchcard.store.engine import Store
from punchcard.workspace.computations import OWN_SOURCES
from punchcard.workspace.editing import Edit, NotFoundError
from punchcard.workspace.model import Computation, Workspace
from punchcard.workspace.part_names import name_destinations, name_parts
from punchcard.workspace.persistence import parts_by_key
from punchcard.workspace.problems import Problem
from punchcard.workspace.snapshot import Snapshot

KINDS = {"audience": "audience", "computed_trait": "computed trait"}
"""Display name of each kind."""


def describe_failed_syncs(destination: str, failed: Sequence[FailedSync]) -> str:
    """Return a sentence about the values that a destination rejected or that are parked, with the newest cause."""
    count = f"{len(failed):,}" if len(failed) < FAILED_MAX else f"{FAILED_MAX:,} or more"
    values = "1 value is" if len(failed) == 1 else f"{count} values are"
    newest = failed[0]
    cause = newest.detail.rstrip(".") or newest.reason
    return (
        f"{values} not at {destination}: rejected or parked. The newest is {newest.value[:_VALUE_CHARACTERS_MAX]} of "
        f"{newest.email} ({newest.reason}: {cause})."
    )


_VALUE_CHARACTERS_MAX = 100
RESYNC_CHANGES = '[{"path": "resync", "before": null, "after": true}]'
"""Changes that the audit log states for a resync: the computation itself does not change."""

_REQUESTS_PER_CALL = 2


@dataclass(frozen=True, kw_only=True)
class PendingSync:
    """Pending and failed syncs of one computation to one destination.

    Attributes:
        destination: Slug.
        destination_name: What people call it.
        queued: Number of people in the queue.
        without_email: Number of people that are synced once an email address is known for them.
        too_large: Number of people with a value that exceeds a call of 32 KB; the destination keeps the last value.
        invalid: Number of people with a value that cannot be sent as JSON; the destination keeps the last value.
        failed: Number of people with a value that could not be sent because of a defect.
        last_failure: Error of the last failed one, "" for none.
        refused: Number of people with a value that the destination's mapping refused.
        last_refusal: Reason of the last refusal, "" for none.
        cut_lists: Number of email addresses with a list that was shortened to fit into a call of 32 KB.
        seconds: Estimated time for the queue at the destination's rate limit, None without a limit.
        paused_since: When an operator paused syncing, None if it is not paused.
        outcome: Outcome of the syncs so far; set by `add_sync_outcomes` only.
    """

    destination: str
    destination_name: str
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
        """Sentences about values that are not sent, or not completely."""
        sentences = []
        if self.outcome is not None and self.outcome.failed:
            sentences.append(describe_failed_syncs(self.destination_name, self.outcome.failed))
        if self.too_large:
            people = "1 person has" if self.too_large == 1 else f"{self.too_large:,} people have"
            sentences.append(
                f"{people} a value that is too large: a call has at most 32 KB. It is not sent; "
                f"{self.destination_name} keeps the previous value."
            )
        if self.invalid:
            people = "1 person has" if self.invalid == 1 else f"{self.invalid:,} people have"
            sentences.append(
                f"{people} a value that cannot be written as JSON, such as a number out of range. It is not "
                f"sent; {self.destination_name} keeps the previous value."
            )
        if self.refused:
            people = "1 value was" if self.refused == 1 else f"{self.refused:,} values were"
            sentences.append(f"{people} refused by {self.destination_name}'s mapping ({self.last_refusal}).")
        if self.failed:
            people = "1 person" if self.failed == 1 else f"{self.failed:,} people"
            sentences.append(
                f"{people} could not be synced because of a defect in Punchcard ({self.last_failure}). Please report "
                "it. The others are synced. These are retried when their value changes, after a resync and when "
                "Engage starts."
            )
        if self.cut_lists:
            lists = (
                "1 list is sent without its"
                if self.cut_lists == 1
                else f"{self.cut_lists:,} lists are sent without their"
            )
            sentences.append(f"{lists} last entries: a call has at most 32 KB.")
        return sentences


@dataclass(frozen=True, kw_only=True)
class ComputationStatus:
    """A computation with its status.

    Attributes:
        state: State kept by Engage, None until Engage has first processed it.
        pending_syncs: One entry per destination.
    """

    computation: Computation
    state: ComputationState | None
    pending_syncs: tuple[PendingSync, ...]

    @property
    def id(self) -> str:
        """Id in payloads and in the Public API."""
        return computation_id(self.computation.kind, self.computation.key)

    @property
    def status(self) -> Status:
        """Current status."""
        if not self.computation.enabled:
            return Status.DISABLED
        return self.state.status if self.state is not None else Status.PREPARING


def list_computation_statuses(
    store: Store, workspace: Workspace, *, kind: str | None = None, rates: Callable[[str], float] | None = None
) -> list[ComputationStatus]:
    """Return all computations, or those of one kind, with their status, sorted by name; "Level 2" before "Level 10".

    Args:
        rates: Returns a destination's rate limit in requests per second, 0 for no limit.

    Raises:
        StorageError: The store is unavailable.
    """
    with store.reading() as work:
        states = {state.key: state for state in engage_tables.states(work)}
        queues = engage_tables.queue_sizes(work)
        pauses = engage_tables.pauses(work)
        cuts = count_cut_lists(work)
    names = name_destinations(workspace.destinations)
    statuses = []
    for computation in sorted(workspace.computations, key=lambda computation: natural_key(computation.name)):
        if kind is not None and computation.kind != kind:
            continue
        pending_syncs = []
        for slug in computation.destinations:
            queued = queues.get((slug, computation.key, ""), 0)
            rate = rates(slug) if rates is not None else 0.0
            pending_syncs.append(
                PendingSync(
                    destination=slug,
                    destination_name=names.get(slug, slug),
                    queued=queued,
                    without_email=queues.get((slug, computation.key, "email"), 0),
                    too_large=queues.get((slug, computation.key, TOO_LARGE), 0),
                    invalid=queues.get((slug, computation.key, INVALID), 0),
                    failed=(failed := queues.get((slug, computation.key, engage_tables.SYNC_FAILED), 0)),
                    last_failure=_last_failure(store, slug, computation.key, engage_tables.SYNC_FAILED)
                    if failed
                    else "",
                    refused=(refused := queues.get((slug, computation.key, engage_tables.SYNC_REFUSED), 0)),
                    last_refusal=_last_failure(store, slug, computation.key, engage_tables.SYNC_REFUSED)
                    if refused
                    else "",
                    cut_lists=cuts.get((slug, computation.key), 0),
                    seconds=queued * _REQUESTS_PER_CALL * len(computation.send) / rate if rate else None,
                    paused_since=pauses.get(slug),
                )
            )
        statuses.append(
            ComputationStatus(
                computation=computation, state=states.get(computation.key), pending_syncs=tuple(pending_syncs)
            )
        )
    return statuses


def _last_failure(store: Store, slug: str, key: str, waits_for: str) -> str:
    with store.reading() as work:
        return engage_tables.last_failure(work, destination=slug, key=key, waits_for=waits_for)


def request_rates(snapshot: Snapshot) -> Callable[[str], float]:
    """Return a function that returns a destination's rate limit in requests per second, 0 for no known limit."""

    def rate(slug: str) -> float:
        destination = snapshot.destinations.get(slug)
        if destination is None or destination.invalid is not None:
            return 0.0
        return destination.partner.delivery_options(destination.settings).requests_per_second

    return rate


def find_computation_status(
    store: Store,
    workspace: Workspace,
    key_or_id: str,
    *,
    kind: str | None = None,
    rates: Callable[[str], float] | None = None,
) -> ComputationStatus:
    """Return the status of the computation with this key or id.

    Args:
        kind: Only if it is of this kind; None for any.
        rates: As for `list_computation_statuses`.

    Raises:
        NotFoundError: There is no such computation.
        StorageError: The store is unavailable.
    """
    for status in list_computation_statuses(store, workspace, kind=kind, rates=rates):
        if key_or_id in (status.computation.key, status.id):
            return status
    raise NotFoundError(f"There is no {KINDS.get(kind or '', 'audience or computed trait')} {key_or_id}.")


def add_sync_outcomes(store: Store, status: ComputationStatus) -> ComputationStatus:
    """Return a copy of the status with the outcome of the syncs to each destination.

    Raises:
        StorageError: The store is unavailable.
    """
    key = status.computation.key
    with store.reading() as work:
        pending_syncs = [
            replace(
                pending,
                outcome=sync_outcomes.outcome_of(
                    work, key, destination=pending.destination, source=OWN_SOURCES + pending.destination
                ),
            )
            for pending in status.pending_syncs
        ]
    return replace(status, pending_syncs=tuple(pending_syncs))


def preview(store: Store, request: PreviewRequest, *, clock: Clock) -> Preview:
    """Preview a definition: the number of matching people, ten samples, and warnings about likely mistakes.

    Raises:
        ConfigurationError: The definition is invalid; the context has the `position` of the error.
        StorageError: Engage does not respond, or the store is unavailable.
    """
    try:
        return request_preview(store, request, clock=clock)
    except DefinitionError as error:
        # Same shape as the error that saving the definition raises.
        problem = Problem(path=(f"{request.kind}s", 0, "definition"), message=error.message)
        raise ConfigurationError(error.message, problems=(problem,), position=error.position) from error


def resync(store: Store, status: ComputationStatus, *, destination: str | None, actor: str, clock: Clock) -> int:
    """Queue everybody for a sync, whether or not their value has changed; return the number of people queued.

    Raises:
        ConfigurationError: The computation is not synced to the destination.
        StorageError: The store is unavailable.
    """
    computation = status.computation
    if destination is not None and destination not in computation.destinations:
        name = computation.name or computation.key
        raise ConfigurationError(f"{name} is not synced to {destination}.", field="destination")
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
    """Pause syncing of audiences and traits to a destination until `resume`. Awards are delivered meanwhile."""
    with store.unit_of_work() as work:
        engage_tables.pause(work, destination, at=clock.now(), actor=actor)


def resume(store: Store, destination: str) -> None:
    """Resume syncing to a destination."""
    with store.unit_of_work() as work:
        engage_tables.resume(work, destination)


def add_computation(computation: Computation) -> Edit:
    """Return an edit that adds a computation.

    Raises:
        ConfigurationError: (the edit) Its key is in use.
    """

    def change(workspace: Workspace) -> Workspace:
        if any(existing.key == computation.key for existing in workspace.computations):
            raise ConfigurationError(
                f"An audience or computed trait with the key {computation.key} exists already. Choose another key.",
                field="key",
            )
        return replace(workspace, computations=(*workspace.computations, computation))

    return change


def change_computation(key: str, changed: Callable[[Computation], Computation]) -> Edit:
    """Return an edit that replaces a computation; its key and kind stay.

    Raises:
        NotFoundError: (the edit) There is no computation with this key.
    """

    def change(workspace: Workspace) -> Workspace:
        if all(computation.key != key for computation in workspace.computations):
            raise NotFoundError(f"There is no audience or computed trait {key}.")
        computations = [
            replace(changed(computation), key=key, kind=computation.kind) if computation.key == key else computation
            for computation in workspace.computations
        ]
        return replace(workspace, computations=tuple(computations))

    return change


def remove_computation(key: str) -> Edit:
    """Return an edit that removes a computation which no other one uses.

    Raises:
        NotFoundError: (the edit) There is no computation with this key.
        ConfigurationError: (the edit) Another computation uses it.
    """
    from punchcard.computations.model import trait_keys
    from punchcard.workspace.computations import read_definition

    def change(workspace: Workspace) -> Workspace:
        remaining = tuple(part for part in workspace.computations if part.key != key)
        if len(remaining) == len(workspace.computations):
            raise NotFoundError(f"There is no audience or computed trait {key}.")
        using = [part for part in remaining if key in trait_keys(read_definition(part))]
        if using:
            names = name_parts(parts_by_key(workspace))
            used = next(names[part.kind, key] for part in workspace.computations if part.key == key)
            users = ", ".join(names[part.kind, part.key] for part in using)
            raise ConfigurationError(f"{used} is used by {users}. Change or delete {users} first.", code="in_use")
        return replace(workspace, computations=remaining)

    return change


@dataclass(frozen=True, kw_only=True)
class Members:
    """Some people with a value, and the latest changes; `ids` are the external ids of the people who changed."""

    people: Sequence[profile_queries.Member]
    ids: Mapping[int, Sequence[tuple[str, str]]]
    changes: Sequence[profile_queries.TraitChange]
    sizes: Sequence[tuple[datetime, int]]


def list_members(store: Store, key: str, *, limit: int, clock: Clock) -> Members:
    """Return people with a value of a computation, the latest changes, and the hourly sizes of the last 30 days.

    Raises:
        StorageError: The store is unavailable.
    """
    with store.reading() as work:
        changes = profile_queries.changes_of(work, key, limit=limit)
        ids = ids_of(work, {change.profile_id for change in changes})
        return Members(
            people=profile_queries.members(work, key, limit=limit),
            ids={profile: sorted(external_ids) for profile, external_ids in ids.items()},
            changes=changes,
            sizes=engage_tables.sizes(work, key, since=clock.now() - timedelta(days=30)),
        )
