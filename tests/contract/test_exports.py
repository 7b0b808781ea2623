"""Whole lists as CSV and Parquet: every row once, the filter of the list applied, formulas defused, memory bounded."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from punchcard.operations import exports
from punchcard.store.access.token_store import Role, create_token
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website_0001"

[[destinations]]
slug = "perkville"
type = "perkville"
source = "website"
[destinations.settings]
apiKey = "a-secret"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457", "Order Completed" = "123456", "Order Refunded" = "123456" }

[[audiences]]
name = "Regulars"
definition = "event('Checked In').count() >= 1"
"""
FORMULA = '=HYPERLINK("http://evil.example","Click")'


@pytest.fixture
def world(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PublicApiServer]:
    with filled(tmp_path, sqlite_url, monkeypatch) as server:
        yield server


@pytest.fixture
def world_of_each_engine(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PublicApiServer]:
    with filled(tmp_path, store_url, monkeypatch) as server:
        yield server


@contextmanager
def filled(folder: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PublicApiServer]:
    """A server with five awards, and an event that earned nothing."""
    monkeypatch.setattr(exports, "_PAGE_ROWS", 2)  # so that a list of five has three pages
    with PublicApiServer(folder, store_url, CONFIG) as server:
        add_operators(server)
        for number in range(5):
            server.send(
                {
                    "writeKey": "wk_website_0001",
                    "messageId": f"m{number}",
                    "userId": f"user-{number}",
                    "event": "Checked In",
                    "properties": {"email": f"p{number}@example.com"},
                },
                write_key="wk_website_0001",
            )
        server.send(
            {"messageId": "formula", "userId": "+1 555", "event": FORMULA, "properties": {"email": "ö@example.com"}},
            write_key="wk_website_0001",
        )
        server.route()
        server.deliver(rounds=6)
        server.feed_lake()
        server.engage()
        yield server


def rows_of(body: bytes, format: str) -> list[dict[str, object]]:
    if format == "parquet":
        rows: list[dict[str, object]] = pq.read_table(io.BytesIO(body)).to_pylist()
        return rows
    return list(csv.DictReader(io.StringIO(body.decode())))


def csv_of(world: PublicApiServer, call: str) -> bytes:
    return world.request("GET", f"{call}{'&' if '?' in call else '?'}format=csv").body


LISTS = {
    "transactions": ("/exports/transactions/perkville", "/api/destinations/perkville/transactions", "messageId", 5),
    "events": ("/exports/events", "/api/events", "messageId", 6),
    "customers": ("/exports/customers", "/api/customers", "id", 6),
    "members": ("/exports/customers?trait=regulars", "/api/customers?trait=regulars", "id", 5),
    "audit": ("/exports/audit", "/api/audit-events", "id", 3),
}


def test_a_whole_list_is_one_file_in_app_and_api(world_of_each_engine: PublicApiServer) -> None:
    world = world_of_each_engine
    viewer = FormBrowser(world)
    viewer.sign_in("read_only@acme.example")
    media_types = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
    for page, call, key, count in LISTS.values():
        separator = "&" if "?" in page else "?"
        for format, media_type in media_types.items():
            response = world.request("GET", f"{call}{separator}format={format}")
            assert response.status == 200, call
            assert response.headers["content-type"].startswith(media_type)
            assert response.headers["content-disposition"].startswith("attachment; filename=")
            assert response.headers["content-disposition"].endswith(f'.{format}"')
            rows = rows_of(response.body, format)
            assert len(rows) == len({row[key] for row in rows}) == count, call
            accepted = world.request("GET", call, headers={"Accept": media_type})
            assert rows_of(accepted.body, format) == rows, call
        download = viewer.get(f"{page}{separator}format=csv")
        assert (download.status, download.text.encode()) == (200, csv_of(world, call)), page


ACCEPT = {
    "text/csv; charset=utf-8": "text/csv",
    "TEXT/CSV": "text/csv",
    "text/csv, application/json;q=0.9": "text/csv",
    "text/csv;q=0.5, application/vnd.apache.parquet": "application/vnd.apache.parquet",
    "application/json, text/csv;q=0.5": "application/json",
    "application/vnd.segment.v1+json, text/csv;q=0.1": "application/json",
    "application/json, text/plain, */*": "application/json",
    "text/html, */*;q=0.8": "application/json",
    "nonsense": "application/json",
}


@pytest.mark.parametrize("accept", ACCEPT)
def test_a_list_is_returned_in_the_form_that_the_caller_prefers(world: PublicApiServer, accept: str) -> None:
    for call in ("/api/events", "/api/sources"):
        response = world.request("GET", call, headers={"Accept": accept})
        assert response.headers["content-type"].partition(";")[0] == ACCEPT[accept], call


