"""The pipeline in numbers: how many events of a time ended where, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from punchcard.store.counts import RECEIVED, CountQuery, Dimension, latency_percentile, read_counts
from punchcard.store.event_results import EventStatus
from punchcard.store.schema import EffectState

_P95 = 95
# What routing decides at a destination; the rest of what it plans ends in the ledger.
_STOPPED = (
    EventStatus.FILTERED_AT_DESTINATION,
    EventStatus.REFUSED,
    EventStatus.DUPLICATE,
    EventStatus.CONFLICT,
)
_COMPLETED = (EffectState.DELIVERED, EffectState.REJECTED, EffectState.PARKED)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One end, or station, of events.

    Attributes:
        status: In the words of the API.
        destination: Slug; None for what ends before any destination.
        reasons: Why, with how many, most first; empty if there is no reason to give.
    """

    status: str
    destination: str | None
    count: int
    reasons: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Where the events of a time ended. The stages add up: each event stands in one of them at each destination.

    Attributes:
        received: How many came in, from all sources of the destination.
        upstream: Those that reached no destination: failed on ingest, filtered at source, duplicates.
        stopped: Those that routing ended at the destination.
        completed: Those whose transactions have ended.
        in_delivery: Those whose transactions are in the queue or on their way.
        p95: From receipt to delivery, 95 of 100 took no longer (to a fifth); None if nothing was delivered.
    """

    received: int
    upstream: Sequence[Stage]
    stopped: Sequence[Stage]
    completed: Sequence[Stage]
    in_delivery: int
    p95: timedelta | None

    @property
    def delivered(self) -> int:
        """How many were delivered."""
        return next(one.count for one in self.completed if one.status == EffectState.DELIVERED)


def read_pipeline(
    work: Connection, *, destination: str, sources: Sequence[str], begin: datetime, end: datetime
) -> Pipeline:
    """The numbers of one destination.

    Args:
        sources: Slugs of the sources whose events it gets.
        begin: Events received from here on.
        end: And before this.
    """
    by = (Dimension.STATUS, Dimension.REASON)
    upstream: dict[tuple[object, ...], int] = {}
    for source in sources:
        query = CountQuery(begin=begin, end=end, source=source, destination="")
        for key, count in read_counts(work, query, by=by).items():
            upstream[key] = upstream.get(key, 0) + count
    own = read_counts(work, CountQuery(begin=begin, end=end, destination=destination), by=by)
    completed = [_stage(own, end_, destination) for end_ in _COMPLETED]
    planned = sum(count for (status, _), count in own.items() if status == EventStatus.PENDING)
    return Pipeline(
        received=sum(count for (status, _), count in upstream.items() if status == RECEIVED),
        upstream=[
            _stage(upstream, status, None)
            for status in (EventStatus.FAILED_ON_INGEST, EventStatus.FILTERED_AT_SOURCE, EventStatus.DUPLICATE)
        ],
        stopped=[_stage(own, status, destination) for status in _STOPPED],
        completed=completed,
        # What was planned before counts were kept has ended in them all the same.
        in_delivery=max(0, planned - sum(one.count for one in completed)),
        p95=latency_percentile(work, _P95, begin=begin, end=end, destination=destination),
    )


def read_series(
    work: Connection, *, destination: str | None, source: str | None, begin: datetime, end: datetime, width: timedelta
) -> Mapping[str, Mapping[datetime, int]]:
    """How many events had each result over time, by result and by the begin of each bucket.

    Args:
        destination: Slug; None for what came in, whatever became of it.
        width: Of a bucket: minutes, or whole hours.
    """
    query = CountQuery(begin=begin, end=end, source=source, destination=destination or "")
    counts = read_counts(
        work, query, by=(Dimension.STATUS, Dimension.TIME), width_micros=int(width.total_seconds() * 1_000_000)
    )
    series: dict[str, dict[datetime, int]] = {}
    for (status, at), count in counts.items():
        assert isinstance(status, str)
        assert isinstance(at, datetime)
        series.setdefault(status, {})[at] = count
    return series


def _stage(counts: Mapping[tuple[object, ...], int], status: str, destination: str | None) -> Stage:
    reasons = [(str(reason), count) for (one, reason), count in counts.items() if one == status]
    return Stage(
        status=str(status),
        destination=destination,
        count=sum(count for _, count in reasons),
        reasons=sorted(((reason, count) for reason, count in reasons if reason), key=lambda pair: (-pair[1], pair[0])),
    )
