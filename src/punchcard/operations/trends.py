"""How the sizes of audiences and computed traits have changed of late."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from punchcard.clock import Clock
from punchcard.store import sync_outcomes
from punchcard.store.engine import Store

WEEK = timedelta(days=7)
MONTH = timedelta(days=30)
_STEP = timedelta(hours=6)  # a week is a whole number of these, so its beginning is exact


@dataclass(frozen=True, kw_only=True)
class Trend:
    """How the size of one computation has changed.

    Attributes:
        begin: Where the month begins.
        end: Now.
        points: Sizes in that time, oldest first; each stands until the next, the last until now.
        week_change: By how many people it has grown in 7 days, None if it was not known then.
    """

    begin: datetime
    end: datetime
    points: Sequence[tuple[datetime, int]]
    week_change: int | None


def compute_trends(store: Store, sizes: Mapping[str, int], *, clock: Clock) -> dict[str, Trend]:
    """The trend of every computation.

    Args:
        sizes: The present one of each, by key.

    Raises:
        StorageError: the store is away.
    """
    now = clock.now()
    with store.reading() as work:
        found = sync_outcomes.sizes_of_all(work, since=now - MONTH, until=now, step=_STEP)
    return {key: _compute_trend(found.get(key, ()), size, now) for key, size in sizes.items()}


def _compute_trend(points: Sequence[tuple[datetime, int]], size: int, now: datetime) -> Trend:
    before = [stood for at, stood in points if at <= now - WEEK]
    # A size of the month before stands where the month begins.
    shown = [(max(at, now - MONTH), stood) for at, stood in points]
    if shown:
        shown.append((now, size))
    return Trend(begin=now - MONTH, end=now, points=shown, week_change=size - before[-1] if before else None)
