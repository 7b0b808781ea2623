"""Reconciliations of a destination: the history, and one reconciliation with its differences and actions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from litestar import get, post
from litestar.params import FromPath
from sqlalchemy import Connection

from punchcard.app.bulk import BulkAction, run_bulk
from punchcard.app.charts import Chart, Series
from punchcard.app.paths import page_path
from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.lookups import find_reconciliation, find_running_destination
from punchcard.operations.reconciliation import (
    ACTIONS,
    DifferenceAction,
    Resolution,
    cancel_reconciliation,
    request_reconciliation,
    resolve_differences,
)
from punchcard.operations.reconciliation_views import ReconciliationView, open_points, view_history, view_reconciliation
from punchcard.operations.row_ids import is_row_id
from punchcard.operations.sentences import count_noun
from punchcard.operations.statuses import status_label
from punchcard.store.engine import Store
from punchcard.store.operations.reconciliation_differences import (
    DifferenceKind,
    DifferenceQuery,
    DifferenceState,
    count_differences,
    list_differences,
)
from punchcard.store.operations.reconciliations import Reconciliation, ReconciliationStatus
from punchcard.workspace.editing import find_destination
from punchcard.workspace.part_names import destination_title

_HISTORY = 50
_ROWS = 50
_DAYS = (1, 7, 30, 90, 365)


@get("/destinations/{slug:str}/reconciliations")
@run_in_executor
def list_all(context: ContextDependency, slug: FromPath[str]) -> Page:
    """The reconciliations of a destination, newest first."""
    destination = find_destination(context.dependencies.workspace(), slug)
    before = context.query("before")
    with context.dependencies.store.reading() as work:
        views = view_history(work, slug, count=_HISTORY + 1, before_id=int(before) if is_row_id(before) else None)
    shown = views[:_HISTORY]
    return context.page(
        "reconciliations.html",
        destination=destination,
        views=shown,
        days=_DAYS,
        chart=_chart(context, shown, title=destination_title(destination)),
        following=str(shown[-1].reconciliation.id) if len(views) > _HISTORY else "",
    )


def _chart(context: RequestContext, views: Sequence[ReconciliationView], *, title: str) -> Chart | None:
    """Return both sides and the differences over time, None before there are two comparisons."""
    finished = [view for view in reversed(views) if view.reconciliation.status is ReconciliationStatus.FINISHED]
    if len(finished) < 2:
        return None
    totals = [view.reconciliation.totals for view in finished]
    return Chart(
        buckets=[view.reconciliation.requested_at for view in finished],
        zone=context.dependencies.workspace().timezone,
        series=[
            Series(label="Ledger", color="azure", values=[total.ledger_count for total in totals]),
            Series(label=title, color="green", values=[total.partner_count for total in totals]),
            Series(label="Differences", color="red", values=[view.differences_total for view in finished]),
        ],
    )


@post("/destinations/{slug:str}/reconciliations", status_code=200)
@run_in_executor
def begin(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Ask for a reconciliation."""
    destination = find_running_destination(context.dependencies.current(), slug)
    days = context.field("days")
    if not is_row_id(days) or int(days) not in _DAYS:
        raise ConfigurationError("Choose one of the periods.")
    now = context.dependencies.clock.now()
    with context.dependencies.store.unit_of_work() as work:
        reconciliation = request_reconciliation(
            work, destination, since=now - timedelta(days=int(days)), actor=context.actor, now=now
        )
    return context.redirect(f"/destinations/{slug}/reconciliations/{reconciliation.id}")


@get("/destinations/{slug:str}/reconciliations/{number:str}")
@run_in_executor
def show_one(context: ContextDependency, slug: FromPath[str], number: FromPath[str]) -> Page:
    """One reconciliation with a page of its differences."""
    destination = find_destination(context.dependencies.workspace(), slug)
    reconciliation = find_reconciliation(context.dependencies.store, slug, number)
    kind, state = context.query("kind"), context.query("state")
    after = context.query("after")
    query = DifferenceQuery(
        reconciliation_id=reconciliation.id,
        kind=kind or None,
        states=(DifferenceState(state),) if state in set(DifferenceState) else (),
    )
    with context.dependencies.store.reading() as work:
        view = view_reconciliation(
            work,
            reconciliation,
            query,
            types=context.dependencies.current().destination_types,
            count=_ROWS + 1,
            after_id=int(after) if is_row_id(after) else 0,
        )
        open_matching = _count_open(work, query)
        worth = open_points(work, reconciliation, context.mapping_choices.points_per_unit)
    shown = view.differences[:_ROWS]
    return context.page(
        "reconciliation.html",
        destination=destination,
        view=view,
        reconciliation=reconciliation,
        totals=reconciliation.totals,
        open_matching=open_matching,
        worth=worth if view.differences_open else None,
        differences=shown,
        following=str(shown[-1].id) if len(view.differences) > _ROWS else "",
        kinds=list(DifferenceKind),
        states=list(DifferenceState),
        actions=ACTIONS,
        query_values={"kind": kind, "state": state},
    )


