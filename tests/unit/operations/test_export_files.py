"""Exported files: cells of spreadsheets, names, and the memory that a long list needs."""

import io
import itertools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from punchcard.errors import ConfigurationError
from punchcard.operations.export_files import ExportFormat, csv_cell, file_name, parse_export_format, write_export
from punchcard.operations.exports import Column, Export, Kind

COLUMNS = (
    Column(name="text", read=lambda number: f"row {number} " + "x" * 200),
    Column(name="number", read=lambda number: number, kind=Kind.INTEGER),
    Column(name="at", read=lambda number: datetime.fromtimestamp(number, UTC), kind=Kind.INSTANT),
)


def long_export(rows: int, *, page_rows: int = 2_000) -> Export:
    def pages() -> Iterator[Sequence[int]]:
        for begin in range(0, rows, page_rows):
            yield range(begin, min(begin + page_rows, rows))

    return Export(name="long", columns=COLUMNS, pages=pages())


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        ("", ""),
        ("Checked In", "Checked In"),
        ("=1+1", "'=1+1"),
        ("+1 555", "'+1 555"),
        ("-1+2", "'-1+2"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-12.50", "-12.50"),
        ("+7", "+7"),
        (-3, "-3"),
        ("12-3", "12-3"),
        (datetime(2026, 11, 27, 22, 10, 1, 500_000, UTC), "2026-11-27T22:10:01.500Z"),
    ],
)
def test_a_cell_is_no_formula(value: object, cell: str) -> None:
    assert csv_cell(value) == cell


def test_a_parquet_file_has_types_and_all_rows() -> None:
    table = pq.read_table(io.BytesIO(b"".join(write_export(long_export(5, page_rows=2), ExportFormat.PARQUET))))
    assert [str(field.type) for field in table.schema] == ["string", "int64", "timestamp[us, tz=UTC]"]
    assert table["number"].to_pylist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("format", ExportFormat)
def test_an_empty_list_is_a_file_with_its_columns(format: ExportFormat) -> None:
    content = b"".join(write_export(Export(name="none", columns=COLUMNS, pages=iter([()])), format))
    names = pq.read_schema(io.BytesIO(content)).names if format is ExportFormat.PARQUET else content.decode().strip()
    assert names == (["text", "number", "at"] if format is ExportFormat.PARQUET else "text,number,at")


@pytest.mark.parametrize("format", ExportFormat)
def test_a_text_that_is_no_unicode_ends_no_export(format: ExportFormat) -> None:
    column = Column(name="text", read=lambda text: text)
    content = b"".join(write_export(Export(name="odd", columns=[column], pages=iter([("\ud800",)])), format))
    assert b"?" in content


@pytest.mark.parametrize("format", ExportFormat)
def test_the_pieces_of_a_long_file_are_pages(format: ExportFormat) -> None:
    pieces = write_export(long_export(10**9), format)  # it would never end if it were read ahead
    sizes = [len(piece) for piece in itertools.islice(pieces, 20)]
    assert max(sizes) < 1_000_000


_MEMORY = """
import resource, sys
from punchcard.operations.export_files import ExportFormat, write_export
sys.path.insert(0, sys.argv[1])
from test_export_files import long_export

def peak(rows):
    size = sum(len(piece) for format in ExportFormat for piece in write_export(long_export(rows), format))
    return size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

peak(20_000)
small, before = peak(20_000)
large, after = peak(150_000)
print(large // small, after - before)
"""


def test_a_longer_list_needs_no_more_memory(request: pytest.FixtureRequest) -> None:
    """The growth of the peak memory of a process, in MB; the files of 150,000 rows have 50 MB."""
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(request.path.parent)], capture_output=True, text=True, check=True
    )
    times, growth_mb = map(int, done.stdout.split())
    assert times >= 7
    assert growth_mb < 30


def test_names_of_files_and_formats() -> None:
    export = Export(name='members-a "b"/..', columns=COLUMNS, pages=iter([()]))
    assert file_name(export, ExportFormat.CSV) == "members-a-b-...csv"
    with pytest.raises(ConfigurationError, match="csv or parquet"):
        parse_export_format("xlsx")
