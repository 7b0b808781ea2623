"""A lake of past events for benches: about 1.1 KB each, generated in columns, which takes seconds a million events."""

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import duckdb
import pyarrow as pa

from bench.size import size
from punchcard.clock import EPOCH, SystemClock, to_micros
from punchcard.lake.schema import ROW_GROUP_ROWS, LakeRows, file_schema
from punchcard.lake.writer import LakeWriter
from punchcard.store.engine import Store
from punchcard.workspace.apply import apply
from punchcard.workspace.file import read_content
from punchcard.workspace.keyring import open_keyring

_BATCH = size(200_000, 10_000)
RECORD_EVENTS = 100
_DAYS = 5
_DAY_MICROS = 86_400_000_000
_RESULTS = (
    '[{"destination":"perkville","status":"refused","reason":"not_allowlisted",'
    '"detail":"It is not in eventToPerkMap","effectKey":null}]'
)
_CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website"]
[destinations.settings]
apiKey = "none"
businessId = "41"
locationId = "7"
eventToPerkMap = {map}
[destinations.options]
apiBaseUrl = "http://127.0.0.1:9"
"""
_BODY = (
    '{"messageId":"<id>","type":"track","event":"<event>","userId":"u<person>","anonymousId":"a-<hash>",'
    '"timestamp":"2026-01-02T03:04:05.678Z","properties":{"email":"u<person>@example.com","class_id":"c<hash>",'
    '"currency":"USD","products":[{"product_id":"p-<thing>","sku":"SKU-<thing>","name":"Trail shoe, size 42",'
    '"price":89.9,"quantity":1,"category":"Games"},{"product_id":"p-<person>","sku":"SKU-<person>",'
    '"name":"Water bottle","price":12.5,"quantity":2,"category":"Games"}]},"context":{"library":{"name":'
    '"analytics.js","version":"next-1.70.0"},"ip":"192.0.2.7","userAgent":"Mozilla/5.0 (Macintosh; Intel Mac OS X '
    '10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36","locale":"en-US","timezone":'
    '"America/Los_Angeles","page":{"path":"/p/<thing>","url":"https://shop.example.com/p/<thing>?utm_source=newsletter",'
    '"title":"Shop","search":"?utm_source=newsletter","referrer":"https://shop.example.com/"},"campaign":{"name":'
    '"spring","source":"newsletter","medium":"email"}},"integrations":{}}'
)


def configure(data: Path, event_map: Mapping[str, str]) -> None:
    """Write a configuration with one source and one Perkville destination into a new data folder."""
    store = Store(f"sqlite:///{data / 'punchcard.db'}")
    entries = ", ".join(f'"{name}" = "{perk}"' for name, perk in event_map.items())
    text = _CONFIG.replace("{map}", f"{{ {entries} }}")
    workspace = read_content(text.encode(), "punchcard.toml", environment={})
    apply(store, workspace, clock=SystemClock(), keyring=open_keyring(None, data / "secret-key"), actor="config file")
    store.close()


def fill_lake(data: Path, events: int, every: Mapping[str, int]) -> None:
    """Fill the lake of a data folder with track events of the last five days that have earned nothing.

    Args:
        every: Names of events, and of how many events one has the name. The others are `Product Viewed`.
    """
    writer = LakeWriter(str(data / "lake"))
    for batch in past_batches(events, every):
        append_batch(writer, batch)


@dataclass(frozen=True, kw_only=True)
class PastBatch:
    """Past events in the columns of the lake, each record of the log with 100 of them.

    Attributes:
        first: Log position of the first record.
        received_at: In microseconds since 1970-01-01 UTC.
    """

    table: pa.Table
    first: int
    last: int
    received_at: int


def past_batches(events: int, every: Mapping[str, int], *, people: int = 100_000) -> Iterator[PastBatch]:
    """Yield past events; event `i` has the message id `m<i>` and is of person `i % people`.

    Args:
        every: As for `fill_lake`.
    """
    batch = min(_BATCH, events)
    instants = _instants(events // batch)
    with duckdb.connect(config={"threads": 2}) as connection:
        for number in range(events // batch):
            begin = number * batch
            table = connection.sql(_sql(begin, begin + batch, instants[number], every, people)).to_arrow_table()
            first = begin // RECORD_EVENTS + 1
            yield PastBatch(
                table=table.select(file_schema().names).cast(file_schema()),
                first=first,
                last=first + batch // RECORD_EVENTS - 1,
                received_at=instants[number],
            )


def append_batch(writer: LakeWriter, batch: PastBatch) -> None:
    """Append past events to a lake."""
    rows = cast("LakeRows", _Rows(batch.table, batch.first, batch.last, batch.received_at))
    writer.append(rows, first_position=batch.first, last_position=batch.last)


@dataclass(frozen=True)
class _Rows:
    """Generated rows, as much of `LakeRows` as the writer uses."""

    table: pa.Table
    first: int
    last: int
    received_at: int

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def positions(self) -> tuple[int, int]:
        return self.first, self.last

    def by_day(self) -> dict[datetime.date, "_Rows"]:
        return {(EPOCH + datetime.timedelta(microseconds=self.received_at)).date(): self}

    def row_groups(self) -> Iterator["_Group"]:
        for begin in range(0, self.table.num_rows, ROW_GROUP_ROWS):
            yield _Group(self.table.slice(begin, ROW_GROUP_ROWS).combine_chunks())


@dataclass(frozen=True)
class _Group:
    table: pa.Table

    def to_arrow(self) -> pa.RecordBatch:
        return self.table.unify_dictionaries().to_batches()[0]


def _instants(batches: int) -> list[int]:
    """Return when each batch was received: spread over the last days, rising."""
    end = to_micros(SystemClock().now()) - _DAY_MICROS // 24
    return [end - (batches - number) * _DAYS * _DAY_MICROS // max(1, batches) for number in range(batches)]


def _sql(begin: int, end: int, instant: int, every: Mapping[str, int], people: int) -> str:
    cases = "WHEN false THEN '' " + " ".join(
        f"WHEN i % {number} = {index} THEN '{name}'" for index, (name, number) in enumerate(every.items())
    )
    columns = {
        "id": "'m' || i",
        "event": "event",
        "person": f"(i % {people})",
        "thing": "(i % 9973)",
        "hash": "hash(i)",
    }
    parts = re.split(r"<(\w+)>", _BODY)
    payload = " || ".join(
        columns[part] if number % 2 else "'" + part.replace("'", "''") + "'" for number, part in enumerate(parts)
    )
    return f"""
        SELECT 'm' || i AS message_id, 'track' AS type, event, 'u' || (i % {people}) AS user_id,
            'a-' || hash(i) AS anonymous_id, 'u' || (i % {people}) || '@example.com' AS email, NULL AS order_id,
            NULL::DECIMAL(38, 9) AS revenue, NULL::DECIMAL(38, 9) AS value, NULL::DECIMAL(38, 9) AS total,
            'USD' AS currency, ['p-' || (i % 9973), 'p-' || (i % {people})] AS product_ids, 'website' AS source,
            make_timestamptz({instant}) AS received_at, make_timestamptz({instant}) AS timestamp,
            make_timestamptz({instant})::DATE AS event_day, i // {RECORD_EVENTS} + 1 AS log_position,
            (i % {RECORD_EVENTS})::INTEGER AS event_index, {payload} AS payload, '{_RESULTS}' AS results, NULL AS notes
        FROM (SELECT i, CASE {cases} ELSE 'Product Viewed' END AS event FROM range({begin}, {end}) AS r(i))
    """
