"""Whether a destination is on, paused or off. Punchcard's own: Segment has no pause."""

from datetime import datetime

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody

from punchcard.api.api_dependencies import Dependencies
from punchcard.clock import to_iso
from punchcard.operations.destination_states import (
    DestinationStatus,
    pause_destination,
    read_status,
    resume_destination,
)
from punchcard.operations.executor import run_in_executor
from punchcard.operations.instants import read_instant
from punchcard.workspace.editing import find_destination


class DestinationStateView(msgspec.Struct, rename="camel"):
    """The state of a destination: `on`, `paused` or `off`, since when, by whom and why."""

    state: str
    since: str | None
    actor: str | None
    reason: str | None
    detail: str | None
    until: str | None
    next_check_at: str | None


class PauseRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Why a destination is paused, and until when; without `until` it stays paused until it is resumed."""

    reason: str = ""
    until: str | None = None


@get("/destinations/{destination_id:str}/state", summary="Whether a destination is on, paused or off")
@run_in_executor
def get_state(destination_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, DestinationStateView]]:
    """Since when, by whom and why."""
    return _response(dependencies, destination_id)


@post("/destinations/{destination_id:str}/pause", status_code=200, summary="Pause a destination")
@run_in_executor
def pause(
    destination_id: FromPath[str], data: JSONBody[PauseRequest], dependencies: Dependencies
) -> dict[str, dict[str, DestinationStateView]]:
    """Send nothing any more; events are planned and queued. A pause that lasts gets this reason and end."""
    destination, now, until = find_destination(dependencies.workspace(), destination_id), dependencies.clock.now(), None
    if data.until is not None:
        until = read_instant(data.until, option="until", now=now, zone=dependencies.current().zone, is_past=False)
    with dependencies.store.unit_of_work() as work:
        pause_destination(
            work,
            destination,
            detail=data.reason,
            until=until,
            actor=dependencies.actor,
            now=now,
        )
    return _response(dependencies, destination_id)


@post("/destinations/{destination_id:str}/resume", status_code=200, summary="Resume a destination")
@run_in_executor
def resume(destination_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, DestinationStateView]]:
    """Send what was queued, and go on, whatever paused it. Nothing happens if it is not paused."""
    find_destination(dependencies.workspace(), destination_id)
    with dependencies.store.unit_of_work() as work:
        resume_destination(work, destination_id, actor=dependencies.actor, now=dependencies.clock.now())
    return _response(dependencies, destination_id)


def state_view(status: DestinationStatus) -> DestinationStateView:
    """A state as the API shows it."""

    def shown(instant: datetime | None) -> str | None:
        return None if instant is None else to_iso(instant)

    return DestinationStateView(
        state=status.state,
        since=shown(status.since),
        actor=status.actor,
        reason=status.reason or None,
        detail=status.detail or None,
        until=shown(status.until),
        next_check_at=shown(status.next_check_at),
    )


def _response(dependencies: Dependencies, slug: str) -> dict[str, dict[str, DestinationStateView]]:
    destination = find_destination(dependencies.workspace(), slug)
    with dependencies.store.reading() as work:
        return {"data": {"state": state_view(read_status(work, destination))}}


HANDLERS = (get_state, pause, resume)
