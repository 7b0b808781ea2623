"""Replays: keeping a plan, and confirming, pausing and canceling it. The same for App, Public API and command line.

The worker does what is confirmed: see `replay_runner`. What a replay would do: see `replay_planning`.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from punchcard.errors import ConfigurationError
from punchcard.operations.lookups import require_row
from punchcard.store.access import audit
from punchcard.store.delivery.ledger import count_states_of_replay
from punchcard.store.operations.replays import Replay, ReplayStatus, add_replay, change_status, replay_by_id
from punchcard.store.routing.event_results import EventStatus
from punchcard.store.routing.replayed_events import count_replayed
from punchcard.traces.trace import status_of_state
from punchcard.workspace.part_names import destination_title
from punchcard.workspace.snapshot import RoutedDestination

_IMPOSSIBLE: Final = {
    "start": "Only a planned replay can be started.",
    "pause": "Only a running replay can be paused.",
    "resume": "Only a paused replay can be resumed.",
    "cancel": "It is over already.",
}


def save_replay(work: Connection, replay: Replay) -> None:
    """Keep a planned replay until somebody confirms it."""
    add_replay(work, replay)


def start_replay(work: Connection, id: str, destination: RoutedDestination, *, actor: str, now: datetime) -> Replay:
    """Confirm a planned replay: the worker does it from now on.

    Raises:
        NotFoundError: there is no such replay of the destination.
        ConfigurationError: it was started before, or the destination is off.
    """
    if not destination.destination.enabled:
        message = f"{destination_title(destination.destination)} is off: switch it on, then start the replay"
        raise ConfigurationError(message, code="destination_off")
    return _change(work, id, destination.slug, ReplayStatus.RUNNING, (ReplayStatus.PLANNED,), "start", actor, now)


def pause_replay(work: Connection, id: str, destination: str, *, actor: str, now: datetime) -> Replay:
    """Stop a running replay until it is resumed.

    Raises:
        NotFoundError: there is no such replay of the destination.
        ConfigurationError: it is not running.
    """
    return _change(work, id, destination, ReplayStatus.PAUSED, (ReplayStatus.RUNNING,), "pause", actor, now)


def resume_replay(work: Connection, id: str, destination: str, *, actor: str, now: datetime) -> Replay:
    """Resume a paused replay where it stopped.

    Raises:
        NotFoundError: there is no such replay of the destination.
        ConfigurationError: it is not paused.
    """
    return _change(work, id, destination, ReplayStatus.RUNNING, (ReplayStatus.PAUSED,), "resume", actor, now)


def cancel_replay(work: Connection, id: str, destination: str, *, actor: str, now: datetime) -> Replay:
    """End a replay; what it has replayed by now stays.

    Raises:
        NotFoundError: there is no such replay of the destination.
        ConfigurationError: it is over.
    """
    possible = (ReplayStatus.PLANNED, ReplayStatus.RUNNING, ReplayStatus.PAUSED)
    return _change(work, id, destination, ReplayStatus.CANCELED, possible, "cancel", actor, now)


def get_replay(work: Connection, id: str, destination: str) -> Replay:
    """Return the replay of a destination with this id.

    Raises:
        NotFoundError: There is none.
    """
    return require_row(replay_by_id(work, destination, id), "replay", id)


def count_results(work: Connection, replay: Replay) -> dict[str, int]:
    """Return how many events of a replay have which status now: their awards may have been delivered since."""
    counts: Counter[str] = Counter({status.value: count for status, count in count_replayed(work, replay.id).items()})
    for effect_state, count in count_states_of_replay(work, replay.destination, replay.id).items():
        # An event that is held is pending and has no effect yet.
        counts[EventStatus.PENDING.value] -= count
        counts[status_of_state(effect_state).value] += count
    return {status: count for status, count in counts.items() if count > 0}


def record_in_audit(
    work: Connection, replay: Replay, action: str, *, before: ReplayStatus, actor: str, now: datetime
) -> None:
    """Write down what was done about a replay, or how it has ended."""
    is_start = action == "start"
    changes = [
        audit.ChangedValue(f"replay {replay.id}", before=before, after=replay.status),
        audit.ChangedValue("events", after=replay.plan.events if is_start else replay.done),
        audit.ChangedValue("awards", after=replay.plan.awards if is_start else replay.appended),
    ]
    audit.record(
        work,
        at=now,
        actor=actor,
        kind=f"replay_{action}",
        resource_type="destination",
        resource_id=replay.destination,
        changes=audit.changes_json(*changes),
    )


def _change(
    work: Connection,
    id: str,
    destination: str,
    status: ReplayStatus,
    possible_from: Sequence[ReplayStatus],
    action: str,
    actor: str,
    now: datetime,
) -> Replay:
    replay = get_replay(work, id, destination)
    if not change_status(work, replay, status, possible_from=possible_from, now=now):
        raise ConfigurationError(f"The replay is {replay.status}. {_IMPOSSIBLE[action]}", code="replay_status")
    changed = get_replay(work, id, destination)
    record_in_audit(work, changed, action, before=replay.status, actor=actor, now=now)
    return changed
