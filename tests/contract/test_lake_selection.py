"""A selection of past events is read whole and in the order of the log, whatever files and stretches it lies in."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from punchcard.clock import to_micros
from punchcard.events.parse import read_request
from punchcard.lake import reader, selection
from punchcard.lake.reader import LakeReader
from punchcard.lake.schema import LakeRows
from punchcard.lake.selection import EventSelection
from punchcard.lake.writer import LakeWriter
from punchcard.testing.clock import ManualClock

NOW = ManualClock().now()
DAYS = 4
RECORDS_PER_DAY = 6
NAMES = ("Checked In", "Order Completed", "Class Booked")


def result(reason: str | None, status: str = "refused", destination: str | None = "perkville") -> str:
    return json.dumps(
        [{"destination": destination, "status": status, "reason": reason, "detail": None, "effectKey": None}],
        separators=(",", ":"),
    )


def results_of(number: int) -> str:
    """Every fifth event is a repetition, every seventh failed on ingest."""
    if number % 5 == 4:
        return result("duplicate_message_id", "duplicate", None)
    if number % 7 == 6:
        return result("no_user_anon_id", "failed_on_ingest", None)
    return result("not_allowlisted") if number % 3 == 2 else result(None, "pending")


@pytest.fixture
def lake(tmp_path: Path) -> LakeReader:
    """Four days with six records of three events each; the last record of a day is received after midnight too."""
    url = str(tmp_path / "lake")
    writer = LakeWriter(url)
    position = 0
    for day in range(DAYS):
        for number in range(RECORDS_PER_DAY):
            position += 2  # there may be gaps
            received = NOW - timedelta(days=DAYS - day) + timedelta(minutes=number)
            events = [
                {
                    "type": "track",
                    "event": name,
                    "userId": "u",
                    "messageId": f"m{position}-{index}",
                    "properties": {"email": "ann@gym.example" if index else "Bob@gym.example"},
                }
                for index, name in enumerate(NAMES)
            ]
            items = read_request(
                json.dumps({"batch": events}).encode(), call="batch", received_at=received, position=position
            )
            rows = LakeRows()
            rows.add_record(
                items,
                source="website" if number % 2 else "pos",
                received_at=to_micros(received),
                position=position,
                results=[results_of(position + index) for index in range(len(items))],
            )
            writer.append(rows, first_position=position - 1, last_position=position)
        if day == 1:
            writer.compact()
    return LakeReader(url)


def places(lake: LakeReader, chosen: EventSelection, **options: object) -> list[tuple[int, int]]:
    through = options.pop("through", lake.last_position())
    parts = list(lake.select(chosen, through=through, **options))  # type: ignore[arg-type]
    assert [end for end, _ in parts] == sorted({end for end, _ in parts})
    return [(event.log_position, event.event_index) for _, events in parts for event in events]


def expected(lake: LakeReader) -> list[tuple[int, int]]:
    received = (
        event
        for event in lake.between(0, 10**9)
        if not any(
            result.status == "failed_on_ingest" or result.reason == "duplicate_message_id" for result in event.results
        )
    )
    return [(event.log_position, event.event_index) for event in received]


@pytest.mark.parametrize("rows", [1, 2, 7, 100_000])
def test_every_received_event_comes_once_and_in_order(
    lake: LakeReader, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "ROWS_PER_QUERY_MAX", rows)
    monkeypatch.setattr(selection, "ROWS_PER_QUERY_MAX", rows)
    monkeypatch.setattr(selection, "_FIRST_WINDOW_ROWS", rows)
    matches = places(lake, EventSelection())
    assert matches == expected(lake)
    assert len(matches) > DAYS * RECORDS_PER_DAY


def test_it_goes_on_behind_any_event(lake: LakeReader) -> None:
    everything = expected(lake)
    for number, place in enumerate(everything):
        assert places(lake, EventSelection(), after=place) == everything[number + 1 :]


def test_it_ends_where_it_is_set_to(lake: LakeReader) -> None:
    everything = expected(lake)
    assert places(lake, EventSelection(), through=20) == [place for place in everything if place[0] <= 20]


@pytest.mark.parametrize(
    ("chosen", "is_selected"),
    [
        (EventSelection(names=["Class Booked"]), lambda event: event.event == "Class Booked"),
        (EventSelection(names=NAMES[:2]), lambda event: event.event in NAMES[:2]),
        (EventSelection(sources=["pos"]), lambda event: event.source == "pos"),
        (EventSelection(email="bob@GYM.example"), lambda event: event.email == "bob@gym.example"),
        (EventSelection(message_ids=["m2-0", "m6-1"]), lambda event: event.message_id in ("m2-0", "m6-1")),
        (EventSelection(types=["page"]), lambda event: False),
        (EventSelection(reasons=["not_allowlisted"]), lambda event: event.results[0].reason == "not_allowlisted"),
        (EventSelection(statuses=["pending"]), lambda event: event.results[0].status == "pending"),
        (
            EventSelection(begin=NOW - timedelta(days=2), end=NOW - timedelta(days=2) + timedelta(minutes=3)),
            lambda event: NOW - timedelta(days=2) <= event.received_at < NOW - timedelta(days=2, minutes=-3),
        ),
    ],
)
def test_each_condition_selects_its_events(lake: LakeReader, chosen: EventSelection, is_selected: object) -> None:
    everything = set(expected(lake))
    matching = [
        (event.log_position, event.event_index)
        for event in lake.between(0, 10**9)
        if (event.log_position, event.event_index) in everything and is_selected(event)  # type: ignore[operator]
    ]
    assert places(lake, chosen) == matching
    if chosen.types:
        return
    assert 0 < len(matching) < len(everything)
    narrower = replace(chosen, names=[NAMES[0]])
    assert set(places(lake, narrower)) <= set(matching) or chosen.names


def test_no_lake_gives_nothing(tmp_path: Path) -> None:
    parts: Sequence[object] = list(LakeReader(str(tmp_path / "none")).select(EventSelection(), through=10))
    assert parts == []
