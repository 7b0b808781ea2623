"""When filters were made and changed: what a caller cannot say is carried over from the filter of the same id."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from punchcard.clock import to_iso
from punchcard.workspace.model import Destination, DestinationFilter


def assign_filter_times(
    wanted: Destination, standing: Destination | None, *, now: datetime, changed_at: Callable[[], datetime | None]
) -> Destination:
    """The destination with the times and the source of each filter. `createdAt` never changes, whatever else does.

    Args:
        changed_at: When the standing destination was last changed: what filters without times showed so far.
    """
    known = {one.id: one for one in standing.filters} if standing is not None else {}
    filters = [_set_times(one, known.get(one.id), now=now, changed_at=changed_at) for one in wanted.filters]
    return replace(wanted, filters=tuple(filters))


def _set_times(
    wanted: DestinationFilter,
    standing: DestinationFilter | None,
    *,
    now: datetime,
    changed_at: Callable[[], datetime | None],
) -> DestinationFilter:
    if standing is None:
        return replace(wanted, created_at=wanted.created_at or to_iso(now), updated_at=wanted.updated_at or to_iso(now))
    before = standing.created_at or to_iso(changed_at() or now)
    carried = replace(
        wanted,
        created_at=before,
        updated_at=standing.updated_at or before,
        source=wanted.source or standing.source,
    )
    same = replace(standing, created_at=carried.created_at, updated_at=carried.updated_at)
    return carried if carried == same else replace(carried, updated_at=to_iso(now))
