"""The promise of the Bloom filters: no file that holds an id is left out, and nearly every other file is."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from punchcard.clock import to_micros
from punchcard.events.parse import read_request
from punchcard.lake import id_filters
from punchcard.lake.data_file import DataFile
from punchcard.lake.id_filters import IdFilters
from punchcard.lake.lake_queries import LakeQueries
from punchcard.lake.location import LakeLocation
from punchcard.lake.person_query import PersonQuery
from punchcard.lake.reader import LakeReader
from punchcard.lake.schema import LakeRows
from punchcard.lake.table import LakeTable
from punchcard.lake.writer import LakeWriter

FILES = 4
AT = datetime(2026, 1, 2, 12, tzinfo=UTC)
# Of every length around the 32 bytes of a stripe, and beyond ASCII.
IDS = [*("x" * length for length in range(1, 70)), "é", "日本語の顧客", "🙂" * 11]


def id_of(number: int, file: int) -> str:
    return f"{IDS[number]}{file}"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("filters") / "lake")
    writer = LakeWriter(url)
    for file in range(FILES):
        events = [
            {
                "type": "track",
                "event": "A",
                "messageId": f"m-{id_of(number, file)}",
                "userId": id_of(number, file),
                "anonymousId": f"a-{id_of(number, file)}",
                "properties": {"email": f"{number}.{file}@example.com"},
            }
            for number in range(len(IDS))
        ]
        position = file + 1
        items = read_request(json.dumps({"batch": events}).encode(), call="batch", received_at=AT, position=position)
        rows = LakeRows()
        results = ["[]"] * len(items)
        rows.add_record(items, source="web", received_at=to_micros(AT), position=position, results=results)
        writer.append(rows, first_position=position, last_position=position)
    return url


def files_at(url: str) -> list[DataFile]:
    table = LakeTable(LakeLocation(url))
    assert table.refresh()
    return table.files()


@pytest.mark.parametrize("column", ["message_id", "user_id", "anonymous_id", "email"])
def test_only_the_file_with_an_id_is_left(url: str, column: str) -> None:
    """Written by Arrow, read here."""
    prefix = {"message_id": "m-", "user_id": "", "anonymous_id": "a-"}
    files = files_at(url)
    places = [(number, file) for number in range(len(IDS)) for file in range(FILES)]
    values = [
        f"{number}.{file}@example.com" if column == "email" else prefix[column] + id_of(number, file)
        for number, file in places
    ]
    matches = IdFilters(LakeLocation(url)).files_with(files, [(column, value) for value in values])
    for (_, file), files_with_id in zip(places, matches, strict=True):
        assert file + 1 in [file_with_id.first_position for file_with_id in files_with_id]
    assert sum(map(len, matches)) <= len(places) + 3  # one in a thousand is left unnecessarily


def test_an_id_that_no_file_holds_is_not_searched(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("a file was searched")

    monkeypatch.setattr(LakeQueries, "run", refuse)
    assert LakeReader(url).find("nothing") == []
    assert LakeReader(url).events_of_person(PersonQuery(emails=["nobody@example.com"]), limit=9) == []


def test_the_newest_events_of_somebody_in_every_file_are_read_from_few_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "lake")
    writer = LakeWriter(url)
    for position in range(1, 13):
        rows = LakeRows()
        body = {"type": "track", "event": "A", "messageId": f"m{position}", "userId": "ann"}
        content = json.dumps({"batch": [body]}).encode()
        items = read_request(content, call="batch", received_at=AT, position=position)
        rows.add_record(items, source="web", received_at=to_micros(AT), position=position, results=["[]"])
        writer.append(rows, first_position=position, last_position=position)
    searched: list[int] = []
    run = LakeQueries.run

    def noted(self: LakeQueries, sql: str, files: list[DataFile], values: list[object]) -> list[tuple[object, ...]]:
        searched.extend(file.first_position for file in files)
        return run(self, sql, files, values)  # type: ignore[arg-type]

    monkeypatch.setattr(LakeQueries, "run", noted)
    reader = LakeReader(url)
    newest = reader.events_of_person(PersonQuery(user_ids=["ann"]), limit=3)
    assert ([event.log_position for event in newest], sorted(searched)) == ([12, 11, 10], [9, 10, 11, 12])
    searched.clear()
    oldest = reader.events_of_person(PersonQuery(user_ids=["ann"], oldest_first=True), limit=6)
    assert [event.log_position for event in oldest] == [1, 2, 3, 4, 5, 6]
    assert len(reader.events_of_person(PersonQuery(user_ids=["ann"]), limit=99)) == 12


def test_a_file_that_cannot_be_read_may_hold_everything(url: str) -> None:
    (file, *_) = files_at(url)
    missing = DataFile(
        path="day=2026-01-02/missing-v2.parquet", day=file.day, bytes=1, rows=1, first_position=1, last_position=1
    )
    matches = IdFilters(LakeLocation(url)).files_with([missing], [("user_id", "ann"), ("email", "ann@example.com")])
    assert matches == [[missing], [missing]]


def test_places_of_few_files_are_kept(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_filters, "_FILES_MAX", 1)
    filters = IdFilters(LakeLocation(url))
    for _ in range(2):
        (matches,) = filters.files_with(files_at(url), [("user_id", id_of(0, 2))])
        assert [file.first_position for file in matches] == [3]
    assert len(filters._places) == 1
