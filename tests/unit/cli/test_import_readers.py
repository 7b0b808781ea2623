"""What each file format gives: members of events, row numbers, and bad rows with their reasons."""

import gzip
import io
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.cli.importing.columns import read_headings
from punchcard.cli.importing.csv_rows import CsvRows
from punchcard.cli.importing.rows import BadRow, EventRow, open_rows
from punchcard.errors import ConfigurationError, PunchcardError


def read(path: Path, *, after: int = 0) -> list[EventRow | BadRow]:
    reader = open_rows(path)
    try:
        rows = list(reader.rows(after=after))
        assert reader.position == reader.size
    finally:
        reader.close()
    return rows


def read_csv(folder: Path, text: str, *, name: str = "x.csv") -> list[EventRow | BadRow]:
    path = folder / name
    path.write_bytes(text.encode())
    return read(path)


def wire(row: EventRow | BadRow) -> str:
    """The event as JSON text."""
    assert isinstance(row, EventRow), row
    return msgspec.json.encode(row.members).decode()


@pytest.mark.parametrize(
    ("heading", "cell", "member"),
    [
        pytest.param("userId", "007", '{"userId":"007"}', id="ids stay text"),
        pytest.param("event", " Order ", '{"event":" Order "}', id="text stays as it is"),
        pytest.param("properties.order_id", "007", '{"properties":{"order_id":"007"}}', id="order ids stay text"),
        pytest.param("properties.revenue", "9.99", '{"properties":{"revenue":9.99}}', id="amount"),
        pytest.param("properties.revenue", "9.990", '{"properties":{"revenue":9.990}}', id="amount digit by digit"),
        pytest.param("properties.total", " 12 ", '{"properties":{"total":12}}', id="amount with spaces"),
        pytest.param("properties.value", "-1e3", '{"properties":{"value":-1e3}}', id="amount with exponent"),
        pytest.param("properties.revenue", "$9.99", '{"properties":{"revenue":"$9.99"}}', id="amount that is none"),
        pytest.param("properties.revenue", "09.99", '{"properties":{"revenue":"09.99"}}', id="amount not as JSON"),
        pytest.param("properties.revenue", "٣", '{"properties":{"revenue":"٣"}}', id="amount in other digits"),
        pytest.param("properties.points", "5", '{"properties":{"points":"5"}}', id="no amount of the spec"),
        pytest.param("properties.points:number", "5.50", '{"properties":{"points":5.50}}', id="said to be a number"),
        pytest.param("properties.revenue:text", "5.50", '{"properties":{"revenue":"5.50"}}', id="said to be text"),
        pytest.param("traits.vip:boolean", "TRUE", '{"traits":{"vip":true}}', id="said to be true"),
        pytest.param("integrations.All", "false", '{"integrations":{"All":false}}', id="integrations are switches"),
        pytest.param("context.traits.email", "a@b.c", '{"context":{"traits":{"email":"a@b.c"}}}', id="further inside"),
        pytest.param("properties.a:b", "5", '{"properties":{"a:b":"5"}}', id="a colon that says nothing"),
        pytest.param("properties.items:json", "[1.10]", '{"properties":{"items":[1.10]}}', id="JSON"),
        pytest.param("properties", '{""a"": 1.10}', '{"properties":{"a": 1.10}}', id="a whole object"),
        pytest.param("properties.revenue", "", "{}", id="an empty cell is left out"),
    ],
)
def test_a_csv_cell_goes_where_its_heading_says(heading: str, cell: str, member: str, tmp_path: Path) -> None:
    rows = read_csv(tmp_path, f'{heading},name\n"{cell}",n\n')
    assert wire(rows[0]).replace(',"name":"n"', "").replace('"name":"n"', "") == member


