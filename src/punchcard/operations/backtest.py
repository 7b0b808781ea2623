"""Plans past events under a given configuration: what each would earn now. Writes nothing.

Replays and simulations share it, so that a plan says what routing would do: the same gates, filters, mapping and the
same decisions about duplicates.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from zoneinfo import ZoneInfo

from msgspec.structs import replace
from sqlalchemy import Connection

from punchcard.destinations.port import Intent
from punchcard.events.model import Event
from punchcard.lake.reader import LakeEvent
from punchcard.routing.conflicts import LedgerPreview, PlannedEffect
from punchcard.routing.lake_events import read_lake_event, with_event
from punchcard.routing.planning import Planned, internal_error, plan_at
from punchcard.routing.rule_steps import Ruled
from punchcard.routing.source_rules import SourceRules
from punchcard.store.routing.event_results import EventResult, EventStatus, is_stopped_by_rules
from punchcard.workspace.snapshot import RoutedDestination

UNREADABLE_EVENT = "unreadable_event"
"""The reason of a past event that this version cannot read."""


@dataclass(frozen=True, slots=True)
class BacktestedEvent:
    """What a past event would earn.

    Attributes:
        intent: What it plans; None if filters or mapping do not take it.
        result: `pending` if it would earn something, `duplicate` or `conflict` if the ledger knows its key or its
            message, else the refusal.
    """

    event: LakeEvent
    intent: Intent | None
    result: EventResult

    @property
    def would_earn(self) -> bool:
        """True if the event would make a new effect."""
        return self.intent is not None and self.result.status is EventStatus.PENDING

    @property
    def in_ledger(self) -> bool:
        """True if the ledger, or an earlier event of the same backtest, has this effect already."""
        return self.intent is not None and self.result.status is not EventStatus.PENDING


def as_enabled(destination: RoutedDestination) -> RoutedDestination:
    """Return the destination as if it were on."""
    return replace_fields(destination, destination=replace_fields(destination.destination, enabled=True))


def plan_events(
    events: Sequence[LakeEvent],
    destination: RoutedDestination,
    *,
    zone: ZoneInfo,
    rules: Mapping[str, SourceRules] | None = None,
) -> Iterator[tuple[LakeEvent, Event | None, Intent | EventResult]]:
    """Plan past events at a destination, each by itself: with the event as read again, None if it cannot be. Pure.

    An event that the rules of its source had stopped goes through them again; its row is then as they leave it.

    Args:
        zone: Of the workspace.
        rules: The rules of sources to plan under, by slug.
    """
    for row in events:
        event = read_lake_event(row)
        if event is None:
            detail = "this version of Punchcard cannot read the event in the data lake"
            yield row, None, EventResult(destination.slug, EventStatus.REFUSED, UNREADABLE_EVENT, detail)
            continue
        if is_stopped_by_rules(row.results):
            ruled = _rule_again(event, (rules or {}).get(row.source or ""))
            if ruled is not None and ruled.result is not None:
                yield row, event, replace(ruled.result, destination=destination.slug)
                continue
            if ruled is not None and ruled.event is not None:
                event = ruled.event
                row = with_event(row, event)
        yield row, event, plan_at(event, destination, source=row.source or "", zone=zone)


def _rule_again(event: Event, rules: SourceRules | None) -> Ruled | None:
    if rules is None:
        return None
    try:
        return rules.apply_again(event)
    except Exception as error:  # noqa: BLE001  # whatever one event makes of our code, the others go on
        return Ruled(event=None, result=internal_error(error))


class Backtest:
    """Plans past events of one destination in the order in which they are given.

    Args:
        destination: With the settings and filters to plan under. One that is disabled is planned as if it were on.
        zone: Of the workspace.
        rules: The rules of sources to plan under, by slug.
        ledger: What has been awarded; `LedgerPreview(with_stored=False)` to plan as if nothing had been.
    """

    def __init__(
        self,
        destination: RoutedDestination,
        *,
        zone: ZoneInfo,
        ledger: LedgerPreview,
        rules: Mapping[str, SourceRules] | None = None,
    ) -> None:
        self._rules = rules
        self._destination = as_enabled(destination)
        self._zone = zone
        self._ledger = ledger

    def plan(self, work: Connection, events: Sequence[LakeEvent]) -> list[BacktestedEvent]:
        """Return what each event would earn, in order.

        Args:
            work: Of the store; only read.
        """
        plans: list[Intent | EventResult] = []
        planned: list[PlannedEffect] = []
        rows: list[LakeEvent] = []
        for row, event, plan in plan_events(events, self._destination, zone=self._zone, rules=self._rules):
            plans.append(plan)
            rows.append(row)
            if event is not None and isinstance(plan, Intent):
                planned.append(
                    PlannedEffect(
                        planned=Planned(self._destination, plan),
                        event=event,
                        source=row.source or "",
                        position=row.log_position,
                        index=row.event_index,
                        seen_before=False,
                    )
                )
        decided = iter(self._ledger.decide(work, planned))
        return [
            BacktestedEvent(row, plan, next(decided)) if isinstance(plan, Intent) else BacktestedEvent(row, None, plan)
            for row, plan in zip(rows, plans, strict=True)
        ]
