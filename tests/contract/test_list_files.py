"""Every list of the Public API as a file: the rows of its pages, once each, in its columns."""

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pyarrow.parquet as pq
import pytest

from punchcard.api import list_files
from punchcard.api.app import _calls
from punchcard.clock import to_iso
from punchcard.store.access.token_store import Role, create_token
from punchcard.testing.public_api import ApiResponse, PublicApiServer

WRITE_KEY = "wk_website_0001"
CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website_0001"

[[sources]]
slug = "pos"
write_key = "wk_pos_0001"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website", "pos"]
[destinations.settings]
apiKey = "a-secret"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Order Completed" = "123456" }
[[destinations.filters]]
title = "=no staff"
if = "contains( properties.email, '@acme.example' )"
actions = [{ type = "DROP" }]

[[audiences]]
name = "Regulars"
definition = "event('Order Completed').count() >= 1"
[[audiences]]
name = "Founders"
definition = "list('founders')"
[[computed_traits]]
name = "Spend"
definition = "event('Order Completed').sum(property('revenue'))"

[[alert_channels]]
name = "ops"
url = "https://hooks.example.com/a-secret"

[tracking_plans.shop]
sources = ["website"]
[[tracking_plans.shop.rules]]
key = "Order Completed"
jsonSchema = '{"properties": {"properties": {"required": ["coupon"]}}}'

