"""The routing loop: one batch of log records, one unit of work, one step forward."""

from collections import Counter
from collections.abc import Callable, Sequence

from punchcard.clock import Clock, from_micros
from punchcard.errors import StorageError
from punchcard.log.port import EventLog, LogRecord
from punchcard.routing.batch import (
    Planners,
    count_notes,
    counts_by_fate,
    counts_to_keep,
    fate_batch,
    lake_rows,
    plan_batch,
)
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.lake_feed import LakeFeed
from punchcard.routing.settling import settle_claims
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.store.counts import add_counts
from punchcard.store.engine import Store
from punchcard.store.fates import FateKind
from punchcard.store.note_counts import add_note_counts
from punchcard.store.positions import ROUTING, advance, position_of, save_fates
from punchcard.workspace.snapshot import Snapshot

_RECORDS_MAX = 4_000


class PositionMovedError(StorageError):
    """Another process has routed on: this one must start again from the position in the store."""

    code = "position_moved"


class Router:
    """Routes the log in order. One at a time: the store's leadership and the position itself see to that.

    Args:
        current: The configuration as it stands in the store.
        index: The message ids seen lately, filled up to the position in the store.
        feed: Takes the routed rows to the lake.
        on_effects: Called with the slugs of the destinations that got new effects, after they are committed.
        batch_bytes: Log bytes read per step.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        store: Store,
        clock: Clock,
        current: Callable[[], Snapshot],
        index: MessageIndex,
        feed: LakeFeed,
        on_effects: Callable[[set[str]], None],
        batch_bytes: int,
    ) -> None:
        self._log = log
        self._store = store
        self._clock = clock
        self._current = current
        self._index = index
        self._feed = feed
        self._on_effects = on_effects
        self._batch_bytes = batch_bytes
        self._planners = Planners()
        self._telemetry = RoutingTelemetry()
        with store.reading() as connection:
            self._position = position_of(connection, ROUTING)

    @property
    def position(self) -> int:
        """The last log position whose results are committed."""
        return self._position

    def step(self) -> int:
        """Route the next records; returns how many, 0 if there are none.

        Raises:
            StorageError: nothing of the step happened; call again.
            PositionMovedError: another process routes; make a new Router.
        """
        records = self._next_records()
        if not records:
            return 0
        snapshot = self._current()
        batch = plan_batch(records, snapshot, planners=self._planners.under(snapshot), index=self._index)
        now = self._clock.now()
        with self._store.unit_of_work() as work:
            if not advance(work, ROUTING, expected=self._position, to=records[-1].position):
                raise PositionMovedError(f"the log position is no longer {self._position}")
            decided = settle_claims(work, batch.claims, now=now)
            batch.give(decided)
            fates = fate_batch(batch)
            save_fates(work, fates)
            add_counts(work, counts_to_keep(fates, batch))
            notes = count_notes(batch)
            add_note_counts(work, notes)
        self._position = records[-1].position
        self._index.add_all(batch.message_ids)
        affected = {fate.destination for fate in decided if fate.fate is FateKind.PENDING and fate.destination}
        if affected:
            self._on_effects(affected)
        received = [record.received_at for record in records]
        self._feed.offer(
            lake_rows(fates, batch.items, received),
            first_position=records[0].position,
            last_position=self._position,
        )
        by_source: Counter[str] = Counter()
        for source, items in zip(batch.sources, batch.items, strict=True):
            by_source[source or ""] += len(items)
        for (_, source, reason), count in notes.items():
            self._telemetry.events_noted(source=source, reason=reason, count=count)
        self._telemetry.batch_routed(
            by_source=by_source,
            by_fate=counts_by_fate(fates),
            latency_seconds=(self._clock.now() - from_micros(received[-1])).total_seconds(),
        )
        return len(records)

    def _next_records(self) -> Sequence[LogRecord]:
        """The next records of the log; those that the lake holds already never together with others."""
        records = self._log.read(self._position, records_max=_RECORDS_MAX, bytes_max=self._batch_bytes)
        known = [record for record in records if record.position <= self._feed.known_through]
        return known or records
