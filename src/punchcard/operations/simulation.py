"""What a configuration would have earned in a past period, compared with what was earned. Changes nothing.

Every event of the period that is mapped now, or was awarded then, is planned again by the rules of routing, against
what the ledger knew when the period began; refunds are decided by the rules of delivery, as if every award had been
delivered. So for the current configuration the result is what the ledger has, if the partner took every award.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from punchcard.destinations.port import Intent, RemapsItems
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.lake.lake_event import LakeEvent
from punchcard.lake.selection import EventSelection
from punchcard.operations.backtest import as_enabled, plan_events
from punchcard.operations.simulated_refunds import SimulatedOrders
from punchcard.operations.simulation_outcome import OutcomeBuilder, SimulationOutcome
from punchcard.routing.conflicts import LedgerPreview, PlannedEffect
from punchcard.routing.planning import Planned
from punchcard.routing.source_rules import SourceRules
from punchcard.store.delivery.conflicts import corrected_conflicts
from punchcard.store.delivery.earned import earned_effects, earned_names
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventStatus
from punchcard.workspace.snapshot import RoutedDestination

_PARTS: Final = 32  # stretches of the log: progress is reported, and cancellation checked, after each
_DECIDED_AT_ONCE: Final = 2_000
NOT_MAPPED: Final = "not_allowlisted"
_BEHIND_ALL: Final = 2**31 - 1  # an event index that none is beyond


class SimulationCancelledError(Exception):
    """Somebody does not want the result any more."""


class Lake(Protocol):
    """What of the lake's reader is needed."""

    def last_position(self) -> int:
        """The highest log position that the lake holds, 0 if none."""

    def count_names(self, selection: EventSelection, *, through: int) -> Mapping[tuple[str, str | None], int]:
        """Return how many of the selected events have each type and name."""

    def split(self, selection: EventSelection, *, through: int, parts: int) -> Sequence[tuple[int, int]]:
        """Stretches of the log that hold the selected events."""

    def select(
        self, selection: EventSelection, *, after: tuple[int, int] = (0, -1), through: int
    ) -> Iterator[tuple[int, list[LakeEvent]]]:
        """The selected events in the log's order, in parts."""


@dataclass(frozen=True, kw_only=True)
class SimulationScope:
    """What is simulated.

    Attributes:
        destination: With the settings and filters to plan under.
        current: The same destination as configured.
        zone: Of the workspace.
        begin: Events received from here on.
        end: And before this.
        rules: The rules of sources, by slug: events that they had stopped go through them again.
    """

    destination: RoutedDestination
    current: RoutedDestination
    zone: ZoneInfo
    begin: datetime
    end: datetime
    rules: Mapping[str, SourceRules] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """A past event that would earn something, as its planning hands it on."""

    position: int
    index: int
    source: str
    message_id: str
    received_at: datetime
    intent: Intent


@dataclass
class PlannedStretch:
    """What planning found in one stretch of the log.

    Attributes:
        refused: How many events of each name were not taken, by reason.
    """

    rows: list[PlannedRow] = field(default_factory=list)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)


PlanStretches = Callable[[Lake, SimulationScope, EventSelection, Sequence[tuple[int, int]]], Iterable[PlannedStretch]]
"""Plans stretches of the log, in their order."""


