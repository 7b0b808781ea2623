"""Home: key figures, alerts, and the getting started guide."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from litestar import get
from sqlalchemy import Connection

from punchcard.app.charts import Chart, Series
from punchcard.app.paths import page_path
from punchcard.app.periods import Period, read_period
from punchcard.app.request_context import SHOWS_AWARDS, ContextDependency, Page, RequestContext
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import Definition
from punchcard.destinations.event_names import mapped_names
from punchcard.operations.current_alerts import read_current_alerts
from punchcard.operations.executor import run_in_executor
from punchcard.operations.overview import read_series
from punchcard.store.delivery.counts import RECEIVED, AwardTotal, CountQuery, Dimension, read_award_totals, read_counts
from punchcard.store.delivery.customer_awards import top_customers
from punchcard.store.delivery.effects import EffectState, StoredEffect
from punchcard.store.delivery.ledger import oldest_open
from punchcard.store.delivery.queue import next_due
from punchcard.workspace.model import Destination, Workspace
from punchcard.workspace.snapshot import Snapshot

_TOP = 5
_AWARDS_MAX = 5_000  # read for the list of customers: some milliseconds


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A key figure.

    Attributes:
        before: Its value in the period before, None if it is not known.
        path: Page that lists what it counts, "" if there is none.
        cost: What it costs, such as `12.50 USD`; "" if that is not known.
    """

    label: str
    value: int | Decimal
    before: int | Decimal | None
    path: str = ""
    cost: str = ""

    @property
    def change_percent(self) -> int | None:
        """Change to the period before, None if there is nothing to compare with."""
        if not self.before:
            return None
        return round((Decimal(self.value) - Decimal(self.before)) * 100 / abs(Decimal(self.before)))


@dataclass(frozen=True, kw_only=True)
class _Numbers:
    """Events and awards of a period, and of the period before.

    Attributes:
        totals: Delivered units by hour and item.
        received: Number of received events by the start of each bucket.
        awarded: Points by hour; units where the points of one are not known.
        awarded_earlier: Likewise in the period before, None if its points are not known.
        unit: `points` or `units`: what `awarded` counts.
    """

    totals: Sequence[AwardTotal]
    received: Mapping[datetime, int]
    received_earlier: int
    awarded: Sequence[tuple[datetime, Decimal]]
    awarded_earlier: Sequence[tuple[datetime, Decimal]] | None
    delivered_earlier: int
    unit: str


