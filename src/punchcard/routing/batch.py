"""One run of log records in routing: parsed, planned, and turned into results and lake rows."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from punchcard.errors import UnreadableRecordError
from punchcard.events.forwarded import PARTNER, settings_of
from punchcard.events.model import Event, message_key
from punchcard.events.parse import IngestFailure
from punchcard.lake.extraction import ExtractedColumns
from punchcard.lake.schema import LakeRows
from punchcard.log.bodies import decompress
from punchcard.log.port import LogRecord
from punchcard.routing.batch_rules import apply_rules, refuse_suppressed_customers
from punchcard.routing.conflicts import PlannedEffect, refused_orders
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.holding import behind_held, held_event
from punchcard.routing.planning import Planned, Planner, internal_error
from punchcard.routing.records import QUARANTINED, Item, describe, internal_failure, read_record
from punchcard.routing.replay_record import REPLAY, ReplayBatch, read_replay
from punchcard.routing.replayed_events import plan_replay
from punchcard.routing.rule_steps import Violation
from punchcard.routing.source_rules import compile_source_rules
from punchcard.routing.suppression import SUPPRESSED_RESULTS, Suppressions, is_suppressed, without_person
from punchcard.store.delivery.counts import CountKey
from punchcard.store.delivery.orders import RefusedOrder
from punchcard.store.routing.event_results import (
    EventResult,
    EventStatus,
    ResultBatch,
    RewrittenEvent,
    RoutedRecord,
    SameChanges,
    to_json,
)
from punchcard.store.routing.held import HeldEvent
from punchcard.workspace.snapshot import Snapshot

_SEEN_BEFORE = (
    EventResult(
        None,
        EventStatus.DUPLICATE,
        "duplicate_message_id",
        "an event with this message id was received before: nothing was done again",
    ),
)
_KEY_SHOWN = 8  # enough to know a key by, too little to use it


Stopped = Mapping[int, EventResult]
"""The results of the events of a record that are not planned, by their index."""

FailingEvents = dict[tuple[int, int], Exception]
"""Events that fail behind planning, by record number and event number, with what they raise."""


@dataclass
class Batch:
    """What routing knows of a run of records: items with their results, planned effects that the ledger still decides.

    `items`, `results` and `sources` run in parallel by record; `planned_effects` point into them.
    """

    records: list[LogRecord] = field(default_factory=list)
    sources: list[str | None] = field(default_factory=list)
    items: list[Sequence[Item]] = field(default_factory=list)
    results: list[list[tuple[EventResult, ...]]] = field(default_factory=list)
    planned_effects: list[PlannedEffect] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)  # of each planned effect: record number, event number
    held: list[HeldEvent] = field(default_factory=list)  # that their destination cannot plan now
    message_keys: set[str] = field(default_factory=set)  # new ones, to be remembered once all is committed
    refused_orders: list[RefusedOrder] = field(default_factory=list)
    destinations: set[str] = field(default_factory=set)  # slugs of those that get new effects
    routed: ResultBatch = field(default_factory=lambda: ResultBatch([], []))  # all results, once they are committed
    notes: Counter[tuple[int, str, str]] = field(default_factory=Counter)  # see `batch_counts.count_notes`
    counts: Counter[CountKey] = field(default_factory=Counter)  # see `batch_counts.counts_to_keep`
    replays: dict[int, ReplayBatch] = field(default_factory=dict)  # by the number of their record
    suppressed: dict[int, set[int]] = field(default_factory=dict)  # events of suppressed subjects, by record
    extracted: Sequence[ExtractedColumns] = ()  # columns of the lake by record, if suppression has read them
    rewritten: dict[int, list[RewrittenEvent]] = field(default_factory=dict)  # by the rules of their source, by record
    transformed: dict[int, dict[bytes, list[int]]] = field(default_factory=dict)  # by their changes, by record
    violations: list[tuple[int, int, Violation]] = field(default_factory=list)  # with record number and event number

    def add_decided(self, decided: Sequence[EventResult]) -> None:
        """Add the result of each planned effect."""
        for (record, event), result in zip(self.places, decided, strict=True):
            self.results[record][event] += (result,)
            if result.status is EventStatus.PENDING and result.destination:
                self.destinations.add(result.destination)


class Planners:
    """The planner of each source under one snapshot, kept until the configuration changes."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._planners: dict[str, Planner] = {}

    def by_write_key(self, snapshot: Snapshot) -> Mapping[str, Planner]:
        """Return the planner of each source, by write key."""
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            zone = snapshot.zone
            self._planners = {
                key: Planner(route, zone, rules=compile_source_rules(route)) for key, route in snapshot.routes.items()
            }
        return self._planners


