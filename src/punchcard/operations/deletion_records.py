"""Clear what log and store have of the subjects of a regulation. Everything may be repeated."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.lake.subject_events import SubjectEvent
from punchcard.log.port import DeletesBodiesLater, EventLog, LogRecord
from punchcard.operations.ledger_subjects import find_subject_effects
from punchcard.profiles.erasure import ErasedIds
from punchcard.routing.record_erasure import text_of, without_events
from punchcard.routing.suppression import is_suppressed
from punchcard.store.access.erasure import erase_from_audit_log
from punchcard.store.delivery.effect_subjects import has_effects_without_subjects
from punchcard.store.delivery.erasure import (
    LedgerErasure,
    conflict_places,
    erase_effects,
    erase_event_copies,
    find_effects,
    find_naming_texts,
    scrub_delivery_texts,
    scrub_naming_texts,
)
from punchcard.store.delivery.recoveries import newest_recovery
from punchcard.store.engine import Store
from punchcard.store.ingest.erasure import erase_requests
from punchcard.store.operations.erasure import erase_from_reports
from punchcard.store.privacy.regulations import RegulationStatus, Step
from punchcard.store.privacy.suppressions import forget_suppressed_records, next_suppressed_records
from punchcard.store.routing.erasure import (
    QuarantinedBody,
    erase_held,
    erase_quarantined,
    erase_replayed,
    replay_places,
    scrub_results,
    scrub_routing_texts,
)
from punchcard.store.routing.held import HeldRecord
from punchcard.store.routing.positions import results_between
from punchcard.store.source_schema.erasure import erase_from_source_schema
from punchcard.store.tracking_plans.erasure import erase_from_violations
from punchcard.workspace.subject_vault import SubjectVault

Place = tuple[int, int]
"""Log position and index of an event."""


@dataclass(frozen=True, kw_only=True)
class ErasedRecords:
    """What was cleared.

    Attributes:
        steps: In each store.
        in_flight: Ids of effects that are perhaps performed, which are left.
        conflicts: Events of others that name a subject in their results.
        in_log: What was replaced in the event log.
    """

    steps: Sequence[Step]
    in_log: "LogErasure"
    in_flight: Sequence[int]
    conflicts: Sequence[Place]


@dataclass(frozen=True, kw_only=True)
class LogErasure:
    """Events of subjects in the event log.

    Attributes:
        replaced: Number of events that were replaced.
        last_position: The last record that is left, because this kind of log cannot replace records; 0 for none.
        last_received_micros: When that record was received, in microseconds since 1970-01-01 UTC.
    """

    replaced: int = 0
    last_position: int = 0
    last_received_micros: int = 0


_RECORDS_AT_ONCE: Final = 200
_BYTES_AT_ONCE: Final = 8_000_000
_EFFECTS_AT_ONCE: Final = 200
_PLACES_AT_ONCE: Final = 2_000
_EMAIL_UNKNOWN: Final = (
    "No event and no email of this person is known. The database was restored from an older copy: if the events were "
    "deleted before, the ledger still has the email. Delete it by email, too."
)
_DISCARD_SECONDS: Final = 60.0


class RecordErasure:
    """Clears log and store.

    Args:
        vault: Opens the key of the hashes that replace customers.
    """

    def __init__(self, *, store: Store, log: EventLog, vault: SubjectVault, clock: Clock) -> None:
        self._store = store
        self._log = log
        self._vault = vault
        self._clock = clock

    def erase(self, ids: ErasedIds, events: Sequence[SubjectEvent]) -> ErasedRecords:
        """Clear everything about these events, and all texts that name a subject.

        Raises:
            StorageError: Not all of it was done; call again.
        """
        places = [event.place for event in events]
        messages = {(event.source, event.message_id) for event in events}
        with self._store.reading() as work:
            copies = replay_places(work, places)
        everywhere = [*places, *copies]
        in_log = replace_in_log(self._log, everywhere, ids)
        store = self._store
        with store.unit_of_work() as work:
            held = erase_quarantined(work, ids, text_of=_text_of_quarantined)
        held += self._erase_held(everywhere, ids)
        with store.unit_of_work() as work:
            scrub_routing_texts(work, ids)
        self._scrub_results(ids, set(everywhere))
        with store.unit_of_work() as work:
            requests = erase_requests(work, ids)
        with store.unit_of_work() as work:
            reports = erase_from_reports(work, ids) + erase_from_audit_log(work, ids)
            reports += erase_from_source_schema(work, ids) + erase_from_violations(work, ids, messages)
        with store.reading() as work:
            effect_ids = find_subject_effects(work, self._vault, ids, messages)
            conflicts = conflict_places(work, effect_ids)
            may_be_incomplete = newest_recovery(work) is not None and has_effects_without_subjects(work)
        ledger = self._in_portions(
            effect_ids,
            lambda work, chunk, now: erase_effects(
                work, chunk, ids, pseudonym=self._vault.open_or_create(work).pseudonym, now=now
            ),
        )
        with store.unit_of_work() as work:
            scrub_delivery_texts(work, ids)
        self._scrub_ledger_texts(ids)
        detail = f"{ledger.canceled:,} awards and other calls were not sent any more." if ledger.canceled else ""
        if may_be_incomplete and not events and not ids.emails and not effect_ids:
            detail = _EMAIL_UNKNOWN
        running = RegulationStatus.RUNNING
        steps = [
            Step(id="log", name="Event log", status=running, count=in_log.replaced),
            Step(id="held", name="Held and quarantined events", status=running, count=held),
            Step(id="requests", name="Rejected requests", status=running, count=requests),
            Step(id="reports", name="Alerts, reports and audit log", status=running, count=reports),
            Step(id="ledger", name="Ledger", status=running, count=ledger.erased, detail=detail),
        ]
        return ErasedRecords(steps=steps, in_log=in_log, in_flight=ledger.in_flight, conflicts=conflicts)

    def erase_of_source(self, ids: ErasedIds, events: Sequence[SubjectEvent]) -> ErasedRecords:
        """Clear these events, of one source: the persons stay, and so do their profiles and awards.

        Raises:
            StorageError: Not all of it was done; call again.
        """
        places = [event.place for event in events]
        with self._store.reading() as work:
            everywhere = [*places, *replay_places(work, places)]
            effect_ids = find_effects(work, (), {(event.source, event.message_id) for event in events})
        in_log = replace_in_log(self._log, everywhere, ids)
        held = self._erase_held(everywhere, ids)
        self._scrub_results(ErasedIds(), set(everywhere))
        ledger = self._in_portions(effect_ids, lambda work, chunk, now: erase_event_copies(work, chunk, now=now))
        running = RegulationStatus.RUNNING
        steps = [
            Step(id="log", name="Event log", status=running, count=in_log.replaced),
            Step(id="held", name="Held events", status=running, count=held),
            Step(id="ledger", name="Copies of events in the ledger", status=running, count=ledger.erased),
        ]
        return ErasedRecords(steps=steps, in_log=in_log, in_flight=ledger.in_flight, conflicts=())

    def _erase_held(self, everywhere: Sequence[Place], ids: ErasedIds) -> int:
        by_position = _by_position(everywhere)
        held = 0
        for chunk in _chunks(everywhere):
            with self._store.unit_of_work() as work:
                held += erase_held(work, chunk, without=lambda record: _without(record, by_position, ids))
                erase_replayed(work, chunk)
        return held

    def _in_portions(
        self, effect_ids: Collection[int], erase: Callable[[Connection, Sequence[int], datetime], LedgerErasure]
    ) -> LedgerErasure:
        """Erase something of effects: in portions, so that awards of others need not wait for all of them."""
        total = LedgerErasure(erased=0, canceled=0, in_flight=())
        ordered = sorted(effect_ids)
        for begin in range(0, len(ordered), _EFFECTS_AT_ONCE):
            with self._store.unit_of_work() as work:
                part = erase(work, ordered[begin : begin + _EFFECTS_AT_ONCE], self._clock.now())
            total = LedgerErasure(
                erased=total.erased + part.erased,
                canceled=total.canceled + part.canceled,
                in_flight=(*total.in_flight, *part.in_flight),
            )
        return total

    def _scrub_ledger_texts(self, ids: ErasedIds) -> None:
        after: int | None = 0
        while after is not None:
            with self._store.reading() as work:
                texts = find_naming_texts(work, ids, after=after)
            if texts.effects or texts.attempts:
                with self._store.unit_of_work() as work:
                    scrub_naming_texts(work, ids, texts)
            after = texts.last_id

    def _scrub_results(self, ids: ErasedIds, places: Collection[Place]) -> None:
        after: int | None = 0
        while after is not None:
            with self._store.unit_of_work() as work:
                after = scrub_results(work, ids, places=places, after=after)


def replace_in_log(log: EventLog, places: Collection[Place], ids: ErasedIds) -> LogErasure:
    """Replace the events at these places in the log, as far as it still has them."""
    by_position = _by_position(places)
    replaced = 0
    last: LogRecord | None = None  # that cannot be replaced
    positions = sorted(by_position)
    for begin in range(0, len(positions), _RECORDS_AT_ONCE):
        stored: list[LogRecord] = []
        for position in positions[begin : begin + _RECORDS_AT_ONCE]:
            for record in log.read(position - 1, records_max=1, bytes_max=_BYTES_AT_ONCE):
                if record.position == position:
                    stored.append(record)
        records = [without_events(record, by_position[record.position], ids) for record in stored]
        if not records:
            continue
        if log.replace_bodies(records):
            replaced += sum(len(by_position[record.position]) for record in records)
        else:
            last = stored[-1]
    if last is None:
        return LogErasure(replaced=replaced)
    return LogErasure(last_position=last.position, last_received_micros=last.received_at)


def _by_position(places: Iterable[Place]) -> dict[int, set[int]]:
    """Return the indices of events by the log positions of their records."""
    by_position: defaultdict[int, set[int]] = defaultdict(set)
    for position, index in places:
        by_position[position].add(index)
    return by_position


def _chunks(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    """Yield places in portions, those of a record together."""
    ordered = sorted(places)
    begin = 0
    while begin < len(ordered):
        end = min(begin + _PLACES_AT_ONCE, len(ordered))
        while end < len(ordered) and ordered[end][0] == ordered[end - 1][0]:
            end += 1
        yield ordered[begin:end]
        begin = end


def is_deleted(log: EventLog, *, through: int) -> bool:
    """Return whether nothing is left in the log of the records up to a position."""
    oldest = log.read(0, records_max=1, bytes_max=1)
    if oldest and oldest[0].position <= through:
        return False
    return not isinstance(log, DeletesBodiesLater) or log.deleted_through() >= through


class SuppressedRecords:
    """Replaces the events of suppressed persons in the log, and overwrites what that leaves in files.

    Attributes:
        is_waiting: True if something of replaced records is left in files.
    """

    def __init__(self, store: Store, log: EventLog, *, clock: Clock) -> None:
        self.is_waiting = False
        self._store = store
        self._log = log
        self._clock = clock
        self._due_at = 0.0

    def step(self) -> bool:
        """Take a step; False if no record waits to be replaced.

        Raises:
            StorageError: Store or log failed; call again.
        """
        if _replace_suppressed_records(self._store, self._log):
            self.is_waiting = True
            return True
        if self.is_waiting and self._clock.monotonic() >= self._due_at:
            # Not for each of them: a suppressed person may send events all the time, and PostgreSQL reads its table.
            self._due_at = self._clock.monotonic() + _DISCARD_SECONDS
            self.is_waiting = not self._log.discard_replaced()
        return False


def _replace_suppressed_records(store: Store, log: EventLog) -> bool:
    """Replace the events of suppressed persons in the log, now that they are routed; False if there are none.

    Raises:
        StorageError: Store or log failed; call again.
    """
    with store.reading() as work:
        positions = next_suppressed_records(work, count=_RECORDS_AT_ONCE)
        places = [place for position in positions for place in _suppressed_at(work, position)]
    if not positions:
        return False
    replace_in_log(log, places, ErasedIds())
    with store.unit_of_work() as work:
        forget_suppressed_records(work, positions)
    return True


def _suppressed_at(work: Connection, position: int) -> list[Place]:
    """Return the places of the events of suppressed persons in a record."""
    return [
        (position, index)
        for batch in results_between(work, position, position)
        for record in batch.records
        if record.position == position
        for index, number in enumerate(record.results)
        if is_suppressed(batch.distinct[number])
    ]


def _log_record(position: int, encoding: str, body: bytes, *, call: str = "", received_at: int = 0) -> LogRecord:
    return LogRecord(
        received_at=received_at, write_key="", call=call, encoding=encoding, body=body, ip="", position=position
    )


def _without(held: HeldRecord, by_position: Mapping[int, set[int]], ids: ErasedIds) -> tuple[str, bytes] | None:
    indices = by_position.get(held.log_position)
    if not indices:
        return None
    record = _log_record(held.log_position, held.encoding, held.body, call=held.call, received_at=held.received_at)
    replaced = without_events(record, indices, ids)
    return replaced.encoding, replaced.body


def _text_of_quarantined(body: QuarantinedBody) -> str:
    if body.event_index is not None:
        return body.body.decode(errors="replace")
    return text_of(_log_record(0, body.encoding, body.body))
