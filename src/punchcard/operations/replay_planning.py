"""Plans a replay: which past events it selects, and what each would earn under a configuration. Writes nothing."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError
from punchcard.lake.reader import LakeEvent, LakeReader
from punchcard.lake.selection import EventSelection
from punchcard.operations.backtest import Backtest, BacktestedEvent
from punchcard.operations.lookups import find_running_destination
from punchcard.operations.partner_queries import list_mapping_choices
from punchcard.routing.conflicts import LedgerPreview
from punchcard.routing.holding import HELD_REASONS
from punchcard.routing.source_rules import rules_by_source
from punchcard.store.engine import Store
from punchcard.store.operations.replays import (
    EventCount,
    Replay,
    ReplayPlan,
    ReplaySelection,
    ReplayStatus,
    SampleEvent,
)
from punchcard.store.routing.event_results import EventResult, EventStatus
from punchcard.store.routing.positions import ROUTING, position_of
from punchcard.store.routing.replayed_events import has_event_replays
from punchcard.traces.held import with_results_of_held
from punchcard.traces.replayed import with_results_of_replays
from punchcard.workspace.names_of_snapshot import destination_names
from punchcard.workspace.snapshot import RoutedDestination, Snapshot

_SAMPLE_SIZE: Final = 10
_NAMES_MAX: Final = 50
_POINTS_SECONDS: Final = 5.0
_LAKE_POLL_SECONDS: Final = 0.1

LAKE_SECONDS: Final = 20.0
"""How long a plan waits for the lake to have the newest events: it gets them within 2 seconds, on S3 within 10."""


@dataclass(frozen=True, slots=True)
class ReplayCandidate:
    """A selected event with what it would earn, and its result at the destination before (None: none)."""

    backtested: BacktestedEvent
    previous: EventResult | None


class ReplayPlanner:
    """Selects past events of one destination and says what each would earn now.

    Args:
        snapshot: The configuration to plan under.
        destination: Slug.

    Raises:
        NotFoundError: there is no such destination.
        ConfigurationError: the destination cannot be used as it is configured.
    """

    def __init__(self, store: Store, snapshot: Snapshot, destination: str, selection: ReplaySelection) -> None:
        self._store = store
        self._destination = _usable(snapshot, destination)
        self._selection = selection
        self._zone = snapshot.zone
        self._rules = rules_by_source(snapshot)
        with store.reading() as work:
            self._has_replays = has_event_replays(work, destination)

    def lake_selection(self) -> EventSelection:
        """What to read of the lake; the planner itself compares results, which may have changed since."""
        selection = self._selection
        own = self._destination.destination.sources
        sources = [source for source in own if not selection.sources or source in selection.sources]
        # The lake has the result of routing. It is a later one for events that were held, or replayed.
        may_narrow = not self._has_replays
        return EventSelection(
            sources=sources or [""],
            types=selection.types,
            names=selection.events,
            email=selection.customer,
            message_ids=selection.message_ids,
            reasons=[*selection.reasons, *sorted(HELD_REASONS)] if selection.reasons and may_narrow else (),
            begin=selection.since,
            end=selection.until,
        )

    def plan(self, rows: Sequence[LakeEvent], ledger: LedgerPreview) -> list[ReplayCandidate]:
        """Return those of the events that are selected, with what they would earn.

        Args:
            ledger: Remembers what it has called new, so that the next events with the same key are none.
        """
        backtest = Backtest(self._destination, zone=self._zone, ledger=ledger, rules=self._rules)
        slug = self._destination.slug
        with self._store.reading() as work:
            current = with_results_of_replays(work, with_results_of_held(work, rows))
            selected = [row for row in current if self._matches(row)]
            free = [row for row in selected if not _is_held(row, slug)]
            planned = iter(backtest.plan(work, free))
        return [
            ReplayCandidate(_held_back(row, slug) if _is_held(row, slug) else next(planned), _result_at(row, slug))
            for row in selected
        ]

    def _matches(self, row: LakeEvent) -> bool:
        selection = self._selection
        if not selection.reasons and not selection.statuses:
            return True
        return any(
            result.destination in (None, self._destination.slug)
            and (not selection.reasons or result.reason in selection.reasons)
            and (not selection.statuses or result.status in selection.statuses)
            for result in row.results
        )


@dataclass
class _Totals:
    """A plan while it is added up."""

    points_per_unit: Mapping[str, Decimal] | None
    events: int = 0
    awards: int = 0
    in_ledger: int = 0
    quantity: Decimal = Decimal(0)
    points: Decimal = Decimal(0)
    is_without_points: bool = False
    refused: Counter[str] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None
    by_event: dict[str, tuple[int, int, Decimal]] = field(default_factory=dict)
    sample: list[SampleEvent] = field(default_factory=list)

    def add(self, candidate: ReplayCandidate) -> None:
        """Add one selected event."""
        backtested = candidate.backtested
        row, intent = backtested.event, backtested.intent
        self.events += 1
        self.first = row.received_at if self.first is None else min(self.first, row.received_at)
        self.last = row.received_at if self.last is None else max(self.last, row.received_at)
        name = row.event or row.type
        events, awards, quantity = self.by_event.get(name, (0, 0, Decimal(0)))
        units = Decimal(0)
        if backtested.would_earn and intent is not None:
            self.awards += 1
            units = intent.quantity or Decimal(0)
            self.quantity += units
            self._add_points(intent.item, units)
            awards += 1
            if len(self.sample) < _SAMPLE_SIZE:
                self.sample.append(
                    SampleEvent(
                        message_id=row.message_id,
                        event=name,
                        email=intent.email,
                        received_at=row.received_at,
                        quantity=intent.quantity,
                        item=intent.item,
                    )
                )
        elif backtested.in_ledger:
            self.in_ledger += 1
        else:
            self.refused[backtested.result.reason or backtested.result.status.value] += 1
        self.by_event[name] = (events + 1, awards, quantity + units)

    def _add_points(self, item: str | None, units: Decimal) -> None:
        if item is None:
            return
        each = None if self.points_per_unit is None else self.points_per_unit.get(item)
        if each is None:
            self.is_without_points = True
        else:
            # What takes points away does so by a negative number of units, or by a item that does.
            self.points += units * abs(each)

    def plan(self) -> ReplayPlan:
        """The plan, once all is added."""
        most = sorted(self.by_event.items(), key=lambda pair: (-pair[1][1], -pair[1][0], pair[0]))
        return ReplayPlan(
            events=self.events,
            awards=self.awards,
            quantity=self.quantity,
            points=None if self.is_without_points or self.points_per_unit is None else self.points,
            already_in_ledger=self.in_ledger,
            refused=dict(self.refused.most_common()),
            first_received_at=self.first,
            last_received_at=self.last,
            by_event=tuple(
                EventCount(event=name, events=events, awards=awards, quantity=quantity)
                for name, (events, awards, quantity) in most[:_NAMES_MAX]
            ),
            sample=tuple(self.sample),
        )


def read_points_per_unit(destination: RoutedDestination) -> Mapping[str, Decimal] | None:
    """What one unit of each value gives, as the partner says now; None if it cannot be asked. Not on an event loop."""

    async def read() -> Mapping[str, Decimal] | None:
        try:
            async with asyncio.timeout(_POINTS_SECONDS):
                choices, problem = await list_mapping_choices(destination)
        except TimeoutError:
            return None
        if problem is not None:
            return None
        return {choice.value: choice.points for choice in choices if choice.points is not None}

    return asyncio.run(read())


def wait_for_lake(store: Store, lake: LakeReader, *, seconds: float) -> bool:
    """Wait until the lake has what was routed before; False if it did not within the time. Not on an event loop.

    Raises:
        StorageError: lake or store is away.
    """
    with store.reading() as work:
        routed = position_of(work, ROUTING)
    pause = threading.Event()
    for _ in range(max(1, round(seconds / _LAKE_POLL_SECONDS))):
        if lake.last_position() >= routed:
            return True
        pause.wait(_LAKE_POLL_SECONDS)
    return False


def plan_replay(
    store: Store,
    lake: LakeReader,
    snapshot: Snapshot,
    destination: str,
    selection: ReplaySelection,
    *,
    clock: Clock,
    actor: str,
    points_per_unit: Mapping[str, Decimal] | None = None,
) -> Replay:
    """Plan a replay: what every selected event would earn now. Nothing is written.

    Args:
        points_per_unit: As `read_points_per_unit` gives it.

    Raises:
        NotFoundError: there is no such destination.
        ConfigurationError: the destination cannot be used as it is configured, or the selection cannot be meant.
        StorageError: lake or store is away.
    """
    if selection.since is not None and selection.until is not None and selection.since >= selection.until:
        raise ConfigurationError("The period ends before it begins.", code="invalid_request", field="until")
    planner = ReplayPlanner(store, snapshot, destination, selection)
    totals, ledger = _Totals(points_per_unit), LedgerPreview()
    through = lake.last_position()
    for _, rows in lake.select(planner.lake_selection(), through=through):
        for candidate in planner.plan(rows, ledger):
            totals.add(candidate)
    return Replay(
        id=clock.new_id(),
        destination=destination,
        status=ReplayStatus.PLANNED,
        selection=selection,
        plan=totals.plan(),
        actor=actor,
        created_at=clock.now(),
        through_position=through,
    )


def _usable(snapshot: Snapshot, slug: str) -> RoutedDestination:
    destination = find_running_destination(snapshot, slug)
    if destination.invalid is not None:
        raise ConfigurationError(
            f"{destination_names(snapshot)[slug]} cannot be used as it is configured: {destination.invalid}"
        )
    return destination


def _results_at(row: LakeEvent, slug: str) -> Iterator[EventResult]:
    for result in row.results:
        if result.destination == slug:
            yield EventResult(
                result.destination,
                EventStatus(result.status),
                result.reason,
                result.detail,
                result.effect_key,
            )


def _result_at(row: LakeEvent, slug: str) -> EventResult | None:
    return next(_results_at(row, slug), None)


def _is_held(row: LakeEvent, slug: str) -> bool:
    """Whether the event waits to be planned at the destination, which will happen by itself."""
    result = _result_at(row, slug)
    return result is not None and result.reason in HELD_REASONS and result.effect_key is None


def _held_back(row: LakeEvent, slug: str) -> BacktestedEvent:
    result = _result_at(row, slug)
    assert result is not None
    return BacktestedEvent(row, None, result)
