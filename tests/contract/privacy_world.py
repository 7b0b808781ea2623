"""Persons with orders, and what is left of them: for tests of regulations."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet

from punchcard.lake.reader import LakeReader
from punchcard.log.bodies import decompress
from punchcard.log.opening import open_event_log
from punchcard.operations.access_request import PersonReader
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[workspace]
name = "Gym"
timezone = "UTC"
[[sources]]
slug = "website"
write_key = "wk_website"
[[sources]]
slug = "till"
write_key = "wk_till"
[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website", "till"]
[destinations.settings]
apiKey = "a-token"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Order Completed" = "123456", "Checked In" = "123457" }
[destinations.options]
apiBaseUrl = "http://127.0.0.1:1"
requestsPerSecond = 0
"""
HOOK = """
[[destinations]]
slug = "hook"
type = "webhooks"
name = "Data hook"
sources = ["website"]
[destinations.settings]
url = "{url}"
"""
"""A further destination, for `format`."""
ANN = ("user-of-ann-0815", "ann.archer@example.com", "device-of-ann-4711")
BOB = ("user-of-bob-0816", "bob.baker@example.com", "device-of-bob-4712")


def order(person: tuple[str, str, str], number: int, **more: Any) -> dict[str, Any]:
    """An order of a person."""
    user_id, email, anonymous_id = person
    return {
        "type": "track",
        "event": "Order Completed",
        "messageId": f"m-{number}",
        "userId": user_id,
        "anonymousId": anonymous_id,
        "properties": {"email": email, "order_id": f"o-{number}", "revenue": "9.99"},
        **more,
    }


def post(api: PublicApiServer, body: dict[str, Any], path: str = "/api/regulations") -> str:
    """Create a regulation; return its id."""
    response = api.request("POST", path, json.dumps(body).encode())
    assert response.status == 200, response.body
    return str(response.json()["data"]["regulateId"])


def regulate(api: PublicApiServer, type_: str, *subjects: str, by: str = "USER_ID") -> str:
    """Create a regulation of the workspace."""
    return post(api, {"regulationType": type_, "subjectType": by, "subjectIds": list(subjects)})


def get(api: PublicApiServer, regulation: str) -> dict[str, Any]:
    """Read a regulation."""
    return dict(api.request("GET", f"/api/regulations/{regulation}").json()["data"]["regulation"])


def process(api: PublicApiServer) -> None:
    """Route, write to the lake, compute profiles, and deliver."""
    api.route()
    api.feed_lake()
    api.engage()
    api.deliver(rounds=3)


def dump(store_url: str) -> Iterator[tuple[str, str]]:
    """Yield every row of every table as text."""
    if store_url.startswith("sqlite"):
        with sqlite3.connect(store_url.removeprefix("sqlite:///")) as connection:
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for row in connection.execute(f'SELECT * FROM "{table}"'):
                    yield table, repr(row)
        connection.close()
        return
    with psycopg.connect(store_url.replace("+psycopg", "")) as postgres:
        tables = postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            for row in postgres.execute(f'SELECT * FROM "{table}"'.encode()):
                yield table, repr(row)


def unpacked(path: Path) -> bytes:
    """What a file holds in a compressed form: the rows of a data file, the bodies of a log."""
    if path.suffix == ".parquet" and "_delta_log" not in path.parts:
        return repr(pyarrow.parquet.read_table(path, partitioning=None).to_pylist()).encode()
    if path.name == "log.db":
        with closing(open_event_log(f"sqlite:///{path}")) as log:
            records = log.read(0, records_max=10**6, bytes_max=10**9)
        return b"\n".join(decompress(record) for record in records)
    return b""


def traces_of(folder: Path, store_url: str, *texts: str) -> list[str]:
    """Where any of the texts still is: in a file below the folder, in the database's files, or in a table."""
    places = []
    files = [path for path in folder.rglob("*") if path.is_file()]
    if store_url.startswith("sqlite"):
        database = Path(store_url.removeprefix("sqlite:///"))
        files += [path for path in database.parent.glob(database.name + "*") if path not in files]
    for path in files:
        content = path.read_bytes().lower() + unpacked(path).lower()
        places += [f"{path.name}: {text}" for text in texts if text.lower().encode() in content]
    for table, row in dump(store_url):
        places += [f"{table}: {text}: {row[:300]}" for text in texts if text.lower() in row.lower()]
    return places


def transactions(api: PublicApiServer) -> list[dict[str, Any]]:
    """The ledger, newest first."""
    response = api.request("GET", "/api/destinations/perkville/transactions")
    return [{**row, **row["transaction"], "state": row["status"]} for row in response.json()["data"]["transactions"]]


def person_reader(api: PublicApiServer) -> PersonReader:
    """Return what answers access requests."""
    return PersonReader(
        store=api.store,
        lake=LakeReader(api.lake_location),
        lake_url=api.lake_location,
        tail=api.browser.tail,
        vault=api.subjects,
        clock=api.clock,
    )
