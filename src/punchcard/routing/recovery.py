"""Plans again what an older store is missing: the events that the lake holds and the store has not routed.

When a store was restored from an older copy, the log may have been trimmed since, so a part of its missing events is
only in the lake. The lake also holds the results of each event, and those count: exactly the effects that were planned
then are planned again, under the keys of then. All of them are read back before anything is sent. What the lake does
not hold is routed from the log as ever.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy import Connection

from punchcard.clock import Clock, to_micros
from punchcard.destinations.port import EffectKey, Intent
from punchcard.errors import RefusedError
from punchcard.events.forwarded import PARTNER, settings_of
from punchcard.events.model import Event
from punchcard.lake.reader import LakeEvent, LakeResult
from punchcard.log.bodies import decompress
from punchcard.log.port import EventLog, LogRecord
from punchcard.routing.batch import Planners, plan_batch, result_batch
from punchcard.routing.batch_counts import counts_to_keep
from punchcard.routing.conflicts import PlannedEffect, record_refusals, resolve_conflicts
from punchcard.routing.counted_names import CountedNames
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.holding import hold_events
from punchcard.routing.lake_events import read_lake_event
from punchcard.routing.planning import Planned, plan_at, with_settings
from punchcard.routing.replayed_events import keep_replayed
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.store.delivery.counts import MINUTE_MICROS, RECEIVED, CountKey, add_counts
from punchcard.store.delivery.recoveries import Recovery, add_planned, newest_recovery
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventResult, EventStatus
from punchcard.store.routing.held import HeldEvent
from punchcard.store.routing.positions import (
    ROUTING,
    advance,
    consumer_of,
    partition_positions,
    position_of,
    results_between,
)
from punchcard.workspace.snapshot import RoutedDestination, Snapshot
from punchcard.workspace.subject_vault import SubjectVault

_EVENTS_PER_STEP = 2_000
_READ_RECORDS = 4_000
_READ_BYTES = 8_000_000


class Lake(Protocol):
    """What of the lake's reader is needed."""

    def after(self, position: int, *, limit: int) -> list[LakeEvent]:
        """The next events behind a log position, in the log's order; those of one log record never apart."""

    def last_position(self) -> int:
        """The highest log position that the lake holds, 0 if none."""


@dataclass(frozen=True, kw_only=True)
class _NotPlanned:
    """A missing effect that cannot be planned again."""

    event: LakeEvent
    status: LakeResult
    reason: str
    detail: str


class LakeReplay:
    """Plans again what the lake holds behind the store's position. For the process that leads routing.

    Args:
        current: The configuration in the store.
        vault: Hashes the persons of the effects; None for none.
    """

    def __init__(
        self,
        *,
        store: Store,
        log: EventLog,
        lake: Lake,
        clock: Clock,
        current: Callable[[], Snapshot],
        vault: SubjectVault | None = None,
    ) -> None:
        self._store = store
        self._log = log
        self._lake = lake
        self._clock = clock
        self._current = current
        self._vault = vault
        self._planners = Planners()
        self._counted_names = CountedNames()
        self._telemetry = RoutingTelemetry()

    def run(self, *, stopping: Callable[[], bool]) -> bool:
        """Plan everything that is missing; False if it was stopped, or another process routes.

        Raises:
            StorageError: lake, log or store is away; call again, it goes on where it was.
        """
        with self._store.reading() as work:
            recovery = newest_recovery(work)
            position = position_of(work, ROUTING)
        if recovery is None or recovery.routed_at is not None:
            return True
        last = min(self._lake.last_position(), recovery.through_position)
        while position < last:
            if stopping():
                return False
            events = [
                event for event in self._lake.after(position, limit=_EVENTS_PER_STEP) if event.log_position <= last
            ]
            through = events[-1].log_position if events else last
            if not self._replay(recovery, events, after=position, through=through):
                return False
            position = through
        return True

    def _replay(self, recovery: Recovery, events: Sequence[LakeEvent], *, after: int, through: int) -> bool:
        """Plan what a stretch of the log has planned before; False if another process has routed it."""
        snapshot = self._current()
        routed = self._routed_between(after + 1, through)
        events = [event for event in events if event.log_position not in routed]
        records = {record.position: record for record in self._records(after, through) if record.position not in routed}
        planned_effects: list[PlannedEffect] = []
        not_planned: list[_NotPlanned] = []
        held: list[HeldEvent] = []  # that were held then, too: they never passed the gates before their mapping
        for event in events:
            for result in event.results:
                if result.status != EventStatus.PENDING or not result.destination:
                    continue
                if not result.effect_key and event.log_position in records:
                    held.append(_held_again(event, result))
                    continue
                planned_effect = _planned_effect(event, result, snapshot, record=records.get(event.log_position))
                (planned_effects if isinstance(planned_effect, PlannedEffect) else not_planned).append(planned_effect)  # type: ignore[arg-type]
        in_lake = {event.log_position for event in events}
        unseen = [record for position, record in sorted(records.items()) if position not in in_lake]
        now = self._clock.now()
        with self._store.unit_of_work() as work:
            if not _advance_all(work, expected=after, to=through):
                return False
            hold_events(work, held, list(records.values()))
            decided = resolve_conflicts(work, planned_effects, now=now, recovery=recovery, vault=self._vault)
            decided += self._plan_unseen(work, unseen, snapshot, recovery)
            add_counts(work, self._counted_names.limit(work, _counts(events)))
            planned = sum(result.status is EventStatus.PENDING for result in decided)
            add_planned(work, recovery.id, planned=planned, not_planned=len(not_planned))
        for record in not_planned:
            self._telemetry.lost_effect_not_planned(
                message_id=record.event.message_id,
                effect_key=record.status.effect_key or "",
                destination=record.status.destination or "",
                reason=record.reason,
                detail=record.detail,
            )
        return True

    def _routed_between(self, first: int, last: int) -> set[int]:
        """The positions in a stretch that partitions of a divided log have routed which were ahead of others."""
        with self._store.reading() as work:
            if not partition_positions(work):
                return set()
            return {record.position for batch in results_between(work, first, last) for record in batch.records}

    def _plan_unseen(
        self, work: Connection, records: Sequence[LogRecord], snapshot: Snapshot, recovery: Recovery
    ) -> list[EventResult]:
        """Plan records of which the lake has lost the events, as if they were new: read back, they cannot double."""
        if not records:
            return []
        planners = self._planners.by_write_key(snapshot)
        batch = plan_batch(records, snapshot, planners=planners, index=MessageIndex(1))
        decided = resolve_conflicts(
            work, batch.planned_effects, now=self._clock.now(), recovery=recovery, vault=self._vault
        )
        batch.add_decided(decided)
        record_refusals(work, batch.refused_orders, destinations=snapshot.destinations, now=self._clock.now())
        hold_events(work, batch.held, records)
        if batch.replays:
            moved = keep_replayed(work, batch, now=self._clock.now())
            add_counts(work, self._counted_names.limit(work, moved))
        add_counts(work, self._counted_names.limit(work, counts_to_keep(result_batch(batch), batch)))
        return decided

    def _records(self, after: int, through: int) -> Iterable[LogRecord]:
        """Those of the records that the log still holds: settings may have come with them."""
        while after < through and (records := self._log.read(after, records_max=_READ_RECORDS, bytes_max=_READ_BYTES)):
            after = records[-1].position
            yield from (record for record in records if record.position <= through)


