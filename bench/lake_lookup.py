"""How fast the lake takes events, finds them and answers SQL, next to bare Parquet and a bare DuckDB query.

    python -m bench.lake_lookup [EVENTS, by default 10000000]

Builds a table in a temporary folder (about 0.17 GB a million events) and removes it afterwards. Also with 100 million
events, on a disk that takes them, everything stays usable; that takes half an hour.
"""

import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bench.size import size
from punchcard.clock import from_micros
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.lake.listing import EventQuery
from punchcard.lake.person_query import PersonQuery
from punchcard.lake.query import run_query
from punchcard.lake.reader import LakeReader
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter

_EVENTS = size(10_000_000, 20_000)
_BATCH = size(200_000, 10_000)
_PER_RECORD = 100
_DISTINCT_BODIES = size(20_000, 500)
_START = 1_767_312_000_000_000
_HOUR = 3_600_000_000
_RESULTS = (
    '[{"destination":"perkville","status":"refused","reason":"not_allowlisted",'
    '"detail":"Product Viewed is not in eventToPerkMap","effectKey":null}]'
)


def main(events: int = _EVENTS) -> None:
    """Measure and print."""
    folder = tempfile.mkdtemp(prefix="lake-bench-")
    try:
        _run(events, Path(folder))
    finally:
        shutil.rmtree(folder)


