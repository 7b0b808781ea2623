"""The first page: how it goes, and what needs a person."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from litestar import get

from punchcard.app.periods import Period, read_period
from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import Definition
from punchcard.destinations.event_names import mapped_names
from punchcard.errors import UnreadableRecordError
from punchcard.operations.alerts import Alert, AlertKind, find_alerts, read_backlog
from punchcard.operations.overview import read_series
from punchcard.store.counts import RECEIVED, AwardTotal, read_award_totals
from punchcard.store.event_results import EventStatus
from punchcard.store.schema import EffectState
from punchcard.workspace.model import Destination, Workspace


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the guide to the first point."""

    title: str
    text: str
    path: str
    label: str
    done: bool
    now: bool = False


@get("/")
async def show_home(context: ContextDependency) -> Page:
    """How it goes. What one unit gives is asked meanwhile, and shown the next time."""
    for destination in (await asyncio.to_thread(context.dependencies.current)).destinations.values():
        if destination.destination.enabled:
            context.mapping_choices.refresh_in_background(destination)
    return await asyncio.to_thread(_home, context)


def _home(context: RequestContext) -> Page:
    dependencies, period = context.dependencies, read_period(context)
    workspace, snapshot = dependencies.workspace(), dependencies.current()
    with dependencies.store.reading() as work:
        alerts = find_alerts(work, snapshot, now=dependencies.clock.now())
        backlog = read_backlog(work, snapshot)
        totals = read_award_totals(work, begin=period.begin, end=period.end, destination=None)
        received = read_series(
            work, destination=None, source=None, begin=period.begin, end=period.end, width=period.width
        ).get(RECEIVED, {})
        ever = read_award_totals(work, begin=_beginning(period), end=period.end, destination=None) if not totals else 1
    points = _points(context, totals)
    units = sum((total.units for total in totals), Decimal(0))
    given = points if points is not None else [(total.begin, total.units) for total in totals]
    buckets = period.buckets()
    came, booked = [received.get(bucket, 0) for bucket in buckets], _by_bucket(given, buckets)
    chart = {
        "times": [bucket.timestamp() for bucket in buckets],
        "zone": workspace.timezone,
        "series": [
            {"label": "Events received", "values": came},
            {"label": "Points given" if points is not None else "Units booked", "values": booked, "scale": "right"},
        ],
    }
    waiting = [one.oldest_created_at for one in backlog if one.state is not EffectState.PARKED]
    return context.page(
        "home.html",
        workspace=workspace,
        time=period.key,
        alerts=alerts,
        alert_path=_alert_path,
        received=sum(received.values()),
        delivered=sum(total.transactions for total in totals),
        units=units,
        points=None if points is None else sum((value for _, value in points), Decimal(0)),
        oldest=min(waiting, default=None),
        chart=chart,
        chart_rows=list(zip(buckets, came, booked, strict=True)),
        steps=_steps(workspace, has_delivered=bool(ever)),
    )


def _steps(workspace: Workspace, *, has_delivered: bool) -> Sequence[Step]:
    """The guide, in the order in which the destination's page goes."""
    destination = next((destination for destination in workspace.destinations if not destination.is_managed), None)
    path = f"/destinations/{destination.slug}" if destination else ""
    guided = _guided()
    label = guided.event_map.value_label if guided.event_map is not None else "value"
    steps = [
        Step(
            title="Add a source",
            text="Where events come from: your website, your till, your app.",
            path="/sources/new",
            label="Add source",
            done=any(not source.is_managed for source in workspace.sources),
        ),
        Step(
            title=f"Add {guided.name}",
            text="Find it in the catalog, choose the source, paste the API key, business and location.",
            path=f"/catalog?q={guided.name}",
            label="Open the catalog",
            done=destination is not None,
        ),
        Step(
            title=f"Map events to {label}s",
            text=f"Say which events earn points, and which {label} each of them awards.",
            path=f"{path}/map",
            label="Map events",
            done=destination is not None and _is_mapped(destination),
        ),
        Step(
            title="Send a test event and see the point arrive",
            text="The tester shows what would be sent, then really sends it.",
            path=f"{path}/tester",
            label="Open the tester",
            done=has_delivered,
        ),
    ]
    first = next((number for number, step in enumerate(steps) if not step.done), None)
    return [
        Step(title=step.title, text=step.text, path=step.path, label=step.label, done=step.done, now=number == first)
        for number, step in enumerate(steps)
    ]


def _guided() -> Definition:
    """Return the destination that the guide leads to: the first whose events are mapped."""
    definitions = [partner.definition for partner in CATALOG.loaded()]
    return next((definition for definition in definitions if definition.event_map is not None), definitions[0])


def _is_mapped(destination: Destination) -> bool:
    partner = CATALOG.get(destination.type)
    if partner is None:
        return False
    # A destination without a map takes events as soon as it is added.
    return partner.definition.event_map is None or bool(mapped_names(partner.definition, destination.settings))


def _points(context: RequestContext, totals: Sequence[AwardTotal]) -> list[tuple[datetime, Decimal]] | None:
    """Points by hour, if what one unit of every value gives has been read from the partner of late."""
    given: list[tuple[datetime, Decimal]] = []
    for total in totals:
        each = context.mapping_choices.points_per_unit(total.destination, total.perk)
        if each is None:
            return None
        given.append((total.begin, total.units * abs(each)))
    return given if totals else None


def _by_bucket(values: Sequence[tuple[datetime, Decimal]], buckets: Sequence[datetime]) -> list[Decimal]:
    sums = dict.fromkeys(buckets, Decimal(0))
    for at, value in values:
        place = next((bucket for bucket in reversed(buckets) if bucket <= at), None)
        if place is not None:
            sums[place] += value
    return [sums[bucket] for bucket in buckets]


def _beginning(period: Period) -> datetime:
    return period.begin.replace(year=period.begin.year - 1, day=1)


def _alert_path(alert: Alert) -> str:
    """Where the operator can do something about it, "" if that is not in the App."""
    base = f"/destinations/{alert.destination}"
    match alert.kind:
        case AlertKind.INVALID | AlertKind.HELD if not alert.destination:
            return "/sources" if alert.reason == "source" else "/destinations"
        case AlertKind.HELD:
            return base
        case AlertKind.INVALID if alert.detail.startswith("filter "):
            return f"{base}/filters"
        case AlertKind.PAUSED | AlertKind.INVALID:
            return f"{base}/settings"
        case AlertKind.RESUMED:
            return base
        case AlertKind.PARKED:
            return f"{base}/transactions?state=parked" + (f"&reason={alert.reason}" if alert.reason else "")
        case AlertKind.CONFLICT:
            return f"/events?time=7d&destination={alert.destination}&status=conflict"
        case AlertKind.UNMAPPED:
            return f"{base}/map"
        case AlertKind.QUARANTINED:
            status = EventStatus.FAILED_ON_INGEST if alert.reason == UnreadableRecordError.code else EventStatus.REFUSED
            return f"/events?time=7d&status={status}&reason={alert.reason}"
        case AlertKind.LAKE | AlertKind.LAKE_LOSS:
            return ""
        case AlertKind.COMPUTATION | AlertKind.SYNC:
            return f"/audiences/{alert.subject}"
        case AlertKind.DIFFERENCES:
            return f"{base}/reconciliation"
        case AlertKind.RESTORED:
            return "/events?time=7d"
        case _:
            return "/sources"


HANDLERS = (show_home,)
