"""Counts violations of tracking plans in the unit of work that routes their events, bounded in number.

Anybody with a public write key can send any event name and any property, so each source has so many counts a day; what
comes beyond them is counted together.
"""

from typing import Final

from sqlalchemy import Connection

from punchcard.clock import from_micros
from punchcard.errors import StorageError
from punchcard.events.model import Event, EventType
from punchcard.routing.batch import Batch
from punchcard.routing.records import describe
from punchcard.routing.rule_steps import Violation
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.routing.violation_events import violation_events
from punchcard.store.delivery.counts import OTHER_NAMES
from punchcard.store.engine import is_storage_fault
from punchcard.store.routing.event_results import EventStatus
from punchcard.store.tracking_plans.violations import (
    DAY_MICROS,
    ViolationDelta,
    ViolationKey,
    add_violation_events,
    add_violations,
    count_violation_events,
    read_violation_keys,
    violation_key,
)
from punchcard.workspace.snapshot import Snapshot

KEYS_MAX: Final = 500
"""Distinct violations counted for a source on one day."""

_QUEUED_MAX: Final = 10_000
_REMEMBERED_MAX: Final = 200  # sources and days
_NAMED: Final = (EventType.PAGE, EventType.SCREEN)


class ViolationCounts:
    """The violations counted lately. What it forgets it reads again from the store. For the one thread that routes."""

    def __init__(self, *, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._keys: dict[tuple[str, int], set[ViolationKey]] = {}
        self._telemetry = RoutingTelemetry()

    def record(self, work: Connection, batch: Batch, snapshot: Snapshot) -> None:
        """Add the violations of a batch to the counts, and queue the events that they are forwarded as.

        A defect here is logged, and stops no award: the violations stay with their events.

        Raises:
            StorageError: The store cannot be written.
        """
        if not batch.violations:
            return
        try:
            with work.begin_nested():
                self._record(work, batch, snapshot)
        except Exception as error:
            self._keys.clear()
            if isinstance(error, StorageError) or is_storage_fault(error):
                raise
            self._telemetry.violations_failed(error=describe(error))

    def _record(self, work: Connection, batch: Batch, snapshot: Snapshot) -> None:
        deltas: dict[tuple[ViolationKey, int], ViolationDelta] = {}
        for record, index, violation in batch.violations:
            event = batch.items[record][index]
            source = batch.sources[record]
            if not isinstance(event, Event) or source is None or record in batch.replays:
                continue
            received_at = batch.records[record].received_at
            day = received_at - received_at % DAY_MICROS
            key = self._admit(work, _key_of(source, event, violation), day)
            delta = deltas.get((key, day))
            if delta is None:
                delta = deltas[key, day] = ViolationDelta(violation.plan, violation.detail, received_at, received_at)
            delta.count += 1
            delta.last_seen = received_at
            delta.blocked += _is_stopped(batch, record, index)
        add_violations(work, deltas)
        forwarded = violation_events(batch, snapshot)
        if forwarded:
            free = max(0, _QUEUED_MAX - count_violation_events(work))
            add_violation_events(work, forwarded[:free])
            if len(forwarded) > free:
                self._telemetry.violations_not_forwarded(count=len(forwarded) - free)

    def _admit(self, work: Connection, key: ViolationKey, day: int) -> ViolationKey:
        """Return the key if it is counted by itself, else the one of all others."""
        known = self._keys.get((key.source, day))
        if known is None:
            if len(self._keys) >= _REMEMBERED_MAX:
                self._keys.clear()
            known = self._keys[key.source, day] = read_violation_keys(work, key.source, since=from_micros(day))
        if key in known:
            return key
        if len(known) >= self._keys_max:
            return key._replace(event_type="", event_name=OTHER_NAMES, field="")
        # If the unit of work fails, the key stays here without a row until the same batch is tried again.
        known.add(key)
        return key


def _key_of(source: str, event: Event, violation: Violation) -> ViolationKey:
    return violation_key(source, event.type.value, event_name(event), violation.field, violation.kind)


def event_name(event: Event) -> str:
    """Return the name under which violations of an event are counted, as at Segment."""
    return (event.wire.name if event.type in _NAMED else event.wire.event) or ""


def _is_stopped(batch: Batch, record: int, index: int) -> bool:
    results = batch.results[record][index]
    return bool(results) and results[0].status is EventStatus.FILTERED_AT_SOURCE
