"""Trends: the sizes of audiences and computed traits over the last 30 days."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from punchcard.clock import Clock
from punchcard.store.engage import sync_outcomes
from punchcard.store.engine import Store

WEEK = timedelta(days=7)
MONTH = timedelta(days=30)
_STEP = timedelta(hours=6)  # divides a week evenly, so the size a week ago is exact


@dataclass(frozen=True, kw_only=True)
class Trend:
    """The size of one computation over the last 30 days.

    Attributes:
        begin: Start of the 30 days.
        end: The present.
        points: Sizes with the time since when they apply, oldest first; the last one is the present size.
        week_change: Change of the size in 7 days, None if the size a week ago is not known.
    """

    begin: datetime
    end: datetime
    points: Sequence[tuple[datetime, int]]
    week_change: int | None


def compute_trends(store: Store, sizes: Mapping[str, int], *, clock: Clock) -> dict[str, Trend]:
    """Return the trends of some computations.

    Args:
        sizes: Present size of each computation, by key.

    Raises:
        StorageError: The store is unavailable.
    """
    now = clock.now()
    with store.reading() as work:
        points = sync_outcomes.sizes_over_time(work, list(sizes), since=now - MONTH, until=now, step=_STEP)
    return {key: _compute_trend(points.get(key, ()), size, now) for key, size in sizes.items()}


def _compute_trend(points: Sequence[tuple[datetime, int]], size: int, now: datetime) -> Trend:
    sizes_before_week = [size_ for at, size_ in points if at <= now - WEEK]
    # A size from before the period applies at its start.
    visible_points = [(max(at, now - MONTH), size_) for at, size_ in points]
    if visible_points:
        visible_points.append((now, size))
    return Trend(
        begin=now - MONTH,
        end=now,
        points=visible_points,
        week_change=size - sizes_before_week[-1] if sizes_before_week else None,
    )
