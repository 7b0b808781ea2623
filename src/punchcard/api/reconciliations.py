"""Reconciliations of a destination: the ledger compared with what the partner has booked."""

from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import Dependencies
from punchcard.api.errors import bad_request
from punchcard.api.reconciliation_bodies import ReconciliationBody, ReconciliationPage, reconciliation_body
from punchcard.operations.executor import run_in_executor
from punchcard.operations.instants import read_instant
from punchcard.operations.lookups import find_reconciliation, find_running_destination
from punchcard.operations.reconciliation import (
    DifferenceAction,
    cancel_reconciliation,
    request_reconciliation,
    resolve_differences,
)
from punchcard.operations.reconciliation_views import view_history, view_reconciliation
from punchcard.operations.row_ids import is_row_id
from punchcard.store.operations.reconciliation_differences import DifferenceKind, DifferenceQuery, DifferenceState
from punchcard.store.operations.reconciliations import Reconciliation, count_reconciliations
from punchcard.workspace.snapshot import RoutedDestination

_SINCE_DEFAULT = "30d"
_PAGE_DEFAULT = 50
_PAGE_MAX = 1000
_IDS_MAX = 1000


class NewReconciliation(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What to compare: awards for events received since then; an ISO-8601 time, or a distance such as `30d`."""

    since: str = _SINCE_DEFAULT


class ResolveRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What to do to which open differences: those of these ids, or all, or all of a kind."""

    action: DifferenceAction
    ids: Annotated[list[str], msgspec.Meta(max_length=_IDS_MAX)] | None = None
    kind: str | None = None


class Resolved(msgspec.Struct):
    """How many differences were resolved, and how many were left: the action does not fit them."""

    resolved: int
    left: int


@post("/destinations/{destination_id:str}/reconciliations", status_code=200, summary="Compare ledger and partner")
@run_in_executor
def create_reconciliation(
    destination_id: FromPath[str], data: JSONBody[NewReconciliation], dependencies: Dependencies
) -> dict[str, dict[str, ReconciliationBody]]:
    """Ask for a reconciliation. The worker makes it; look at it with a GET."""
    destination = _destination(dependencies, destination_id)
    now = dependencies.clock.now()
    since = read_instant(data.since, option="since", now=now, zone=dependencies.current().zone, is_past=True)
    with dependencies.store.unit_of_work() as work:
        reconciliation = request_reconciliation(work, destination, since=since, actor=dependencies.actor, now=now)
    return _respond(dependencies, reconciliation)


@get("/destinations/{destination_id:str}/reconciliations", summary="Reconciliations, newest first")
@run_in_executor
def list_reconciliations(
    destination_id: FromPath[str],
    dependencies: Dependencies,
    cursor: FromQuery[str | None] = None,
    count: Annotated[int, QueryParameter(ge=1, le=_PAGE_MAX)] = _PAGE_DEFAULT,
) -> dict[str, ReconciliationPage]:
    """The history of a destination, without the differences themselves."""
    _destination(dependencies, destination_id)
    with dependencies.store.reading() as work:
        views = view_history(work, destination_id, count=count + 1, before_id=_number(cursor, "cursor"))
        total = count_reconciliations(work, destination_id)
    shown = views[:count]
    return {
        "data": ReconciliationPage(
            reconciliations=[reconciliation_body(view, with_differences=False) for view in shown],
            pagination=bodies.Pagination(
                current=cursor or "",
                total_entries=total,
                next=str(shown[-1].reconciliation.id) if len(views) > count else None,
            ),
        )
    }


@get(
    "/destinations/{destination_id:str}/reconciliations/{reconciliation_id:str}",
    summary="One reconciliation with its differences",
)
@run_in_executor
def get_reconciliation(
    destination_id: FromPath[str],
    reconciliation_id: FromPath[str],
    dependencies: Dependencies,
    cursor: FromQuery[str | None] = None,
    count: Annotated[int, QueryParameter(ge=1, le=_PAGE_MAX)] = _PAGE_MAX,
    kind: FromQuery[str | None] = None,
    state_filter: Annotated[
        str | None, QueryParameter(name="state")
    ] = None,  # `state` is a word of the framework's own
) -> dict[str, dict[str, ReconciliationBody]]:
    """How far it is, the totals of both sides, and a page of its differences."""
    for name, value, choices in (("kind", kind, DifferenceKind), ("state", state_filter, DifferenceState)):
        if value is not None and value not in set(choices):
            raise bad_request(f"The {name} is one of {', '.join(choices)}.", name)
    reconciliation = find_reconciliation(dependencies.store, destination_id, reconciliation_id)
    query = DifferenceQuery(
        reconciliation_id=reconciliation.id,
        kind=kind,
        states=() if state_filter is None else (DifferenceState(state_filter),),
    )
    after = _number(cursor, "cursor") or 0
    return _respond(dependencies, reconciliation, query, count=count, after_id=after)


@post(
    "/destinations/{destination_id:str}/reconciliations/{reconciliation_id:str}/resolve",
    status_code=200,
    summary="Resolve differences",
)
@run_in_executor
def resolve_reconciliation(
    destination_id: FromPath[str],
    reconciliation_id: FromPath[str],
    data: JSONBody[ResolveRequest],
    dependencies: Dependencies,
) -> dict[str, Resolved]:
    """Send awards again, accept what the partner has, or dismiss differences; one or many."""
    if data.kind is not None and data.kind not in set(DifferenceKind):
        raise bad_request(f"The kind is one of {', '.join(DifferenceKind)}.", "kind")
    reconciliation = find_reconciliation(dependencies.store, destination_id, reconciliation_id)
    ids = None if data.ids is None else [number for text in data.ids if (number := _number(text, "ids")) is not None]
    resolution = resolve_differences(
        dependencies.store,
        dependencies.current().destinations.get(destination_id),
        DifferenceQuery(reconciliation_id=reconciliation.id, kind=data.kind, ids=ids),
        action=data.action,
        actor=dependencies.actor,
        clock=dependencies.clock,
    )
    return {"data": Resolved(resolved=resolution.done, left=resolution.left)}


@post(
    "/destinations/{destination_id:str}/reconciliations/{reconciliation_id:str}/cancel",
    status_code=200,
    summary="Cancel a reconciliation",
)
@run_in_executor
def cancel_reconciliation_call(
    destination_id: FromPath[str], reconciliation_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, ReconciliationBody]]:
    """One that is over stays as it is."""
    reconciliation = find_reconciliation(dependencies.store, destination_id, reconciliation_id)
    with dependencies.store.unit_of_work() as work:
        cancel_reconciliation(work, reconciliation, actor=dependencies.actor, now=dependencies.clock.now())
    return _respond(dependencies, find_reconciliation(dependencies.store, destination_id, reconciliation_id))


def _destination(dependencies: Any, slug: str) -> RoutedDestination:  # as the framework hands it over
    return find_running_destination(dependencies.current(), slug)


def _number(text: str | None, field: str) -> int | None:
    if text is None:
        return None
    if not is_row_id(text):
        raise bad_request(f'"{text}" in {field} is not of this list. Use what a page of it has.', field)
    return int(text)


def _respond(
    dependencies: Any,  # as the framework hands it over
    reconciliation: Reconciliation,
    query: DifferenceQuery | None = None,
    *,
    count: int = _PAGE_MAX,
    after_id: int = 0,
) -> dict[str, dict[str, ReconciliationBody]]:
    query = query or DifferenceQuery(reconciliation_id=reconciliation.id)
    types = dependencies.current().destination_types
    with dependencies.store.reading() as work:
        view = view_reconciliation(work, reconciliation, query, types=types, count=count + 1, after_id=after_id)
    return {"data": {"reconciliation": reconciliation_body(view, count=count)}}


HANDLERS = (
    create_reconciliation,
    list_reconciliations,
    get_reconciliation,
    resolve_reconciliation,
    cancel_reconciliation_call,
)