def plan_batch(
    records: Sequence[LogRecord],
    snapshot: Snapshot,
    *,
    planners: Mapping[str, Planner],
    index: MessageIndex,
    behind: Collection[str] = frozenset(),
    failing: FailingEvents | None = None,
    suppressions: Suppressions | None = None,
) -> Batch:
    """Parse and plan a run of records. Touches no storage and leaves the index as it is.

    Args:
        behind: Destinations of which new events wait until the held ones are planned.
        failing: Events that are not planned again; each becomes a failure.
        suppressions: Subjects with events that are refused.
    """
    batch = Batch()
    items_by_record = [read_record(record) for record in records]
    routes = [snapshot.routes.get(record.write_key) for record in records]
    replays = [_replay_in(record, items) for record, items in zip(records, items_by_record, strict=True)]
    if suppressions:
        sources = [
            replay.source if replay is not None else "" if route is None else route.source.slug
            for route, replay in zip(routes, replays, strict=True)
        ]
        batch.suppressed, batch.extracted = suppressions.find_in_records(items_by_record, sources)
        if failing:
            batch.extracted = ()  # the columns of the events that are not planned again are others
    for number, (record, items, route, replay) in enumerate(
        zip(records, items_by_record, routes, replays, strict=True)
    ):
        planner = planners.get(record.write_key)
        batch.records.append(record)
        batch.sources.append(None if route is None else route.source.slug)
        batch.items.append(items if not failing else _without(items, number, failing))
        results: list[tuple[EventResult, ...]] = []
        batch.results.append(results)
        suppressed = batch.suppressed.get(number, ())
        if replay is not None:
            plan_replay(batch, number, replay, snapshot, behind=behind, suppressed=suppressed)
        elif route is None or planner is None:
            unknown = _unknown_source(record.write_key)
            results.extend(
                SUPPRESSED_RESULTS if place in suppressed else _failed(item) if _cannot_be_read(item) else unknown
                for place, item in enumerate(items)
            )
        else:
            stopped = apply_rules(batch, number, planner.rules, source=route.source.slug, suppressions=suppressions)
            _plan_record(batch, number, planner, stopped, index=index, behind=behind)
    if suppressions:
        refuse_suppressed_customers(batch, suppressions)
    return batch


def _replay_in(record: LogRecord, items: Sequence[Item]) -> ReplayBatch | None:
    """The replay that a record holds; None if it is another record, or one that cannot be read."""
    if record.call != REPLAY:
        return None
    try:
        replay = read_replay(record)
    except UnreadableRecordError:
        return None
    return replay if len(replay.events) == len(items) else None


def _plan_record(
    batch: Batch, number: int, planner: Planner, stopped: Stopped, *, index: MessageIndex, behind: Collection[str]
) -> None:
    record, results = batch.records[number], batch.results[number]
    seen_now = batch.message_keys
    source = batch.sources[number] or ""
    key_start = message_key(source, "")
    has_settings = record.call == PARTNER
    items = batch.items[number]
    keys = [key_start + item.message_id for item in items]
    seen_earlier = index.known(keys)
    for event_number, (item, key) in enumerate(zip(items, keys, strict=True)):
        if isinstance(item, IngestFailure):
            results.append(SUPPRESSED_RESULTS if event_number in batch.suppressed.get(number, ()) else _failed(item))
            continue
        if event_number in stopped:
            results.append(_stopped_results(stopped[event_number], key, seen_now, seen_earlier))
            continue
        try:
            plan = (planner.with_settings(settings_of(decompress(record))) if has_settings else planner).plan(item)
        except Exception as error:  # noqa: BLE001  # whatever one event makes of our code, the others go on
            results.append((internal_error(error),))
            continue
        seen_before = key in seen_now or key in seen_earlier
        if not seen_before:
            seen_now.add(key)
            if plan.is_final:  # as for most events
                results.append(plan.decided)
                continue
        decided, planned = plan.decided, plan.planned
        if seen_before:
            # Its own effect is in the ledger, if it made one; the ledger decides whether this copy agrees with it.
            decided = () if planned else _SEEN_BEFORE
        else:
            if plan.refused_orders:
                batch.refused_orders += refused_orders(plan.refused_orders, item, source)
            if behind and planned:
                slugs = [intent.destination.slug for intent in planned]
                decided += tuple(behind_held(slug) for slug in slugs if slug in behind)
                planned = [intent for intent in planned if intent.destination.slug not in behind]
        results.append(decided)
        for result in decided:
            if result.status is EventStatus.PENDING:
                text = item.raw if _is_rewritten(batch, number, event_number) else None
                batch.held.append(held_event(record, event_number, item, result, source=source, rewritten=text))
        batch.planned_effects += [
            _planned_effect(intent, item, source=source, record=record, index=event_number, seen_before=seen_before)
            for intent in planned
        ]
        batch.places += [(number, event_number)] * len(planned)


