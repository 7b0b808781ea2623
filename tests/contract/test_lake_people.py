"""The promise of the lake to who asks for a person: all ids in one question, each event once, by Bloom filter."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from punchcard.clock import to_micros
from punchcard.events.parse import read_request
from punchcard.lake import person_query
from punchcard.lake.person_query import PersonQuery
from punchcard.lake.reader import LakeReader
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter

BEGIN = datetime(2026, 1, 2, 23, 59, 57, tzinfo=UTC)

EVENTS = [  # one log record each, a second apart, over midnight; a file for every two
    {"userId": "ann", "anonymousId": "a-1", "event": "A"},
    {"anonymousId": "a-1", "event": "B"},
    {"userId": "ann", "event": "C", "properties": {"email": "Ann@example.com"}},
    {"userId": "bob", "event": "A"},
    {"userId": "ann", "anonymousId": "a-2", "event": "A", "properties": {"email": "ann@example.com"}},
    {"anonymousId": "a-2", "type": "page", "name": "Docs"},
]
ANN: dict[str, Any] = {"emails": ["ann@example.com"], "user_ids": ["ann"], "anonymous_ids": ["a-1", "a-2", "a-9"]}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("people") / "lake")
    writer = LakeWriter(url)
    for first in range(1, len(EVENTS), 2):
        rows = LakeRows()
        for position in (first, first + 1):
            at = BEGIN + timedelta(seconds=position)
            body = {"type": "track", "messageId": f"m{position}", **EVENTS[position - 1]}
            content = json.dumps({"batch": [body]}).encode()
            items = read_request(content, call="batch", received_at=at, position=position)
            rows.add_record(items, source="web", received_at=to_micros(at), position=position, results=["[]"])
        writer.append(rows, first_position=first, last_position=first + 1)
    return url


def matching_positions(
    url: str, *, limit: int = 99, beyond: tuple[int, int] | None = None, **conditions: Any
) -> list[int]:
    """The log positions of what is found."""
    query = PersonQuery(**{**ANN, **conditions})
    return [event.log_position for event in LakeReader(url).events_of_person(query, limit=limit, beyond=beyond)]


@pytest.mark.parametrize("at_once", [1, 2, 50])
def test_each_event_of_any_of_the_ids_is_found_once_in_either_order(
    url: str, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(person_query, "IDS_AT_ONCE", at_once)
    assert matching_positions(url) == [6, 5, 3, 2, 1]
    assert matching_positions(url, oldest_first=True) == [1, 2, 3, 5, 6]
    assert matching_positions(url, limit=3) == [6, 5, 3]
    assert matching_positions(url, limit=2, oldest_first=True) == [1, 2]
    assert matching_positions(url, beyond=(5, 0)) == [3, 2, 1]
    assert matching_positions(url, beyond=(2, 0), oldest_first=True) == [3, 5, 6]
    assert matching_positions(url, emails=[], user_ids=[], anonymous_ids=[]) == []


def test_events_are_chosen_by_name_and_by_when_they_happened(url: str) -> None:
    assert matching_positions(url, names=["A", "Page Viewed"]) == [6, 5, 1]
    assert matching_positions(url, excluded_names=["A", "Page Viewed"]) == [3, 2]
    assert matching_positions(url, types=["page"]) == [6]
    assert matching_positions(url, begin=BEGIN + timedelta(seconds=2), end=BEGIN + timedelta(seconds=5)) == [3, 2]


def test_every_id_is_found_by_a_bloom_filter_of_its_column(url: str) -> None:
    sql = "SELECT DISTINCT path_in_schema FROM parquet_metadata(?) WHERE bloom_filter_offset IS NOT NULL"
    files = list(map(str, Path(url).glob("day=*/*.parquet")))
    with duckdb.connect() as connection:
        columns = {row[0] for row in connection.execute(sql, [files]).fetchall()}
    assert {column for column, _ in PersonQuery(emails=["e"], user_ids=["u"], anonymous_ids=["a"]).ids} <= columns


def test_texts_are_stored_apart_from_their_lengths(url: str) -> None:
    sql = "SELECT path_in_schema FROM parquet_metadata(?) WHERE encodings LIKE '%DELTA_LENGTH_BYTE_ARRAY%'"
    files = list(map(str, Path(url).glob("day=*/*.parquet")))
    with duckdb.connect() as connection:
        columns = {row[0] for row in connection.execute(sql, [files]).fetchall()}
    assert {"message_id", "payload", "email"} <= columns