def _run(events: int, folder: Path) -> None:
    chance = random.Random(1)
    bodies = [event_body(chance) for _ in range(_DISTINCT_BODIES)]
    wires = msgspec.json.Decoder(WireEvent)
    envelopes = [wires.decode(body) for body in bodies]
    print(f"{events:,} events of {sum(map(len, bodies)) / len(bodies):,.0f} bytes, {_BATCH:,} a commit")
    writer = LakeWriter(str(folder / "lake"))
    filling = appending = bare = 0.0
    sample: list[str] = []
    for number in range(events // _BATCH):
        ids = uuids(_BATCH)
        sample += chance.sample(ids, 10)
        instant = from_micros(_START + number * _HOUR)
        batch = [
            Event(EventType.TRACK, MessageId(message_id), instant, instant, envelope, body)
            for message_id, envelope, body in zip(ids, cycle(envelopes), cycle(bodies), strict=False)
        ]
        first = number * _BATCH // _PER_RECORD + 1
        begun = time.process_time()
        rows = LakeRows()
        for at in range(0, _BATCH, _PER_RECORD):
            rows.add_record(
                batch[at : at + _PER_RECORD],
                source="website",
                received_at=_START + number * _HOUR,
                position=first + at // _PER_RECORD,
                results=[_RESULTS] * _PER_RECORD,
            )
        filled = time.process_time()
        writer.append(rows, first_position=first, last_position=first + _BATCH // _PER_RECORD - 1)
        filling += filled - begun
        appending += time.process_time() - filled
        if number < 10:
            bare += _bare_write(rows, folder / "bare.parquet")
    done = events // _BATCH * _BATCH
    ceiling = bare * 1e6 / (min(10, events // _BATCH) * _BATCH)
    print(f"fill rows      {filling * 1e6 / done:6.2f} µs of CPU an event")
    print(f"append         {appending * 1e6 / done:6.2f} µs of CPU an event")
    print(f"both           {done / (filling + appending):,.0f} events/s on one core")
    print(f"  ceiling      {ceiling:6.2f} µs of CPU an event: bare pyarrow write of the same Arrow batches")
    size = sum(file.stat().st_size for file in folder.rglob("*.parquet"))
    print(f"on disk        {size / done:6.0f} bytes an event, {len(list(folder.glob('lake/day=*/*')))} files")
    _look_up(folder, sample, chance)
    _ask(folder)
    _tidy(writer, done)


def _look_up(folder: Path, sample: list[str], chance: random.Random) -> None:
    begun = time.perf_counter()
    reader = LakeReader(str(folder / "lake"))
    _print_times("first find     ", [time.perf_counter() - begun for _ in [reader.find(sample[0])]])
    chance.shuffle(sample)
    _print_times("find           ", [_timed(reader.find, message_id) for message_id in sample[:200]])
    _print_times("find, not there", [_timed(reader.find, uuid) for uuid in uuids(50)])
    files = [str(path) for path in folder.glob("lake/day=*/*.parquet")]
    with duckdb.connect() as connection:
        bare = "SELECT payload FROM read_parquet(?) WHERE message_id = ?"
        times = [
            _timed(lambda message_id: connection.execute(bare, [files, message_id]).fetchall(), message_id)
            for message_id in sample[:50]
        ]
    _print_times("  ceiling      ", times, note="bare DuckDB point query on the same files")
    begun = time.perf_counter()
    count = sum(len(keys) for keys in reader.recent_message_keys(1_000_000))
    print(f"recent ids     {(time.perf_counter() - begun) * 1e6 / count:6.2f} µs an id")


def _ask(folder: Path) -> None:
    """What people, pages and Engage ask of the lake."""
    url = str(folder / "lake")
    reader = LakeReader(url)
    emails = [f"user-{number}@example.com" for number in range(0, 1_000_000, 50_000)]
    _print_times(
        "by email       ",
        [
            _timed(lambda email: reader.events_of_person(PersonQuery(emails=[email]), limit=50), email)
            for email in emails
        ],
    )
    query = EventQuery(type="track", name="Order Completed")
    _print_times("newest 50      ", [_timed(lambda _: reader.page(query, limit=50), "") for _ in range(20)])
    last = reader.last_position()
    places = [last * part // 10 for part in range(10)]
    _print_times(
        "next 20,000    ", [_timed(lambda at: reader.after(int(at), limit=20_000), str(place)) for place in places]
    )
    for title, sql in (
        ("count all      ", "SELECT count(*) FROM events"),
        (
            "a day's revenue",
            "SELECT sum(revenue), count(*) FROM events WHERE event = 'Order Completed' AND event_day = '2026-01-02'",
        ),
        (
            "revenue by day ",
            "SELECT event_day, sum(revenue) FROM events WHERE event = 'Order Completed' GROUP BY ALL ORDER BY ALL",
        ),
        (
            "best customers ",
            "SELECT email, sum(revenue) AS spent FROM events GROUP BY ALL ORDER BY spent DESC LIMIT 10",
        ),
    ):
        _print_times(
            title,
            [_timed(lambda query: run_query(url, query, limit=1_000), sql) for _ in range(5)],
            note="by `lake query`",
        )


def _tidy(writer: LakeWriter, events: int) -> None:
    begun = time.perf_counter()
    merged = writer.compact(merges_max=1_000)
    print(f"compact        {time.perf_counter() - begun:7.1f} s for {events:,} events, {merged} files fewer")
    begun = time.perf_counter()
    writer.append(_one_row(events), first_position=events, last_position=events)
    print(f"one more commit{(time.perf_counter() - begun) * 1e3:7.1f} ms")


def _one_row(position: int) -> LakeRows:
    body = event_body(random.Random(2))
    instant = from_micros(_START)
    rows = LakeRows()
    event = Event(EventType.TRACK, MessageId("last"), instant, instant, msgspec.json.decode(body, type=WireEvent), body)
    rows.add_record([event], source="website", received_at=_START, position=position, results=[_RESULTS])
    return rows


def _bare_write(rows: LakeRows, path: Path) -> float:
    table = pa.Table.from_batches([part.to_arrow() for part in rows.row_groups()]).unify_dictionaries()
    begun = time.process_time()
    pq.write_table(table, path, compression="zstd", compression_level=1, row_group_size=16_384)
    took = time.process_time() - begun
    path.unlink()
    return took


def _timed(call: Callable[[str], object], value: str) -> float:
    begun = time.perf_counter()
    call(value)
    return time.perf_counter() - begun


def _print_times(title: str, seconds: Sequence[float], *, note: str = "") -> None:
    ordered = sorted(seconds)
    p50, p95 = statistics.median(ordered) * 1e3, ordered[int(len(ordered) * 0.95)] * 1e3
    print(f"{title}{p50:7.1f} ms p50, {p95:.1f} ms p95 {note}")


def uuids(count: int) -> list[str]:
    text = os.urandom(16 * count).hex()
    parts = (text[at : at + 32] for at in range(0, 32 * count, 32))
    return [f"{part[:8]}-{part[8:12]}-{part[12:16]}-{part[16:20]}-{part[20:]}" for part in parts]


def event_body(chance: random.Random) -> bytes:
    """About 1.1 KB, as analytics.js sends a track call."""
    user = f"user-{chance.randrange(1_000_000)}"
    page = f"/p/{chance.randrange(10_000)}"
    products = [
        {
            "product_id": f"p-{chance.randrange(10_000)}",
            "sku": f"SKU-{chance.randrange(10_000)}",
            "name": f"Thing {chance.randrange(10_000)}",
            "price": round(chance.random() * 50, 2),
            "quantity": chance.randrange(1, 5),
            "category": "Games",
        }
        for _ in range(2)
    ]
    event = {
        "messageId": uuids(1)[0],
        "type": "track",
        "event": chance.choice(["Order Completed", "Product Viewed", "Checked In", "Cart Viewed"]),
        "userId": user,
        "anonymousId": uuids(1)[0],
        "timestamp": "2026-01-02T03:04:05.678Z",
        "sentAt": "2026-01-02T03:04:05.701Z",
        "properties": {
            "order_id": f"o-{chance.randrange(10**9)}",
            "revenue": round(chance.random() * 100, 2),
            "currency": "USD",
            "products": products,
            "email": f"{user}@example.com",
        },
        "context": {
            "library": {"name": "analytics.js", "version": "2.1.0"},
            "ip": f"192.0.2.{chance.randrange(256)}",
            "userAgent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/120.0.0.0 Safari/537.36",
            "locale": "en-US",
            "page": {"path": page, "url": f"https://shop.example.com{page}", "title": "Shop", "search": ""},
        },
        "integrations": {},
    }
    return json.dumps(event, separators=(",", ":")).encode()


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else _EVENTS)
