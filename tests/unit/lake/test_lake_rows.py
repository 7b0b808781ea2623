"""What routing fills and how it becomes Arrow."""

import datetime
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.events.commerce import NOTHING
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.events.notes import Note
from punchcard.lake.extraction import extract_column_lists
from punchcard.lake.schema import COLUMNS, ROW_GROUP_ROWS, LakeRows

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.UTC)
NOW_MICROS = 1_767_323_045_678_901
FAILED = '[{"destination":null,"status":"failed_on_ingest","reason":"source_disabled"}]'
QUOTED = '[{"destination":null,"status":"refused","detail":"it said \\"status\\":\\"failed_on_ingest\\""}]'


@dataclass(frozen=True)
class Failed:
    message_id: str
    raw: bytes
    notes: tuple[Note, ...] = ()


def an_event(message_id: str = "m-1", *, raw: bytes = b"{}", timestamp: datetime.datetime = NOW) -> Event:
    wire = WireEvent(event="Order Completed", user_id="u-1", anonymous_id="a-1")
    return Event(EventType.TRACK, MessageId(message_id), timestamp, NOW, wire, raw)


def rows_of(*items: Event | Failed, results: str = "[]", received_at: int = NOW_MICROS) -> LakeRows:
    rows = LakeRows()
    for index, item in enumerate(items):
        rows.add(item, source="website", received_at=received_at, position=7, index=index, results=results)
    return rows


def test_every_column_holds_what_was_added() -> None:
    assert rows_of(an_event(raw=b'{"a":1}')).to_arrow().to_pylist() == [
        {
            "message_id": "m-1",
            "type": "track",
            "event": "Order Completed",
            "user_id": "u-1",
            "anonymous_id": "a-1",
            "email": None,
            "order_id": None,
            "revenue": None,
            "value": None,
            "total": None,
            "currency": None,
            "product_ids": None,
            "source": "website",
            "received_at": NOW,
            "timestamp": NOW,
            "event_day": NOW.date(),
            "log_position": 7,
            "event_index": 0,
            "payload": '{"a":1}',
            "results": "[]",
            "notes": None,
        }
    ]


def test_a_failed_item_has_no_envelope() -> None:
    row = rows_of(Failed("derived-1", b"nonsense")).to_arrow().to_pylist()[0]
    assert row["type"] == ""
    assert row["payload"] == "nonsense"
    of_events = ["event", "user_id", "anonymous_id", "email", *NOTHING._fields, "timestamp", "notes"]
    assert [name for name in COLUMNS if row[name] is None] == of_events


@pytest.mark.parametrize("with_failed", [False, True], ids=["all valid", "one failed"])
def test_a_record_added_at_once_equals_its_events_added_singly(with_failed: bool) -> None:
    items: list[Event | Failed] = [an_event(f"m-{number}") for number in range(5)]
    if with_failed:
        items[2] = Failed("f-2", b"?")
    at_once = LakeRows()
    at_once.add_record(items, source="website", received_at=NOW_MICROS, position=7, results=["[]"] * 5)
    assert at_once.to_arrow().equals(rows_of(*items).to_arrow())


def test_columns_read_before_are_those_that_are_read_later() -> None:
    properties = [b'{"email":"A@x.com","order_id":"o-%d","products":[{"product_id":"p"}]}' % n for n in range(6)]
    events = [
        msgspec.structs.replace(
            an_event(f"m-{number}"), wire=WireEvent(type="track", properties=msgspec.Raw(properties[number]))
        )
        for number in range(6)
    ]
    rows, expected = LakeRows(), LakeRows()
    for position, begin in enumerate((0, 2, 4), 1):
        part = events[begin : begin + 2]
        # Of the second record, the columns have not been read.
        columns = None if position == 2 else extract_column_lists(part)
        for target, extracted in ((rows, columns), (expected, None)):
            target.add_record(
                part, source="web", received_at=1, position=position, results=["[]"] * 2, extracted=extracted
            )
    assert rows.to_arrow().column("order_id").to_pylist() == [f"o-{number}" for number in range(6)]
    assert rows.to_arrow().equals(expected.to_arrow())
    assert rows._part(1, 5).to_arrow().equals(expected._part(1, 5).to_arrow())


@pytest.mark.parametrize(
    ("raw", "stored"),
    [(b"\xff{", "\ufffd{"), (b'"\\ud800"', '"\\ud800"'), (b"a\x00b", "a\x00b"), ("é".encode(), "é")],
    ids=["not UTF-8", "escaped surrogate", "NUL", "not ASCII"],
)
def test_odd_payloads_do_not_harm_their_neighbours(raw: bytes, stored: str) -> None:
    batch = rows_of(an_event(raw=b"{}"), an_event(raw=raw)).to_arrow()
    assert batch.column("payload").to_pylist() == ["{}", stored]


def test_a_lone_surrogate_in_an_id_is_repaired() -> None:
    assert rows_of(an_event("x\ud800")).to_arrow().column("message_id").to_pylist() == ["x?"]


@given(st.lists(st.datetimes(timezones=st.just(datetime.UTC)), min_size=1))
def test_timestamps_are_exact(instants: list[datetime.datetime]) -> None:
    batch = rows_of(*(an_event(timestamp=instant) for instant in instants)).to_arrow()
    since = [instant - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) for instant in instants]
    micros = [item // datetime.timedelta(microseconds=1) for item in since]
    assert [item.value for item in batch.column("timestamp")] == micros


@pytest.mark.parametrize(
    ("results", "known"),
    [("[]", ["website m-1"]), (FAILED, []), (QUOTED, ["website m-1"])],
    ids=["planned", "failed on ingest", "only says so in a detail"],
)
def test_only_what_did_not_fail_on_ingest_is_known(results: str, known: list[str]) -> None:
    assert rows_of(an_event("m-1"), results=results).known_message_keys() == known


def test_rows_around_midnight_fall_into_two_days() -> None:
    midnight = 1_767_312_000_000_000
    rows = rows_of(an_event("before"), received_at=midnight - 1)
    rows.extend(rows_of(an_event("after"), received_at=midnight))
    days = {day.isoformat(): part.known_message_keys() for day, part in rows.by_day().items()}
    assert days == {"2026-01-01": ["website before"], "2026-01-02": ["website after"]}
    assert LakeRows().by_day() == {}


def test_row_groups_are_bounded_in_rows_and_bytes() -> None:
    large = b"x" * 32_000
    many = LakeRows()
    many.add_record(
        [an_event()] * (ROW_GROUP_ROWS + 1), source=None, received_at=1, position=1, results=["[]"] * 16_385
    )
    heavy = LakeRows()
    heavy.add_record([an_event(raw=large)] * 3_000, source=None, received_at=1, position=1, results=["[]"] * 3_000)
    assert [len(part) for part in many.row_groups()] == [ROW_GROUP_ROWS, 1]
    assert sum(len(part) for part in heavy.row_groups()) == 3_000
    assert max(len(part) for part in heavy.row_groups()) * len(large) <= 32 * 1024 * 1024
