"""Holds the events that a destination cannot plan now, and plans them once it can, in the order in which they came.

A destination may be unusable (a stored filter that does not compile, settings that this version refuses), or filters
and mapping may fail on one event. Such an event must neither pass a filter that might have dropped it nor be lost. It
is kept with its record, so that it is read again as it was, whatever the log has forgotten by then.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection

from punchcard.clock import Clock, to_micros
from punchcard.destinations.port import Intent
from punchcard.errors import RefusedError, StorageError
from punchcard.events.forwarded import PARTNER, settings_of
from punchcard.events.model import Event
from punchcard.events.parse import with_text
from punchcard.log.bodies import decompress
from punchcard.log.port import LogRecord
from punchcard.routing.conflicts import PlannedEffect, record_refusals, refused_orders, resolve_conflicts
from punchcard.routing.planning import Planned, refusal_of, try_plan, with_settings
from punchcard.routing.records import Item, describe
from punchcard.routing.replay_record import REPLAY, read_replay
from punchcard.routing.suppression import Suppressions, suppressed_at
from punchcard.store.delivery.counts import MINUTE_MICROS, CountKey, add_counts
from punchcard.store.delivery.orders import RefusedOrder
from punchcard.store.delivery.recoveries import newest_recovery
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventResult, EventStatus
from punchcard.store.routing.held import (
    HeldEvent,
    HeldRecord,
    hold,
    hold_again,
    newest_waiting,
    read_records,
    read_waiting,
    release,
    waiting_destinations,
)
from punchcard.workspace.snapshot import RoutedDestination, Snapshot

HELD_REASONS = frozenset({"destination_on_hold", "planning_failed", "behind_held_events"})
"""The reasons of events that are held."""

_PLANNED_PER_STEP = 500


def behind_held(slug: str) -> EventResult:
    """The result of an event that could be planned, but not before those that are held."""
    detail = "earlier events are held for this destination. They are planned first, and this one after them"
    return EventResult(slug, EventStatus.PENDING, "behind_held_events", detail)


def held_event(
    record: LogRecord, index: int, event: Event, result: EventResult, *, source: str, rewritten: bytes | None = None
) -> HeldEvent:
    """The event of a record in the form in which it is held.

    Args:
        rewritten: Its JSON text, if the rules of its source have changed that.
    """
    return HeldEvent(
        destination=result.destination or "",
        source=source,
        message_id=event.message_id,
        log_position=record.position,
        event_index=index,
        received_at=event.received_at,
        reason=result.reason or "",
        detail=result.detail or "",
        rewritten=rewritten,
    )


@dataclass
class Replanned:
    """What one step has done about events that were held.

    Attributes:
        tried: How many were looked at.
        planned: How many of them are held no more, by destination.
        affected: Destinations that got new effects.
    """

    tried: int = 0
    planned: Counter[str] = field(default_factory=Counter)
    affected: set[str] = field(default_factory=set)


class Holding:
    """The events that are held, as routing sees them. For the one thread that routes.

    Each event that is held is tried once under each revision of the configuration, and once after a start: what has
    failed then fails again until something changes, and must not keep later events waiting.

    Args:
        read_items: Reads the events of a record, the same every time.
        suppressions: Subjects with events that are refused.
        partition: Of the log: only its events are held and planned.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        read_items: Callable[[LogRecord], Sequence[Item]],
        suppressions: Suppressions | None = None,
        partition: int = 0,
    ) -> None:
        self._suppressions = suppressions
        self._vault = None if suppressions is None else suppressions.vault
        self._partition = partition
        self._store = store
        self._clock = clock
        self._read_items = read_items
        self._revision: int | None = None
        self._tried: dict[str, int] = {}  # by destination, the id through which events were tried
        with store.reading() as work:
            slugs = waiting_destinations(work, partition=partition)
            self._newest = {slug: self._newest_waiting(work, slug) for slug in slugs}  # by destination, the newest id

    def __bool__(self) -> bool:
        """True if events may be held."""
        return bool(self._newest)

    def behind(self, snapshot: Snapshot) -> frozenset[str]:
        """Destinations that can plan, and have held events that go before any new one."""
        if snapshot.revision != self._revision:
            self._revision, self._tried = snapshot.revision, {}
        return frozenset(
            slug
            for slug, newest in self._newest.items()
            if self._tried.get(slug, 0) < newest and _can_plan(snapshot.destinations.get(slug))
        )

    def hold(self, work: Connection, events: Sequence[HeldEvent], records: Sequence[LogRecord]) -> dict[str, int]:
        """Keep events in the unit of work that routes them; returns what `note_committed` takes after the commit."""
        hold_events(work, [replace(event, partition=self._partition) for event in events], records)
        return {slug: self._newest_waiting(work, slug) for slug in {event.destination for event in events}}

    def _newest_waiting(self, work: Connection, slug: str) -> int:
        return newest_waiting(work, slug, partition=self._partition)

    def note_committed(self, newest: dict[str, int]) -> None:
        """Take note of events that are committed."""
        self._newest.update(newest)

    def replan(self, snapshot: Snapshot) -> Replanned:
        """Plan the next events of one destination that can plan again.

        Raises:
            StorageError: nothing of it happened; call again.
        """
        for slug in sorted(self.behind(snapshot)):
            after = self._tried.get(slug, 0)
            events, done = self._replan_at(slug, snapshot, after=after)
            if events:
                self._tried[slug] = events[-1].id
                return done
            if after == 0:
                del self._newest[slug]
            else:
                self._tried[slug] = self._newest[slug]
        return Replanned()

    def _replan_at(self, slug: str, snapshot: Snapshot, *, after: int) -> tuple[Sequence[HeldEvent], Replanned]:
        """Plan the next events of a destination; an event with a result that cannot be written stays held, alone."""
        limit = _PLANNED_PER_STEP
        while True:
            events: Sequence[HeldEvent] = ()
            try:
                with self._store.unit_of_work() as work:
                    events = read_waiting(work, slug, after=after, limit=limit, partition=self._partition)
                    if not events:
                        return events, Replanned()
                    return events, self._plan(work, events, snapshot.destinations[slug], snapshot, self._clock.now())
            except StorageError:
                raise
            except Exception as error:  # one event's doing: the halves show which
                if len(events) > 1:
                    limit = len(events) // 2
                    continue
                if not events:
                    raise
                with self._store.unit_of_work() as work:
                    detail = f"Punchcard failed on this event: {describe(error)}. It stays held."
                    hold_again(work, events[0].id, reason="planning_failed", detail=detail)
                return events, Replanned(tried=1)

    def _plan(
        self,
        work: Connection,
        events: Sequence[HeldEvent],
        destination: RoutedDestination,
        snapshot: Snapshot,
        now: datetime,
    ) -> Replanned:
        records = read_records(work, {event.log_position for event in events})
        replays = {position: _replay_of(record) for position, record in records.items()}
        results: dict[int, EventResult] = {}
        planned_effects: list[PlannedEffect] = []
        planned_events: list[HeldEvent] = []
        refused: list[RefusedOrder] = []
        events_by_id: dict[int, Event] = {}
        for held in events:
            event, routed = self._read(held, records.get(held.log_position), destination)
            if event is None:
                continue  # its detail stays: it cannot be read here
            events_by_id[held.id] = event
            is_suppressed = self._suppressions and self._suppressions.is_suppressed(event, held.source)
            planned = None if is_suppressed else try_plan(event, routed, source=held.source, zone=snapshot.zone)
            if isinstance(planned, RefusedError):
                if isinstance(order_id := planned.context.get("order_id"), str):
                    refused += refused_orders([(held.destination, order_id, planned.code)], event, held.source)
                planned = refusal_of(routed, planned)
            if planned is None or (isinstance(planned, Intent) and self._is_for_suppressed(planned, held, routed)):
                planned = suppressed_at(held.destination)
            if isinstance(planned, EventResult):
                results[held.id] = planned
                continue
            planned_events.append(held)
            planned_effects.append(
                PlannedEffect(
                    planned=Planned(routed, planned),
                    event=event,
                    source=held.source,
                    position=held.log_position,
                    index=held.event_index,
                    seen_before=False,
                    replay=replays.get(held.log_position),
                )
            )
        # Events that a restored copy still holds may have been planned and sent by the run that came after it.
        decided = resolve_conflicts(work, planned_effects, now=now, recovery=newest_recovery(work), vault=self._vault)
        record_refusals(work, refused, destinations=snapshot.destinations, now=now)
        results |= {held.id: result for held, result in zip(planned_events, decided, strict=True)}
        return self._write(work, [held for held in events if held.id in results], events_by_id, results, now)

    def _is_for_suppressed(self, intent: Intent, held: HeldEvent, destination: RoutedDestination) -> bool:
        """Return whether the destination's own transformations have given an award to a suppressed customer."""
        if not self._suppressions or held.source not in destination.transformations:
            return False
        return self._suppressions.is_suppressed_customer(intent.email, held.source)

    def _read(
        self, held: HeldEvent, record: HeldRecord | None, destination: RoutedDestination
    ) -> tuple[Event | None, RoutedDestination]:
        """Return the event, None if it cannot be read, and the destination with the settings that came with it."""
        if record is None:
            return None, destination
        read = _log_record(record)
        try:
            item = self._read_items(read)[held.event_index]
            if held.rewritten is not None and isinstance(item, Event):
                item = with_text(item, held.rewritten)
            if record.call == PARTNER:
                destination = with_settings(destination, settings_of(decompress(read)))
        except Exception:  # noqa: BLE001  # it was read when it was held; by another version, perhaps
            return None, destination
        return (item if isinstance(item, Event) else None), destination

    def _write(
        self,
        work: Connection,
        events: Sequence[HeldEvent],
        events_by_id: dict[int, Event],
        results: dict[int, EventResult],
        now: datetime,
    ) -> Replanned:
        done = Replanned(tried=len(events))
        counts: Counter[CountKey] = Counter()
        released: dict[int, EventResult] = {}
        for held in events:
            result = results[held.id]
            before = _count_key(held, events_by_id[held.id], EventStatus.PENDING, held.reason)
            counts[before] -= 1
            counts[before._replace(status=result.status.value, reason=result.reason or "")] += 1
            if _is_held(result):
                hold_again(work, held.id, reason=result.reason or "", detail=result.detail or "")
                continue
            released[held.id] = result
            done.planned[held.destination] += 1
            if result.status is EventStatus.PENDING:
                done.affected.add(held.destination)
        release(work, released, now=now)
        add_counts(work, counts)
        return done


