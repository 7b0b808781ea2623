"""The status of audiences and computed traits: state, size, members and syncs, as App, Public API and CLI show them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from punchcard.clock import Clock
from punchcard.engage.call_size import INVALID, TOO_LARGE
from punchcard.engage.sync_calls import computation_id
from punchcard.operations.natural_order import natural_key
from punchcard.store.delivery.sync_results import FAILED_MAX, FailedSync
from punchcard.store.engage import engage_tables, profile_queries, sync_outcomes
from punchcard.store.engage.engage_tables import ComputationState, Status
from punchcard.store.engage.profiles import ids_of
from punchcard.store.engage.synced import count_cut_lists
from punchcard.store.engine import Store
from punchcard.workspace.computations import OWN_SOURCES
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.model import Computation, Workspace
from punchcard.workspace.part_names import name_destinations
from punchcard.workspace.snapshot import Snapshot

KINDS = {"audience": "audience", "computed_trait": "computed trait"}
"""Display name of each kind."""

_REQUESTS_PER_CALL = 2
_VALUE_CHARACTERS_MAX = 100


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


@dataclass(frozen=True, kw_only=True)
class Members:
    """Some people with a value, and the latest changes; `ids` are the external ids of the people who changed."""

    people: Sequence[profile_queries.Member]
    ids: Mapping[int, Sequence[tuple[str, str]]]
    changes: Sequence[profile_queries.TraitChange]
    sizes: Sequence[tuple[datetime, int]]


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


def request_rates(snapshot: Snapshot) -> Callable[[str], float]:
    """Return a function that returns a destination's rate limit in requests per second, 0 for no known limit."""

    def rate(slug: str) -> float:
        destination = snapshot.destinations.get(slug)
        if destination is None or destination.invalid is not None:
            return 0.0
        return destination.partner.delivery_options(destination.settings).requests_per_second

    return rate


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


def _last_failure(store: Store, slug: str, key: str, waits_for: str) -> str:
    with store.reading() as work:
        return engage_tables.last_failure(work, destination=slug, key=key, waits_for=waits_for)
