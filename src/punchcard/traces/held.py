"""The results of events that routing had to hold: log and lake know only that they were held."""

from collections.abc import Sequence

from msgspec.structs import replace
from sqlalchemy import Connection

from punchcard.lake.reader import LakeEvent, LakeResult
from punchcard.routing.holding import HELD_REASONS
from punchcard.store.routing.event_results import EventResult
from punchcard.store.routing.held import results_at


def with_results_of_held(work: Connection, events: Sequence[LakeEvent]) -> list[LakeEvent]:
    """Return the events, with the final result of each event that was held and is planned by now."""
    places = {(event.log_position, event.event_index) for event in events if any(map(_was_held, event.results))}
    if not places:
        return list(events)
    held_results = results_at(work, places)
    return [_with_results(event, held_results) for event in events]


def _with_results(event: LakeEvent, held_results: dict[tuple[tuple[int, int], str], EventResult]) -> LakeEvent:
    place = (event.log_position, event.event_index)
    results = []
    for result in event.results:
        planned = held_results.get((place, result.destination or "")) if _was_held(result) else None
        results.append(result if planned is None else _lake_result(planned))
    return replace(event, results=tuple(results))


def _was_held(result: LakeResult) -> bool:
    return result.reason in HELD_REASONS


def _lake_result(result: EventResult) -> LakeResult:
    return LakeResult(
        destination=result.destination,
        status=result.status.value,
        reason=result.reason,
        detail=result.detail,
        effect_key=result.effect_key,
    )
