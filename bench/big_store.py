"""A store and a lake as after a year of a large business: what pages are measured on."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import Table, insert, select, text

from bench.lake_lookup import event_body, uuids
from bench.size import size
from punchcard.clock import from_micros, to_micros
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.store.access.schema import audit_events
from punchcard.store.bulk import execute_many
from punchcard.store.delivery.count_sums import mark_changed, sum_next_hour
from punchcard.store.delivery.schema import (
    award_totals,
    delivery_attempts,
    delivery_latencies,
    effect_conflicts,
    effects,
    refused_orders,
    result_counts,
)
from punchcard.store.engage.schema import (
    computation_sizes,
    computation_states,
    external_ids,
    profile_trait_changes,
    profile_traits,
    profiles,
    sync_queue,
    synced,
)
from punchcard.store.engine import Store
from punchcard.store.ingest.schema import rejected_requests
from punchcard.store.operations.schema import alerts, reconciliation_differences, reconciliations
from punchcard.store.routing.event_results import EventResult, EventStatus, to_json
from punchcard.store.routing.positions import LAKE, ROUTING, advance
from punchcard.store.routing.schema import quarantined_records
from punchcard.store.source_schema.schema import schema_event_days, schema_events, schema_properties
from punchcard.store.tracking_plans.schema import plan_violations

AUDIENCES = size(200, 5)
SOURCES = ("website", "mobile", "pos")
DESTINATION = "perkville"
STATIC_LIST = "vip"
DAYS = size(30, 3)
_NAMES = (
    "Order Completed",
    "Product Viewed",
    "Checked In",
    "Cart Viewed",
    *(f"Feature {n:02} Used" for n in range(36)),
)
_BODIES = 20_000
_PER_RECORD = 100
_EVENTS_PER_FILE = 100_000
_ROWS_PER_UNIT = 5_000  # PostgreSQL ends a unit of work that is idle for long, as while many rows are prepared
_PARKED_EVERY, _REJECTED_EVERY = 100, 150
_OPEN_OF = 200  # one transaction in so many, the newest, is still in the outbox
_DAY = timedelta(days=1)
_LAPSED = 2  # number of the audience that nearly everybody has left


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How much of everything there is."""

    events: int
    transactions: int
    profiles: int


def configuration_text() -> str:
    """Return a config file with three sources, a destination, two hundred audiences, a trait and a static list."""
    parts = [f'[[sources]]\nslug = "{source}"\nwrite_key = "wk_{source}"\n' for source in SOURCES]
    parts.append(
        f'[[destinations]]\nslug = "{DESTINATION}"\ntype = "{DESTINATION}"\nsources = {json.dumps(SOURCES)}\n'
        '[destinations.settings]\napiKey = "token"\nbusinessId = "41"\nlocationId = "7"\nsendEmail = false\n'
        'eventToPerkMap = { "Order Completed" = "123456", "Checked In" = "123457" }\n'
        # Nobody listens there: a page that queries Perkville is answered at once that it is away.
        '[destinations.options]\napiBaseUrl = "http://127.0.0.1:9"\n'
    )
    parts += [
        f'[[audiences]]\nname = "{_audience_name(number)}"\nkey = "{audience_key(number)}"\n'
        f"definition = \"event('Checked In').within(30 days).count() >= {number + 1}\"\n"
        f'destinations = ["{DESTINATION}"]\n'
        for number in range(AUDIENCES)
    ]
    parts.append(f'[[audiences]]\nname = "VIP"\nkey = "{STATIC_LIST}"\ndefinition = "list(\'{STATIC_LIST}\')"\n')
    parts.append(
        '[[computed_traits]]\nname = "Orders"\nkey = "orders"\ndefinition = "event(\'Order Completed\').count()"\n'
    )
    parts.append(f'[tracking_plans.shop]\nname = "Shop"\nsources = {json.dumps(SOURCES)}\n')
    return "\n".join(parts)


def audience_key(number: int) -> str:
    """Return the key of an audience."""
    return f"audience_{number:03}"


def _audience_name(number: int) -> str:
    return f"Audience {number:03}"


def email_of(profile: int) -> str:
    """Return the email of a profile."""
    return f"user-{profile}@example.com"


