"""What was received and is not in the lake yet: the last seconds of the log, with the results that the store keeps."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from msgspec.structs import replace

from punchcard.clock import from_micros
from punchcard.errors import UnreadableRecordError
from punchcard.events.model import Event
from punchcard.lake.extraction import extract_email
from punchcard.lake.reader import LakeEvent, LakeResult
from punchcard.log.bodies import decompress
from punchcard.log.port import EventLog, LogRecord
from punchcard.routing.lake_events import read_lake_event, with_event
from punchcard.routing.records import Item, as_routed, read_items_at, read_record, read_routed
from punchcard.routing.replay_record import REPLAY
from punchcard.routing.suppression import is_suppressed, without_person
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventResult, EventStatus, ResultBatch, RoutedRecord
from punchcard.store.routing.positions import LAKE, ROUTING, position_of, results_between
from punchcard.workspace.snapshot import Snapshot

_RECORDS = 500
_BYTES = 4_000_000
_UNROUTED_MAX = 500
_RECORDS_AT_ONCE = 50
_GAP_MAX = 50  # between positions that are read at once: so many records cost less than another read

NOT_ROUTED = EventResult(
    None, EventStatus.PENDING, "not_routed_yet", "the event is durable; routing has not come to it yet"
)
_RoutedAt = Mapping[int, tuple[ResultBatch, RoutedRecord]]


MayMatch = Callable[[str | None, Sequence[EventResult]], bool]
"""Whether an event may be sought, by the slug of its source and its results: False saves reading it."""


class Tail:
    """Reads the end of the log. Safe to use from several threads.

    Args:
        current: The configuration. Until routing decides the source of an event, it has that of its write key; with
            None, it has none.
    """

    def __init__(self, *, log: EventLog, store: Store, current: Callable[[], Snapshot] | None = None) -> None:
        self._log = log
        self._store = store
        self._current = current

    def events(
        self,
        *,
        after: int | None = None,
        records_max: int | None = None,
        may_hold: Callable[[LogRecord], bool] = lambda _: True,
    ) -> Iterator[LakeEvent]:
        """The events in log order, in the form in which the lake gives them.

        Args:
            after: Begin behind this log position; None for what the lake may not hold yet.
            records_max: End after so many records; None for all.
            may_hold: False for a record that need not be parsed.

        Raises:
            StorageError: the log or the store is away.
        """
        if after is None:
            after = self.begin()
        left = records_max
        while left != 0 and (
            records := self._log.read(
                after, records_max=_RECORDS if left is None else min(left, _RECORDS), bytes_max=_BYTES
            )
        ):
            after = records[-1].position
            left = None if left is None else left - len(records)
            matching_records = [record for record in records if _may_hold(may_hold, record)]
            routed_at = self._routed(matching_records)
            for record in matching_records:
                yield from self._events_of(record, routed_at)

    def at(self, positions: Sequence[int]) -> list[LakeEvent]:
        """The events at these positions, which are in order. Positions near to each other are read at once.

        Raises:
            StorageError: the log or the store is away.
        """
        chosen, events = set(positions), list[LakeEvent]()
        for first, last in _stretches(positions):
            events += self.events(
                after=first - 1, records_max=last - first + 1, may_hold=lambda record: record.position in chosen
            )
        return events

    def newest(
        self,
        *,
        after: int | None = None,
        unrouted_max: int = _UNROUTED_MAX,
        may_hold: Callable[[LogRecord], bool] = lambda _: True,
        may_match: MayMatch | None = None,
    ) -> Iterator[LakeEvent]:
        """The same events from the newest on: for lists, which end when they are full.

        Of records that wait for routing only the newest are read: a backlog of millions has no results to show yet.

        Args:
            after: Everything behind this log position, of which the lake may hold some; their results are then not
                here,
                and they count as not routed. None for what the lake may not hold yet.
            unrouted_max: How many records that wait for routing are read at most.
            may_hold: False for a record that need not be parsed.
            may_match: Which events of the others are read; None for all.

        Raises:
            StorageError: the log or the store is away.
        """
        routed, begin = self.routed_position(), self.begin()
        last = self._log.last_position()
        ranges = [(max(routed, last - unrouted_max), last), (begin, min(routed, last))]
        if after is not None:
            ranges = [(max(after, last - unrouted_max), last)]
        for low, high in ranges:
            while high > low:
                lower = max(low, high - _RECORDS_AT_ONCE)
                records = self._between(lower, high)
                if may_match is None:  # otherwise the results say first which bodies are worth unpacking
                    records = [record for record in records if _may_hold(may_hold, record)]
                routed_at = self._routed(records)
                for record in reversed(records):
                    indices = None if may_match is None else self._matching(record, routed_at, may_match)
                    is_matching = indices is None or bool(indices)
                    if is_matching and (may_match is None or _may_hold(may_hold, record)):
                        yield from reversed(self._events_of(record, routed_at, indices))
                high = lower

    def routed_position(self) -> int:
        """The log position through which all events have their results.

        Raises:
            StorageError: the store is away.
        """
        with self._store.reading() as connection:
            return position_of(connection, ROUTING)

    def begin(self) -> int:
        """The log position behind which the lake may lack events.

        Raises:
            StorageError: the store is away.
        """
        with self._store.reading() as connection:
            return min(position_of(connection, LAKE), position_of(connection, ROUTING))

    def routed_again(self, events: Sequence[LakeEvent]) -> list[LakeEvent]:
        """Return those of the events that have results in the store, with them.

        Args:
            events: At least one, as they were read before they were routed.

        Raises:
            StorageError: the store is away.
        """
        places = [event.log_position for event in events]
        routed_at = self._routed_between(min(places), max(places))
        routed = []
        for event in events:
            if event.log_position in routed_at:
                source, results = _results_at(routed_at, event.log_position, event.event_index)
                if is_suppressed(results):
                    event = replace(event, user_id=None, anonymous_id=None, email=None, payload=b"{}", notes=())
                else:
                    event = _as_routed(event, routed_at[event.log_position][1])
                routed.append(replace(event, source=source, results=_lake_results(results)))
        return routed

    def _routed(self, records: Sequence[LogRecord]) -> _RoutedAt:
        return self._routed_between(records[0].position, records[-1].position) if records else {}

    def _routed_between(self, first: int, last: int) -> _RoutedAt:
        with self._store.reading() as connection:
            batches = results_between(connection, first, last)
        return {record.position: (batch, record) for batch in batches for record in batch.records}

    def _between(self, after: int, last: int) -> list[LogRecord]:
        log_records: list[LogRecord] = []
        while after < last and (records := self._log.read(after, records_max=last - after, bytes_max=_BYTES)):
            log_records += (record for record in records if record.position <= last)
            after = records[-1].position
        return log_records

    def _source_of(self, write_key: str) -> str | None:
        route = None if self._current is None else self._current().routes.get(write_key)
        return None if route is None else route.source.slug

    def _matching(self, record: LogRecord, routed_at: _RoutedAt, may_match: MayMatch) -> Collection[int] | None:
        """Return the indices of the events of a record that may match, by what is known of them; None for all."""
        if record.position not in routed_at:
            return None if may_match(self._source_of(record.write_key), (NOT_ROUTED,)) else ()
        batch, routed = routed_at[record.position]
        # Most events of a record share few results.
        matching = {number for number in set(routed.results) if may_match(routed.source, batch.distinct[number])}
        indices = [index for index, number in enumerate(routed.results) if number in matching]
        return None if len(indices) == len(routed.results) else indices

    def _events_of(
        self, record: LogRecord, routed_at: _RoutedAt, indices: Collection[int] | None = None
    ) -> list[LakeEvent]:
        """Return the events of a record, in its order; with indices, only those of a record that was routed."""
        if record.call == REPLAY:
            return []  # its events are shown where they stand themselves
        if record.position not in routed_at:
            source = self._source_of(record.write_key)
            return [_seen(item, record, index, source, (NOT_ROUTED,)) for index, item in enumerate(read_record(record))]
        batch, routed = routed_at[record.position]
        items = dict(enumerate(read_routed(record, routed))) if indices is None else _read_at(record, routed, indices)
        return [
            _seen(item, record, index, routed.source, batch.distinct[routed.results[index]])
            for index, item in items.items()
        ]

    def last_position(self) -> int:
        """The log position of the newest record, 0 if there is none."""
        return self._log.last_position()


def _stretches(positions: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first and last position of each run of positions without a large gap."""
    stretches: list[tuple[int, int]] = []
    for position in positions:
        if stretches and position - stretches[-1][1] <= _GAP_MAX:
            stretches[-1] = (stretches[-1][0], position)
        else:
            stretches.append((position, position))
    return stretches


