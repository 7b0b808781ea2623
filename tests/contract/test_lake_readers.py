"""The promise to who brings their own tools: the lake is read whole, at every moment, while another process writes."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

import duckdb
import polars
import pytest
from deltalake import DeltaTable

from punchcard.lake.query import run_query

# Receipt begins late in the evening; every third event happened a day, and every third two days before.
_WRITER = """
import json
import sys
from datetime import UTC, datetime, timedelta
from punchcard.clock import to_micros
from punchcard.events.parse import read_request
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.testing.clock import ManualClock

clock = ManualClock(datetime(2026, 3, 1, 23, tzinfo=UTC))
writer = LakeWriter(sys.argv[1])
position = 0
while True:
    position += 1
    now = clock.now()
    events = [
        {
            "type": "track",
            "event": "Order Completed",
            "userId": f"u{position}",
            "properties": {"order_id": f"o{position}-{late}", "revenue": "9.95", "products": [{"product_id": "tea"}]},
            "timestamp": (now - timedelta(days=late)).isoformat(),
        }
        for late in range(3)
    ]
    items = read_request(json.dumps({"batch": events}).encode(), call="batch", received_at=now, position=position)
    rows = LakeRows()
    results = ["[]"] * len(items)
    rows.add_record(items, source="web", received_at=to_micros(now), position=position, results=results)
    writer.append(rows, first_position=position, last_position=position)
    if position % 16 == 0:
        writer.compact()
        writer.vacuum()
    clock.advance(120)
    print(position, flush=True)
"""
_COUNTED = "count(*), count(DISTINCT order_id), max(log_position), sum(revenue), count(DISTINCT product_ids[{first}])"
_BY_EVENT_DAY = "SELECT event_day, count(*) FROM events GROUP BY event_day ORDER BY event_day"


@contextmanager
def a_writer(url: str) -> Iterator[Callable[[], int]]:
    """Another process that appends, merges and vacuums; the next position that it has written."""
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, url], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    message = writer.stdout
    try:
        yield lambda: int(message.readline())
    finally:
        writer.kill()
        writer.wait()
        message.close()


def by_lake_query(url: str, sql: str) -> list[tuple[Any, ...]]:
    return run_query(url, sql, limit=10_000)[1]


def by_duckdb(url: str, sql: str) -> list[tuple[Any, ...]]:
    events = DeltaTable(url).to_pyarrow_dataset()
    with duckdb.connect() as connection:
        return connection.register("events", events).execute(sql).fetchall()


def by_polars(url: str, sql: str) -> list[tuple[Any, ...]]:
    if "product_ids[1]" in sql:
        sql = sql.replace("product_ids[1]", "ARRAY_GET(product_ids, 1)")
    return polars.SQLContext(events=polars.scan_delta(url)).execute(sql).collect().rows()


@pytest.fixture(params=["lake query", "DuckDB", "Polars", pytest.param("Spark", marks=pytest.mark.spark)])
def read(request: pytest.FixtureRequest) -> Callable[[str, str], list[tuple[Any, ...]]]:
    """Asks the lake in SQL."""
    if request.param == "Spark":
        spark = request.getfixturevalue("spark")

        def by_spark(url: str, sql: str) -> list[tuple[Any, ...]]:
            spark.read.format("delta").load(url).createOrReplaceTempView("events")
            return [tuple(row) for row in spark.sql(sql.replace("product_ids[1]", "product_ids[0]")).collect()]

        return by_spark
    return {"lake query": by_lake_query, "DuckDB": by_duckdb, "Polars": by_polars}[request.param]


def test_the_lake_is_read_whole_while_it_is_written_merged_and_tidied(
    tmp_path: Path, read: Callable[[str, str], list[tuple[Any, ...]]]
) -> None:
    url = str(tmp_path / "lake")
    with a_writer(url) as written:
        for _ in range(6):
            through = 0
            for _ in range(10):
                through = written()
            counted = read(url, f"SELECT {_COUNTED.format(first=1)} FROM events")
            rows, orders, last, revenue, products = counted[0]
            assert (rows, orders, products) == (3 * last, 3 * last, 1), "a gap, or something twice"
            assert float(revenue) == pytest.approx(9.95 * rows)
            assert last >= through, "what was written is not seen"
    days = dict(read(url, _BY_EVENT_DAY))
    happened = read(url, "SELECT event_day, timestamp FROM events")
    assert all(day == (at.astimezone(UTC) if at.tzinfo else at).date() for day, at in happened)
    assert sum(days.values()) == len(happened)
    assert [str(day) for day in days][:4] == ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]