def fill(store: Store, lake: str, amounts: Amounts, *, now: datetime) -> None:
    """Fill store and lake.

    Args:
        now: The end of the period that all of it was received in.
    """
    begin = now - timedelta(days=DAYS)
    _fill_lake(lake, amounts.events, begin=begin, now=now)
    for table, rows in _tables(amounts, begin=begin, now=now):
        _insert(store, table, rows)
    sum_counts(store, now=now)
    with store.unit_of_work() as work:
        for consumer in (ROUTING, LAKE):
            advance(work, consumer, expected=0, to=amounts.events // _PER_RECORD)
    with store.unit_of_work() as work:
        if work.dialect.name == "postgresql":  # which does so by itself in time; in SQLite there are no statistics
            work.execute(text("ANALYZE"))


def sum_counts(store: Store, *, now: datetime) -> None:
    """Add up the counts, as the worker does every minute."""
    with store.unit_of_work() as work:
        mark_changed(work, [to_micros(bucket) for bucket in work.scalars(select(result_counts.c.bucket).distinct())])
    has_more = True
    while has_more:
        with store.unit_of_work() as work:
            has_more = sum_next_hour(work, now=now)


def _tables(amounts: Amounts, *, begin: datetime, now: datetime) -> Iterator[tuple[Table, Iterable[Mapping[str, Any]]]]:
    clock = _Moments(begin=begin, now=now)
    yield effects, _effects(amounts, clock)
    yield delivery_attempts, _attempts(amounts, clock)
    yield effect_conflicts, _conflicts(amounts, clock)
    yield refused_orders, _refused(amounts, clock)
    yield result_counts, _counts(amounts, clock)
    yield award_totals, _totals(amounts, clock)
    yield delivery_latencies, _latencies(clock)
    yield profiles, _profiles(amounts, clock)
    yield external_ids, _ids(amounts, clock)
    yield profile_traits, _traits(amounts, clock)
    yield profile_trait_changes, _changes(amounts, clock)
    yield computation_states, _states(amounts, clock)
    yield computation_sizes, _sizes(amounts, clock)
    yield synced, _synced(amounts, clock)
    yield sync_queue, _queue(amounts, clock)
    yield audit_events, _audit(amounts, clock)
    yield from _schema(amounts, clock)
    yield rejected_requests, _rejected(amounts, clock)
    yield quarantined_records, _quarantined(amounts, clock)
    yield alerts, _alerts(amounts, clock)
    yield from _reconciliation(amounts, clock)


@dataclass(frozen=True, kw_only=True)
class _Moments:
    begin: datetime
    now: datetime

    def at(self, number: int, of: int) -> datetime:
        """Return the moment of one of so many things that happened evenly."""
        micros = to_micros(self.begin)
        return from_micros(micros + (to_micros(self.now) - micros) * number // max(1, of))

    def hours(self) -> list[datetime]:
        """Return the beginnings of the hours."""
        first = self.begin.replace(minute=0, second=0, microsecond=0)
        return [first + timedelta(hours=number) for number in range(DAYS * 24 + 1)]


def _insert(store: Store, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    iterator = iter(rows)
    while portion := list(islice(iterator, _ROWS_PER_UNIT)):
        with store.unit_of_work() as work:
            execute_many(work, insert(table), portion)


# --- the lake ---


def _fill_lake(lake: str, events: int, *, begin: datetime, now: datetime) -> None:
    writer = LakeWriter(lake)
    chance = random.Random(1)
    texts = [event_body(chance) for _ in range(min(_BODIES, events))]
    wires = [msgspec.json.Decoder(WireEvent).decode(body) for body in texts]
    refused = to_json([EventResult(DESTINATION, EventStatus.REFUSED, "not_allowlisted", "Not in eventToPerkMap.")])
    first_micros, last_micros = to_micros(begin), to_micros(now)
    per_file = min(_EVENTS_PER_FILE, events)
    for first in range(0, events, per_file):
        received_micros = first_micros + (last_micros - first_micros) * (first + per_file) // events - 1
        received = from_micros(received_micros)
        ids = uuids(per_file)
        rows = LakeRows()
        for start in range(0, per_file, _PER_RECORD):
            rows.add_record(
                [
                    Event(
                        EventType.TRACK,
                        MessageId(ids[index]),
                        received,
                        received,
                        wires[(first + index) % len(wires)],
                        texts[(first + index) % len(texts)],
                    )
                    for index in range(start, start + _PER_RECORD)
                ],
                source=SOURCES[(first + start) // _PER_RECORD % len(SOURCES)],
                received_at=received_micros,
                position=(first + start) // _PER_RECORD + 1,
                results=[refused] * _PER_RECORD,
            )
        writer.append(rows, first_position=first // _PER_RECORD + 1, last_position=(first + per_file) // _PER_RECORD)


# --- delivery ---


def _state(number: int, transactions: int) -> str:
    if number >= transactions - transactions // _OPEN_OF:
        return "pending"
    if number % _PARKED_EVERY == 0:
        return "parked"
    return "rejected" if number % _REJECTED_EVERY == 0 else "delivered"


def _effects(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    for number in range(amounts.transactions):
        at, state = clock.at(number, amounts.transactions), _state(number, amounts.transactions)
        email = email_of(number * 7919 % amounts.profiles + 1)
        is_open = state == "pending"
        yield {
            "id": number + 1,
            "destination": DESTINATION,
            "effect_key": f"SEG:{DESTINATION}:ORDER:order-{number}:order-completed",
            "kind": "transaction",
            "source": SOURCES[number % len(SOURCES)],
            "message_id": f"message-{number}",
            "event_name": _NAMES[0] if number % 3 else _NAMES[2],
            "log_position": number + 1,
            "event_index": 0,
            "received_at": at,
            "customer": email,
            "email": email,
            "item": "123456" if number % 3 else "123457",
            "requested_quantity": "9.99",
            "quantity": None if is_open else "9.99",
            "order_id": f"order-{number}",
            "is_refund": False,
            "state": state,
            "is_open": is_open,
            "reason": {"parked": "outcome_unknown", "rejected": "partner_refused"}.get(state),
            "attempts": 0 if is_open else 1,
            "tries": 0 if is_open else 1,
            "due_at": at,
            "created_at": at,
            "finished_at": None if is_open else at,
            "ordering_key": email,
            "event_type": "track",
        }


def _attempts(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    outcomes = {"delivered": (201, "delivered"), "parked": (500, "unknown"), "rejected": (400, "rejected")}
    for number in range(amounts.transactions - amounts.transactions // _OPEN_OF):
        at = clock.at(number, amounts.transactions)
        status, outcome = outcomes[_state(number, amounts.transactions)]
        yield {
            "effect_id": number + 1,
            "number": 1,
            "action": "send",
            "started_at": at,
            "finished_at": at,
            "status": status,
            "outcome": outcome,
        }


def _conflicts(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    for number in range(amounts.transactions // 1_000):
        yield {
            "effect_id": number * 1_000 + 1,
            "message_id": f"conflict-{number}",
            "log_position": number + 1,
            "event_index": 1,
            "received_at": clock.at(number, amounts.transactions // 1_000),
            "content": '{"quantity": "1.00"}',
        }


def _refused(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    number_of = amounts.transactions // 10
    for number in range(number_of):
        yield {
            "destination": DESTINATION,
            "order_id": f"refused-{number}",
            "source": SOURCES[0],
            "reason": "missing_email",
            "message_id": f"refused-{number}",
            "received_at": clock.at(number, number_of),
        }


def _counts(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    """Counts by the minute in the last two days, by the hour before, as many names as fit into the events."""
    chance = random.Random(2)
    minutes_begin = clock.now.replace(second=0, microsecond=0) - 2 * _DAY
    buckets = [(hour, timedelta(hours=1)) for hour in clock.hours() if hour < minutes_begin]
    buckets += [(minutes_begin + timedelta(minutes=number), timedelta(minutes=1)) for number in range(2 * 24 * 60)]
    weights = [1 / (number + 1) for number in range(len(_NAMES))]
    for bucket, width in buckets:
        share = width / (DAYS * _DAY)
        drawn = chance.choices(range(len(_NAMES)), weights, k=min(2_000, max(1, round(amounts.events * share))))
        scale = max(1, round(amounts.events * share)) / len(drawn)
        for (name, source), drawn_number in Counter((name, chance.choice(SOURCES)) for name in drawn).items():
            key = {"bucket": bucket, "source": source, "event_type": "track", "event_name": _NAMES[name]}
            number = max(1, round(drawn_number * scale))
            awards = max(1, number // 10) if name in (0, 2) else 0
            yield {**key, "destination": "", "status": "received", "reason": "", "count": number}
            if number > awards:
                refused = {"destination": DESTINATION, "status": "refused", "reason": "not_allowlisted"}
                yield {**key, **refused, "count": number - awards}
            if awards:
                yield {**key, "destination": DESTINATION, "status": "pending", "reason": "", "count": awards}
                yield {**key, "destination": DESTINATION, "status": "delivered", "reason": "", "count": awards}


def _totals(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    number = amounts.transactions // (DAYS * 24) + 1
    for hour in clock.hours():
        for item in ("123456", "123457"):
            key = {"bucket": hour, "destination": DESTINATION, "item": item}
            yield {**key, "hundredths": 999 * number, "transactions": number}


def _latencies(clock: _Moments) -> Iterator[Mapping[str, Any]]:
    for hour in clock.hours():
        for band in range(20, 40):
            yield {"bucket": hour, "destination": DESTINATION, "band": band, "count": 50}


# --- Engage ---


def _profiles(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    for number in range(1, amounts.profiles + 1):
        at = clock.at(number, amounts.profiles)
        yield {
            "id": number,
            "public_id": f"profile{number:012}",
            "created_at": at,
            "updated_at": at,
            "first_message_id": f"first-{number}",
            "first_source": SOURCES[0],
            "last_message_id": f"last-{number}",
            "last_source": SOURCES[0],
            "is_known": True,
        }


def _ids(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    for number in range(1, amounts.profiles + 1):
        row = {
            "profile_id": number,
            "created_at": clock.at(number, amounts.profiles),
            "source": SOURCES[0],
            "message_id": f"first-{number}",
        }
        yield {"type": "email", "value": email_of(number), **row}
        yield {"type": "user_id", "value": f"user-{number}", **row}


def _members(number: int, amounts: Amounts) -> range:
    """Return the profiles in an audience: a half, a third, a quarter …; the last thousand of one that all have left."""
    return range(number + 2, amounts.profiles + 1, number + 2)


def _traits(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    row = {"updated_at": clock.now, "source": SOURCES[0], "message_id": "m", "seq": 0, "repeated_seq": 0}
    for profile in range(1, amounts.profiles + 1):
        row = {**row, "profile_id": profile}
        yield {**row, "name": "firstName", "value": f'"Ann{profile % 5_000}"', "computation": ""}
        yield {**row, "name": "orders", "value": str(profile % 400), "computation": "computed_trait"}
    for number in range(AUDIENCES):
        key = audience_key(number)
        members = range(1, amounts.profiles + 1) if number == _LAPSED else _members(number, amounts)
        for profile in members:
            is_member = number != _LAPSED or profile <= amounts.profiles // 500
            value = "true" if is_member else "false"
            yield {**row, "profile_id": profile, "name": key, "value": value, "computation": "audience"}


def _changes(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    for number in range(AUDIENCES):
        for profile in _members(number, amounts):
            yield {
                "profile_id": profile,
                "name": audience_key(number),
                "value": "true",
                "computation": "audience",
                "at": clock.at(profile, amounts.profiles),
                "message_id": "m",
            }


def _states(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    kinds = {audience_key(number): "audience" for number in range(AUDIENCES)} | {"orders": "computed_trait"}
    for number, (key, kind) in enumerate(kinds.items()):
        yield {
            "key": key,
            "kind": kind,
            "fingerprint": "f",
            "status": "Live",
            "detail": "",
            "size": len(_members(number, amounts)),
            "computed_at": clock.now,
            "checked_at": clock.now,
            "differences": 0,
            "created_at": clock.begin,
            "last_sync": "",
        }


def _sizes(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    for number in range(AUDIENCES):
        for hour in clock.hours():
            yield {"key": audience_key(number), "bucket": hour, "size": len(_members(number, amounts))}


def _synced(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    for number in range(AUDIENCES):
        for profile in _members(number, amounts):
            yield {
                "destination": DESTINATION,
                "key": audience_key(number),
                "email": email_of(profile),
                "profile_id": profile,
                "value": "true",
                "sequence": 1,
                "sent_at": clock.now,
                "changes": "",
                "tracked": "",
                "track_sequence": 0,
                "entries_cut": 0,
            }


def _queue(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    for profile in range(1, amounts.profiles // 10 + 1):
        yield {
            "destination": DESTINATION,
            "key": audience_key(0),
            "profile_id": profile,
            "queued_at": clock.now,
            "due_at": clock.now,
            "waits_for": "",
            "is_resync": False,
            "detail": "",
        }


# --- what operators read of ---


def _audit(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    number_of = amounts.transactions // 10
    for number in range(number_of):
        yield {
            "at": clock.at(number, number_of),
            "actor": f"operator person-{number % 20}@example.com",
            "kind": "change",
            "resource_type": "audience" if number % 1_000 else "destination",
            "resource_id": audience_key(number % AUDIENCES) if number % 1_000 else DESTINATION,
            "changes": '[{"path": "name", "before": "a", "after": "b"}]',
        }


def _schema(amounts: Amounts, clock: _Moments) -> Iterator[tuple[Table, Iterable[Mapping[str, Any]]]]:
    keys = [{"source": source, "event_type": "track", "event_name": name} for source in SOURCES for name in _NAMES]
    seen = {"first_seen": clock.begin, "last_seen": clock.now}
    midnight = clock.now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [midnight - number * _DAY for number in range(DAYS)]
    per_name = max(1, amounts.events // len(keys))
    number = {"received": per_name, "planned": 0}
    yield schema_events, [{**key, **number, "sampled": per_name, **seen} for key in keys]
    yield schema_event_days, [{**key, **number, "day": day, "filtered": 0} for key in keys for day in days]
    gathered = {"types": '{"string": 10}', "formats": "{}", "personal": "{}", "frequent": '[["\\"a\\"", 5, 0]]'}
    rows = [
        {**key, "path": f"property_{number}", "occurrences": 10, **seen, **gathered}
        for key in keys
        for number in range(30)
    ]
    yield schema_properties, rows
    violations = [
        {
            **key,
            "field": "properties.revenue",
            "kind": "Required",
            "day": day,
            "plan": "shop",
            "description": "Is required.",
            "count": 5,
            "blocked": 0,
            **seen,
        }
        for key in keys
        for day in days
    ]
    yield plan_violations, violations


def _rejected(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    for number in range(amounts.transactions // 1_000):
        yield {
            "source": SOURCES[0],
            "received_at": clock.at(number, amounts.transactions // 1_000),
            "path": "/v1/track",
            "status": 400,
            "reason": "invalid_json",
            "message": "Not JSON.",
            "network": "192.0.2.0/24",
            "user_agent": "curl",
            "library": "",
            "body_bytes": 5,
            "body_start": "{",
        }


def _quarantined(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    for number in range(amounts.transactions // 1_000):
        at = clock.at(number, amounts.transactions // 1_000)
        yield {
            "position": number + 1,
            "message_id": f"quarantined-{number}",
            "received_at": at,
            "quarantined_at": at,
            "source": SOURCES[0],
            "reason": "defect",
            "detail": "A defect.",
            "write_key": "wk_website",
            "call": "track",
            "encoding": "identity",
            "ip": "",
            "body": b"{}",
        }


def _alerts(amounts: Amounts, clock: _Moments) -> Iterator[Mapping[str, Any]]:
    number_of = amounts.transactions // 100
    for number in range(number_of):
        at = clock.at(number, number_of)
        yield {
            "cause": f"cause-{number}",
            "kind": "parked_awards",
            "subject": DESTINATION,
            "destination": DESTINATION,
            "reason": "outcome_unknown",
            "severity": "warning",
            "state": "resolved",
            "is_open": False,
            "title": "Awards are parked",
            "detail": "Some.",
            "remedy": "Retry.",
            "path": "",
            "count": 5,
            "customers": 5,
            "since": at,
            "raised_at": at,
            "updated_at": at,
            "reminded_at": at,
            "resolved_at": at,
        }


def _reconciliation(amounts: Amounts, clock: _Moments) -> Iterator[tuple[Table, Iterable[Mapping[str, Any]]]]:
    number_of = amounts.transactions // 100
    run = {
        "id": 1,
        "destination": DESTINATION,
        "requested_by": "schedule",
        "requested_at": clock.now,
        "since": clock.begin,
        "until": clock.now,
        "status": "finished",
        "read": amounts.transactions,
        "detail": "",
        "ledger_count": amounts.transactions,
        "ledger_quantity": "9",
        "partner_count": amounts.transactions - number_of,
        "partner_quantity": "9",
        "others_count": 0,
        "others_quantity": "0",
        "not_compared": 0,
        "customers_unchecked": 0,
        "finished_at": clock.now,
    }
    yield reconciliations, [run]
    yield (
        reconciliation_differences,
        (
            {
                "reconciliation_id": 1,
                "destination": DESTINATION,
                "kind": "missing_at_partner",
                "effect_key": f"SEG:{DESTINATION}:ORDER:order-{number}:order-completed",
                "effect_id": number + 1,
                "email": email_of(number * 7919 % amounts.profiles + 1),
                "ours": None,
                "theirs": None,
                "detail": "",
                "state": "open",
            }
            for number in range(number_of)
        ),
    )