def simulate(
    scope: SimulationScope,
    *,
    store: Store,
    lake: Lake,
    points: Mapping[str, Decimal],
    plan: "PlanStretches",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> SimulationOutcome:
    """Plan the past again and compare it with the ledger.

    Args:
        points: What one unit of each mapped value is worth, as far as the partner says so.
        on_progress: Called with the planned stretches and their total; it may raise `SimulationCancelledError`.
        plan: Plans stretches: `plan_here`, or something that has several processes do it.

    Raises:
        StorageError: lake or store is away.
        SimulationCancelledError: as `on_progress` has it.
    """
    through = lake.last_position()
    selection = EventSelection(
        sources=scope.destination.destination.sources, types=[EventType.TRACK], begin=scope.begin, end=scope.end
    )
    seen = {name or "": number for (_, name), number in lake.count_names(selection, through=through).items()}
    with store.reading() as work:
        awarded = earned_names(work, scope.current.slug, begin=scope.begin, end=scope.end, through=through)
    names = _names_to_plan(scope, seen, awarded)
    builder = OutcomeBuilder(
        events={name: seen.get(name, 0) for name in names},
        item_of=lambda name: _mapped(scope.destination, name),
        points=points,
    )
    builder.refuse(NOT_MAPPED, sum(number for name, number in seen.items() if name not in names))
    if names:
        chosen = EventSelection(
            sources=selection.sources, types=selection.types, names=names, begin=scope.begin, end=scope.end
        )
        stretches = lake.split(chosen, through=through, parts=_PARTS)
        on_progress(0, len(stretches))
        planned = plan(lake, scope, chosen, stretches)
        _decide(scope, planned, builder, store=store, on_progress=on_progress, total=len(stretches))
    with store.reading() as work:
        for effect in earned_effects(work, scope.current.slug, begin=scope.begin, end=scope.end, through=through):
            builder.earned(effect)
    return builder.outcome()


def plan_here(
    lake: Lake, scope: SimulationScope, selection: EventSelection, stretches: Sequence[tuple[int, int]]
) -> Iterator[PlannedStretch]:
    """Plan stretches one after the other."""
    for begin, end in stretches:
        yield plan_stretch(lake, scope, selection, begin, end)


def plan_stretch(lake: Lake, scope: SimulationScope, selection: EventSelection, begin: int, end: int) -> PlannedStretch:
    """Plan the selected events of one stretch of the log, each by itself."""
    planned = PlannedStretch()
    destination = as_enabled(scope.destination)
    for _, events in lake.select(selection, after=(begin, _BEHIND_ALL), through=end):
        for row, _, plan_result in plan_events(events, destination, zone=scope.zone, rules=scope.rules):
            if not isinstance(plan_result, Intent):
                planned.refused[row.event or "", plan_result.reason or plan_result.status] += 1
            elif plan_result.item is not None:
                planned.rows.append(
                    PlannedRow(
                        row.log_position,
                        row.event_index,
                        row.source or "",
                        row.message_id,
                        row.received_at,
                        plan_result,
                    )
                )
    return planned


def _decide(
    scope: SimulationScope,
    planned: Iterable[PlannedStretch],
    builder: OutcomeBuilder,
    *,
    store: Store,
    on_progress: Callable[[int, int], None],
    total: int,
) -> None:
    """Decide in the log's order what is new, a duplicate or a conflict, and at last what refunds take."""
    preview = LedgerPreview(stored_before=scope.begin)
    with store.reading() as work:
        corrected = corrected_conflicts(work, scope.current.slug, begin=scope.begin, end=scope.end)
    orders = SimulatedOrders(scope.destination, before=scope.begin, now=scope.end, corrected=corrected)
    for number, stretch in enumerate(planned, start=1):
        for (_, reason), count in stretch.refused.items():
            builder.refuse(reason, count)
        for begin in range(0, len(stretch.rows), _DECIDED_AT_ONCE):
            rows = stretch.rows[begin : begin + _DECIDED_AT_ONCE]
            with store.reading() as work:
                results = preview.decide(work, [_planned_effect(scope.destination, row) for row in rows])
            for row, result in zip(rows, results, strict=True):
                event = {"source": row.source, "message_id": row.message_id}
                is_repeat = result.status in (EventStatus.CONFLICT, EventStatus.DUPLICATE)
                if is_repeat and orders.correct(result.effect_key or "", row.intent, **event):
                    continue
                if result.status is not EventStatus.PENDING:
                    builder.refuse(result.reason or result.status, 1)
                elif not orders.add(row.intent, at=row.received_at, **event):
                    builder.award(row.intent, row.intent.quantity)
        on_progress(number, total)
    with store.reading() as work:
        _decide_orders(work, orders, builder)


def _decide_orders(work: Connection, orders: SimulatedOrders, builder: OutcomeBuilder) -> None:
    for intent, quantity, reason in orders.decide(work):
        if quantity is None:
            builder.refuse(reason, 1)
        else:
            builder.award(intent, quantity)


def _planned_effect(destination: RoutedDestination, row: PlannedRow) -> PlannedEffect:
    # Of the event, deciding needs its id and when it was received.
    event = Event(EventType.TRACK, MessageId(row.message_id), row.received_at, row.received_at, WireEvent(), b"")
    return PlannedEffect(
        planned=Planned(destination, row.intent),
        event=event,
        source=row.source,
        position=row.position,
        index=row.index,
        seen_before=False,
    )


def _names_to_plan(scope: SimulationScope, seen: Mapping[str, int], awarded: Iterable[str]) -> list[str]:
    """The names of events that may earn something now, or have earned something then."""
    if scope.destination.partner.definition.event_map is None:
        return sorted(seen)
    mapped = {name for name in seen if _mapped(scope.destination, name) or _mapped(scope.current, name)}
    return sorted(mapped | set(awarded))


def _mapped(destination: RoutedDestination, name: str) -> str | None:
    partner = destination.partner
    if destination.settings is None or not isinstance(partner, RemapsItems):
        return None
    return partner.remap(name, destination.settings)