def _stopped_results(
    result: EventResult, key: str, seen_now: set[str], seen_earlier: Collection[str]
) -> tuple[EventResult, ...]:
    """The results of an event that is not planned. It counts as received, unless the rules of its source failed."""
    if result.status is EventStatus.FAILED_ON_INGEST:
        return (result,)
    if not is_suppressed((result,)) and (key in seen_now or key in seen_earlier):
        return _SEEN_BEFORE
    seen_now.add(key)
    return (result,)


def _is_rewritten(batch: Batch, number: int, index: int) -> bool:
    if any(index in indices for indices in batch.transformed.get(number, {}).values()):
        return True
    return any(event.index == index and event.text is not None for event in batch.rewritten.get(number, ()))


def _planned_effect(
    intent: Planned, event: Event, *, source: str, record: LogRecord, index: int, seen_before: bool
) -> PlannedEffect:
    return PlannedEffect(
        planned=intent, event=event, source=source, position=record.position, index=index, seen_before=seen_before
    )


def _without(items: Sequence[Item], number: int, failing: FailingEvents) -> list[Item]:
    """The items of a record with failures in the place of the events that fail."""
    kept_items = list(items)
    for index, item in enumerate(items):
        if (error := failing.get((number, index))) is not None and isinstance(item, Event):
            kept_items[index] = internal_failure(item, f"Punchcard failed on this event: {describe(error)}.")
    return kept_items


def is_quarantined(results: Sequence[EventResult]) -> bool:
    """Whether the record of an event with these results is kept for an operator."""
    return any(result.reason in QUARANTINED for result in results)


def _cannot_be_read(item: Item) -> TypeGuard[IngestFailure]:
    return isinstance(item, IngestFailure) and item.reason in QUARANTINED


def _failed(item: IngestFailure) -> tuple[EventResult, ...]:
    return (EventResult(None, EventStatus.FAILED_ON_INGEST, item.reason, item.detail),)


def result_batch(batch: Batch) -> ResultBatch:
    """The batch's results in their compact form.

    A replay's record has none: its events are in the lake already, and their new results are kept by themselves.
    """
    numbers: dict[tuple[EventResult, ...], int] = {}
    records = []
    for number, (record, source, results) in enumerate(zip(batch.records, batch.sources, batch.results, strict=True)):
        if number in batch.replays:
            results = []
        indices = [numbers.setdefault(event_results, len(numbers)) for event_results in results]
        same_changes = batch.transformed.get(number, {}).items()
        records.append(
            RoutedRecord(
                position=record.position,
                source=source,
                results=indices,
                rewritten=tuple(batch.rewritten.get(number, ())),
                transformed=tuple([SameChanges(changes, places) for changes, places in same_changes]),
            )
        )
    return ResultBatch(distinct=list(numbers), records=records)


def lake_rows(
    results: ResultBatch,
    items_by_record: Sequence[Sequence[Item]],
    received: Sequence[int],
    *,
    extracted: Sequence[ExtractedColumns] = (),
) -> LakeRows:
    """The rows that the lake keeps of a routed batch.

    Args:
        results: The results by record.
        items_by_record: The records' events in the same order.
        received: When each record was received, microseconds since 1970.
        extracted: What the lake has of the events of each record as received, if it was read before.
    """
    rows = LakeRows()
    texts = [to_json(event_results) for event_results in results.distinct]
    suppressed = {number for number, event_results in enumerate(results.distinct) if is_suppressed(event_results)}
    columns: Sequence[ExtractedColumns | None] = extracted or [None] * len(received)
    for record, items, received_at, read in zip(results.records, items_by_record, received, columns, strict=True):
        is_as_read = len(items) == len(record.results) and not (record.rewritten or record.transformed)
        items = items[: len(record.results)]
        if suppressed and not suppressed.isdisjoint(record.results):
            is_as_read = False
            items = [
                without_person(item) if number in suppressed else item
                for item, number in zip(items, record.results, strict=True)
            ]
        rows.add_record(
            items,
            source=record.source,
            received_at=received_at,
            position=record.position,
            results=[texts[number] for number in record.results],
            extracted=read if is_as_read else None,
        )
    return rows


def _unknown_source(write_key: str) -> tuple[EventResult, ...]:
    shown = write_key[:_KEY_SHOWN] + ("…" if len(write_key) > _KEY_SHOWN else "")
    detail = f'no source has the write key "{shown}"' if write_key else "it came without a write key"
    return (EventResult(None, EventStatus.FAILED_ON_INGEST, "unknown_source", detail),)
