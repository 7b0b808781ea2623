"""Delivery overview: Segment's overview and metrics, and Punchcard's whole pipeline in one response.

Source: Segment's Public API, "Delivery Overview" and "Destinations".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.params import FromPath, QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import ApiDependencies, Dependencies
from punchcard.api.errors import bad_request
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page
from punchcard.clock import to_iso
from punchcard.destinations.catalog import CATALOG
from punchcard.operations.executor import run_in_executor
from punchcard.operations.overview import read_pipeline
from punchcard.store.delivery.count_sums import HOUR_MICROS
from punchcard.store.delivery.counts import MINUTE_MICROS, RECEIVED, CountQuery, Dimension, read_counts
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.ledger import backlog
from punchcard.store.routing.event_results import EventStatus
from punchcard.workspace.editing import find_destination

_GRANULARITIES = {
    "MINUTE": (MINUTE_MICROS, timedelta(hours=4)),
    "HOUR": (HOUR_MICROS, timedelta(days=14)),
    "DAY": (24 * HOUR_MICROS, timedelta(days=30)),
}
_GROUPS = {"eventName": Dimension.EVENT_NAME, "eventType": Dimension.EVENT_TYPE, "discardReason": Dimension.REASON}
_DEFAULT_PERIOD = timedelta(hours=24)
# The statuses of Segment's stages; the first value is True for stages before any destination.
_STAGES: Mapping[str, tuple[bool, Sequence[str]]] = {
    "successfully-received": (True, (RECEIVED, EventStatus.FAILED_ON_INGEST)),
    "failed-on-ingest": (True, (EventStatus.FAILED_ON_INGEST,)),
    "filtered-at-source": (True, (EventStatus.FILTERED_AT_SOURCE, EventStatus.DUPLICATE)),
    "filtered-at-destination": (
        False,
        (
            EventStatus.FILTERED_AT_DESTINATION,
            EventStatus.DESTINATION_OFF,
            EventStatus.DUPLICATE,
            EventStatus.CONFLICT,
        ),
    ),
    "failed-delivery": (False, (EventStatus.REFUSED, EffectState.REJECTED, EffectState.PARKED)),
    "successful-delivery": (False, (EffectState.DELIVERED,)),
}


class Datapoint(msgspec.Struct):
    """Number of events in one interval; `time` is its start."""

    time: str
    count: int


class Dataset(msgspec.Struct, rename="camel", omit_defaults=True):
    """The series of one group."""

    total: int
    series: list[Datapoint]
    event_name: str | None = None
    event_type: str | None = None
    discard_reason: str | None = None


class OverviewPage(msgspec.Struct):
    """One stage of the delivery overview."""

    total: int
    dataset: list[Dataset]
    pagination: bodies.Pagination


class Breakdown(msgspec.Struct, rename="camel"):
    """Part of a metric."""

    metric_name: str
    value: int


class Metric(msgspec.Struct, rename="camel"):
    """A delivery metric, broken down by reason."""

    metric_name: str
    total: int
    breakdown: list[Breakdown]


class MetricsSummary(msgspec.Struct, rename="camel"):
    """The delivery metrics of a destination."""

    source_id: str
    destination_metadata_id: str
    metrics: list[Metric]


class StageView(msgspec.Struct):
    """One stage of the pipeline. `destination` is null for stages before any destination."""

    status: str
    destination: str | None
    count: int
    reasons: dict[str, int]


class BacklogView(msgspec.Struct, rename="camel"):
    """Number of currently queued or parked transactions, whenever they were received."""

    state: str
    count: int
    oldest_at: str


class PipelineView(msgspec.Struct, rename="camel"):
    """Where the events of a period ended. Each received event is in exactly one stage.

    `p95Seconds` is the p95 latency from receipt to delivery, null if nothing was delivered.
    """

    received: int
    stages: list[StageView]
    pending: int
    p95_seconds: float | None
    now: list[BacklogView]


@dataclass(frozen=True, kw_only=True)
class _MetricsRequest:
    begin: datetime
    end: datetime
    width_micros: int
    by: Sequence[str]
    filters: Mapping[str, Sequence[str]]


@get("/delivery-overview/{stage:str}", summary="Get a stage of the delivery overview")
@run_in_executor
def get_overview_stage(
    stage: FromPath[str],
    dependencies: Dependencies,
    request: Request[Any, Any, Any],
    source: Annotated[str, QueryParameter(name="sourceId")],
    begin: Annotated[str, QueryParameter(name="startTime")],
    end: Annotated[str, QueryParameter(name="endTime")],
    granularity: Annotated[str, QueryParameter()] = "HOUR",
    destination: Annotated[str, QueryParameter(name="destinationConfigId")] = "",
    count: Count = COUNT_DEFAULT,
    cursor: Cursor = None,
) -> dict[str, OverviewPage]:
    """Get the number of events in one stage over time. `groupBy` is any of eventName, eventType and discardReason.

    Stages: successfully-received, failed-on-ingest, filtered-at-source, filtered-at-destination, failed-delivery,
    successful-delivery. The last three need a `destinationConfigId`.
    """
    if stage not in _STAGES:
        raise bad_request(f"The stage must be one of {', '.join(_STAGES)}.", "stage")
    is_upstream, statuses = _STAGES[stage]
    metrics_request = _read_metrics_request(request, begin, end, granularity)
    if all(configured.slug != source for configured in dependencies.workspace().sources):
        raise bad_request(f"There is no source {source}.", "sourceId")
    if not is_upstream:
        find_destination(dependencies.workspace(), destination)
    counts = _counts(
        dependencies, metrics_request, source=source, destination="" if is_upstream else destination, statuses=statuses
    )
    datasets = _datasets(counts, metrics_request.by)
    page_datasets, pagination = page(datasets, key=_key, count=count, cursor=cursor)
    total = sum(dataset.total for dataset in datasets)
    return {"data": OverviewPage(total=total, dataset=list(page_datasets), pagination=pagination)}


@get("/destinations/{destination_id:str}/delivery-metrics", summary="Get a destination's delivery metrics")
@run_in_executor
def get_delivery_metrics(
    destination_id: FromPath[str],
    dependencies: Dependencies,
    source: Annotated[str | None, QueryParameter(name="sourceId")] = None,
    begin: Annotated[str | None, QueryParameter(name="startTime")] = None,
    end: Annotated[str | None, QueryParameter(name="endTime")] = None,
) -> dict[str, dict[str, MetricsSummary]]:
    """Get delivered, filtered, discarded and parked counts by reason, by default of the last 24 hours."""
    destination = find_destination(dependencies.workspace(), destination_id)
    since, until = _times(begin, end, dependencies.clock.now())
    query = CountQuery(begin=since, end=until, source=source, destination=destination_id)
    with dependencies.store.reading() as work:
        counts = read_counts(work, query, by=[Dimension.STATUS, Dimension.REASON])
    names = {
        "successes": (EffectState.DELIVERED,),
        "filtered": _STAGES["filtered-at-destination"][1],
        "discarded": (EventStatus.REFUSED, EffectState.REJECTED),
        "parked": (EffectState.PARKED,),
    }
    metrics = [_metric(name, statuses, counts) for name, statuses in names.items()]
    partner = CATALOG.get(destination.type)
    summary = MetricsSummary(
        source_id=source or (destination.sources[0] if destination.sources else ""),
        destination_metadata_id=partner.definition.id if partner else destination.type,
        metrics=metrics,
    )
    return {"data": {"deliveryMetricsSummary": summary}}


@get("/destinations/{destination_id:str}/pipeline", summary="Get a destination's pipeline")
@run_in_executor
def get_pipeline(
    destination_id: FromPath[str],
    dependencies: Dependencies,
    begin: Annotated[str | None, QueryParameter(name="startTime")] = None,
    end: Annotated[str | None, QueryParameter(name="endTime")] = None,
) -> dict[str, PipelineView]:
    """Get every stage with its reasons, the current backlog and the latency, by default of the last 24 hours."""
    destination = find_destination(dependencies.workspace(), destination_id)
    since, until = _times(begin, end, dependencies.clock.now())
    with dependencies.store.reading() as work:
        pipeline = read_pipeline(work, destination=destination_id, sources=destination.sources, begin=since, end=until)
        backlog_rows = backlog(work, [destination_id])
    stages = [
        StageView(status=part.status, destination=part.destination, count=part.count, reasons=dict(part.reasons))
        for part in (*pipeline.upstream, *pipeline.stopped, *pipeline.completed)
    ]
    view = PipelineView(
        received=pipeline.received,
        stages=stages,
        pending=pipeline.in_delivery,
        p95_seconds=None if pipeline.p95 is None else pipeline.p95.total_seconds(),
        now=[
            BacklogView(state=row.state, count=row.count, oldest_at=to_iso(row.oldest_created_at))
            for row in backlog_rows
        ],
    )
    return {"data": view}


def _read_metrics_request(request: Request[Any, Any, Any], begin: str, end: str, granularity: str) -> _MetricsRequest:
    known = _GRANULARITIES.get(granularity.upper())
    if known is None:
        raise bad_request(f"granularity must be one of {', '.join(_GRANULARITIES)}.", "granularity")
    width, longest = known
    since, until = _instant(begin, "startTime"), _instant(end, "endTime")
    if not since < until:
        raise bad_request("endTime must be later than startTime.", "endTime")
    if until - since > longest:
        hours = f"{longest / timedelta(hours=1):g} hours"
        raise bad_request(f"With the granularity {granularity.upper()}, the period is at most {hours}.", "startTime")
    by: list[str] = []
    filters: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if re.fullmatch(r"groupBy(\[\d*\])?", name):
            by += str(value).split(",")
        elif match := re.fullmatch(r"filter\[(\w+)\](\[\d*\])?", name):
            filters.setdefault(match.group(1), []).append(str(value))
    for name in (*by, *filters):
        if name not in _GROUPS:
            raise bad_request(f"{name} is not known. Use {', '.join(_GROUPS)}.", "groupBy")
    return _MetricsRequest(begin=since, end=until, width_micros=width, by=list(dict.fromkeys(by)), filters=filters)


def _counts(
    dependencies: ApiDependencies,
    metrics_request: _MetricsRequest,
    *,
    source: str,
    destination: str,
    statuses: Sequence[str],
) -> Mapping[tuple[object, ...], int]:
    query = CountQuery(
        begin=metrics_request.begin,
        end=metrics_request.end,
        source=source,
        destination=destination,
        statuses=statuses,
        event_names=metrics_request.filters.get("eventName", ()),
        event_types=metrics_request.filters.get("eventType", ()),
        reasons=metrics_request.filters.get("discardReason", ()),
    )
    dimensions = [Dimension.STATUS, Dimension.TIME, *(_GROUPS[name] for name in metrics_request.by)]
    with dependencies.store.reading() as work:
        counts = read_counts(work, query, by=dimensions, width_micros=metrics_request.width_micros)
    sums: dict[tuple[object, ...], int] = {}
    for (status, *group), number in counts.items():
        # Received events minus those that failed on ingest.
        is_subtracted = RECEIVED in statuses and status != RECEIVED
        key = tuple(group)
        sums[key] = sums.get(key, 0) + (-number if is_subtracted else number)
    return {key: number for key, number in sums.items() if number}


def _datasets(counts: Mapping[tuple[object, ...], int], by: Sequence[str]) -> list[Dataset]:
    series: dict[tuple[str, ...], list[Datapoint]] = {}
    for key, number in counts.items():
        at, *values = key
        assert isinstance(at, datetime)
        series.setdefault(tuple(map(str, values)), []).append(Datapoint(time=to_iso(at), count=number))
    datasets = []
    for group, points in series.items():
        values_by_name: dict[str, str] = dict(zip(by, group, strict=True))
        points.sort(key=lambda point: point.time)
        datasets.append(
            Dataset(
                total=sum(point.count for point in points),
                series=points,
                event_name=values_by_name.get("eventName"),
                event_type=values_by_name.get("eventType"),
                discard_reason=values_by_name.get("discardReason"),
            )
        )
    return sorted(datasets, key=_key)


def _key(dataset: Dataset) -> str:
    return "\x1f".join((dataset.event_name or "", dataset.event_type or "", dataset.discard_reason or "", "."))


def _metric(name: str, statuses: Sequence[str], counts: Mapping[tuple[object, ...], int]) -> Metric:
    by_reason: dict[str, int] = {}
    for (status, reason), number in counts.items():
        if status in statuses:
            by_reason[str(reason) or str(status)] = by_reason.get(str(reason) or str(status), 0) + number
    breakdown = [Breakdown(metric_name=reason, value=number) for reason, number in sorted(by_reason.items())]
    return Metric(metric_name=name, total=sum(by_reason.values()), breakdown=breakdown)


def _times(begin: str | None, end: str | None, now: datetime) -> tuple[datetime, datetime]:
    until = now + timedelta(minutes=1) if end is None else _instant(end, "endTime")
    since = until - _DEFAULT_PERIOD if begin is None else _instant(begin, "startTime")
    if not since < until:
        raise bad_request("endTime must be later than startTime.", "endTime")
    return since, until


def _instant(text: str, field: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise bad_request(f"{field} must be a time such as 2026-11-23T00:00:00Z.", field) from error
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    try:
        return aware.astimezone(UTC)
    except OverflowError as error:
        raise bad_request(f"{field} is out of range.", field) from error
