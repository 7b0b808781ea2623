"""A lake that an older version wrote is read, continued, merged and repaired, and nothing of it is lost."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.transaction import AddAction

from punchcard.clock import from_micros
from punchcard.events.parse import read_request
from punchcard.lake.data_file import DataFile
from punchcard.lake.listing import EventQuery
from punchcard.lake.location import LakeLocation
from punchcard.lake.person_query import PersonQuery
from punchcard.lake.query import run_query
from punchcard.lake.reader import LakeReader, LakeResult
from punchcard.lake.repair import repair_lake
from punchcard.lake.schema import SCHEMA_VERSION, LakeRows, file_schema, table_schema
from punchcard.lake.table import LakeTable
from punchcard.lake.writer import LakeWriter
from punchcard.testing.clock import ManualClock

MIDNIGHT = 1_767_312_000_000_000  # 2026-01-02T00:00:00Z
DAY = date(2026, 1, 2)


NOTES = ("properties was an empty list and is read as an empty object",)


RESULTS = '[{"destination":null,"status":"refused","reason":"x","detail":"a \\"status\\": text","effectKey":null}]'
FAILED = '[{"destination":null,"status":"failed_on_ingest","reason":"invalid","detail":null,"effectKey":null}]'


def rows_of(position: int, *, noted: bool = False, results: str = RESULTS) -> LakeRows:
    body: dict[str, object] = {
        "type": "track",
        "event": "Checked In",
        "userId": f"u{position}",
        "anonymousId": f"a{position}",
        "messageId": f"m{position}",
        "properties": {"email": f"U{position}@example.com"},
    }
    if noted:
        body["properties"] = []
    received_at = from_micros(MIDNIGHT)
    batch = json.dumps({"batch": [body]}).encode()
    items = read_request(batch, call="batch", received_at=received_at, position=position)
    rows = LakeRows()
    rows.add_record(items, source="website", received_at=MIDNIGHT, position=position, results=[results])
    return rows


NEW = ("email", "order_id", "revenue", "value", "total", "currency", "product_ids", "event_day", "notes")


def without(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    for name in names:
        schema = schema.remove(schema.get_field_index(name))
    return schema


def in_version_1(schema: pa.Schema) -> pa.Schema:
    index = schema.get_field_index("results")
    return schema.set(index, schema.field(index).with_name("fates"))


def write_old_file(path: Path, rows: LakeRows, *, missing: Sequence[str]) -> None:
    """Write a data file in schema version 1: results in the column `fates`, with the member `fate`."""
    batch = rows.to_arrow()
    batch = batch.select(without(file_schema(), missing).names)
    columns = [
        pa.array([text.replace('"status":', '"fate":') for text in column.to_pylist()]).dictionary_encode()
        if name == "results"
        else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns, schema=in_version_1(batch.schema)), path)


def make_old_lake(
    folder: Path, *, records: int, missing: Sequence[str] = NEW, results: dict[int, str] | None = None
) -> None:
    """Make a table as an older version made it: without the missing columns, one file per commit."""
    configuration = {"delta.checkpointInterval": "50"}
    schema = Schema.from_arrow(in_version_1(without(table_schema(), missing)))
    DeltaTable.create(str(folder), schema, partition_by=["day"], configuration=configuration)
    for position in range(1, records + 1):
        path = f"day={DAY.isoformat()}/{position:020}.parquet"
        rows = rows_of(position, results=(results or {}).get(position, RESULTS))
        write_old_file(folder / path, rows, missing=missing)
        bounds = {"minValues": {"log_position": position}, "maxValues": {"log_position": position}}
        statistics = json.dumps({"numRecords": 1, **bounds, "nullCount": {"log_position": 0}})
        size = (folder / path).stat().st_size
        delta = DeltaTable(str(folder))
        delta.create_write_transaction(
            [AddAction(path, size, {"day": DAY.isoformat()}, 0, True, statistics)],
            mode="append",
            schema=delta.schema(),
            partition_by=["day"],
            commit_properties=CommitProperties(app_transactions=[Transaction("punchcard", position, 0)]),
        )


def test_old_lake_is_read_continued_and_merged(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    folder.mkdir()
    make_old_lake(folder, records=10)
    url = str(folder)
    assert [event.email for event in LakeReader(url).find("m3")] == [None]
    assert len(LakeReader(url).page(EventQuery(), limit=99)) == 10
    assert LakeReader(url).events_of_person(PersonQuery(emails=["u3@example.com"]), limit=9) == []
    assert [event.message_id for event in LakeReader(url).events_of_person(PersonQuery(user_ids=["u3"]), limit=9)] == [
        "m3"
    ]
    several = PersonQuery(emails=["u2@example.com"], user_ids=["u3"], anonymous_ids=["a4", "a5"])
    assert [event.message_id for event in LakeReader(url).events_of_person(several, limit=9)] == ["m5", "m4", "m3"]

    writer = LakeWriter(url)
    assert writer.last_position() == 10
    for position in range(11, 21):
        writer.append(rows_of(position), first_position=position, last_position=position)
    assert len(list(folder.glob("day=*/*.parquet"))) == 20
    assert writer.compact() > 0

    reader = LakeReader(url)
    assert [event.message_id for event in reader.page(EventQuery(), limit=99)] == [f"m{n}" for n in range(20, 0, -1)]
    assert [
        event.message_id for event in reader.events_of_person(PersonQuery(emails=["u15@example.com"]), limit=9)
    ] == ["m15"]
    assert [event.message_id for event in reader.events_of_person(PersonQuery(user_ids=["u3"]), limit=9)] == ["m3"]
    several = PersonQuery(emails=["u15@example.com"], user_ids=["u3"], anonymous_ids=["a4", "a15"], oldest_first=True)
    assert [event.message_id for event in reader.events_of_person(several, limit=9)] == ["m3", "m4", "m15"]
    all_rows = DeltaTable(url).to_pyarrow_table(columns=["message_id", "email"]).to_pylist()
    assert {row["message_id"]: row["email"] for row in all_rows}["m15"] == "u15@example.com"
    assert sum(row["email"] is None for row in all_rows) == 10


def test_old_lake_without_notes_is_read_and_continued(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    folder.mkdir()
    make_old_lake(folder, records=3, missing=["notes"])
    url = str(folder)
    (event,) = LakeReader(url).find("m3")
    assert (event.email, event.notes) == ("u3@example.com", ())
    assert [event.email for event in LakeReader(url).page(EventQuery(), limit=9)] == [
        f"u{n}@example.com" for n in (3, 2, 1)
    ]
    person = PersonQuery(emails=["u2@example.com"])
    assert [event.message_id for event in LakeReader(url).events_of_person(person, limit=9)] == ["m2"]

    writer = LakeWriter(url)
    for position in range(4, 24):
        writer.append(rows_of(position, noted=True), first_position=position, last_position=position)
    assert [event.notes for event in LakeReader(url).find("m2")] == [()]
    assert [event.notes for event in LakeReader(url).find("m7")] == [NOTES]
    assert writer.compact() > 0
    notes = {event.message_id: event.notes for event in LakeReader(url).page(EventQuery(), limit=99)}
    assert (notes["m2"], notes["m7"]) == ((), NOTES)


VERSION_2 = 11  # from this position on the current version writes
READERS = {
    "find": lambda reader, n: reader.find(f"m{n}"),
    "page": lambda reader, n: [
        event for event in reader.page(EventQuery(status="refused", reason="x"), limit=99) if event.log_position == n
    ],
    "person": lambda reader, n: reader.events_of_person(PersonQuery(user_ids=[f"u{n}"]), limit=9),
    "between": lambda reader, n: reader.between(n, n),
    "after": lambda reader, n: [event for event in reader.after(0, limit=99) if event.log_position == n],
    "recent": lambda reader, n: [
        event
        for event in reader.recent_events(
            names=["Checked In"], sources=["website"], since=from_micros(MIDNIGHT), limit=99
        )
        if event.log_position == n
    ],
}
REFUSED = LakeResult(None, "refused", "x", 'a "status": text')


@pytest.mark.sample(12)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("state", ["old", "continued", "merged"])
@pytest.mark.parametrize("missing", [NEW, []], ids=["first columns", "all columns"])
def test_results_of_both_schema_versions_are_read(tmp_path: Path, read: Any, state: str, missing: list[str]) -> None:
    folder = tmp_path / "lake"
    folder.mkdir()
    make_old_lake(folder, records=VERSION_2 - 1, missing=missing)
    positions = [1, VERSION_2 - 1]
    if state != "old":
        continue_lake(folder)
        positions.append(VERSION_2)
    if state == "merged":
        assert LakeWriter(str(folder)).compact() > 0
        assert any(file.schema_version == SCHEMA_VERSION for file in files_of(folder))
    reader = LakeReader(str(folder))
    for position in positions:
        (event,) = read(reader, position)
        assert (event.message_id, event.results) == (f"m{position}", (REFUSED,))


def test_merged_rows_are_written_in_the_current_schema_version(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    folder.mkdir()
    make_old_lake(folder, records=VERSION_2 - 1)
    continue_lake(folder)
    assert LakeWriter(str(folder)).compact() > 0
    assert {file.schema_version for file in files_of(folder)} == {SCHEMA_VERSION}
    rows = DeltaTable(str(folder)).to_pyarrow_table(columns=["log_position", "results", "fates"]).to_pylist()
    assert {(row["results"], row["fates"]) for row in rows} == {(RESULTS, None)}


@pytest.mark.parametrize("state", ["old", "continued"])
def test_message_keys_of_failed_events_are_left_out_in_both_schema_versions(tmp_path: Path, state: str) -> None:
    folder = tmp_path / "lake"
    folder.mkdir()
    make_old_lake(folder, records=VERSION_2 - 1, results={4: FAILED})
    count = VERSION_2 - 1
    if state == "continued":
        continue_lake(folder, failed=[VERSION_2 + 1])
        count += 10
    keys = [key for keys in LakeReader(str(folder)).recent_message_keys(99) for key in keys]
    failed = {"website m4"} | ({f"website m{VERSION_2 + 1}"} if state == "continued" else set())
    assert set(keys) == {f"website m{n}" for n in range(1, count + 1)} - failed


@pytest.mark.parametrize("state", ["old", "continued"])
def test_sql_queries_see_results_of_both_schema_versions(tmp_path: Path, state: str) -> None:
    folder = tmp_path / "lake"
    folder.mkdir()
    make_old_lake(folder, records=VERSION_2 - 1)
    if state == "continued":
        continue_lake(folder)
    names, rows = run_query(str(folder), "SELECT DISTINCT results FROM events", limit=9)
    assert (names, rows) == (["results"], [(RESULTS,)])
    names, _ = run_query(str(folder), "SELECT * FROM events", limit=1)
    assert "fates" not in names


def test_old_lake_is_repaired(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    folder.mkdir()
    make_old_lake(folder, records=VERSION_2 - 1)
    continue_lake(folder)
    (folder / f"day={DAY.isoformat()}" / f"{3:020}.parquet").write_bytes(b"damaged")

    def restore(is_missing: Callable[[int, date], bool], through: int) -> Iterator[LakeRows]:
        yield from (rows_of(position) for position in range(1, through + 1) if is_missing(position, DAY))

    clock = ManualClock(from_micros(MIDNIGHT))
    report = repair_lake(str(folder), restore=restore, clock=clock, dry_run=False)
    assert (report.restored_events, report.lost_events) == (1, 0)
    events = LakeReader(str(folder)).page(EventQuery(), limit=99)
    assert [event.message_id for event in events] == [f"m{n}" for n in range(VERSION_2 + 9, 0, -1)]
    assert {event.results for event in events} == {(REFUSED,)}


def continue_lake(folder: Path, *, failed: Collection[int] = ()) -> None:
    """Append ten records with the current version."""
    writer = LakeWriter(str(folder))
    for position in range(VERSION_2, VERSION_2 + 10):
        rows = rows_of(position, results=FAILED if position in failed else RESULTS)
        writer.append(rows, first_position=position, last_position=position)


def files_of(folder: Path) -> list[DataFile]:
    table = LakeTable(LakeLocation(str(folder)))
    assert table.refresh()
    return table.files()