def _may_hold(may_hold: Callable[[LogRecord], bool], record: LogRecord) -> bool:
    try:
        return may_hold(record)
    except UnreadableRecordError:
        return True  # what can still be made out of it, `read_record` says


def _read_at(record: LogRecord, routed: RoutedRecord, indices: Collection[int]) -> dict[int, Item]:
    """Return the events of a record at these indices as they were routed."""
    try:
        items = read_items_at(record, decompress(record), indices)
    except UnreadableRecordError:
        items = {}
    if len(items) < len(indices):  # what has become of the others, `read_routed` says
        every = read_routed(record, routed)
        return {index: every[index] for index in sorted(indices)}
    return {
        index: as_routed(item, index, routed) if isinstance(item, Event) else item
        for index, item in sorted(items.items())
    }


def _seen(item: Item, record: LogRecord, index: int, source: str | None, results: Sequence[EventResult]) -> LakeEvent:
    if is_suppressed(results):
        item = without_person(item)
    event = item if isinstance(item, Event) else None
    return LakeEvent(
        message_id=item.message_id,
        type="" if event is None else event.type,
        event=None if event is None else event.wire.event,
        user_id=None if event is None else event.wire.user_id,
        anonymous_id=None if event is None else event.wire.anonymous_id,
        email=None if event is None else extract_email(event),
        source=source,
        received_at=from_micros(record.received_at),
        timestamp=None if event is None else event.timestamp,
        log_position=record.position,
        event_index=index,
        payload=item.raw,
        results=_lake_results(results),
        notes=tuple(note.detail for note in item.notes),
    )


def _as_routed(event: LakeEvent, routed: RoutedRecord) -> LakeEvent:
    """Return an event that was read before it was routed as the rules of its source left it."""
    item = read_lake_event(event) if routed.rewritten or routed.transformed else None
    if item is None:
        return event
    routed_item = as_routed(item, event.event_index, routed)
    return event if routed_item is item else with_event(event, routed_item)


def _lake_results(results: Sequence[EventResult]) -> tuple[LakeResult, ...]:
    return tuple(
        LakeResult(result.destination, result.status, result.reason, result.detail, result.effect_key)
        for result in results
    )


def _results_at(routed_at: _RoutedAt, position: int, index: int) -> tuple[str | None, Sequence[EventResult]]:
    if position not in routed_at:
        return None, (NOT_ROUTED,)
    batch, record = routed_at[position]
    return record.source, batch.distinct[record.results[index]]
