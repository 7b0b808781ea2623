"""Replays: past events planned again under today's configuration. Punchcard's own."""

from datetime import datetime
from decimal import Decimal

import msgspec
from litestar import get, post
from litestar.exceptions import PermissionDeniedException
from litestar.params import FromPath, JSONBody

from punchcard.api import bodies
from punchcard.api.api_dependencies import REQUIRED_ROLE, Dependencies
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page
from punchcard.clock import to_iso
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.instants import read_instant
from punchcard.operations.replay_planning import LAKE_SECONDS, plan_replay, read_points_per_unit, wait_for_lake
from punchcard.operations.replays import (
    cancel_replay,
    count_results,
    get_replay,
    pause_replay,
    resume_replay,
    save_replay,
    start_replay,
)
from punchcard.store.access.token_store import Role
from punchcard.store.operations.replays import Replay, ReplayPlan, ReplaySelection, list_replays
from punchcard.workspace.editing import find_destination

_LISTED_MAX = 1_000


class NewReplay(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Which past events to plan again; what is left out selects all. With `dryRun` nothing is replayed yet.

    `since` and `until` are when events were received, `reasons` why they have earned nothing at the destination.
    """

    since: str | None = None
    until: str | None = None
    events: list[str] = []
    reasons: list[str] = []
    customer: str | None = None
    message_ids: list[str] = []
    dry_run: bool = False


class PlannedName(msgspec.Struct, rename="camel"):
    """What the events of one name would earn."""

    event: str
    events: int
    awards: int
    quantity: str


class PlannedAward(msgspec.Struct, rename="camel"):
    """One of the awards: what an event would earn now."""

    message_id: str
    event: str
    email: str
    received_at: str
    quantity: str | None
    item: str | None


class PlanView(msgspec.Struct, rename="camel"):
    """What the replay would do: `refused` counts by reason the events that would earn nothing.

    `points` is null if the partner does not say what a unit gives.
    """

    events: int
    awards: int
    quantity: str
    points: str | None
    already_in_ledger: int
    refused: dict[str, int]
    first_received_at: str | None
    last_received_at: str | None
    by_event: list[PlannedName]
    sample: list[PlannedAward]


class ReplayView(msgspec.Struct, rename="camel"):
    """A replay: `status` is `planned`, `running`, `paused`, `completed`, `canceled` or `failed`.

    `done` counts the events of the plan that were looked at, `replayed` those that entered the log again, and `results`
    what that gave.
    """

    id: str
    status: str
    destination: str
    actor: str
    created_at: str
    started_at: str | None
    ended_at: str | None
    plan: PlanView
    done: int
    replayed: int
    results: dict[str, int]
    seconds_left: int | None
    detail: str | None


class ReplayPage(msgspec.Struct):
    """A page of replays, newest first."""

    replays: list[ReplayView]
    pagination: bodies.Pagination


ReplayResponse = dict[str, dict[str, ReplayView]]


@post(
    "/destinations/{destination_id:str}/replays",
    status_code=200,
    opt={REQUIRED_ROLE: Role.READ_ONLY},
    summary="Plan a replay, and start it",
)
@run_in_executor
def create_replay(
    destination_id: FromPath[str], data: JSONBody[NewReplay], dependencies: Dependencies
) -> ReplayResponse:
    """Plan past events again under today's configuration. Without `dryRun` the replay starts at once."""
    if not data.dry_run and not dependencies.token.role.may(Role.EDITOR):
        raise PermissionDeniedException(
            f"This token has the role {dependencies.token.role}. A replay needs a token with the role {Role.EDITOR}."
        )
    snapshot = dependencies.current()
    destination = find_destination(dependencies.workspace(), destination_id)
    if not data.dry_run and not destination.enabled:
        raise ConfigurationError(
            f"{destination_id} is off. Switch it on, then replay its events.", code="destination_off"
        )
    now = dependencies.clock.now()

    def instant(text: str | None, option: str) -> datetime | None:
        return None if text is None else read_instant(text, option=option, now=now, zone=snapshot.zone, is_past=True)

    selection = ReplaySelection(
        since=instant(data.since, "since"),
        until=instant(data.until, "until"),
        events=tuple(data.events),
        reasons=tuple(data.reasons),
        customer=data.customer,
        message_ids=tuple(data.message_ids),
    )
    wait_for_lake(dependencies.store, dependencies.lake, seconds=LAKE_SECONDS)
    routed = snapshot.destinations[destination_id]
    replay = plan_replay(
        dependencies.store,
        dependencies.lake,
        snapshot,
        destination_id,
        selection,
        clock=dependencies.clock,
        actor=dependencies.actor,
        points_per_unit=read_points_per_unit(routed),
    )
    with dependencies.store.unit_of_work() as work:
        save_replay(work, replay)
        if not data.dry_run:
            start_replay(work, replay.id, routed, actor=dependencies.actor, now=dependencies.clock.now())
    return _response(dependencies, destination_id, replay.id)


@get("/destinations/{destination_id:str}/replays", summary="All replays of a destination")
@run_in_executor
def list_all_replays(
    destination_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, ReplayPage]:
    """The newest thousand, newest first."""
    find_destination(dependencies.workspace(), destination_id)
    with dependencies.store.reading() as work:
        replays = list_replays(work, destination_id, count=_LISTED_MAX)
        newest = {f"{number:06}": replay for number, replay in enumerate(replays)}
        shown, pagination = page(sorted(newest), key=lambda key: key, count=count, cursor=cursor)
        now = dependencies.clock.now()
        views = [replay_view(newest[key], count_results(work, newest[key]), now=now) for key in shown]
    return {"data": ReplayPage(replays=views, pagination=pagination)}


@get("/destinations/{destination_id:str}/replays/{replay_id:str}", summary="One replay")
@run_in_executor
def get_one_replay(
    destination_id: FromPath[str], replay_id: FromPath[str], dependencies: Dependencies
) -> ReplayResponse:
    """Its plan, and how far it has come."""
    return _response(dependencies, destination_id, replay_id)


@post("/destinations/{destination_id:str}/replays/{replay_id:str}/start", status_code=200, summary="Start a replay")
@run_in_executor
def start(destination_id: FromPath[str], replay_id: FromPath[str], dependencies: Dependencies) -> ReplayResponse:
    """Confirm a replay that was only planned."""
    find_destination(dependencies.workspace(), destination_id)
    routed = dependencies.current().destinations[destination_id]
    with dependencies.store.unit_of_work() as work:
        start_replay(work, replay_id, routed, actor=dependencies.actor, now=dependencies.clock.now())
    return _response(dependencies, destination_id, replay_id)


@post("/destinations/{destination_id:str}/replays/{replay_id:str}/pause", status_code=200, summary="Pause a replay")
@run_in_executor
def pause(destination_id: FromPath[str], replay_id: FromPath[str], dependencies: Dependencies) -> ReplayResponse:
    """Stop it until it is resumed."""
    with dependencies.store.unit_of_work() as work:
        pause_replay(work, replay_id, destination_id, actor=dependencies.actor, now=dependencies.clock.now())
    return _response(dependencies, destination_id, replay_id)


@post("/destinations/{destination_id:str}/replays/{replay_id:str}/resume", status_code=200, summary="Resume a replay")
@run_in_executor
def resume(destination_id: FromPath[str], replay_id: FromPath[str], dependencies: Dependencies) -> ReplayResponse:
    """Let a paused replay go on where it was."""
    with dependencies.store.unit_of_work() as work:
        resume_replay(work, replay_id, destination_id, actor=dependencies.actor, now=dependencies.clock.now())
    return _response(dependencies, destination_id, replay_id)


@post("/destinations/{destination_id:str}/replays/{replay_id:str}/cancel", status_code=200, summary="Cancel a replay")
@run_in_executor
def cancel(destination_id: FromPath[str], replay_id: FromPath[str], dependencies: Dependencies) -> ReplayResponse:
    """End it; what it has replayed by now stays."""
    with dependencies.store.unit_of_work() as work:
        cancel_replay(work, replay_id, destination_id, actor=dependencies.actor, now=dependencies.clock.now())
    return _response(dependencies, destination_id, replay_id)


def _response(dependencies: Dependencies, destination: str, id: str) -> ReplayResponse:
    with dependencies.store.reading() as work:
        replay = get_replay(work, id, destination)
        results = count_results(work, replay)
    return {"data": {"replay": replay_view(replay, results, now=dependencies.clock.now())}}


def replay_view(replay: Replay, results: dict[str, int], *, now: datetime) -> ReplayView:
    """Return the body of a replay.

    Args:
        results: What its events gave, by status.
    """
    left = replay.time_left(now)
    return ReplayView(
        id=replay.id,
        status=replay.status,
        destination=replay.destination,
        actor=replay.actor,
        created_at=to_iso(replay.created_at),
        started_at=None if replay.started_at is None else to_iso(replay.started_at),
        ended_at=None if replay.ended_at is None else to_iso(replay.ended_at),
        plan=_plan_view(replay.plan),
        done=replay.done,
        replayed=replay.appended,
        results=results,
        seconds_left=None if left is None else round(left.total_seconds()),
        detail=replay.detail or None,
    )


def _plan_view(plan: ReplayPlan) -> PlanView:
    def shown(number: Decimal | None) -> str | None:
        return None if number is None else f"{number:f}"

    return PlanView(
        events=plan.events,
        awards=plan.awards,
        quantity=f"{plan.quantity:f}",
        points=shown(plan.points),
        already_in_ledger=plan.already_in_ledger,
        refused=dict(plan.refused),
        first_received_at=None if plan.first_received_at is None else to_iso(plan.first_received_at),
        last_received_at=None if plan.last_received_at is None else to_iso(plan.last_received_at),
        by_event=[
            PlannedName(event=count.event, events=count.events, awards=count.awards, quantity=f"{count.quantity:f}")
            for count in plan.by_event
        ],
        sample=[
            PlannedAward(
                message_id=award.message_id,
                event=award.event,
                email=award.email,
                received_at=to_iso(award.received_at),
                quantity=shown(award.quantity),
                item=award.item,
            )
            for award in plan.sample
        ],
    )


HANDLERS = (create_replay, list_all_replays, get_one_replay, start, pause, resume, cancel)
