"""Gathers the source schema from routed batches: every event is counted, the properties of a sample are read.

Routing pays for it a constant time per second, not per event: what is gathered is written every few seconds, in a unit
of work of its own, and at most `SAMPLES_PER_SECOND` events are decoded. Nothing that fails here stops routing.

The position through which events are counted is written with the counts. What a crash has kept from being written is
counted again from the log, so counts of events are exact; samples of the last seconds are lost.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Final

from punchcard.clock import Clock
from punchcard.destinations.event_names import mapped_names
from punchcard.errors import StorageError
from punchcard.events.model import Event, EventType
from punchcard.events.observed_properties import observe_properties
from punchcard.log.port import LogRecord, RecordReader
from punchcard.routing.batch import Batch
from punchcard.routing.records import Item, describe, read_record, read_routed
from punchcard.routing.replay_record import REPLAY
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.store.delivery.counts import MINUTE_MICROS, RECEIVED, CountKey
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventStatus
from punchcard.store.routing.positions import (
    SCHEMA,
    advance,
    consumer_of,
    note_position,
    results_between,
    stored_position,
)
from punchcard.store.source_schema.model import (
    EventDelta,
    PropertyDelta,
    SchemaKey,
    schema_key,
)
from punchcard.store.source_schema.recording import read_names, record_schema
from punchcard.workspace.snapshot import Snapshot

SAMPLES_PER_SECOND: Final = 10
"""Events of which properties are read in a second on average."""

_SAMPLES_SAVED_MAX: Final = 200  # unused ones of the seconds before
_BUSY_SECONDS: Final = 10.0  # between two writes while events come without a break
_IDLE_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 30.0
_NEW_NAMES_MAX: Final = 1_000  # per source, between two writes
_NEW_NAMES_SAMPLED_MAX: Final = 20  # of a batch, besides the sample
_PATHS_GATHERED_MAX: Final = 300
_RECOUNTED_RECORDS_MAX: Final = 100_000
_RECORDS: Final = 500
_BYTES: Final = 4_000_000


class SchemaRecorder:
    """Counts events and samples their properties. Used by the routing thread only.

    Args:
        current: The configuration in the store.
        position: The log position through which events are routed.
        partition: The partition of the log that `log` reads; None for the whole log.
    """

    def __init__(
        self,
        *,
        store: Store,
        log: RecordReader,
        clock: Clock,
        current: Callable[[], Snapshot],
        position: int,
        partition: int | None = None,
    ) -> None:
        self._consumer = consumer_of(SCHEMA, partition)
        self._store = store
        self._log = log
        self._clock = clock
        self._current = current
        self._random = random.Random()
        self._telemetry = RoutingTelemetry()
        self._routed = position
        self._samples = float(_SAMPLES_SAVED_MAX)
        self._refilled_at = self._written_at = clock.monotonic()
        self._retry_at = 0.0
        self._listed: dict[str, set[SchemaKey]] = {}
        self._written: int | None = None  # the stored position; None before it is known
        self._clear()

    def observe(self, batch: Batch, counts: Mapping[CountKey, int]) -> None:
        """Gather what a committed batch holds; never raises.

        Args:
            counts: What is counted of the batch, with the names as they were sent.
        """
        try:
            if self._is_open():  # before the batch belongs to what was routed: opening counts all of that
                self._sample(batch, self._count(counts))
        except Exception as error:  # noqa: BLE001  # the schema is a help for people: awards do not depend on it
            self._note_failure(error)
        finally:
            self._routed = batch.records[-1].position

    def write_if_due(self, *, is_idle: bool = False) -> None:
        """Write what was gathered, if it is time to; never raises.

        Args:
            is_idle: True if there is nothing else to do.
        """
        now = self._clock.monotonic()
        waited = now - self._written_at
        if self._events and waited >= (_IDLE_SECONDS if is_idle else _BUSY_SECONDS) and now >= self._retry_at:
            self.write()

    def write(self) -> None:
        """Write what was gathered; never raises. After a failure it is kept and tried again later."""
        try:
            if self._is_open() and self._events:
                self._write()
        except Exception as error:  # noqa: BLE001  # as above
            self._note_failure(error)

    def _note_failure(self, error: Exception) -> None:
        self._retry_at = self._clock.monotonic() + _RETRY_SECONDS
        self._telemetry.schema_failed(error=error.message if isinstance(error, StorageError) else describe(error))

    def _is_open(self) -> bool:
        """Read at first what is listed, and count what was routed and never counted; False if that must wait."""
        if self._written is not None:
            return True
        if self._clock.monotonic() < self._retry_at:
            return False
        with self._store.unit_of_work() as work:
            listed = read_names(work)
            written = stored_position(work, self._consumer)
            if written is None or written > self._routed:  # a store from before the schema, or one set back
                note_position(work, self._consumer, self._routed)
                written = self._routed
        self._clear()
        self._listed = listed
        self._recount(written)
        self._written = written
        return True

    def _recount(self, position: int) -> None:
        """Count the events behind a position of which a crash has lost the counts."""
        left = _RECOUNTED_RECORDS_MAX
        routes = self._current().routes
        while position < self._routed and left > 0:
            records = self._log.read(position, records_max=min(_RECORDS, left), bytes_max=_BYTES)
            records = [record for record in records if record.position <= self._routed]
            if not records:
                return
            with self._store.reading() as work:
                batches = results_between(work, records[0].position, records[-1].position)
            routed = {record.position: record for batch in batches for record in batch.records}
            counts: Counter[CountKey] = Counter()
            for record in records:
                if record.call != REPLAY and (route := routes.get(record.write_key)) is not None:
                    known = routed.get(record.position)
                    items = read_record(record) if known is None else read_routed(record, known)
                    counts.update(_received(record, items, route.source.slug))
            self._count(counts)
            left -= len(records)
            position = records[-1].position

    def _count(self, counts: Mapping[CountKey, int]) -> set[SchemaKey]:
        """Add the counts of a batch; return the events that are not listed yet."""
        new_names: set[SchemaKey] = set()
        for key, number in counts.items():
            if not key.source or not key.event_type:
                continue
            event = schema_key(
                key.source, key.event_type, key.event_name if key.event_type == EventType.TRACK.value else ""
            )
            delta = self._events.get(event)
            if delta is None:
                if event not in self._listed.get(event.source, ()):
                    if self._new.get(event.source, 0) >= _NEW_NAMES_MAX:
                        self._forget_rarest(event.source)
                    new_names.add(event)
                    self._new[event.source] = self._new.get(event.source, 0) + 1
                delta = self._events[event] = EventDelta(key.bucket, key.bucket)
            if key.status == RECEIVED:
                delta.day(key.bucket).count += number
            elif key.status == EventStatus.PENDING:
                delta.day(key.bucket).planned += number
            elif key.reason == "FILTERED_BY_RULES":
                delta.day(key.bucket).filtered += number
        return new_names

    def _forget_rarest(self, source: str) -> None:
        """Forget the rarer half of the new names of a source: most of a flood of names come once."""
        listed = self._listed.get(source, set())
        new_names = [key for key in self._events if key.source == source and key not in listed]
        new_names.sort(key=lambda key: self._events[key].count)
        forgotten = new_names[: len(new_names) // 2]
        for key in forgotten:
            del self._events[key]
            self._properties.pop(key, None)
        self._new[source] = len(new_names) - len(forgotten)

    def _sample(self, batch: Batch, new_names: set[SchemaKey]) -> None:
        now = self._clock.monotonic()
        self._samples = min(self._samples + (now - self._refilled_at) * SAMPLES_PER_SECOND, float(_SAMPLES_SAVED_MAX))
        self._refilled_at = now
        sources = [None if number in batch.replays else source for number, source in enumerate(batch.sources)]
        ends = list(accumulate(len(items) for items in batch.items))
        total = ends[-1] if ends else 0
        if total <= self._samples:
            places = [(number, index) for number, items in enumerate(batch.items) for index in range(len(items))]
        else:
            # Below 0 after first events of new names, which are read in any case.
            chosen = self._choose(batch.items, ends, max(0, int(self._samples)))
            firsts = _first_of_each(batch.items, sources, new_names, _NEW_NAMES_SAMPLED_MAX)
            places = sorted({*chosen, *firsts})
        self._samples -= len(places)
        for number, index in places:
            source, item = sources[number], batch.items[number][index]
            is_suppressed = index in batch.suppressed.get(number, ())
            if source is not None and isinstance(item, Event) and not is_suppressed:
                self._read(source, item, batch.records[number].received_at)

    def _choose(self, items: Sequence[Sequence[Item]], ends: Sequence[int], count: int) -> list[tuple[int, int]]:
        """Return places of events, chosen at random: record number and event number."""
        places = []
        number = 0
        for chosen in sorted(self._random.sample(range(ends[-1]), min(count, ends[-1]))):
            while ends[number] <= chosen:
                number += 1
            places.append((number, chosen - ends[number] + len(items[number])))
        return places

    def _read(self, source: str, event: Event, received_at: int) -> None:
        key = _key_of(source, event)
        delta = self._events.get(key)
        if delta is None:
            return  # a rare one of very many new names
        delta.sampled += 1
        properties = self._properties.setdefault(key, {})
        for observation in observe_properties(event):
            known = properties.get(observation.path)
            if known is None:
                if len(properties) >= _PATHS_GATHERED_MAX:
                    continue
                known = properties[observation.path] = PropertyDelta(received_at, received_at)
            known.add(observation, received_at)

    def _write(self) -> None:
        expected, routed = self._written or 0, self._routed
        with self._store.unit_of_work() as work:
            if not advance(work, self._consumer, expected=expected, to=routed):
                self._written = None  # another process routes: count again from where it stands
                return
            record_schema(
                work, events=self._events, properties=self._properties, mapped=_mapped_events(self._current())
            )
            listed = read_names(work)
        self._listed, self._written = listed, routed
        self._written_at = self._clock.monotonic()
        self._clear()

    def _clear(self) -> None:
        self._events: dict[SchemaKey, EventDelta] = {}
        self._properties: dict[SchemaKey, dict[str, PropertyDelta]] = {}
        self._new: dict[str, int] = {}


def _received(record: LogRecord, items: Sequence[Item], source: str) -> Counter[CountKey]:
    bucket = record.received_at - record.received_at % MINUTE_MICROS
    return Counter(
        CountKey(bucket, source, "", item.type.value, item.wire.event or "", RECEIVED, "")
        for item in items
        if isinstance(item, Event)
    )


def _key_of(source: str, event: Event) -> SchemaKey:
    name = event.wire.event or "" if event.type is EventType.TRACK else ""
    return schema_key(source, event.type.value, name)


def _first_of_each(
    items: Sequence[Sequence[Item]], sources: Sequence[str | None], keys: set[SchemaKey], limit: int
) -> list[tuple[int, int]]:
    """Return the place of the first event of each key, at most `limit`."""
    missing = set(keys)
    places: list[tuple[int, int]] = []
    for number, (source, record_items) in enumerate(zip(sources, items, strict=True)):
        if source is None:
            continue
        for index, item in enumerate(record_items):
            if not missing or len(places) >= limit:
                return places
            if isinstance(item, Event) and (key := _key_of(source, item)) in missing:
                missing.discard(key)
                places.append((number, index))
    return places


def _mapped_events(snapshot: Snapshot) -> set[SchemaKey]:
    return {
        schema_key(route.source.slug, EventType.TRACK.value, name)
        for route in snapshot.routes.values()
        for routed in route.destinations
        for name in mapped_names(routed.partner.definition, routed.destination.settings)
    }
