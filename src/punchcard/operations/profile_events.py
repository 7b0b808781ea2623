"""The events of one profile, in pages that stay right while events arrive."""

from collections.abc import Sequence
from typing import Final

from punchcard.engage.person_events import counts
from punchcard.lake.person_query import PersonQuery
from punchcard.lake.reader import LakeEvent
from punchcard.operations.dependencies import Dependencies
from punchcard.profiles.external_ids import IdReader
from punchcard.traces.browse import EventPosition, Timeline
from punchcard.traces.event_profile import owners_of_events

_ROUNDS_MAX: Final = 20  # a page may then be short, and says that there is more
_MORE: Final = 200  # where the first events were another's, many more may be


def list_profile_events(
    dependencies: Dependencies, profile_id: int, query: PersonQuery, *, limit: int, beyond: EventPosition | None
) -> Timeline:
    """The first events that a question asks for and that belong to the profile.

    An event with one of the profile's ids may be another's, as where two people share a device: it belongs to the
    profile that its strongest id leads to. What no audience counts (copies, what failed on ingest, what Engage itself
    tells) is left out.

    Raises:
        StorageError: log, lake or store is away.
    """
    reader = IdReader(dependencies.current().identity)
    lake_events: list[LakeEvent] = []
    wanted = limit
    for _ in range(_ROUNDS_MAX):
        page = dependencies.browser.routed_events_of(query, limit=wanted, beyond=beyond)
        lake_events += _belonging(dependencies, profile_id, [event for event in page.events if counts(event)], reader)
        if len(lake_events) > limit:
            last = lake_events[limit - 1]
            return Timeline(events=lake_events[:limit], following=(last.log_position, last.event_index))
        beyond, wanted = page.following, _MORE
        if beyond is None or len(lake_events) == limit:
            break
    return Timeline(events=lake_events, following=beyond)


def _belonging(
    dependencies: Dependencies, profile_id: int, events: Sequence[LakeEvent], reader: IdReader
) -> list[LakeEvent]:
    with dependencies.store.reading() as work:
        owners = owners_of_events(work, events, reader)
    return [event for event, owner in zip(events, owners, strict=True) if owner == profile_id]
