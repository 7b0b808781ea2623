"""The routing loop: one batch of log records, one unit of work, one step forward."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter

from punchcard.clock import Clock, from_micros
from punchcard.errors import ConfigurationError, StorageError
from punchcard.log.bodies import unpacked_size
from punchcard.log.partitions import PartitionReader
from punchcard.log.port import EventLog, LogRecord
from punchcard.routing.batch import (
    Batch,
    FailingEvents,
    Planners,
    is_quarantined,
    lake_rows,
    plan_batch,
    result_batch,
)
from punchcard.routing.batch_counts import count_notes, counts_by_status, counts_to_keep
from punchcard.routing.conflicts import record_refusals, resolve_conflicts
from punchcard.routing.counted_names import CountedNames
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.holding import Holding
from punchcard.routing.lake_feed import RoutedRows
from punchcard.routing.ledger_names import ledger_names
from punchcard.routing.quarantine import FailureRun, RoutingHaltedError, records_to_keep
from punchcard.routing.records import QUARANTINED, describe, read_record
from punchcard.routing.replayed_events import keep_replayed
from punchcard.routing.schema_recorder import SchemaRecorder
from punchcard.routing.suppression import Suppressions
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.routing.violation_counts import ViolationCounts
from punchcard.store.bulk import pipelined
from punchcard.store.delivery.counts import CountKey, add_counts
from punchcard.store.delivery.ledger_locks import lock_ledger
from punchcard.store.delivery.recoveries import Recovery, add_planned, count_in_doubt, mark_routed, newest_recovery
from punchcard.store.engine import Store, is_storage_fault
from punchcard.store.privacy.suppressions import add_suppressed_records
from punchcard.store.routing.event_results import EventResult, EventStatus
from punchcard.store.routing.note_counts import add_note_counts
from punchcard.store.routing.positions import ROUTING, advance, consumer_of, position_of, save_results
from punchcard.store.routing.quarantine import add_quarantined
from punchcard.workspace.snapshot import Snapshot

_RECORDS_MAX = 4_000
_LOOK_AHEAD_RECORDS = 200
_FEW_RECORDS = 16
# An idle partition follows the end of the log that often: what all partitions have routed goes to the lake.
_MOVE_SECONDS = 0.25


class PositionMovedError(StorageError):
    """Another process has routed on: this one must start again from the position in the store."""

    code = "position_moved"


class Router:
    """Routes a log, or one of its partitions, in order.

    One at a time: the store's leadership and the position itself see to that.

    Args:
        log: The log, or the partition to route.
        current: The configuration in the store.
        index: The message ids seen lately, filled up to the position in the store.
        feed: Takes the routed rows to the lake; None where another one makes them from log and store.
        on_effects: Called with the slugs of the destinations that got new effects, after they are committed.
        batch_bytes: Log bytes read per step.
        suppressions: Subjects with events that are refused; None for nobody.
    """

    def __init__(
        self,
        *,
        log: EventLog | PartitionReader,
        store: Store,
        clock: Clock,
        current: Callable[[], Snapshot],
        index: MessageIndex,
        feed: RoutedRows | None,
        on_effects: Callable[[set[str]], None],
        batch_bytes: int,
        suppressions: Suppressions | None = None,
    ) -> None:
        self._suppressions = suppressions
        self._vault = None if suppressions is None else suppressions.vault
        self._log = log
        self._partition = log.partition if isinstance(log, PartitionReader) else None
        self._consumer = consumer_of(ROUTING, self._partition)
        self._has_passed_change = False
        self._has_read_all = False
        self._moved_at = 0.0
        self._store = store
        self._clock = clock
        self._current = current
        self._index = index
        self._feed = feed
        self._on_effects = on_effects
        self._batch_bytes = batch_bytes
        self._planners = Planners()
        self._counted_names = CountedNames()
        self._violations = ViolationCounts()
        self._failures = FailureRun()
        self._telemetry = RoutingTelemetry()
        self._holding = Holding(
            store, clock, read_items=read_record, suppressions=suppressions, partition=self._partition or 0
        )
        with store.reading() as connection:
            self._position = position_of(connection, self._consumer)
            self._recovery = newest_recovery(connection)
        self._schema = SchemaRecorder(
            store=store, log=log, clock=clock, current=current, position=self._position, partition=self._partition
        )

    @property
    def position(self) -> int:
        """The last log position with committed results."""
        return self._position

    @property
    def has_read_all(self) -> bool:
        """Whether the last step left nothing to do: the next one needs a new record, or a moment later."""
        return self._has_read_all and not self._holding

    def step(self) -> int:
        """Route the next records, after a portion of the held events; returns how many, 0 if there are none.

        A record or event on which Punchcard fails is quarantined, and the others go on: see `quarantine`.

        Raises:
            StorageError: nothing of the step happened; call again.
            PositionMovedError: another process routes; make a new Router.
        """
        self._refresh_suppressions()
        replanned = self._replan() if self._holding else 0
        records = self._next_records()
        recovery = self._recovery
        if recovery is not None and (not records or self._position >= recovery.through_position):
            self._end_recovery(recovery)
        if not records:
            self._schema.write_if_due(is_idle=True)
            return replanned
        while True:
            try:
                batch = self._commit(records)
            except StorageError:
                raise
            except Exception as error:  # noqa: BLE001  # one record's doing, or ours: `_commit_apart` finds out
                if len(records) > 1:
                    records = records[: len(records) // 2]
                    self._has_read_all = False
                    continue
                batch = self._commit_apart(records, error)
            break
        self._position = records[-1].position
        self._index.add_all(batch.message_keys)
        self._publish(batch)
        self._schema.observe(batch, batch.counts)
        self._schema.write_if_due()
        return len(records)

    def write_schema(self) -> None:
        """Write what was gathered of the source schema, as at the end of routing."""
        self._schema.write()

    def _commit(self, records: Sequence[LogRecord], *, failing: FailingEvents | None = None) -> Batch:
        """Plan the records and write all that follows, with the log position, in one unit of work."""
        snapshot = self._current()
        batch = self._plan(records, snapshot, failing)
        self._failures.check(batch, something_passes=lambda: self._something_passes(records[-1].position))
        now = self._clock.now()
        newest_held: dict[str, int] = {}
        with self._store.unit_of_work() as work:
            if not advance(work, self._consumer, expected=self._position, to=records[-1].position):
                raise PositionMovedError(f"the log position is no longer {self._position}")
            if self._partition is not None:
                lock_ledger(work, ledger_names(batch.planned_effects))
            decided = resolve_conflicts(
                work, batch.planned_effects, now=now, recovery=self._recovery, vault=self._vault
            )
            batch.add_decided(decided)
            record_refusals(work, batch.refused_orders, destinations=snapshot.destinations, now=now)
            if self._recovery is not None and self._recovery.routed_at is None:
                add_planned(work, self._recovery.id, planned=_count_planned(decided), not_planned=0)
            counts = Counter(keep_replayed(work, batch, now=now)) if batch.replays else Counter[CountKey]()
            results = result_batch(batch)
            batch.counts = counts_to_keep(results, batch)
            counts.update(batch.counts)
            counts = self._counted_names.limit(work, counts)
            with pipelined(work):
                save_results(work, results, partition=self._partition)
                # All at once: two routers that lock rows of counts in two portions might wait for each other.
                add_counts(work, counts)
            batch.notes = count_notes(batch)
            add_note_counts(work, batch.notes)
            self._violations.record(work, batch, snapshot)
            add_suppressed_records(work, {records[number].position for number in batch.suppressed})
            if batch.held:
                newest_held = self._holding.hold(work, batch.held, records)
            if any(map(is_quarantined, results.distinct)):
                add_quarantined(work, records_to_keep(batch, now=now))
        self._failures.add(batch)
        self._holding.note_committed(newest_held)
        batch.routed = results
        return batch

    def _commit_apart(self, records: Sequence[LogRecord], error: Exception) -> Batch:
        """Write a single record without those of its events that make its unit of work fail."""
        self._telemetry.record_failed(position=records[0].position, error=error)
        events = len(self._plan(records, self._current(), None).items[0])
        everything: FailingEvents = {(0, index): error for index in range(events)}
        for failing in (self._failing_events(records), everything):
            if not failing:
                continue  # each of them can be written alone, but not all together
            try:
                return self._commit(records, failing=failing)
            except StorageError:
                raise
            except Exception as again:  # noqa: BLE001  # then all of its events, at last
                error = again
        # Nothing of the record was left in the unit of work: it is not the record.
        raise RoutingHaltedError(f"routing cannot write its results: {describe(error)}") from error

    def _failing_events(self, records: Sequence[LogRecord]) -> FailingEvents:
        """Return the events of a single record that cannot be written, found by trying."""
        batch = self._plan(records, self._current(), None)
        failing: FailingEvents = {}
        with self._store.trial() as work:
            if self._partition is not None:
                lock_ledger(work, ledger_names(batch.planned_effects))
            for place, planned_effects in groupby(
                zip(batch.places, batch.planned_effects, strict=True), key=itemgetter(0)
            ):
                try:
                    with work.begin_nested():
                        resolve_conflicts(
                            work, [planned_effect for _, planned_effect in planned_effects], now=self._clock.now()
                        )
                except Exception as error:
                    if isinstance(error, StorageError) or is_storage_fault(error):
                        raise
                    failing[place] = error
        return failing

    def _something_passes(self, after: int) -> bool:
        """Whether Punchcard can process any of the next records."""
        for record in self._log.read(after, records_max=_LOOK_AHEAD_RECORDS, bytes_max=self._batch_bytes):
            batch = self._plan([record], self._current(), None)
            if batch.planned_effects and not self._failing_events([record]):
                return True
        return False

    def _plan(self, records: Sequence[LogRecord], snapshot: Snapshot, failing: FailingEvents | None) -> Batch:
        planners = self._planners.by_write_key(snapshot)
        return plan_batch(
            records,
            snapshot,
            planners=planners,
            index=self._index,
            behind=self._holding.behind(snapshot),
            failing=failing,
            suppressions=self._suppressions,
        )

    def _refresh_suppressions(self) -> None:
        """Read who is suppressed. Without knowing that, nothing is routed: it could not be taken back."""
        if self._suppressions is None:
            return
        try:
            self._suppressions.refresh()
        except ConfigurationError as error:
            raise StorageError(f"It is not known who is suppressed: {error.message}") from error

    def _publish(self, batch: Batch) -> None:
        """Tell everyone who waits for it what was committed."""
        results = batch.routed
        if batch.destinations:
            self._on_effects(batch.destinations)
        received = [record.received_at for record in batch.records]
        if self._feed is not None:
            self._feed.offer(
                lake_rows(results, batch.items, received, extracted=batch.extracted),
                first_position=batch.records[0].position,
                last_position=self._position,
            )
        self._telemetry.events_held(held=Counter(event.destination for event in batch.held))
        by_source: Counter[str] = Counter()
        for number, (source, items) in enumerate(zip(batch.sources, batch.items, strict=True)):
            if number not in batch.replays:
                by_source[source or ""] += len(items)
        by_status = counts_by_status(results)
        for (_, source, reason), count in batch.notes.items():
            self._telemetry.events_noted(source=source, reason=reason, count=count)
        self._telemetry.batch_routed(
            by_source=by_source,
            by_status=by_status,
            latency_seconds=(self._clock.now() - from_micros(received[-1])).total_seconds(),
        )
        for (destination, _, reason), count in by_status.items():
            if reason in QUARANTINED:
                self._telemetry.events_quarantined(
                    first_position=batch.records[0].position, destination=destination, reason=reason, count=count
                )

    def _replan(self) -> int:
        """Plan a portion of the held events that can be planned now; returns how many were tried."""
        replanned = self._holding.replan(self._current())
        if replanned.affected:
            self._on_effects(replanned.affected)
        self._telemetry.events_released(planned=replanned.planned)
        return replanned.tried

    def _end_recovery(self, recovery: Recovery) -> None:
        """Note once that all is routed again that a run may have routed which the store knows nothing of."""
        if recovery.routed_at is not None:
            return
        with self._store.unit_of_work() as work:
            if self._partition is not None and position_of(work, ROUTING) < recovery.through_position:
                return  # other partitions have not come so far
            mark_routed(work, recovery.id, now=self._clock.now())
            self._recovery = newest_recovery(work)
            in_doubt = count_in_doubt(work)
        if self._recovery is not None:
            self._telemetry.recovery_routed(self._recovery, in_doubt=in_doubt)

    def _next_records(self) -> Sequence[LogRecord]:
        """The next records of the log; those that the lake holds already never together with others."""
        if isinstance(self._log, PartitionReader):
            records = self._next_of_partition(self._log)
        else:
            records = self._log.read(self._position, records_max=_RECORDS_MAX, bytes_max=self._batch_bytes)
        known_through = 0 if self._feed is None else self._feed.known_through
        known = [record for record in records if record.position <= known_through]
        chosen = known or records
        self._has_read_all = len(chosen) == len(records) <= _FEW_RECORDS and (
            sum(unpacked_size(record.encoding, record.body) for record in records) < self._batch_bytes
        )
        return chosen

    def _next_of_partition(self, log: PartitionReader) -> Sequence[LogRecord]:
        """The next records of a partition; if there are none, its position follows the end of the log."""
        change = log.layout.changed_after
        if self._position >= change and not self._has_passed_change:
            # Before the number of partitions was changed, others routed these buckets: they come first.
            with self._store.reading() as work:
                if position_of(work, ROUTING) < change:
                    return []
            self._has_passed_change = True
        records, through = log.read_through(self._position, records_max=_RECORDS_MAX, bytes_max=self._batch_bytes)
        now = self._clock.monotonic()
        if not records and through > self._position and now >= self._moved_at + _MOVE_SECONDS:
            with self._store.unit_of_work() as work:
                if not advance(work, self._consumer, expected=self._position, to=through):
                    raise PositionMovedError(f"the log position is no longer {self._position}")
            self._position, self._moved_at = through, now
        return records


def _count_planned(decided: Sequence[EventResult]) -> int:
    return sum(result.status is EventStatus.PENDING for result in decided)
