"""Creation and update times of filters, carried over from the stored filter with the same id."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from punchcard.clock import to_iso
from punchcard.workspace.model import Destination, DestinationFilter


def assign_filter_times(
    desired: Destination, current: Destination | None, *, now: datetime, changed_at: Callable[[], datetime | None]
) -> Destination:
    """Return the destination with the times and the source of each filter. `created_at` never changes.

    Args:
        changed_at: Returns when the current destination was last changed, for filters stored without times.
    """
    known = (
        {destination_filter.id: destination_filter for destination_filter in current.filters}
        if current is not None
        else {}
    )
    filters = [
        _set_times(destination_filter, known.get(destination_filter.id), now=now, changed_at=changed_at)
        for destination_filter in desired.filters
    ]
    return replace(desired, filters=tuple(filters))


def _set_times(
    desired: DestinationFilter,
    current: DestinationFilter | None,
    *,
    now: datetime,
    changed_at: Callable[[], datetime | None],
) -> DestinationFilter:
    if current is None:
        return replace(
            desired, created_at=desired.created_at or to_iso(now), updated_at=desired.updated_at or to_iso(now)
        )
    created_at = current.created_at or to_iso(changed_at() or now)
    carried = replace(
        desired,
        created_at=created_at,
        updated_at=current.updated_at or created_at,
        source=desired.source or current.source,
    )
    unchanged = replace(current, created_at=carried.created_at, updated_at=carried.updated_at)
    return carried if carried == unchanged else replace(carried, updated_at=to_iso(now))