@pytest.mark.parametrize(
    ("heading", "says"),
    [
        pytest.param("user_id", "perhaps userId", id="other spelling"),
        pytest.param("revenue", "properties.revenue", id="without its object"),
        pytest.param("sentAt", "unknown", id="not a row's to say"),
        pytest.param("properties.", "unknown", id="nothing behind the dot"),
        pytest.param("userId:number", "unknown", id="an id is text"),
        pytest.param("", "without a heading", id="empty"),
        pytest.param("properties.a,properties.a", "same", id="twice"),
        pytest.param("properties,properties.a", "same", id="whole and part"),
        pytest.param("properties.a.b,properties.a", "same", id="inside and outside"),
    ],
)
def test_a_heading_that_cannot_be_is_refused_before_anything_is_sent(heading: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=says):
        read_csv(tmp_path, f"event,{heading}\nA,1,1\n")


def test_all_bad_headings_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_headings(["a", "event", "b"], file="x.csv")
    assert refused.value.message.count("\n") == 0
    assert "'a', 'b'" in refused.value.message
    assert "--map a=properties.a" in refused.value.message


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param("A,1", "2 cells", id="too few cells"),
        pytest.param("A,1,true,x", "4 cells", id="too many cells"),
        pytest.param("A,one,true", "not a number", id="no number"),
        pytest.param("A,,perhaps", "neither true nor false", id="no boolean"),
        pytest.param('A,"1"2,true', "not CSV", id="broken quotes"),
    ],
)
def test_a_bad_csv_row_is_reported_and_its_neighbours_are_read(line: str, reason: str, tmp_path: Path) -> None:
    rows = read_csv(
        tmp_path, f"event,properties.n:number,properties.b\nA,1,\n{line}\nB,2,\n".replace(".b", ".b:boolean")
    )
    assert isinstance(rows[1], BadRow)
    assert reason in rows[1].reason
    assert [row.number for row in rows] == [2, 3, 4]
    assert wire(rows[2]) == '{"event":"B","properties":{"n":2}}'


def test_rows_are_counted_as_a_spreadsheet_does(tmp_path: Path) -> None:
    rows = read_csv(tmp_path, 'event,name\nA,"two\nlines"\n,\nB,b\n')
    assert [(row.number, wire(row)) for row in rows] == [
        (2, '{"event":"A","name":"two\\nlines"}'),
        (4, '{"event":"B","name":"b"}'),
    ]


@pytest.mark.parametrize("blank_lines", ["\n", "\r\n \r\n", "\ufeff\n"])
def test_blank_lines_before_the_heading_are_skipped(blank_lines: str, tmp_path: Path) -> None:
    rows = read_csv(tmp_path, f"{blank_lines}event,userId\nOrder,7\n")
    assert [wire(row) for row in rows] == ['{"event":"Order","userId":"7"}']
    assert [row.number for row in rows] == [blank_lines.count("\n") + 2]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("event,userId\nA,1\n", id="plain"),
        pytest.param("\ufeffevent,userId\r\nA,1\r\n", id="as spreadsheets write it"),
        pytest.param("event;userId\nA;1\n", id="semicolons"),
        pytest.param("event\tuserId\nA\t1", id="tabs, no last line end"),
        pytest.param(' event ,"userId"\nA,1\n', id="spaced and quoted headings"),
    ],
)
def test_csv_comes_in_many_forms(text: str, tmp_path: Path) -> None:
    assert [wire(row) for row in read_csv(tmp_path, text)] == ['{"event":"A","userId":"1"}']


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe,\n"], ids=["empty", "no heading", "not UTF-8"])
def test_a_csv_without_a_heading_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    reader = open_rows(path)
    with pytest.raises(PunchcardError, match=r"x\.csv"):
        list(reader.rows(after=0))
    reader.close()


BINARY = {"no text": b"\x00\x01\x02", "half a character": b"\xff\xfea", "a lone half pair": b"\xff\xfe\x00\xd8"}


