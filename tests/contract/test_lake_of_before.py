"""The promise to who has a lake already: a table of before emails were kept goes on, and nothing of it is lost."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.transaction import AddAction

from punchcard.clock import from_micros
from punchcard.events.parse import read_request
from punchcard.lake.listing import EventQuery
from punchcard.lake.person_query import PersonQuery
from punchcard.lake.reader import LakeReader
from punchcard.lake.schema import LakeRows, file_schema, table_schema
from punchcard.lake.writer import LakeWriter

MIDNIGHT = 1_767_312_000_000_000  # 2026-01-02T00:00:00Z
DAY = date(2026, 1, 2)


NOTES = ("properties was an empty list and is read as an empty object",)


def rows_of(position: int, *, noted: bool = False) -> LakeRows:
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
    rows.add_record(items, source="website", received_at=MIDNIGHT, position=position, results=["[]"])
    return rows


NEW = ("email", "order_id", "revenue", "value", "total", "currency", "product_ids", "event_day", "notes")


def without(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    for name in names:
        schema = schema.remove(schema.get_field_index(name))
    return schema


def make_lake_of_before(folder: Path, *, records: int, missing: Sequence[str] = NEW) -> None:
    """A table as it was made before: without the columns, a file a commit."""
    configuration = {"delta.checkpointInterval": "50"}
    schema = Schema.from_arrow(without(table_schema(), missing))
    DeltaTable.create(str(folder), schema, partition_by=["day"], configuration=configuration)
    for position in range(1, records + 1):
        path = f"day={DAY.isoformat()}/{position:020}.parquet"
        (folder / path).parent.mkdir(exist_ok=True)
        batch = rows_of(position).to_arrow()
        table = pa.Table.from_batches([batch.select(without(file_schema(), missing).names)])
        pq.write_table(table, folder / path)
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


def test_a_lake_of_before_is_read_goes_on_and_is_merged(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    folder.mkdir()
    make_lake_of_before(folder, records=10)
    url = str(folder)
    assert [one.email for one in LakeReader(url).find("m3")] == [None]
    assert len(LakeReader(url).page(EventQuery(), limit=99)) == 10
    assert LakeReader(url).of_person(PersonQuery(emails=["u3@example.com"]), limit=9) == []
    assert [one.message_id for one in LakeReader(url).of_person(PersonQuery(user_ids=["u3"]), limit=9)] == ["m3"]
    several = PersonQuery(emails=["u2@example.com"], user_ids=["u3"], anonymous_ids=["a4", "a5"])
    assert [one.message_id for one in LakeReader(url).of_person(several, limit=9)] == ["m5", "m4", "m3"]

    writer = LakeWriter(url)
    assert writer.last_position() == 10
    for position in range(11, 21):
        writer.append(rows_of(position), first_position=position, last_position=position)
    assert len(list(folder.glob("day=*/*.parquet"))) == 20
    assert writer.compact() > 0

    reader = LakeReader(url)
    assert [one.message_id for one in reader.page(EventQuery(), limit=99)] == [f"m{n}" for n in range(20, 0, -1)]
    assert [one.message_id for one in reader.of_person(PersonQuery(emails=["u15@example.com"]), limit=9)] == ["m15"]
    assert [one.message_id for one in reader.of_person(PersonQuery(user_ids=["u3"]), limit=9)] == ["m3"]
    several = PersonQuery(emails=["u15@example.com"], user_ids=["u3"], anonymous_ids=["a4", "a15"], oldest_first=True)
    assert [one.message_id for one in reader.of_person(several, limit=9)] == ["m3", "m4", "m15"]
    by_others = DeltaTable(url).to_pyarrow_table(columns=["message_id", "email"]).to_pylist()
    assert {one["message_id"]: one["email"] for one in by_others}["m15"] == "u15@example.com"
    assert sum(one["email"] is None for one in by_others) == 10


def test_a_lake_of_before_notes_is_read_with_all_else_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    folder.mkdir()
    make_lake_of_before(folder, records=3, missing=["notes"])
    url = str(folder)
    (found,) = LakeReader(url).find("m3")
    assert (found.email, found.notes) == ("u3@example.com", ())
    assert [one.email for one in LakeReader(url).page(EventQuery(), limit=9)] == [
        f"u{n}@example.com" for n in (3, 2, 1)
    ]
    person = PersonQuery(emails=["u2@example.com"])
    assert [one.message_id for one in LakeReader(url).of_person(person, limit=9)] == ["m2"]

    writer = LakeWriter(url)
    for position in range(4, 24):
        writer.append(rows_of(position, noted=True), first_position=position, last_position=position)
    assert [one.notes for one in LakeReader(url).find("m2")] == [()]
    assert [one.notes for one in LakeReader(url).find("m7")] == [NOTES]
    assert writer.compact() > 0
    notes = {one.message_id: one.notes for one in LakeReader(url).page(EventQuery(), limit=99)}
    assert (notes["m2"], notes["m7"]) == ((), NOTES)
