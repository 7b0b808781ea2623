"""Events that were replayed: log and lake have them once, and the store knows what came of each replay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace
from sqlalchemy import Connection

from punchcard.lake.reader import LakeEvent, LakeResult
from punchcard.store.routing.event_results import EventResult, EventStatus
from punchcard.store.routing.held import results_at
from punchcard.store.routing.replayed_events import EventReplay, Place, current_replays, event_replays

_NO_DESTINATION = "no_destination"


@dataclass(frozen=True, kw_only=True)
class ReplayTrace:
    """A replay of an event.

    Attributes:
        replay: Id of the replay.
        status: What that gave by itself; the result of the event says where an award stands.
    """

    replay: str
    destination: str
    replayed_at: datetime
    status: EventStatus
    reason: str | None
    detail: str | None


def with_results_of_replays(work: Connection, events: Sequence[LakeEvent]) -> list[LakeEvent]:
    """The events; where one was replayed, with what that gave in the place of its result at the destination."""
    replays = event_replays(work, {(event.log_position, event.event_index) for event in events})
    if not replays:
        return list(events)
    newest = {place: current_replays(of_event) for place, of_event in replays.items()}
    later = results_at(work, {replay.place for of_event in newest.values() for replay in of_event.values()})
    return [_with_results(event, newest.get((event.log_position, event.event_index), {}), later) for event in events]


def replay_traces(work: Connection, event: LakeEvent) -> tuple[ReplayTrace, ...]:
    """The replays of an event, oldest first; one that was interrupted and went on counts once."""
    replays = event_replays(work, [(event.log_position, event.event_index)])
    of_event = replays.get((event.log_position, event.event_index), [])
    later = results_at(work, {replay.place for replay in of_event})
    first: dict[tuple[str, str], ReplayTrace] = {}
    for replay in of_event:
        result = later.get((replay.place, replay.destination), replay.result)
        trace = ReplayTrace(
            replay=replay.replay,
            destination=replay.destination,
            replayed_at=replay.replayed_at,
            status=result.status,
            reason=result.reason,
            detail=result.detail,
        )
        first.setdefault((replay.replay, replay.destination), trace)
    return tuple(first.values())


def _with_results(
    event: LakeEvent,
    newest: Mapping[str, EventReplay],
    later: Mapping[tuple[Place, str], EventResult],
) -> LakeEvent:
    if not newest:
        return event
    results = {
        slug: _lake_result(later.get((replay.place, slug), replay.result), slug) for slug, replay in newest.items()
    }
    current = [
        results.pop(result.destination, result) if result.destination else result
        for result in event.results
        if result.destination or result.reason != _NO_DESTINATION  # there is one now
    ]
    return replace(event, results=(*current, *results.values()))


def _lake_result(result: EventResult, destination: str) -> LakeResult:
    return LakeResult(
        destination=destination,
        status=result.status.value,
        reason=result.reason,
        detail=result.detail,
        effect_key=result.effect_key,
    )
