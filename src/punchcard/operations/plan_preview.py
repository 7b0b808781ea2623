"""What a tracking plan would make of the events of the last days, and the awards at stake. Changes nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as member
from datetime import datetime
from decimal import Decimal
from typing import Final

from punchcard.destinations.port import Intent
from punchcard.events.model import Event
from punchcard.lake.lake_event import LakeEvent
from punchcard.lake.reader import LakeReader
from punchcard.lake.selection import EventSelection
from punchcard.operations.backtest import Backtest
from punchcard.routing.conflicts import LedgerPreview
from punchcard.routing.lake_events import read_lake_event, with_event
from punchcard.routing.plan_step import PlanStep
from punchcard.routing.rule_steps import Ruled
from punchcard.routing.violation_counts import event_name
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import is_stopped_by_rules
from punchcard.tracking_plans.model import Enforcement
from punchcard.tracking_plans.validation import CompiledPlan
from punchcard.workspace.snapshot import Snapshot, SourceRoute

EVENTS_MAX: Final = 100_000
"""Events that a preview reads at most, oldest first."""

_EXAMPLES_MAX: Final = 5


@dataclass
class PreviewedViolation:
    """Violations of one event, field and kind.

    Attributes:
        description: Of the first of them.
        examples: Message ids of some of the events.
    """

    event_type: str
    event_name: str
    field: str
    kind: str
    description: str
    count: int = 0
    examples: list[str] = member(default_factory=list)


@dataclass
class AwardsAtStake:
    """Awards of one destination that would not be made, or would be others.

    Attributes:
        before: Number and quantity of awards by item, as the events are.
        after: The same as the tracking plan would leave them.
    """

    destination: str
    before: dict[str, tuple[int, Decimal]] = member(default_factory=dict)
    after: dict[str, tuple[int, Decimal]] = member(default_factory=dict)

    def items(self) -> list[tuple[str, int, Decimal]]:
        """Return item, number of awards and quantity that would be lost, where anything differs."""
        lost = []
        for item in sorted(self.before.keys() | self.after.keys()):
            count, quantity = self.before.get(item, (0, Decimal(0)))
            count_after, quantity_after = self.after.get(item, (0, Decimal(0)))
            if (count, quantity) != (count_after, quantity_after):
                lost.append((item, count - count_after, quantity - quantity_after))
        return lost


@dataclass
class PlanPreview:
    """What a tracking plan would make of past events of a source.

    Attributes:
        events: Events that were compared.
        violating: Events with a violation.
        blocked: Events that would be blocked, by reason.
        changed: Events that would lose properties.
        violations: By event, field and kind, most frequent first.
        at_stake: Destinations with awards that would not be made.
        is_partial: True if there are more events than were read.
    """

    events: int = 0
    violating: int = 0
    blocked: Counter[str] = member(default_factory=Counter)
    changed: int = 0
    violations: list[PreviewedViolation] = member(default_factory=list)
    at_stake: list[AwardsAtStake] = member(default_factory=list)
    is_partial: bool = False

    @property
    def blocked_total(self) -> int:
        """Events that would be blocked."""
        return sum(self.blocked.values())


def preview_plan(
    snapshot: Snapshot,
    source: str,
    plan: CompiledPlan,
    enforcement: Enforcement,
    *,
    store: Store,
    lake: LakeReader,
    begin: datetime,
) -> PlanPreview:
    """Compare the events of a source since an instant with a plan, and plan their awards with and without it.

    Events that are blocked already are left out.

    Raises:
        StorageError: Store or lake is unavailable.
    """
    step = PlanStep(plan, enforcement)
    preview = PlanPreview()
    violations: dict[tuple[str, str, str, str], PreviewedViolation] = {}
    backtests = _backtests(snapshot, source)
    selection = EventSelection(sources=[source], begin=begin)
    for _, rows in lake.select(selection, through=lake.last_position()):
        before: list[LakeEvent] = []
        after: list[LakeEvent] = []
        for row in rows:
            event = None if is_stopped_by_rules(row.results) else read_lake_event(row)
            if event is None:
                continue
            preview.events += 1
            ruled = step.apply(event)
            if ruled is not None:
                _add(preview, violations, event, ruled)
            is_changed = ruled is not None and (ruled.event is None or ruled.event is not event)
            if ruled is None or not is_changed:
                continue  # its awards are the same with and without the plan
            before.append(row)
            if ruled.event is not None:
                after.append(with_event(row, ruled.event))
        _plan_awards(backtests, before, after, store)
        if preview.events >= EVENTS_MAX:
            preview.is_partial = True
            break
    preview.violations = sorted(violations.values(), key=lambda known: -known.count)
    preview.at_stake = [stake for stake, _, _ in backtests if stake.items()]
    return preview


def _backtests(snapshot: Snapshot, source: str) -> list[tuple[AwardsAtStake, Backtest, Backtest]]:
    route: SourceRoute | None = next(
        (route for route in snapshot.by_write_key.values() if route.source.slug == source), None
    )
    usable = [] if route is None else [routed for routed in route.destinations if routed.invalid is None]
    return [
        (
            AwardsAtStake(routed.slug),
            Backtest(routed, zone=snapshot.zone, ledger=LedgerPreview(with_stored=False)),
            Backtest(routed, zone=snapshot.zone, ledger=LedgerPreview(with_stored=False)),
        )
        for routed in usable
    ]


def _plan_awards(
    backtests: Sequence[tuple[AwardsAtStake, Backtest, Backtest]],
    before: Sequence[LakeEvent],
    after: Sequence[LakeEvent],
    store: Store,
) -> None:
    if not before:
        return
    with store.reading() as work:
        for stake, backtest_before, backtest_after in backtests:
            _count(
                stake.before, [planned.intent for planned in backtest_before.plan(work, before) if planned.would_earn]
            )
            _count(stake.after, [planned.intent for planned in backtest_after.plan(work, after) if planned.would_earn])


def _count(awards: dict[str, tuple[int, Decimal]], intents: Sequence[Intent | None]) -> None:
    for intent in intents:
        if intent is None or intent.item is None:
            continue
        count, quantity = awards.get(intent.item, (0, Decimal(0)))
        awards[intent.item] = (count + 1, quantity + (intent.quantity or Decimal(0)))


def _add(
    preview: PlanPreview, violations: dict[tuple[str, str, str, str], PreviewedViolation], event: Event, ruled: Ruled
) -> None:
    preview.violating += 1
    if ruled.result is not None:
        preview.blocked[ruled.result.reason or ""] += 1
    elif ruled.event is not event:
        preview.changed += 1
    name = event_name(event)
    for violation in ruled.violations:
        key = (event.type.value, name, violation.field, violation.kind)
        known = violations.get(key)
        if known is None:
            known = violations[key] = PreviewedViolation(*key, violation.detail)
        known.count += 1
        if len(known.examples) < _EXAMPLES_MAX:
            known.examples.append(event.message_id)


def total_points(stake: AwardsAtStake, points: Mapping[str, Decimal]) -> Decimal | None:
    """Return the points that would be lost, None if an item has none that are known."""
    total = Decimal(0)
    for item, _, quantity in stake.items():
        if item not in points:
            return None
        total += points[item] * quantity
    return total
