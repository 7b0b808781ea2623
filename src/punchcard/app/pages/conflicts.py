"""Conflicts of a destination: both contents side by side, and the decision which one counts."""

from collections.abc import Sequence
from dataclasses import replace

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.bulk import BulkAction, run_bulk
from punchcard.app.paths import page_path
from punchcard.app.request_context import SHOWS_AWARDS, ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError
from punchcard.operations.conflict_resolution import (
    AlreadyResolvedError,
    correct_to_second,
    keep_first,
    preview_correction,
    reason_not_correctable,
    view_conflict,
)
from punchcard.operations.executor import run_in_executor
from punchcard.operations.lookups import find_conflict
from punchcard.operations.row_ids import is_row_id
from punchcard.operations.sentences import count_noun
from punchcard.store.delivery import ledger
from punchcard.store.delivery.conflicts import (
    ConflictQuery,
    StoredConflict,
    conflict_ids,
    count_conflicts,
    list_conflicts,
)
from punchcard.store.delivery.effects import ConflictResolution
from punchcard.traces.attempts import attempt_trace
from punchcard.traces.trace import current_status
from punchcard.workspace.editing import find_destination
from punchcard.workspace.part_names import destination_title

_ROWS = 50


@get("/destinations/{slug:str}/conflicts", opt={SHOWS_AWARDS: True})
@run_in_executor
def list_all(context: ContextDependency, slug: FromPath[str]) -> Page:
    """List the conflicts of a destination, newest first: those to be decided, or all."""
    destination = find_destination(context.dependencies.workspace(), slug)
    shows_all, before = context.query("show") == "all", context.query("before")
    query = ConflictQuery(destination=slug, is_resolved=None if shows_all else False)
    with context.dependencies.store.reading() as work:
        before_id = int(before) if is_row_id(before) else None
        conflicts = list_conflicts(work, query, count=_ROWS + 1, before_id=before_id)
        views = [view_conflict(work, conflict) for conflict in conflicts[:_ROWS]]
        total = count_conflicts(work, query)
        unresolved = count_conflicts(work, replace(query, is_resolved=False)) if shows_all else total
    return context.page(
        "conflicts.html",
        destination=destination,
        views=views,
        total=total,
        unresolved=unresolved,
        shows_all=shows_all,
        following=str(views[-1].conflict.id) if len(conflicts) > _ROWS else "",
    )


@post("/destinations/{slug:str}/conflicts", status_code=200)
@run_in_executor
def keep_selected(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Keep the first content of conflicts: the selected ones, or all that nobody has decided."""
    destination, store = find_destination(context.dependencies.workspace(), slug), context.dependencies.store
    path, query = page_path("destinations", slug, "conflicts"), ConflictQuery(destination=slug, is_resolved=False)

    def take(cursor: int | None, limit: int) -> Sequence[int]:
        with store.reading() as work:
            return conflict_ids(work, query, after_id=cursor or 0, limit=limit)

    def count() -> int:
        with store.reading() as work:
            return count_conflicts(work, query)

    if context.field("which") != "all":
        return context.redirect(path, notices=[_notice(_keep_first(context, slug, context.fields("id")))])
    return run_bulk(
        context,
        BulkAction(
            verb="Keep the first content of",
            nouns=("conflict", "conflicts"),
            filters=[f"Destination: {destination_title(destination)}", "Status: unresolved"],
            effect="The first content counts. Nothing is sent.",
            count=count,
            take=take,
            act=lambda ids: _keep_first(context, slug, [str(number) for number in ids]),
            path=path,
            done=_notice,
        ),
    )


def _keep_first(context: RequestContext, slug: str, ids: Sequence[str]) -> int:
    """Resolve conflicts that nobody has resolved yet; return how many."""
    count = 0
    for text in ids:
        conflict = find_conflict(context.dependencies.store, slug, text)
        try:
            with context.dependencies.store.unit_of_work() as work:
                keep_first(work, conflict, actor=context.actor, now=context.dependencies.clock.now())
        except AlreadyResolvedError:
            continue
        count += 1
    return count


def _notice(count: int) -> str:
    if not count:
        return "Nothing was changed: select conflicts first."
    return f"{count_noun(count, 'conflict')} resolved: the first content counts."


@get("/destinations/{slug:str}/conflicts/{number:str}", opt={SHOWS_AWARDS: True})
@run_in_executor
def show_one(context: ContextDependency, slug: FromPath[str], number: FromPath[str]) -> Page:
    """Show both contents of a conflict, and what a correction would send."""
    return _page(context, slug, find_conflict(context.dependencies.store, slug, number))


@post("/destinations/{slug:str}/conflicts/{number:str}", status_code=200)
@run_in_executor
def resolve(context: ContextDependency, slug: FromPath[str], number: FromPath[str]) -> Page:
    """Keep the first content, or correct the award to the second one."""
    conflict, dependencies = find_conflict(context.dependencies.store, slug, number), context.dependencies
    resolution, now = context.field("resolution"), dependencies.clock.now()
    if resolution not in set(ConflictResolution):
        raise ConfigurationError("Choose which content counts.")
    path = page_path("destinations", slug, "conflicts", conflict.id)
    try:
        with dependencies.store.unit_of_work() as work:
            if resolution == ConflictResolution.KEPT:
                keep_first(work, conflict, actor=context.actor, now=now)
                notice = "Resolved: the first content counts. Nothing was sent."
            else:
                destination = dependencies.current().destinations.get(slug)
                count = len(correct_to_second(work, conflict, destination, actor=context.actor, now=now))
                queued = f"{count_noun(count, 'transaction is', 'transactions are')} queued"
                notice = f"Resolved: the second content counts. {queued if count else 'Nothing had to be sent'}."
    except AlreadyResolvedError as error:
        notice = error.message
    return context.redirect(path, notices=[notice])


def _page(context: RequestContext, slug: str, conflict: StoredConflict) -> Page:
    dependencies = context.dependencies
    destination = dependencies.current().destinations.get(slug)
    with dependencies.store.reading() as work:
        view = view_conflict(work, conflict)
        obstacle = "" if conflict.resolution else reason_not_correctable(work, conflict, destination)
        attempts = ledger.attempts_of(work, [row.id for row in view.corrections])
    steps = []
    if conflict.resolution is None and not obstacle:
        steps = preview_correction(dependencies.store, conflict, destination, now=dependencies.clock.now())
    return context.page(
        "conflict.html",
        destination=find_destination(dependencies.workspace(), slug),
        view=view,
        conflict=conflict,
        first_status=current_status(view.effect),
        obstacle=obstacle,
        steps=steps,
        corrections=[
            (row, current_status(row), [attempt_trace(attempt) for attempt in attempts[row.id]])
            for row in view.corrections
        ],
    )


HANDLERS = (list_all, keep_selected, show_one, resolve)