@pytest.mark.parametrize("content", BINARY.values(), ids=BINARY)
def test_what_is_no_text_is_refused_with_the_name_of_the_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    reader = CsvRows(tmp_path / "x.csv")
    try:
        with pytest.raises(ConfigurationError, match=r"x\.csv: The file is not text"):
            reader.columns()
    finally:
        reader.close()


def test_moving_a_column_does_not_change_what_a_row_is(tmp_path: Path) -> None:
    csv = read_csv(tmp_path, "event,userId\nA,1\n")[0]
    other = read_csv(tmp_path, "userId,event\n1,A\n")[0]
    assert isinstance(csv, EventRow)
    assert isinstance(other, EventRow)
    assert csv.content == other.content


def csv_bytes(rows: Sequence[Sequence[str]]) -> bytes:
    import csv

    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(table=st.lists(st.tuples(cells, cells, cells), max_size=5))
def test_any_text_survives_a_csv(table: list[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    headings = ("event", "properties.a", "properties.revenue")
    path.write_bytes(csv_bytes([headings, *table]))
    reader = CsvRows(path)
    read_members = [row.members for row in reader.rows(after=0) if isinstance(row, EventRow)]
    reader.close()
    expected = [row for row in table if any(row)]
    assert len(read_members) == len(expected)
    for members, (event, a, revenue) in zip(read_members, expected, strict=True):
        properties: Any = members.get("properties", {})
        assert (members.get("event", ""), properties.get("a", "")) == (event, a)
        sent = json.loads(msgspec.json.encode(properties.get("revenue", "")))
        assert sent == revenue or Decimal(str(sent)) == Decimal(revenue.strip())


JSON_LINES = b'{"event":"A","n":1.10}\n\n  {"event":"B"}  \n[1]\n{"a":\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("x.jsonl", JSON_LINES, id="lines"),
        pytest.param("x.NDJSON", JSON_LINES.replace(b"\n", b"\r\n"), id="lines with carriage returns"),
        pytest.param("x.json.gz", gzip.compress(JSON_LINES), id="lines, packed"),
        pytest.param("x.json", b"\xef\xbb\xbf" + JSON_LINES, id="lines behind a byte order mark"),
    ],
)
def test_json_lines(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    rows = read(path)
    assert [(row.number, type(row)) for row in rows] == [(1, EventRow), (3, EventRow), (4, BadRow), (5, BadRow)]
    assert [wire(row) for row in rows[:2]] == ['{"event":"A","n":1.10}', '{"event":"B"}']


def test_a_json_array(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[\n {"event": "A"},\n {"event": "B",\n "n": 1.10}, 7]')
    rows = read(path)
    assert [(row.number, type(row)) for row in rows] == [(1, EventRow), (2, EventRow), (3, BadRow)]
    assert wire(rows[1]) == '{"event":"B","n":1.10}'


def test_a_broken_json_array_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[{"event": "A"}')
    reader = open_rows(path)
    with pytest.raises(PunchcardError, match="array"):
        list(reader.rows(after=0))
    reader.close()


def test_an_endless_line_is_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a":"' + b"x" * 3_000_000 + b'"}\n{"event":"B"}')
    rows = read(path)
    assert [(row.number, type(row)) for row in rows] == [(1, BadRow), (2, EventRow)]


def test_a_packed_file_that_was_cut_off_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(JSON_LINES * 1000)[:-20])
    reader = open_rows(path)
    with pytest.raises(PunchcardError, match="The file cannot be read"):
        list(reader.rows(after=0))
    reader.close()


def parquet(folder: Path, **columns: pa.Array) -> Path:
    path = folder / "x.parquet"
    pq.write_table(pa.table({name.replace("__", "."): column for name, column in columns.items()}), path)
    return path


AT = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("heading", "column", "member"),
    [
        pytest.param("userId", pa.array([7]), '{"userId":"7"}', id="an id that is a number"),
        pytest.param("timestamp", pa.array([AT]), '{"timestamp":"2026-01-02T03:04:05.600000Z"}', id="instant"),
        pytest.param(
            "timestamp",
            pa.array([AT.replace(tzinfo=None)], pa.timestamp("ns")),
            '{"timestamp":"2026-01-02T03:04:05.600000Z"}',
            id="nanoseconds without a zone",
        ),
        pytest.param("properties.day", pa.array([date(2026, 1, 2)]), '{"properties":{"day":"2026-01-02"}}', id="day"),
        pytest.param("properties.revenue", pa.array(["9.90"]), '{"properties":{"revenue":9.90}}', id="amount as text"),
        pytest.param(
            "properties.revenue", pa.array([Decimal("9.90")]), '{"properties":{"revenue":9.90}}', id="decimal"
        ),
        pytest.param("properties.revenue", pa.array([9.99]), '{"properties":{"revenue":9.99}}', id="double"),
        pytest.param(
            "properties.revenue", pa.array([9.99], pa.float32()), '{"properties":{"revenue":9.99}}', id="single"
        ),
        pytest.param("properties.order_id", pa.array([7]), '{"properties":{"order_id":7}}', id="a number stays one"),
        pytest.param("traits.vip", pa.array([True]), '{"traits":{"vip":true}}', id="boolean"),
        pytest.param(
            "properties",
            pa.array([{"revenue": Decimal("1.10"), "none": None, "items": [{"sku": "a"}]}]),
            '{"properties":{"revenue":1.10,"items":[{"sku":"a"}]}}',
            id="struct",
        ),
        pytest.param(
            "properties",
            pa.array([[("email", "a@b.c")]], pa.map_(pa.string(), pa.string())),
            '{"properties":{"email":"a@b.c"}}',
            id="map",
        ),
        pytest.param("properties", pa.array(['{"a": 1.10}']), '{"properties":{"a": 1.10}}', id="JSON text"),
        pytest.param("name", pa.array([None], pa.string()), "{}", id="null"),
    ],
)
def test_a_parquet_cell_goes_where_its_heading_says(
    heading: str, column: pa.Array, member: str, tmp_path: Path
) -> None:
    assert [wire(row) for row in read(parquet(tmp_path, **{heading: column}))] == [member]


@pytest.mark.parametrize(
    ("heading", "column", "reason"),
    [
        pytest.param("properties.revenue", pa.array([float("nan")]), "nan", id="NaN"),
        pytest.param("properties.picture", pa.array([b"x"]), "bytes", id="bytes"),
        pytest.param("userId", pa.array([1.5]), "is not text", id="no id"),
        pytest.param("properties.n:number", pa.array(["x"]), "not a number", id="no number"),
    ],
)
def test_a_parquet_cell_that_json_has_not_is_a_bad_row(
    heading: str, column: pa.Array, reason: str, tmp_path: Path
) -> None:
    (row,) = read(parquet(tmp_path, **{heading: column}))
    assert isinstance(row, BadRow)
    assert reason in row.reason


def test_a_parquet_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_text("event\nA\n")
    with pytest.raises(ConfigurationError, match="Parquet"):
        open_rows(path)


@pytest.mark.parametrize("after", [0, 1, 2, 2_001, 4_999, 5_001, 6_000])
def test_every_format_goes_on_behind_a_row(after: int, tmp_path: Path) -> None:
    numbers = [str(number) for number in range(5_000)]
    in_parquet = parquet(tmp_path, event=pa.array(numbers))
    in_csv, in_json = tmp_path / "x.csv", tmp_path / "x.jsonl"
    in_csv.write_text("\n".join(["event", *numbers]))
    in_json.write_text("\n".join(f'{{"event":"{number}"}}' for number in numbers))
    for path, heading_rows in ((in_parquet, 0), (in_csv, 1), (in_json, 0)):
        expected = [number for number in range(heading_rows + 1, 5_001 + heading_rows) if number > after]
        assert [row.number for row in read(path, after=after)] == expected
