"""A destination's pipeline, stage by stage. Every number links to its events or transactions."""

from collections.abc import Mapping
from datetime import datetime

from litestar import get
from litestar.params import FromPath

from punchcard.app.charts import Chart, Series
from punchcard.app.pages.events import BEFORE_DESTINATIONS
from punchcard.app.paths import page_path
from punchcard.app.periods import Period, read_period
from punchcard.app.request_context import ContextDependency, Page
from punchcard.operations.destination_states import read_status
from punchcard.operations.executor import run_in_executor
from punchcard.operations.overview import Stage, read_pipeline, read_series
from punchcard.operations.statuses import status_label
from punchcard.store.delivery.counts import CountQuery, Dimension, read_counts
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.pauses import last_pause_of
from punchcard.store.routing.event_results import EventStatus
from punchcard.store.routing.held import count_held_for
from punchcard.workspace.editing import find_destination
from punchcard.workspace.model import Workspace

_IN_LEDGER = frozenset(EffectState)
_NAMES_SHOWN = 50
_CHART_COLORS: Mapping[str, str] = {
    EffectState.DELIVERED: "green",
    EventStatus.REFUSED: "orange",
    EffectState.REJECTED: "red",
}


@get("/destinations/{slug:str}")
@run_in_executor
def show_overview(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show how the events of a period ended."""
    dependencies, period = context.dependencies, read_period(context)
    destination = find_destination(dependencies.workspace(), slug)
    with dependencies.store.reading() as work:
        pipeline = read_pipeline(
            work, destination=slug, sources=destination.sources, begin=period.begin, end=period.end
        )
        series = read_series(
            work, destination=slug, source=None, begin=period.begin, end=period.end, width=period.width
        )
        by_name = read_counts(
            work,
            CountQuery(begin=period.begin, end=period.end, destination=slug),
            by=[Dimension.EVENT_TYPE, Dimension.EVENT_NAME, Dimension.STATUS],
        )
        last_pause = last_pause_of(work, slug)
        destination_status = read_status(work, destination)
        held = count_held_for(work, slug)
    names: dict[tuple[str, str], dict[str, int]] = {}
    for (event_type, name, status), count in by_name.items():
        names.setdefault((str(event_type), str(name)), {})[str(status)] = count
    return context.page(
        "destination.html",
        destination=destination,
        routed=dependencies.current().destinations[slug],
        period=period,
        pipeline=pipeline,
        pause=last_pause if last_pause is not None and last_pause.ended_at is None else None,
        last_pause=last_pause,
        destination_status=destination_status,
        held=held,
        chart=_chart(series, period, dependencies.workspace()),
        names=sorted(names.items(), key=lambda pair: (-sum(pair[1].values()), pair[0]))[:_NAMES_SHOWN],
        shown_statuses=[
            status
            for status in EventStatus
            if status is not EventStatus.PENDING and any(status in counts for counts in names.values())
        ],
        stage_path=lambda stage, reason="": _stage_path(slug, period, stage, reason),
    )


def _chart(series: Mapping[str, Mapping[datetime, int]], period: Period, workspace: Workspace) -> Chart | None:
    """Return how events ended over time, None if none ended in a way that is drawn."""
    buckets = period.buckets()
    lines = [
        Series(label=status_label(status), color=color, values=[series[status].get(bucket, 0) for bucket in buckets])
        for status, color in _CHART_COLORS.items()
        if status in series
    ]
    return Chart(buckets=buckets, zone=workspace.timezone, series=lines) if lines else None


def _stage_path(slug: str, period: Period, stage: Stage, reason: str) -> str:
    """Return the path of the list of a stage's events or transactions."""
    if stage.status in _IN_LEDGER and stage.status != EventStatus.PENDING:
        return page_path("destinations", slug, "transactions", time=period.key, state=stage.status, reason=reason)
    destination = stage.destination or BEFORE_DESTINATIONS
    return page_path("events", time=period.key, status=stage.status, reason=reason, destination=destination)


HANDLERS = (show_overview,)
