"""The promise of the Bloom filters: no file that holds an id or name is left out, and nearly every other file is."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from punchcard.clock import to_micros
from punchcard.events.parse import read_request
from punchcard.lake import data_file, id_filters
from punchcard.lake.data_file import DataFile
from punchcard.lake.id_filters import IdFilters
from punchcard.lake.lake_queries import LakeQueries
from punchcard.lake.listing import EventQuery
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


def written(url: str, names: list[str | None], *, position: int) -> None:
    """Write a file with a track call of each name; None for a page call."""
    bodies = [{"type": "track", "event": name} if name else {"type": "page", "name": "Home"} for name in names]
    events = [{**body, "messageId": f"m{position}-{n}", "userId": "ann"} for n, body in enumerate(bodies)]
    content = json.dumps({"batch": events}).encode()
    items = read_request(content, call="batch", received_at=AT, position=position)
    rows = LakeRows()
    rows.add_record(items, source="web", received_at=to_micros(AT), position=position, results=["[]"] * len(items))
    LakeWriter(url).append(rows, first_position=position, last_position=position)


def test_no_name_of_an_event_is_missed_however_many_a_file_has(tmp_path: Path) -> None:
    url = str(tmp_path / "lake")
    few = ["Order Completed", *map(id_of, range(len(IDS)), [1] * len(IDS))]
    many = [f"Name {number}" for number in range(2_500)]
    written(url, [None, *few, None, *few], position=1)
    written(url, [*many, None], position=2)
    written(url, [None, None], position=3)
    filters = IdFilters(LakeLocation(url))
    for position, names in ((1, few), (2, many)):
        matches = filters.files_with(files_at(url), [("event", name) for name in names])
        assert all(position in [file.first_position for file in files] for files in matches)
    reader = LakeReader(url)
    for name in ("Order Completed", few[7], "Name 0", "Name 2499"):
        assert {event.event for event in reader.page(EventQuery(name=name), limit=9)} == {name}
    since = AT.replace(hour=0)
    newest = reader.recent_events(names=["Name 7", few[7], "Never Seen"], sources=["web"], since=since, limit=9)
    assert sorted(str(event.event) for event in newest) == sorted(["Name 7", few[7], few[7]])


def test_an_event_that_was_never_seen_is_searched_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor in files of calls that have no name."""
    url = str(tmp_path / "lake")
    written(url, ["Order Completed", "Checked In"], position=1)
    written(url, [None], position=2)

    def refuse(*_: object) -> None:
        pytest.fail("a file was searched")

    reader = LakeReader(url)
    assert len(reader.page(EventQuery(name="Checked In"), limit=9)) == 1
    monkeypatch.setattr(LakeQueries, "run", refuse)
    assert reader.page(EventQuery(name="Never Seen"), limit=9) == []
    assert list(reader.recent_events(names=["Never Seen"], sources=["web"], since=AT, limit=9)) == []


def test_a_file_without_a_filter_of_names_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those that were written before there was one."""
    url = str(tmp_path / "lake")
    monkeypatch.setattr(data_file, "NAMED", ())
    written(url, ["Checked In"], position=1)
    monkeypatch.undo()
    written(url, ["Order Completed"], position=2)
    matches = IdFilters(LakeLocation(url)).files_with_any(files_at(url), "event", ["Never Seen"])
    assert [file.first_position for file in matches] == [1]
    assert len(LakeReader(url).page(EventQuery(name="Checked In"), limit=9)) == 1


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