def _advance_all(work: Connection, *, expected: int, to: int) -> bool:
    """Advance routing, and of a divided log every partition that is not further already; False if one has moved."""
    partitions = partition_positions(work)
    if not partitions:
        return advance(work, ROUTING, expected=expected, to=to)
    return all(
        advance(work, consumer_of(ROUTING, partition), expected=position, to=to)
        for partition, position in partitions.items()
        if position < to
    )


def _held_again(event: LakeEvent, result: LakeResult) -> HeldEvent:
    return HeldEvent(
        destination=result.destination or "",
        source=event.source or "",
        message_id=event.message_id,
        log_position=event.log_position,
        event_index=event.event_index,
        received_at=event.received_at,
        reason=result.reason or "",
        detail=result.detail or "",
        rewritten=event.payload,  # the lake has it as the rules of its source left it
    )


def _planned_effect(
    event: LakeEvent, result: LakeResult, snapshot: Snapshot, *, record: LogRecord | None
) -> PlannedEffect | _NotPlanned:
    """What an event planned at one destination, with its content as read today and its key of then."""

    def not_planned(reason: str, detail: str) -> _NotPlanned:
        return _NotPlanned(event=event, status=result, reason=reason, detail=detail)

    destination = snapshot.destinations.get(result.destination or "")
    if destination is None:
        return not_planned("destination_removed", f"there is no destination {result.destination} any more")
    if record is not None and record.call == PARTNER:
        destination = with_settings(destination, settings_of(decompress(record)))
    invalid = destination.invalid or destination.invalid_for_event
    if invalid is not None:
        return not_planned("INVALID_SETTINGS", invalid)
    read = read_lake_event(event)
    if read is None:
        return not_planned("unreadable_event", "the lake's text of the event cannot be read")
    try:
        intent = _intent(
            read, destination, source=event.source or "", snapshot=snapshot, has_passed=bool(result.effect_key)
        )
    except RefusedError as refusal:
        return not_planned(refusal.code, refusal.message)
    return PlannedEffect(
        planned=Planned(
            destination, replace(intent, effect_key=EffectKey(result.effect_key)) if result.effect_key else intent
        ),
        event=read,
        source=event.source or "",
        position=event.log_position,
        index=event.event_index,
        seen_before=False,
    )


def _intent(
    event: Event, destination: RoutedDestination, *, source: str, snapshot: Snapshot, has_passed: bool
) -> Intent:
    """What the event plans; gates that it has passed once are not checked again if they are closed today.

    Args:
        has_passed: Whether it has; an event that was held has not.

    Raises:
        RefusedError: the destination's mapping, or a gate that it has not passed yet, does not take it.
    """
    planned = plan_at(event, destination, source=source, zone=snapshot.zone)
    if isinstance(planned, Intent):
        return planned
    if not has_passed:
        raise RefusedError(planned.detail or "It is not planned today.", code=planned.reason or "planning_failed")
    return destination.partner.plan(
        event, destination.settings, source=source, destination=destination.slug, timezone=snapshot.zone
    )


def _counts(events: Sequence[LakeEvent]) -> Counter[CountKey]:
    """The counts of routing as they were added when these events were routed."""
    counts: Counter[CountKey] = Counter()
    for event in events:
        received = to_micros(event.received_at)
        bucket, name = received - received % MINUTE_MICROS, event.event or ""
        key = CountKey(bucket, event.source or "", "", event.type, name, RECEIVED, "")
        counts[key] += 1
        for result in event.results:
            counts[
                key._replace(destination=result.destination or "", status=result.status, reason=result.reason or "")
            ] += 1
    return counts
