"""Home: key figures, alerts, and the getting started guide."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from litestar import get

from punchcard.app.paths import page_path
from punchcard.app.periods import Period, read_period
from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import Definition
from punchcard.destinations.event_names import mapped_names
from punchcard.operations.alerts import read_backlog
from punchcard.operations.current_alerts import read_current_alerts
from punchcard.operations.overview import read_series
from punchcard.store.delivery.counts import RECEIVED, AwardTotal, read_award_totals
from punchcard.store.delivery.effects import EffectState
from punchcard.workspace.model import Destination, Workspace


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the getting started guide."""

    title: str
    text: str
    path: str
    label: str
    done: bool
    now: bool = False


@get("/")
async def show_home(context: ContextDependency) -> Page:
    """Show key figures and alerts. Points per unit are read in the background and shown on the next visit."""
    for destination in (await asyncio.to_thread(context.dependencies.current)).destinations.values():
        if destination.destination.enabled:
            context.mapping_choices.refresh_in_background(destination)
    return await asyncio.to_thread(_home, context)


def _home(context: RequestContext) -> Page:
    dependencies, period = context.dependencies, read_period(context)
    workspace, snapshot = dependencies.workspace(), dependencies.current()
    with dependencies.store.reading() as work:
        alerts = read_current_alerts(
            work, snapshot, now=dependencies.clock.now(), points_per_unit=context.mapping_choices.points_per_unit
        )
        backlog = read_backlog(work, snapshot)
        totals = read_award_totals(work, begin=period.begin, end=period.end, destination=None)
        received = read_series(
            work, destination=None, source=None, begin=period.begin, end=period.end, width=period.width
        ).get(RECEIVED, {})
        year_totals = (
            read_award_totals(work, begin=_year_before(period), end=period.end, destination=None) if not totals else 1
        )
    points = _points(context, totals)
    units = sum((total.units for total in totals), Decimal(0))
    awarded = points if points is not None else [(total.begin, total.units) for total in totals]
    buckets = period.buckets()
    event_counts, award_counts = [received.get(bucket, 0) for bucket in buckets], _by_bucket(awarded, buckets)
    chart = {
        "times": [bucket.timestamp() for bucket in buckets],
        "zone": workspace.timezone,
        "series": [
            {"label": "Events received", "values": event_counts},
            {
                "label": "Points given" if points is not None else "Units booked",
                "values": award_counts,
                "scale": "right",
            },
        ],
    }
    waiting = [entry.oldest_created_at for entry in backlog if entry.state is not EffectState.PARKED]
    return context.page(
        "home.html",
        workspace=workspace,
        time=period.key,
        alerts=alerts,
        received=sum(received.values()),
        delivered=sum(total.transactions for total in totals),
        units=units,
        points=None if points is None else sum((value for _, value in points), Decimal(0)),
        oldest=min(waiting, default=None),
        chart=chart,
        chart_rows=list(zip(buckets, event_counts, award_counts, strict=True)),
        steps=_steps(workspace, has_delivered=bool(year_totals)),
    )


def _steps(workspace: Workspace, *, has_delivered: bool) -> Sequence[Step]:
    """Return the steps of the guide."""
    destination = next((destination for destination in workspace.destinations if not destination.is_managed), None)
    segments = ("destinations", destination.slug) if destination else ("destinations",)
    definition = _guide_definition()
    label = definition.event_map.value_label if definition.event_map is not None else "value"
    steps = [
        Step(
            title="Add a source",
            text="Events come from a source: your website, your POS, your app.",
            path="/sources/new",
            label="Add source",
            done=any(not source.is_managed for source in workspace.sources),
        ),
        Step(
            title=f"Add {definition.name}",
            text="Open it in the catalog, choose the source, and enter API key, business and location.",
            path=page_path("catalog", q=definition.name),
            label="Open the catalog",
            done=destination is not None,
        ),
        Step(
            title=f"Map events to {label}s",
            text=f"Choose which events earn points, and the {label} for each of them.",
            path=page_path(*segments, "map"),
            label="Map events",
            done=destination is not None and _is_mapped(destination),
        ),
        Step(
            title="Send a test event",
            text="Preview what would be sent, then send the event and see the points arrive.",
            path=page_path(*segments, "tester"),
            label="Open the tester",
            done=has_delivered,
        ),
    ]
    first = next((number for number, step in enumerate(steps) if not step.done), None)
    return [
        Step(title=step.title, text=step.text, path=step.path, label=step.label, done=step.done, now=number == first)
        for number, step in enumerate(steps)
    ]


def _guide_definition() -> Definition:
    """Return the destination of the guide: the first one with an event map."""
    definitions = [partner.definition for partner in CATALOG.loaded()]
    return next((definition for definition in definitions if definition.event_map is not None), definitions[0])


def _is_mapped(destination: Destination) -> bool:
    partner = CATALOG.get(destination.type)
    if partner is None:
        return False
    # A destination without a map takes events as soon as it is added.
    return partner.definition.event_map is None or bool(mapped_names(partner.definition, destination.settings))


def _points(context: RequestContext, totals: Sequence[AwardTotal]) -> list[tuple[datetime, Decimal]] | None:
    """Return the points by hour, None unless the points per unit of every value are cached."""
    points: list[tuple[datetime, Decimal]] = []
    for total in totals:
        unit_points = context.mapping_choices.points_per_unit(total.destination, total.item)
        if unit_points is None:
            return None
        points.append((total.begin, total.units * abs(unit_points)))
    return points if totals else None


def _by_bucket(values: Sequence[tuple[datetime, Decimal]], buckets: Sequence[datetime]) -> list[Decimal]:
    sums = dict.fromkeys(buckets, Decimal(0))
    for at, value in values:
        bucket_ = next((bucket for bucket in reversed(buckets) if bucket <= at), None)
        if bucket_ is not None:
            sums[bucket_] += value
    return [sums[bucket] for bucket in buckets]


def _year_before(period: Period) -> datetime:
    return period.begin.replace(year=period.begin.year - 1, day=1)


HANDLERS = (show_home,)
