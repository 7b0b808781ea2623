"""Clear what log and store have of the subjects of a regulation. Everything may be repeated."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.lake.erasure import SubjectEvent
from punchcard.log.port import EventLog, LogRecord
from punchcard.profiles.erasure import ErasedIds
from punchcard.routing.record_erasure import text_of, without_events
from punchcard.routing.suppression import is_suppressed
from punchcard.store.access.erasure import erase_from_audit_log
from punchcard.store.delivery.erasure import conflict_places, erase_effects, find_effects, scrub_delivery_texts
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
            held = erase_held(work, everywhere, without=lambda record: _without(record, everywhere, ids))
            held += erase_quarantined(work, ids, text_of=_text_of_quarantined)
        with store.unit_of_work() as work:
            erase_replayed(work, places)
            scrub_routing_texts(work, ids)
        self._scrub_results(ids, set(everywhere))
        with store.unit_of_work() as work:
            requests = erase_requests(work, ids)
        with store.unit_of_work() as work:
            reports = erase_from_reports(work, ids) + erase_from_audit_log(work, ids)
            reports += erase_from_source_schema(work, ids) + erase_from_violations(work, ids, messages)
        with store.unit_of_work() as work:
            hashes = self._vault.open_or_create(work)
            effect_ids = find_effects(work, ids.emails, messages)
            conflicts = conflict_places(work, effect_ids)
            ledger = erase_effects(work, effect_ids, ids, pseudonym=hashes.pseudonym, now=self._clock.now())
        with store.unit_of_work() as work:
            scrub_delivery_texts(work, ids)
        canceled = f"{ledger.canceled} awards were not sent any more." if ledger.canceled else ""
        running = RegulationStatus.RUNNING
        steps = [
            Step(id="log", name="Event log", status=running, count=in_log.replaced),
            Step(id="held", name="Held and quarantined events", status=running, count=held),
            Step(id="requests", name="Rejected requests", status=running, count=requests),
            Step(id="reports", name="Alerts, reports and audit log", status=running, count=reports),
            Step(id="ledger", name="Ledger", status=running, count=ledger.erased, detail=canceled),
        ]
        return ErasedRecords(steps=steps, in_log=in_log, in_flight=ledger.in_flight, conflicts=conflicts)

    def _scrub_results(self, ids: ErasedIds, places: Collection[Place]) -> None:
        after: int | None = 0
        while after is not None:
            with self._store.unit_of_work() as work:
                after = scrub_results(work, ids, places=places, after=after)


def replace_in_log(log: EventLog, places: Collection[Place], ids: ErasedIds) -> LogErasure:
    """Replace the events at these places in the log, as far as it still has them."""
    by_position: defaultdict[int, set[int]] = defaultdict(set)
    for position, index in places:
        by_position[position].add(index)
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


def replace_suppressed_records(store: Store, log: EventLog) -> bool:
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


def _without(held: HeldRecord, places: Collection[Place], ids: ErasedIds) -> tuple[str, bytes] | None:
    indices = {index for position, index in places if position == held.log_position}
    if not indices:
        return None
    record = _log_record(held.log_position, held.encoding, held.body, call=held.call, received_at=held.received_at)
    replaced = without_events(record, indices, ids)
    return replaced.encoding, replaced.body


def _text_of_quarantined(body: QuarantinedBody) -> str:
    if body.event_index is not None:
        return body.body.decode(errors="replace")
    return text_of(_log_record(0, body.encoding, body.body))
