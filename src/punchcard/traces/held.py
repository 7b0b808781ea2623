"""What became of events that routing had to hold: log and lake know only that they were held."""

from collections.abc import Sequence

from msgspec.structs import replace
from sqlalchemy import Connection

from punchcard.lake.reader import LakeEvent, LakeFate
from punchcard.routing.holding import HELD_REASONS
from punchcard.store.fates import Fate
from punchcard.store.held import results_at


def with_results_of_held(work: Connection, events: Sequence[LakeEvent]) -> list[LakeEvent]:
    """The events; where one was held and is planned by now, with what that gave in the place of "held"."""
    places = {(one.log_position, one.event_index) for one in events if any(map(_was_held, one.fates))}
    if not places:
        return list(events)
    results = results_at(work, places)
    return [_with_results(one, results) for one in events]


def _with_results(event: LakeEvent, results: dict[tuple[tuple[int, int], str], Fate]) -> LakeEvent:
    place = (event.log_position, event.event_index)
    fates = []
    for fate in event.fates:
        result = results.get((place, fate.destination or "")) if _was_held(fate) else None
        fates.append(fate if result is None else _lake_fate(result))
    return replace(event, fates=tuple(fates))


def _was_held(fate: LakeFate) -> bool:
    return fate.reason in HELD_REASONS


def _lake_fate(fate: Fate) -> LakeFate:
    return LakeFate(
        destination=fate.destination,
        fate=fate.fate.value,
        reason=fate.reason,
        detail=fate.detail,
        effect_key=fate.effect_key,
    )
