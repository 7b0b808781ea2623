"""The events of one profile, in pages that stay stable while new events arrive."""

from collections.abc import Sequence
from typing import Final

from punchcard.engage.person_events import is_counted
from punchcard.lake.person_query import PersonQuery
from punchcard.lake.reader import LakeEvent
from punchcard.operations.dependencies import Dependencies
from punchcard.profiles.external_ids import IdReader
from punchcard.traces.browse import EventPosition, Timeline
from punchcard.traces.event_profile import owners_of_events

_ROUNDS_MAX: Final = 20  # afterwards the page is returned short, with a cursor
_NEXT_PAGE_LIMIT: Final = 200  # if the first events belong to another profile, many more may


def list_profile_events(
    dependencies: Dependencies, profile_id: int, query: PersonQuery, *, limit: int, beyond: EventPosition | None
) -> Timeline:
    """Return the first events that match a query and belong to the profile.

    An event with one of the profile's ids may belong to another profile, for example if two people share a device: it
    belongs to the profile of its identifier with the highest priority. Events that no audience counts (copies, events
    that failed on ingest, calls of Engage itself) are left out.

    Raises:
        StorageError: The log, the lake or the store is unavailable.
    """
    reader = IdReader(dependencies.current().identity)
    lake_events: list[LakeEvent] = []
    page_limit = limit
    for _ in range(_ROUNDS_MAX):
        page = dependencies.browser.routed_events_of(query, limit=page_limit, beyond=beyond)
        lake_events += _events_of_profile(
            dependencies, profile_id, [event for event in page.events if is_counted(event)], reader
        )
        if len(lake_events) > limit:
            last = lake_events[limit - 1]
            return Timeline(events=lake_events[:limit], following=(last.log_position, last.event_index))
        beyond, page_limit = page.following, _NEXT_PAGE_LIMIT
        if beyond is None or len(lake_events) == limit:
            break
    return Timeline(events=lake_events, following=beyond)


def _events_of_profile(
    dependencies: Dependencies, profile_id: int, events: Sequence[LakeEvent], reader: IdReader
) -> list[LakeEvent]:
    with dependencies.store.reading() as work:
        owners = owners_of_events(work, events, reader)
    return [event for event, owner in zip(events, owners, strict=True) if owner == profile_id]