def test_the_pages_of_a_list_and_its_file_have_the_same_rows(world: PublicApiServer) -> None:
    for call, member in (("/api/events", "events"), ("/api/customers", "customers")):
        items: list[dict[str, object]] = []
        cursor = ""
        while True:
            data = world.request("GET", f"{call}?pagination[count]=2{cursor}").json()["data"]
            items += data[member]
            if "next" not in data["pagination"]:
                break
            cursor = f"&pagination[cursor]={data['pagination']['next']}"
        key = "messageId" if member == "events" else "id"
        rows = rows_of(world.request("GET", f"{call}?format=csv").body, "csv")
        assert [item[key] for item in items] == [row[key] for row in rows]
    assert world.request("GET", "/api/events?pagination[cursor]=x").error["field"] == "pagination[cursor]"
    assert world.request("GET", "/api/events?startTime=x").error["field"] == "startTime"
    assert world.request("GET", "/api/events?format=xlsx").error["field"] == "format"


FILTERS = {
    "/exports/transactions/perkville?format=csv&q=p3@example.com": ["m3"],
    "/exports/transactions/perkville?format=csv&state=parked": [],
    "/exports/transactions/perkville?format=csv&state=delivered&event=Checked+In": ["m4", "m3", "m2", "m1", "m0"],
    "/exports/events?format=csv&status=refused&destination=perkville": ["formula"],
    "/exports/events?format=csv&source=elsewhere": [],
    "/exports/events?format=csv&time=2020-01-01": [],
}


def test_the_filter_of_the_list_applies(world: PublicApiServer) -> None:
    viewer = FormBrowser(world)
    viewer.sign_in("read_only@acme.example")
    for page, expected in FILTERS.items():
        rows = rows_of(viewer.get(page).text.encode(), "csv")
        assert [row["messageId"] for row in rows] == expected, page


def test_no_cell_is_a_formula_and_numbers_stay_numbers(world: PublicApiServer) -> None:
    world.send(
        *(
            {"userId": "ann", "messageId": name, "event": event, "properties": {"email": "ann@example.com", **values}}
            for name, event, values in (
                ("order", "Order Completed", {"order_id": "-1+2", "revenue": "12.50"}),
                ("refund", "Order Refunded", {"order_id": "-1+2", "total": "2.50"}),
            )
        ),
        write_key="wk_website_0001",
    )
    world.route()
    world.deliver(rounds=4)
    rows = rows_of(world.request("GET", "/api/destinations/perkville/transactions?format=csv").body, "csv")
    by_id = {row["messageId"]: row for row in rows}
    assert (by_id["order"]["quantity"], by_id["order"]["orderId"]) == ("12.5", "'-1+2")
    assert str(by_id["refund"]["quantity"]).startswith("-2.5")
    (event,) = [row for row in rows_of(csv_of(world, "/api/events"), "csv") if row["messageId"] == "formula"]
    assert (event["event"], event["userId"]) == (f"'{FORMULA}", "'+1 555")
    parquet = rows_of(world.request("GET", "/api/events?format=parquet").body, "parquet")
    assert FORMULA in {row["event"] for row in parquet}


def test_no_file_has_a_write_key_or_a_secret(world: PublicApiServer) -> None:
    for _, call, _, _ in LISTS.values():
        body = csv_of(world, call)
        assert b"wk_website_0001" not in body, call
        assert b"a-secret" not in body, call


def test_a_file_needs_a_session_or_a_token(world: PublicApiServer) -> None:
    assert FormBrowser(world).get("/exports/customers?format=csv").status == 303
    assert world.request("GET", "/api/customers?format=csv", headers={"Authorization": ""}).status == 401
    with world.store.unit_of_work() as work:
        token = create_token(work, "viewer", clock=world.clock, role=Role.READ_ONLY)
    assert world.request("GET", "/api/events", headers={"Authorization": f"Bearer {token}"}).status == 200
    owner = FormBrowser(world)
    owner.sign_in("owner@acme.example")
    assert owner.get("/exports/customers?format=xlsx").status == 422
    assert owner.get("/exports/transactions/nowhere?format=csv").status == 404


def test_the_lists_of_the_app_have_buttons_that_keep_the_filter(world: PublicApiServer) -> None:
    owner = FormBrowser(world)
    owner.sign_in("owner@acme.example")
    for page, link in (
        (
            "/destinations/perkville/transactions?state=parked",
            "/exports/transactions/perkville?format=csv&amp;state=parked",
        ),
        ("/events?name=Checked+In&time=7d", "/exports/events?format=csv&amp;name=Checked%20In&amp;time=7d"),
        ("/customers?trait=regulars", "/exports/customers?format=csv&amp;trait=regulars"),
        ("/audiences/regulars", "/exports/customers?format=parquet&amp;trait=regulars"),
        ("/settings/audit", "/exports/audit?format=csv"),
    ):
        assert f'href="{link}"' in owner.get(page).text, page


def test_an_event_of_a_list_is_as_in_its_trace(world: PublicApiServer) -> None:
    event = next(
        item for item in world.request("GET", "/api/events").json()["data"]["events"] if item["messageId"] == "m1"
    )
    trace = world.request("GET", "/api/events/m1").json()["data"]
    assert event["receivedAt"] == trace["receivedAt"]
    assert event["results"] == [
        {key: trace["results"][0][key] for key in ("destination", "status", "reason", "detail")}
    ]
    assert json.loads(json.dumps(event))["userId"] == "user-1"