@post("/destinations/{slug:str}/reconciliations/{number:str}", status_code=200)
@run_in_executor
def act(context: ContextDependency, slug: FromPath[str], number: FromPath[str]) -> Page:
    """Cancel a reconciliation, or resolve its differences: the selected ones, or all of a kind."""
    reconciliation = find_reconciliation(context.dependencies.store, slug, number)
    dependencies, do = context.dependencies, context.field("do")
    path = ("destinations", slug, "reconciliations", reconciliation.id)
    if do == "cancel":
        with dependencies.store.unit_of_work() as work:
            cancel_reconciliation(work, reconciliation, actor=context.actor, now=dependencies.clock.now())
        return context.redirect(page_path(*path))
    if do not in set(DifferenceAction):
        raise ConfigurationError("Choose what to do.")
    query_values = {name: value for name in ("kind", "state") if (value := context.field(name))}
    return _resolve(context, reconciliation, DifferenceAction(do), page_path(*path, **query_values))


def _resolve(context: RequestContext, reconciliation: Reconciliation, action: DifferenceAction, path: str) -> Page:
    """Resolve the selected differences, or all open ones of a kind."""
    dependencies = context.dependencies
    query = DifferenceQuery(
        reconciliation_id=reconciliation.id, kind=context.field("kind") or None, states=(DifferenceState.OPEN,)
    )

    def resolve(ids: Sequence[int]) -> Resolution:
        return resolve_differences(
            dependencies.store,
            dependencies.current().destinations.get(reconciliation.destination),
            replace(query, kind=None, ids=ids),
            action=action,
            actor=context.actor,
            clock=dependencies.clock,
        )

    if context.field("which") == "all":
        return run_bulk(
            context, _bulk_resolution(dependencies.store, query, action, path, act=lambda ids: resolve(ids).done)
        )
    resolution = resolve([int(text) for text in context.fields("id") if is_row_id(text)])
    return context.redirect(path, notices=_notices(action, resolution))


def _notices(action: DifferenceAction, resolution: Resolution) -> list[str]:
    notices = [_done(action, resolution.done)] if resolution.done or not resolution.left else []
    if resolution.left:
        left = count_noun(resolution.left, "difference was", "differences were")
        notices.append(f"{left} left: the action does not fit, or somebody has decided or changed it meanwhile.")
    return notices


def _bulk_resolution(
    store: Store, query: DifferenceQuery, action: DifferenceAction, path: str, *, act: Callable[[Sequence[int]], int]
) -> BulkAction:
    """Return the action on all open differences that match."""

    def take(cursor: int | None, limit: int) -> Sequence[int]:
        with store.reading() as work:
            return [row.id for row in list_differences(work, query, count=limit, after_id=cursor or 0)]

    def count() -> int:
        with store.reading() as work:
            return _count_open(work, query)

    kind = [f"Kind: {status_label(query.kind)}"] if query.kind else []
    return BulkAction(
        verb=status_label(action),
        nouns=("difference", "differences"),
        filters=[f"Reconciliation: {query.reconciliation_id}", "State: open", *kind],
        effect=_EFFECTS[action],
        count=count,
        take=take,
        act=act,
        path=path,
        done=lambda number: _done(action, number),
    )


_EFFECTS = {
    DifferenceAction.SEND_AGAIN: "Each award is looked up at the partner, and sent again if it is not there.",
    DifferenceAction.ACCEPT: "The ledger is changed to what the partner has, where that fits.",
    DifferenceAction.DISMISS: "Both sides are left as they are.",
}


def _count_open(work: Connection, query: DifferenceQuery) -> int:
    """Return the number of open differences of a reconciliation, of one kind or of all."""
    counts = count_differences(work, [query.reconciliation_id])[query.reconciliation_id]
    return sum(
        number
        for (kind, state), number in counts.items()
        if state == DifferenceState.OPEN and query.kind in (None, kind)
    )


def _done(action: DifferenceAction, count: int) -> str:
    if not count:
        return "Nothing was changed: choose differences first."
    differences = count_noun(count, "difference")
    match action:
        case DifferenceAction.SEND_AGAIN:
            return f"{differences}: each award is looked up at the partner, and sent again if it is not there."
        case DifferenceAction.ACCEPT:
            return f"{differences} accepted: the ledger has what the partner has."
        case DifferenceAction.DISMISS:
            return f"{differences} dismissed."


HANDLERS = (list_all, begin, show_one, act)
