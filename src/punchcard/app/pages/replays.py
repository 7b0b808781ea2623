"""Replays of a destination: choose events, look at the plan, confirm it, and see how far it is."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from litestar import get, post
from litestar.params import FromPath
from sqlalchemy import Connection

from punchcard.app.forms import FormErrors
from punchcard.app.periods import read_period
from punchcard.app.request_context import REQUIRED_ROLE, SHOWS_AWARDS, ContextDependency, Page, RequestContext
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.event_names import mapped_names
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
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
from punchcard.store.operations.replays import Replay, ReplaySelection, list_replays
from punchcard.store.routing.event_results import EventStatus
from punchcard.workspace.editing import find_destination
from punchcard.workspace.model import Destination

_FIELDS = ("since", "until", "event", "type", "source", "customer", "status", "reason", "message_id")
_LISTED_MAX = 50
_OFFER_DAYS = 30
_OFFER_EVENTS_SHOWN = 3
# What may earn something under another configuration.
_EARNED_NOTHING = (EventStatus.REFUSED, EventStatus.FILTERED_AT_DESTINATION, EventStatus.FILTERED_AT_SOURCE)
_CHANGES = {"pause": pause_replay, "resume": resume_replay, "cancel": cancel_replay}
_DONE = {"pause": "The replay is paused.", "resume": "The replay goes on.", "cancel": "The replay was canceled."}


@get("/destinations/{slug:str}/replays")
@run_in_executor
def list_all(context: ContextDependency, slug: FromPath[str]) -> Page:
    """The replays of a destination, and the form for another one; the address may fill it, as lists of events do."""
    destination = find_destination(context.dependencies.workspace(), slug)
    values = {name: context.query(name) for name in _FIELDS}
    if context.query("time") and not values["since"]:
        period = read_period(context)
        values["since"] = _local(context, period.begin)
        values["until"] = _local(context, period.end if period.last_day else None)
    return _form(context, destination, values, FormErrors(), status=200)


@post("/destinations/{slug:str}/replays", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
@run_in_executor
def plan(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Plan a replay; nothing is replayed before that is confirmed."""
    destination = find_destination(context.dependencies.workspace(), slug)
    values = {name: context.field(name) for name in _FIELDS}
    try:
        replay = _plan(context, slug, _read_selection(context, values))
    except ConfigurationError as error:
        field = error.context.get("field")
        errors = FormErrors(general=[error.message])
        if isinstance(field, str):
            errors = FormErrors(fields={field: error.message})
        return _form(context, destination, values, errors, status=422)
    return context.redirect(f"/destinations/{slug}/replays/{replay.id}")


@get("/destinations/{slug:str}/replays/{replay_id:str}", opt={SHOWS_AWARDS: True})
@run_in_executor
def show(context: ContextDependency, slug: FromPath[str], replay_id: FromPath[str]) -> Page:
    """The plan of a replay, and how far it is."""
    destination = find_destination(context.dependencies.workspace(), slug)
    replay, results = _read(context, slug, replay_id)
    return context.page(
        "replay.html", destination=destination, replay=replay, results=results, left=_time_left(context, replay)
    )


@get("/destinations/{slug:str}/replays/{replay_id:str}/progress")
@run_in_executor
def show_progress(context: ContextDependency, slug: FromPath[str], replay_id: FromPath[str]) -> Page:
    """How far a replay is, for the page that shows it."""
    destination = find_destination(context.dependencies.workspace(), slug)
    replay, results = _read(context, slug, replay_id)
    return context.fragment(
        "replay_progress.html",
        destination=destination,
        replay=replay,
        results=results,
        left=_time_left(context, replay),
    )


@post("/destinations/{slug:str}/replays/{replay_id:str}/start", status_code=200)
@run_in_executor
def start(context: ContextDependency, slug: FromPath[str], replay_id: FromPath[str]) -> Page:
    """Confirm a planned replay."""
    dependencies = context.dependencies
    find_destination(dependencies.workspace(), slug)
    return _act(
        context,
        slug,
        replay_id,
        "The replay has started.",
        lambda work: start_replay(
            work,
            replay_id,
            dependencies.current().destinations[slug],
            actor=context.actor,
            now=dependencies.clock.now(),
        ),
    )


@post("/destinations/{slug:str}/replays/{replay_id:str}/pause", status_code=200)
@run_in_executor
def pause(context: ContextDependency, slug: FromPath[str], replay_id: FromPath[str]) -> Page:
    """Stop a running replay until it is resumed."""
    return _change(context, slug, replay_id, "pause")


@post("/destinations/{slug:str}/replays/{replay_id:str}/resume", status_code=200)
@run_in_executor
def resume(context: ContextDependency, slug: FromPath[str], replay_id: FromPath[str]) -> Page:
    """Resume a paused replay."""
    return _change(context, slug, replay_id, "resume")


@post("/destinations/{slug:str}/replays/{replay_id:str}/cancel", status_code=200)
@run_in_executor
def cancel(context: ContextDependency, slug: FromPath[str], replay_id: FromPath[str]) -> Page:
    """End a replay."""
    return _change(context, slug, replay_id, "cancel")


