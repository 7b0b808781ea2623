"""The pipeline in numbers: how many events of a period ended in each stage, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from punchcard.store.delivery.counts import RECEIVED, CountQuery, Dimension, latency_percentile, read_counts
from punchcard.store.delivery.effects import EffectState
from punchcard.store.routing.event_results import EventStatus

_P95 = 95
# Results that routing decides for a destination; all other planned effects are completed in the ledger.
_STOPPED = (
    EventStatus.FILTERED_AT_DESTINATION,
    EventStatus.REFUSED,
    EventStatus.DUPLICATE,
    EventStatus.CONFLICT,
    EventStatus.DESTINATION_OFF,
)
_COMPLETED = (EffectState.DELIVERED, EffectState.REJECTED, EffectState.PARKED)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the pipeline.

    Attributes:
        status: Status as in the API.
        destination: Slug; None for a stage before any destination.
        reasons: Reasons with their counts, most frequent first; empty if the status has none.
    """

    status: str
    destination: str | None
    count: int
    reasons: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Where the events of a period ended. The stages add up: each event is in exactly one of them per destination.

    Attributes:
        received: Number of events received from all sources of the destination.
        upstream: Events that reached no destination: failed on ingest, filtered at source, duplicates.
        stopped: Events that routing filtered or refused for the destination.
        completed: Events with a completed effect.
        in_delivery: Number of events with an effect that is queued or being sent.
        p95: 95th percentile of the time from receipt to delivery, accurate to ±20 %; None if nothing was delivered.
    """

    received: int
    upstream: Sequence[Stage]
    stopped: Sequence[Stage]
    completed: Sequence[Stage]
    in_delivery: int
    p95: timedelta | None

    @property
    def delivered(self) -> int:
        """Number of delivered events."""
        return next(stage.count for stage in self.completed if stage.status == EffectState.DELIVERED)


def read_pipeline(
    work: Connection, *, destination: str, sources: Sequence[str], begin: datetime, end: datetime
) -> Pipeline:
    """Return the numbers of one destination.

    Args:
        sources: Slugs of the sources that the destination is connected to.
        begin: Start of the period, inclusive.
        end: End of the period, exclusive.
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
        stopped=[
            stage
            for status in _STOPPED
            if (stage := _stage(own, status, destination)).count or status is not EventStatus.DESTINATION_OFF
        ],
        completed=completed,
        # Effects planned before counts existed are counted when they complete: the difference may be negative.
        in_delivery=max(0, planned - sum(stage.count for stage in completed)),
        p95=latency_percentile(work, _P95, begin=begin, end=end, destination=destination),
    )


def read_series(
    work: Connection, *, destination: str | None, source: str | None, begin: datetime, end: datetime, width: timedelta
) -> Mapping[str, Mapping[datetime, int]]:
    """Return the number of events by status and by the start of each bucket.

    Args:
        destination: Slug; None for received events, whatever their result.
        width: Width of a bucket: minutes, or whole hours.
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
    reasons = [(str(reason), count) for (counted_status, reason), count in counts.items() if counted_status == status]
    return Stage(
        status=str(status),
        destination=destination,
        count=sum(count for _, count in reasons),
        reasons=sorted(((reason, count) for reason, count in reasons if reason), key=lambda pair: (-pair[1], pair[0])),
    )
