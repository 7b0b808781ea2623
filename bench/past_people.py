"""A data folder with people of the past: their events in log and lake, their profiles, facts and awards."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pyarrow as pa
from sqlalchemy import Connection, insert

from bench.past_events import RECORD_EVENTS, PastBatch, append_batch, past_batches
from punchcard.clock import SystemClock, from_micros
from punchcard.engage.demand import POSITION as ENGAGE
from punchcard.engage.demand import STAMP
from punchcard.engage.fact_store import FactStore
from punchcard.engage.facts import Meta
from punchcard.events.sequence import seq_of
from punchcard.lake.writer import LakeWriter
from punchcard.log.opening import open_event_log
from punchcard.log.port import EventLog, NewRecord
from punchcard.store.bulk import execute_many
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.schema import delivery_attempts, effects
from punchcard.store.engage.schema import external_ids, profiles
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventResult, EventStatus, ResultBatch, RoutedRecord
from punchcard.store.routing.positions import LAKE, ROUTING, SCHEMA, note_position, save_results

AWARDED_EVERY = 50
_PER_UNIT_OF_WORK = 50_000
_RECORDS_PER_RESULT_BATCH = 40
_SOURCE = "website"
_RESULTS = (EventResult("perkville", EventStatus.REFUSED, "not_allowlisted", "It is not in eventToPerkMap"),)
_FACTS = f"""
    INSERT INTO facts SELECT CAST(regexp_extract(user_id, '[0-9]+') AS BIGINT) + 1, epoch_us(received_at),
        log_position * {seq_of(1, 0)} + event_index, event, source, json_extract(payload, '$.properties'),
        json_extract(payload, '$.context'), NULL, NULL, NULL
    FROM batch
"""


def fill(data: Path, events: int, people: int) -> None:
    """Fill a new data folder; event `i` is of person `i % people`, with the user id `u<number>`.

    One event in fifty has earned an award, which is delivered.
    """
    with (
        closing(Store(f"sqlite:///{data / 'punchcard.db'}")) as store,
        closing(open_event_log(f"sqlite:///{data / 'log.db'}")) as log,
        closing(FactStore(data / "engage.duckdb")) as facts,
    ):
        writer = LakeWriter(str(data / "lake"))
        last = 0
        for batch in past_batches(events, {}, people=people):
            append_batch(writer, batch)
            _append_to_log(log, batch)
            _add_facts(facts, batch.table)
            with store.unit_of_work() as work:
                for begin in range(batch.first, batch.last + 1, _RECORDS_PER_RESULT_BATCH):
                    positions = range(begin, min(begin + _RECORDS_PER_RESULT_BATCH, batch.last + 1))
                    records = [RoutedRecord(position, _SOURCE, [0] * RECORD_EVENTS) for position in positions]
                    save_results(work, ResultBatch([_RESULTS], records))
                _add_awards(work, batch, people)
            last = batch.last
        now = SystemClock().now()
        for numbers in _portions(people):
            with store.unit_of_work() as work:
                execute_many(work, insert(profiles), [_profile(number, now) for number in numbers])
                execute_many(work, insert(external_ids), [row for number in numbers for row in _ids(number, now)])
        facts.run(f"INSERT INTO people SELECT i, true FROM range(1, {people + 1}) AS r(i)")
        facts.save_meta(Meta(position=last, stamp=1, computed_at=1))
        with store.unit_of_work() as work:
            for consumer in (ROUTING, LAKE, SCHEMA, ENGAGE):
                note_position(work, consumer, last)
            note_position(work, STAMP, 1)


def _append_to_log(log: EventLog, batch: PastBatch) -> None:
    payloads: list[str] = batch.table.column("payload").to_pylist()
    for begin in range(0, len(payloads), 20 * RECORD_EVENTS):
        log.append(
            [
                NewRecord(
                    received_at=batch.received_at,
                    write_key="wk_bench",
                    call="batch",
                    encoding="identity",
                    body=('{"batch":[' + ",".join(payloads[first : first + RECORD_EVENTS]) + "]}").encode(),
                    ip="",
                )
                for first in range(begin, min(begin + 20 * RECORD_EVENTS, len(payloads)), RECORD_EVENTS)
            ]
        )


def _add_facts(facts: FactStore, table: pa.Table) -> None:
    columns = ["user_id", "received_at", "log_position", "event_index", "event", "source", "payload"]
    with facts._as_table(table.select(columns)) as name:
        facts.run(_FACTS.replace("batch", name))


def _add_awards(work: Connection, batch: PastBatch, people: int) -> None:
    first = (batch.first - 1) * RECORD_EVENTS
    # Not always at the same place in fifty: the number of people may be a multiple of it.
    numbers = [
        number + (number // AWARDED_EVERY) % AWARDED_EVERY
        for number in range(first, first + batch.table.num_rows, AWARDED_EVERY)
    ]
    execute_many(work, insert(effects), [_award(number, number % people, batch.received_at) for number in numbers])
    execute_many(work, insert(delivery_attempts), [_attempt(number, batch.received_at) for number in numbers])


def _portions(count: int) -> Iterator[range]:
    for begin in range(0, count, _PER_UNIT_OF_WORK):
        yield range(begin, min(begin + _PER_UNIT_OF_WORK, count))


def _award(number: int, person: int, received_at: int) -> dict[str, object]:
    at = from_micros(received_at)
    email = f"u{person}@example.com"
    return {
        "id": number + 1,
        "destination": "perkville",
        "effect_key": f"SEG:website:EVENT:m{number}",
        "kind": "transaction",
        "source": _SOURCE,
        "message_id": f"m{number}",
        "event_name": "Product Viewed",
        "log_position": number // RECORD_EVENTS + 1,
        "event_index": number % RECORD_EVENTS,
        "received_at": at,
        "customer": email,
        "email": email,
        "item": "123457",
        "requested_quantity": "1",
        "quantity": "1",
        "is_refund": False,
        "state": EffectState.DELIVERED,
        "is_open": False,
        "detail": f"delivered for {email}",
        "attempts": 1,
        "tries": 1,
        "due_at": at,
        "partner_id": str(number),
        "created_at": at,
        "finished_at": at,
        "ordering_key": email,
        "event_type": "track",
    }


def _attempt(number: int, received_at: int) -> dict[str, object]:
    at = from_micros(received_at)
    row = {"effect_id": number + 1, "number": 1, "action": "send", "started_at": at, "finished_at": at}
    return {**row, "status": 201, "outcome": "delivered", "detail": None}


def _profile(number: int, now: datetime) -> dict[str, object]:
    seen = {f"{which}_{what}": f"m{number}" if what == "message_id" else _SOURCE
            for which in ("first", "last") for what in ("message_id", "source")}  # fmt: skip
    dates = {"created_at": now, "updated_at": now}
    return {"id": number + 1, "public_id": f"use_{number}", **dates, **seen, "is_known": True, "merged_into": None}


def _ids(number: int, now: datetime) -> Iterable[dict[str, object]]:
    for type_, value in (("user_id", f"u{number}"), ("email", f"u{number}@example.com")):
        row = {"type": type_, "value": value, "profile_id": number + 1, "created_at": now}
        yield {**row, "source": _SOURCE, "message_id": f"m{number}"}