@get("/destinations/{slug:str}/replay-offer")
@run_in_executor
def offer(context: ContextDependency, slug: FromPath[str]) -> Page:
    """What events of the last 30 days would earn now that have earned nothing: for a page that was just saved."""
    dependencies = context.dependencies
    destination = find_destination(dependencies.workspace(), slug)
    partner = CATALOG.get(destination.type)
    names = () if partner is None else tuple(mapped_names(partner.definition, destination.settings))
    selection = ReplaySelection(
        since=dependencies.clock.now() - timedelta(days=_OFFER_DAYS),
        events=names,
        statuses=tuple(status.value for status in _EARNED_NOTHING),
    )
    try:
        replay = plan_replay(
            dependencies.store,
            dependencies.lake,
            dependencies.current(),
            slug,
            selection,
            clock=dependencies.clock,
            actor=context.actor,
        )
    except ConfigurationError:
        return context.fragment("replay_offer.html", destination=destination, plan=None, names=(), since="", days=0)
    earning = [count.event for count in replay.plan.by_event if count.awards]
    return context.fragment(
        "replay_offer.html",
        destination=destination,
        plan=replay.plan,
        names=earning[:_OFFER_EVENTS_SHOWN],
        since=_local(context, selection.since),
        days=_OFFER_DAYS,
    )


def _change(context: RequestContext, slug: str, replay_id: str, action: str) -> Page:
    now = context.dependencies.clock.now()
    return _act(
        context,
        slug,
        replay_id,
        _DONE[action],
        lambda work: _CHANGES[action](work, replay_id, slug, actor=context.actor, now=now),
    )


def _act(context: RequestContext, slug: str, replay_id: str, notice: str, act: Callable[[Connection], object]) -> Page:
    try:
        with context.dependencies.store.unit_of_work() as work:
            act(work)
    except ConfigurationError as error:
        if error.code == "not_found":
            raise
        notice = f"{error.message[:1].upper()}{error.message[1:]}."
    return context.redirect(f"/destinations/{slug}/replays/{replay_id}", notices=[notice])


def _plan(context: RequestContext, slug: str, selection: ReplaySelection) -> Replay:
    dependencies = context.dependencies
    wait_for_lake(dependencies.store, dependencies.lake, seconds=LAKE_SECONDS)
    snapshot = dependencies.current()
    replay = plan_replay(
        dependencies.store,
        dependencies.lake,
        snapshot,
        slug,
        selection,
        clock=dependencies.clock,
        actor=context.actor,
        points_per_unit=read_points_per_unit(snapshot.destinations[slug]),
    )
    with dependencies.store.unit_of_work() as work:
        save_replay(work, replay)
    return replay


def _read(context: RequestContext, slug: str, replay_id: str) -> tuple[Replay, Mapping[str, int]]:
    with context.dependencies.store.reading() as work:
        replay = get_replay(work, replay_id, slug)
        return replay, count_results(work, replay)


def _time_left(context: RequestContext, replay: Replay) -> timedelta | None:
    return replay.time_left(context.dependencies.clock.now())


def _read_selection(context: RequestContext, values: Mapping[str, str]) -> ReplaySelection:
    """The selection of the form.

    Raises:
        ConfigurationError: a time is none.
    """

    def listed(name: str) -> tuple[str, ...]:
        return (values[name],) if values[name] else ()

    return ReplaySelection(
        since=_instant(context, values["since"], "since"),
        until=_instant(context, values["until"], "until"),
        events=listed("event"),
        types=listed("type"),
        sources=listed("source"),
        customer=values["customer"] or None,
        statuses=listed("status"),
        reasons=listed("reason"),
        message_ids=listed("message_id"),
    )


def _instant(context: RequestContext, text: str, field: str) -> datetime | None:
    if not text:
        return None
    try:
        local = datetime.fromisoformat(text)
    except ValueError as error:
        message = "This is not a date and time."
        raise ConfigurationError(message, code="invalid_request", field=field) from error
    return local.replace(tzinfo=context.dependencies.current().zone).astimezone(UTC)


def _local(context: RequestContext, instant: datetime | None) -> str:
    """An instant as a field of a form has it, in the workspace's time zone."""
    if instant is None:
        return ""
    return f"{instant.astimezone(context.dependencies.current().zone):%Y-%m-%dT%H:%M}"


def _form(
    context: RequestContext, destination: Destination, values: Mapping[str, str], errors: FormErrors, *, status: int
) -> Page:
    with context.dependencies.store.reading() as work:
        replays = list_replays(work, destination.slug, count=_LISTED_MAX)
    return context.page(
        "replays.html",
        status=status,
        destination=destination,
        replays=replays,
        values=values,
        errors=errors,
        zone=context.dependencies.workspace().timezone,
        statuses=[status.value for status in (*_EARNED_NOTHING, EventStatus.DESTINATION_OFF)],
    )


HANDLERS = (list_all, plan, show, show_progress, start, pause, resume, cancel, offer)