[[transformations]]
name = "Fix"
source = "website"
if = "event = 'order_completed'"
newEventName = "Order Completed"
"""
PARAMETERS = {
    "space_id": "punchcard",
    "source_id": "website",
    "destination_id": "perkville",
    "plan_id": "shop",
    "number": "1",
    "id": "founders",
    "stage": "successful-delivery",
}
PERIOD = (
    "?startTime=2026-01-31T00:00:00Z&endTime=2026-02-01T00:00:00Z"
    "&granularity=DAY&sourceId=website&destinationConfigId=perkville"
)
GROUPED_BY_PAGE = {"/api/suppressions"}  # a row has all subjects of a page with one type
LISTS = dict(list_files.list_paths(_calls()))


@pytest.fixture
def world(tmp_path: Path, sqlite_url: str) -> Iterator[PublicApiServer]:
    """A server with at least one row in most lists, and several in some."""
    with PublicApiServer(tmp_path, sqlite_url, CONFIG) as server:
        for number, revenue in enumerate((5, 6, 7)):
            order = {"order_id": "1", "revenue": revenue, "email": "ann@example.com"}
            server.send(
                {"messageId": f"m{number}", "userId": "ann", "event": "Order Completed", "properties": order},
                write_key=WRITE_KEY,
            )
        server.route()
        server.deliver(rounds=2)
        server.feed_lake()
        post(server, "labels", {"label": {"key": "environment", "value": "+1"}})
        for number in range(3):
            body = {"regulationType": "SUPPRESS_ONLY", "subjectType": "USER_ID", "subjectIds": [f"u{number}"]}
            post(server, "regulations", body)
        for call in ("replays", "reconciliations", "simulations?wait=0"):
            post(server, f"destinations/perkville/{call}", {"dryRun": True} if call == "replays" else {})
        yield server


def post(world: PublicApiServer, call: str, body: object) -> None:
    response = world.request("POST", f"/api/{call}", json.dumps(body).encode())
    assert response.status == 200, response.body


def call_of(path: str) -> str:
    call = re.sub(r"\{(\w+)\}", lambda match: PARAMETERS[match[1]], path)
    return call + PERIOD if "delivery-overview" in call else call


def get(world: PublicApiServer, call: str, query: str = "", **headers: str) -> ApiResponse:
    separator = "&" if "?" in call else "?"
    return world.request("GET", f"{call}{separator}{query}" if query else call, headers=headers or None)


def rows_of(response: ApiResponse, format: str) -> list[dict[str, Any]]:
    assert response.status == 200, response.body
    if format == "parquet":
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(response.body)).to_pylist()
        return rows
    return list(csv.DictReader(io.StringIO(response.body.decode())))


def test_each_list_and_its_file_have_the_same_rows(world: PublicApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {path: get(world, call_of(path)).json()["data"] for path in LISTS}
    monkeypatch.setattr(list_files, "COUNT_MAX", 1)  # so that a list of three has three pages
    for path, shape in LISTS.items():
        data, call = pages[path], call_of(path)
        listed = data[shape.member] if shape.member is not None else next(iter(data.values()))
        columns = [] if shape.row is None else [field.encode_name for field in msgspec.structs.fields(shape.row)]
        for format, media_type in (("csv", "text/csv"), ("parquet", "application/vnd.apache.parquet")):
            response = get(world, call, f"format={format}")
            assert response.headers["content-type"].startswith(media_type), path
            assert re.fullmatch(rf'attachment; filename="[\w.-]+\.{format}"', response.headers["content-disposition"])
            rows = rows_of(response, format)
            assert rows_of(get(world, call, Accept=media_type), format) == rows, path
            if path in GROUPED_BY_PAGE:
                assert len(rows) >= len(listed)
                continue
            assert len(rows) == len(listed), path
            for item, row in zip(listed, rows, strict=True):
                assert not columns or list(row) == columns, path
                for column in columns:
                    value, cell = item.get(column), row[column]
                    if isinstance(value, str) and not value.startswith(("+", "=")):
                        assert (to_iso(cell) if isinstance(cell, datetime) else cell) == value, path
        assert get(world, call, "format=json").json()["data"].keys() == data.keys(), path
        assert get(world, call, "format=xlsx").error["field"] == "format", path


def test_a_file_has_all_pages_whichever_page_was_requested(world: PublicApiServer) -> None:
    call = "/api/sources"
    cursor = get(world, call, "pagination[count]=1").json()["data"]["pagination"]["next"]
    everything = rows_of(get(world, call, "format=csv"), "csv")
    for paging in ("pagination[count]=1", f"pagination[cursor]={quote(cursor)}"):
        assert rows_of(get(world, call, f"format=csv&{paging}"), "csv") == everything


@pytest.mark.parametrize("paging", ["pagination[count]=-1", "pagination[count]=ten", "pagination[cursor]=nonsense"])
def test_a_file_with_a_page_that_no_list_has_is_refused(world: PublicApiServer, paging: str) -> None:
    response = get(world, "/api/tracking-plans", f"format=csv&{paging}")
    assert response.status == 400
    assert response.error["field"] == paging.partition("=")[0]


def test_most_lists_of_this_test_have_rows(world: PublicApiServer) -> None:
    empty = [path for path in LISTS if not rows_of(get(world, call_of(path), "format=csv"), "csv")]
    assert set(empty) == {
        "/api/sources/{source_id}/rejected-requests",
        "/api/rejected-requests",
        "/api/delivery-overview/{stage}",
        "/api/invites",
        "/api/alerts",
        "/api/regulations/sources/{source_id}",
        "/api/privacy/controls",
        "/api/sources/{source_id}/connected-warehouses",
        "/api/destinations/{destination_id}/subscriptions",
        "/api/spaces/{space_id}/audiences/{id}/uploads",
    }


def test_values_of_a_file_have_their_types(world: PublicApiServer) -> None:
    (filter_row,) = rows_of(get(world, "/api/destination/perkville/filters", "format=csv"), "csv")
    assert (filter_row["title"], filter_row["enabled"]) == ("'=no staff", "true")
    assert json.loads(filter_row["actions"]) == [{"type": "DROP"}]
    listed = get(world, "/api/configuration-versions").json()["data"]["versions"]
    rows = rows_of(get(world, "/api/configuration-versions", "format=parquet"), "parquet")
    for version, row in zip(listed, rows, strict=True):
        assert row["number"] == version["number"]
        assert to_iso(row["timestamp"]) == version["timestamp"]
    conflicts = rows_of(get(world, "/api/destinations/perkville/conflicts", "format=csv"), "csv")
    assert json.loads(conflicts[0]["first"])["messageId"] == "m0"


def test_filters_of_a_list_apply_and_paging_does_not(world: PublicApiServer) -> None:
    call = "/api/regulations?pagination[count]=1&status=INITIALIZED&regulationTypes[0]=SUPPRESS_ONLY"
    listed = get(world, "/api/regulations").json()["data"]["regulations"]
    expected = [row["id"] for row in listed if row["status"] == "INITIALIZED"]
    assert [row["id"] for row in rows_of(get(world, call, "format=csv"), "csv")] == expected
    assert (
        get(world, "/api/regulations?status=FINISHED&format=csv").body.count(b"\n") == len(listed) - len(expected) + 1
    )


def test_no_file_has_a_write_key_or_a_secret(world: PublicApiServer) -> None:
    for path in LISTS:
        body = get(world, call_of(path), "format=csv").body
        assert b"wk_website_0001" not in body, path
        assert b"a-secret" not in body, path


def test_a_file_is_refused_like_its_list(world: PublicApiServer) -> None:
    with world.store.unit_of_work() as work:
        token = create_token(work, "viewer", clock=world.clock, role=Role.READ_ONLY)
    for call in ("/api/tokens", "/api/destinations/nowhere/conflicts", "/api/alerts?state=nonsense"):
        for headers in ({}, {"Authorization": f"Bearer {token}"}, {"Authorization": "Bearer x"}):
            page, file = get(world, call, **headers), get(world, call, "format=csv", **headers)
            assert file.status == page.status
            assert page.status == 200 or file.json() == page.json()
    assert get(world, "/api/sources/website", "format=csv").error["field"] == "format"
    assert get(world, "/api/sources/website", Accept="text/csv").json()["data"]["source"]["id"] == "website"


def test_the_openapi_document_has_the_format_of_every_list(world: PublicApiServer) -> None:
    paths = get(world, "/api/openapi.json").json()["paths"]
    for path in LISTS:
        assert "format" in [parameter["name"] for parameter in paths[path]["get"]["parameters"]], path
