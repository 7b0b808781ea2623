"""Conflicts of a destination: two events with one effect key and different content, and what an operator decides."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.exceptions import HTTPException
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import Dependencies
from punchcard.api.paging import read_row_cursor
from punchcard.clock import to_iso
from punchcard.operations.conflict_resolution import (
    ConflictSide,
    ConflictView,
    PreviewedStep,
    correct_to_second,
    keep_first,
    preview_correction,
    reason_not_correctable,
    view_conflict,
)
from punchcard.operations.executor import run_in_executor
from punchcard.operations.lookups import find_conflict
from punchcard.store.delivery import ledger
from punchcard.store.delivery.conflicts import (
    ConflictQuery,
    StoredConflict,
    count_conflicts,
    list_conflicts,
)
from punchcard.store.delivery.effects import ConflictResolution
from punchcard.store.values import decimal_text
from punchcard.traces.trace import current_status
from punchcard.workspace.editing import find_destination

_PAGE_DEFAULT = 50
_PAGE_MAX = 1000


class ConflictContent(msgspec.Struct, kw_only=True, rename="camel"):
    """One of the two contents. `quantity` is null if the ledger decides it, or if there is none."""

    message_id: str
    source: str
    event_name: str
    email: str
    item: str | None
    quantity: str | None
    attributes: dict[str, Any] | None
    summary: str | None
    received_at: str | None


class CorrectionStepBody(msgspec.Struct, kw_only=True, rename="camel"):
    """One transaction that a correction would send now. Without a `quantity` it is decided later, as `detail` says."""

    email: str
    item: str | None
    quantity: str | None
    detail: str
    request: dict[str, Any] | None


class ConflictBody(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A conflict with both contents.

    `status` is that of the first event's transaction. `current` is the content that counts now, absent if it is the
    first. `correction` is what would be sent for the second content, `notCorrectable` why nothing can be; both are
    absent in lists, and once the conflict is resolved. `corrections` are the transactions that were made for it.
    """

    id: str
    effect_key: str
    status: str
    first: ConflictContent
    second: ConflictContent
    resolution: str | None
    resolved_at: str | None
    resolved_by: str | None
    current: ConflictContent | None = None
    correction: list[CorrectionStepBody] | None = None
    not_correctable: str | None = None
    corrections: list[bodies.LedgerRow] = []


class ConflictPage(msgspec.Struct, rename="camel"):
    """A page of conflicts, newest first."""

    conflicts: list[ConflictBody]
    pagination: bodies.Pagination


class ResolveConflict(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The decision: `kept` lets the first content count, `corrected` the second one."""

    resolution: ConflictResolution


@get("/destinations/{destination_id:str}/conflicts", summary="List conflicts")
@run_in_executor
def list_destination_conflicts(
    destination_id: FromPath[str],
    dependencies: Dependencies,
    cursor: FromQuery[str | None] = None,
    count: Annotated[int, QueryParameter(ge=1, le=_PAGE_MAX)] = _PAGE_DEFAULT,
    resolved: FromQuery[bool | None] = None,
) -> dict[str, ConflictPage]:
    """List the conflicts of a destination, newest first; all, or only those that are resolved, or are not."""
    find_destination(dependencies.workspace(), destination_id)
    query = ConflictQuery(destination=destination_id, is_resolved=resolved)
    with dependencies.store.reading() as work:
        conflicts = list_conflicts(work, query, count=count + 1, before_id=read_row_cursor(cursor))
        total = count_conflicts(work, query)
        views = [view_conflict(work, conflict) for conflict in conflicts[:count]]
    following = str(views[-1].conflict.id) if len(conflicts) > count else None
    return {
        "data": ConflictPage(
            conflicts=[conflict_body(view) for view in views],
            pagination=bodies.Pagination(current=cursor or "", total_entries=total, next=following),
        )
    }


@get("/destinations/{destination_id:str}/conflicts/{conflict_id:str}", summary="Get a conflict")
@run_in_executor
def get_conflict(
    destination_id: FromPath[str], conflict_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, ConflictBody]]:
    """Return both contents of a conflict, and what a correction would send now."""
    return _respond(dependencies, find_conflict(dependencies.store, destination_id, conflict_id))


@post(
    "/destinations/{destination_id:str}/conflicts/{conflict_id:str}/resolve",
    status_code=200,
    summary="Resolve a conflict",
)
@run_in_executor
def resolve_conflict_call(
    destination_id: FromPath[str],
    conflict_id: FromPath[str],
    data: JSONBody[ResolveConflict],
    dependencies: Dependencies,
) -> dict[str, dict[str, ConflictBody]]:
    """Keep the first content, or correct the award to the second one. 409 if the conflict is resolved already."""
    conflict = find_conflict(dependencies.store, destination_id, conflict_id)
    destination, now = dependencies.current().destinations.get(destination_id), dependencies.clock.now()
    with dependencies.store.unit_of_work() as work:
        if data.resolution is ConflictResolution.KEPT:
            keep_first(work, conflict, actor=dependencies.actor, now=now)
        elif data.resolution is ConflictResolution.CORRECTED:
            correct_to_second(work, conflict, destination, actor=dependencies.actor, now=now)
        else:
            raise HTTPException("The resolution is kept or corrected.", status_code=400, extra={"field": "resolution"})
    return _respond(dependencies, find_conflict(dependencies.store, destination_id, conflict_id))


def _respond(dependencies: Any, conflict: StoredConflict) -> dict[str, dict[str, ConflictBody]]:
    destination = dependencies.current().destinations.get(conflict.destination)
    with dependencies.store.reading() as work:
        view = view_conflict(work, conflict)
        obstacle = "" if conflict.resolution else reason_not_correctable(work, conflict, destination)
        attempts = ledger.attempts_of(work, [row.id for row in view.corrections])
    steps = None
    if conflict.resolution is None and not obstacle:
        steps = preview_correction(dependencies.store, conflict, destination, now=dependencies.clock.now())
    body = conflict_body(view)
    body.correction = None if steps is None else [_step_body(step) for step in steps]
    body.not_correctable = obstacle or None
    types = dependencies.current().destination_types
    body.corrections = [bodies.ledger_row(row, attempts[row.id], [], types=types) for row in view.corrections]
    return {"data": {"conflict": body}}


def conflict_body(view: ConflictView) -> ConflictBody:
    """Return the body of a conflict in a list."""
    conflict = view.conflict
    return ConflictBody(
        id=str(conflict.id),
        effect_key=view.effect.effect_key,
        status=current_status(view.effect),
        first=_content(view.first),
        second=_content(view.second),
        current=None if view.current is view.first else _content(view.current),
        resolution=conflict.resolution,
        resolved_at=_iso(conflict.resolved_at),
        resolved_by=conflict.resolved_by,
    )


def _content(side: ConflictSide) -> ConflictContent:
    return ConflictContent(
        message_id=side.message_id,
        source=side.source,
        event_name=side.event_name,
        email=side.email,
        item=side.item,
        quantity=side.quantity,
        attributes=None if side.attributes is None else dict(side.attributes),
        summary=side.summary,
        received_at=_iso(side.received_at),
    )


def _step_body(step: PreviewedStep) -> CorrectionStepBody:
    return CorrectionStepBody(
        email=step.email,
        item=step.item,
        quantity=decimal_text(step.quantity),
        detail=step.detail,
        request=None if step.request is None else dict(step.request),
    )


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else to_iso(instant)


HANDLERS = (list_destination_conflicts, get_conflict, resolve_conflict_call)