@dataclass(frozen=True, kw_only=True)
class Item:
    """What was awarded of one item.

    Attributes:
        destination: Slug.
        item: Id at the destination.
        amount: Points, or units where the points of one are not known.
    """

    destination: str
    item: str
    title: str
    awards: int
    amount: Decimal


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of the getting started guide."""

    title: str
    text: str
    path: str
    label: str
    done: bool
    now: bool = False


@get("/", opt={SHOWS_AWARDS: True})
@run_in_executor
def show_home(context: ContextDependency) -> Page:
    """Show key figures, alerts, charts, and the most frequent events, customers and items."""
    dependencies, period = context.dependencies, read_period(context)
    workspace, snapshot = dependencies.workspace(), dependencies.current()
    with dependencies.store.reading() as work:
        alerts = read_current_alerts(
            work, snapshot, now=dependencies.clock.now(), points_per_unit=context.mapping_choices.points_per_unit
        )
        oldest = _oldest_queued(work, snapshot)
        numbers = _read_numbers(context, work, period)
        top_events = _top_events(work, period)
        customers, is_partial = top_customers(
            work,
            _points_by_item(context, numbers.totals),
            begin=period.begin,
            end=period.end,
            counted_max=_AWARDS_MAX,
            limit=_TOP,
        )
        has_delivered = bool(numbers.totals) or bool(
            read_award_totals(work, begin=_year_before(period), end=period.end, destination=None)
        )
    return context.page(
        "home.html",
        workspace=workspace,
        period=period,
        alerts=alerts,
        figures=_figures(context, numbers, period),
        unit=numbers.unit,
        oldest=oldest,
        charts=_charts(numbers, period, workspace),
        top_events=top_events,
        top_customers=customers,
        is_partial=is_partial,
        awards_counted_max=_AWARDS_MAX,
        items=_items(context, numbers.totals),
        steps=_steps(workspace, has_delivered=has_delivered),
        # Before the first event there is nothing to count: the guide says what to do.
        is_new=not (numbers.received or numbers.received_earlier or has_delivered),
    )


def _read_numbers(context: RequestContext, work: Connection, period: Period) -> _Numbers:
    totals = read_award_totals(work, begin=period.begin, end=period.end, destination=None)
    earlier = read_award_totals(work, begin=period.previous_begin, end=period.begin, destination=None)
    received = read_series(
        work, destination=None, source=None, begin=period.begin, end=period.end, width=period.width
    ).get(RECEIVED, {})
    points = _points(context, totals)
    units_earlier = [(total.begin, total.units) for total in earlier]
    return _Numbers(
        totals=totals,
        received=received,
        received_earlier=_received(work, period.previous_begin, period.begin),
        awarded=points if points is not None else [(total.begin, total.units) for total in totals],
        awarded_earlier=units_earlier if points is None or not earlier else _points(context, earlier),
        delivered_earlier=sum(total.transactions for total in earlier),
        unit="points" if points is not None or not (totals or earlier) else "units",
    )


def _figures(context: RequestContext, numbers: _Numbers, period: Period) -> Sequence[Figure]:
    earlier = numbers.awarded_earlier
    slugs = {total.destination for total in numbers.totals}
    # Transactions are listed by destination.
    awards = page_path("destinations", *slugs, "transactions", time=period.key, state="delivered")
    awards_path = awards if len(slugs) == 1 else ""
    awarded = sum((value for _, value in numbers.awarded), Decimal(0))
    return [
        Figure(
            label="Events received",
            value=sum(numbers.received.values()),
            before=numbers.received_earlier,
            path=page_path("events", time=period.key),
        ),
        Figure(
            label="Awards delivered",
            value=sum(total.transactions for total in numbers.totals),
            before=numbers.delivered_earlier,
            path=awards_path,
        ),
        Figure(
            label=f"{numbers.unit.capitalize()} awarded",
            value=awarded,
            before=None if earlier is None else sum((value for _, value in earlier), Decimal(0)),
            path=awards_path,
            cost=context.money(awarded) if numbers.unit == "points" else "",
        ),
    ]


def _charts(numbers: _Numbers, period: Period, workspace: Workspace) -> Sequence[tuple[str, Chart]]:
    """Return a chart for each unit, with its title: events and points have no common axis."""
    buckets = period.buckets()
    lines = (
        Series(label="Events received", color="azure", values=[numbers.received.get(bucket, 0) for bucket in buckets]),
        Series(
            label=f"{numbers.unit.capitalize()} awarded", color="green", values=_by_bucket(numbers.awarded, buckets)
        ),
    )
    return [
        (f"{line.label} over time", Chart(buckets=buckets, zone=workspace.timezone, series=[line])) for line in lines
    ]


def _received(work: Connection, begin: datetime, end: datetime) -> int:
    query = CountQuery(begin=begin, end=end, destination="", statuses=[RECEIVED])
    return sum(read_counts(work, query, by=()).values())


def _oldest_queued(work: Connection, snapshot: Snapshot) -> StoredEffect | None:
    """Return the award that has been queued longest."""
    waited_for = [slug for slug in snapshot.destinations if next_due(work, slug) is not None]
    queued = [effect for slug in waited_for if (effect := oldest_open(work, slug)) is not None]
    return min(queued, key=lambda effect: effect.created_at, default=None)


def _top_events(work: Connection, period: Period) -> Sequence[tuple[str, int, int]]:
    """Return the names of the most frequent track calls, with how many were received and how many awards delivered."""
    received = read_counts(
        work,
        CountQuery(begin=period.begin, end=period.end, destination="", statuses=[RECEIVED], event_types=["track"]),
        by=[Dimension.EVENT_NAME],
    )
    delivered = read_counts(
        work,
        CountQuery(begin=period.begin, end=period.end, statuses=[EffectState.DELIVERED], event_types=["track"]),
        by=[Dimension.EVENT_NAME],
    )
    names = sorted(received.items(), key=lambda pair: (-pair[1], str(pair[0])))[:_TOP]
    return [(str(key[0]), count, delivered.get(key, 0)) for key, count in names]


def _points_by_item(context: RequestContext, totals: Sequence[AwardTotal]) -> dict[str, dict[str, Decimal]]:
    """Return the points of a unit by destination and item; items of unknown points are left out."""
    points: dict[str, dict[str, Decimal]] = {}
    for slug, item in {(total.destination, total.item) for total in totals}:
        of_item = points.setdefault(slug, {})
        if (unit_points := context.mapping_choices.points_per_unit(slug, item)) is not None:
            of_item[item] = abs(unit_points)
    return points


def _items(context: RequestContext, totals: Sequence[AwardTotal]) -> Sequence[Item]:
    """Return what was awarded by item, the most points first."""
    units: dict[tuple[str, str], Decimal] = {}
    awards: Counter[tuple[str, str]] = Counter()
    for total in totals:
        place = (total.destination, total.item)
        units[place] = units.get(place, Decimal(0)) + total.units
        awards[place] += total.transactions
    items = [
        Item(
            destination=slug,
            item=item,
            title=context.award(slug, item, None).title,
            awards=awards[slug, item],
            amount=quantity * abs(context.mapping_choices.points_per_unit(slug, item) or Decimal(1)),
        )
        for (slug, item), quantity in units.items()
    ]
    return sorted(items, key=lambda item: (-item.amount, item.title))[:_TOP]


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
            path="/sources/_new",
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