def hold_events(work: Connection, events: Sequence[HeldEvent], records: Sequence[LogRecord]) -> None:
    """Store events, with their records."""
    positions = {event.log_position for event in events}
    hold(work, events, [_held_record(record) for record in records if record.position in positions])


def _is_held(result: EventResult) -> bool:
    """True for the result of an event that is not planned; a planned one has an effect."""
    return result.status is EventStatus.PENDING and result.effect_key is None


def _can_plan(destination: RoutedDestination | None) -> bool:
    return destination is not None and destination.invalid is None and destination.destination.enabled


def _count_key(held: HeldEvent, event: Event, result: EventStatus, reason: str) -> CountKey:
    received = to_micros(held.received_at)
    return CountKey(
        bucket=received - received % MINUTE_MICROS,
        source=held.source,
        destination=held.destination,
        event_type=str(event.type),
        event_name=event.wire.event or "",
        status=result.value,
        reason=reason,
    )


def _log_record(record: HeldRecord) -> LogRecord:
    return LogRecord(
        position=record.log_position,
        received_at=record.received_at,
        write_key=record.write_key,
        call=record.call,
        encoding=record.encoding,
        body=record.body,
        ip=record.ip,
    )


def _replay_of(record: HeldRecord) -> str | None:
    """Return the id of the replay that the record belongs to, None for any other record."""
    if record.call != REPLAY:
        return None
    try:
        return read_replay(_log_record(record)).replay
    except Exception:  # noqa: BLE001  # it was read when it was held; by another version, perhaps
        return None


def _held_record(record: LogRecord) -> HeldRecord:
    return HeldRecord(
        log_position=record.position,
        received_at=record.received_at,
        write_key=record.write_key,
        call=record.call,
        encoding=record.encoding,
        body=record.body,
        ip=record.ip,
    )
