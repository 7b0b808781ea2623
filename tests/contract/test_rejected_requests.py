"""Who says "my events do not arrive" finds the newest rejected requests: with the reason, and masked."""

import base64
import gzip
import http.client
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from punchcard.ingest.app import TrackingApp
from punchcard.ingest.rejections import Rejections, masked
from punchcard.log.group_commit import GroupCommit
from punchcard.store.engine import Store
from punchcard.store.ingest.rejected_requests import (
    KEPT_PER_NETWORK,
    KEPT_PER_SOURCE,
    RejectedRequest,
    add_rejected_requests,
    count_rejected_requests,
    read_rejected_requests,
)
from punchcard.testing.clock import ManualClock
from punchcard.testing.listening import ListeningApp
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.waiting import PATIENCE_SECONDS

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[sources]]
slug = "till"
write_key = "wk_till"
"""
EVENT = {"userId": "ann", "event": "Checked In", "messageId": "m1"}


class World:
    """Tracking API, Public API and App over one store."""

    def __init__(self, folder: Path) -> None:
        self.api = PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG)
        add_operators(self.api)
        self._tracking = ListeningApp(self.api.log, self._build)

    def _build(self, commit: GroupCommit) -> TrackingApp:
        sources = {"wk_website": "website", "wk_till": "till"}
        rejections = Rejections(self.api.store, source_of=sources.get, clock=self.api.clock)
        return TrackingApp(
            commit, keys=sources.__contains__, clock=self.api.clock, body_seconds=1, rejections=rejections
        )

    def close(self) -> None:
        self._tracking.close()
        self.api.__exit__(None, None, None)

    def post(self, path: str, body: bytes, *, key: str = "wk_website", **headers: str) -> int:
        every = {
            "User-Agent": "analytics-ruby/2.4",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if key:
            every["Authorization"] = "Basic " + base64.b64encode(f"{key}:".encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self._tracking.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("POST", path, body, every)
            return connection.getresponse().status
        finally:
            connection.close()

    def rejected(self, source: str = "website") -> list[dict[str, Any]]:
        path = f"/api/sources/{source}/rejected-requests" if source else "/api/rejected-requests"
        response = self.api.request("GET", path)
        assert response.status == 200, response.body
        rejected_requests = response.json()["data"]["rejectedRequests"]
        assert isinstance(rejected_requests, list)
        return rejected_requests

    def wait_for(self, source: str, is_there: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_there(result := self.rejected(source)):
            assert time.monotonic() < deadline, result
            time.sleep(0.05)
        return result


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def test_a_malformed_request_is_found_at_its_source_with_reason_and_cure(world: World) -> None:
    body = b'{"batch":[,{"type":"track","userId":"u1","context":{"library":{"name":"analytics-ios","version":"4.1.1"}},'
    body += b'"traits":{"email":"ann@example.com"}}],"writeKey":"wk_website"}'
    assert world.post("/v1/batch", body, key="") == 400
    (item,) = world.wait_for("website", bool)
    assert (item["status"], item["reason"], item["path"]) == (400, "invalid_request", "/v1/batch")
    assert "begins with a comma" in item["message"]
    assert "pdate the library" in item["message"]
    assert (item["library"], item["userAgent"]) == ("analytics-ios 4.1.1", "analytics-ruby/2.4")
    assert (item["bodyBytes"], item["network"]) == (len(body), "127.0.0.0/24")
    assert item["bodyStart"].startswith('{"batch":[,{"type":"track","userId":"u1"')
    assert "ann@example.com" not in str(item)
    assert "wk_website" not in str(item)
    assert world.rejected("till") == world.rejected("") == []
    owner = FormBrowser(world.api)
    owner.sign_in("owner@acme.example")
    page = owner.get("/sources/website").text
    assert "begins with a comma" in page
    assert "analytics-ios 4.1.1" in page
    assert ">Rejected requests</a>" in owner.get("/sources").text


SENT = [
    pytest.param(
        "/v1/batch", json.dumps({**EVENT, "type": "track"}).encode(), {}, 400, "single event", id="single event"
    ),
    pytest.param(
        "/v1/import", b'{"event":"x","anonymousId":"a"}', {}, 400, "single event", id="single event, old path"
    ),
    pytest.param("/v1/b", json.dumps(EVENT).encode(), {}, 400, "single event", id="single event, browser"),
    pytest.param("/v1/track", b'{"userId":"ann"', {}, 400, "truncated", id="cut off"),
    pytest.param("/v1/track", gzip.compress(b"[1]"), {"Content_Encoding": "gzip"}, 400, "a list", id="packed list"),
    pytest.param("/v1/track", b'{"x":"' + b"y" * 33_000 + b'"}', {}, 400, "32 KB", id="too large"),
    pytest.param("/v1/track", b"{}", {"Content_Encoding": "br"}, 415, "gzip", id="brotli"),
    pytest.param("/v1/tracks", b"{}", {}, 404, "no such call", id="a path that is none"),
    pytest.param(
        "/v1/track", b'{"userId":"ann"}', {"X_Punchcard_Strict": "1"}, 400, "event's name", id="refused in strict mode"
    ),
]


@pytest.mark.parametrize(("path", "body", "headers", "status", "words"), SENT)
def test_every_rejection_is_kept(
    world: World, path: str, body: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    assert world.post(path, body, **headers) == status
    (item,) = world.wait_for("website", bool)
    assert (item["status"], item["path"]) == (status, path)
    assert words in item["message"]


def test_what_is_taken_is_not_kept_as_rejected(world: World) -> None:
    assert world.post("/v1/track", json.dumps(EVENT).encode()) == 200
    assert world.post("/v1/batch", b'{"batch":[]}') == 200
    assert world.post("/v1/track", b"nonsense") == 400
    assert len(world.wait_for("website", bool)) == 1


def test_a_request_without_a_known_write_key_is_kept_apart(world: World) -> None:
    strict = {"X_Punchcard_Strict": "1"}
    assert world.post("/v1/track", json.dumps(EVENT).encode(), key="wk_gone_for_ever", **strict) == 401
    assert world.post("/v1/track", json.dumps(EVENT).encode(), key="") == 400
    wait = world.wait_for("", lambda result: len(result) == 2)
    assert [item["status"] for item in wait] == [400, 401]
    assert "wk_gone_for_ever" not in str(wait)
    assert world.rejected("website") == []
    owner = FormBrowser(world.api)
    owner.sign_in("owner@acme.example")
    assert "Rejected requests without a known write key" in owner.get("/sources").text


def test_a_flood_is_neither_kept_nor_hides_another_sender(world: World) -> None:
    for number in range(300):
        assert world.post("/v1/track", b"nonsense %d" % number) == 400
    assert world.post("/v1/track", b"other", key="wk_till") == 400
    world.wait_for("till", bool)
    assert 1 <= len(world.rejected("website")) <= KEPT_PER_SOURCE


def test_markup_in_a_rejected_request_is_text(world: World) -> None:
    assert world.post("/v1/track", b"<script>alert(1)</script>", User_Agent="<b>bold</b>") == 400
    world.wait_for("website", bool)
    owner = FormBrowser(world.api)
    owner.sign_in("owner@acme.example")
    page = owner.get("/sources/website").text
    assert "<script>alert(1)" not in page
    assert "<b>bold" not in page


def a_request(number: int, *, source: str = "website", network: str = "192.0.2.0/24") -> RejectedRequest:
    return RejectedRequest(
        source=source,
        received_at=ManualClock().now() + timedelta(seconds=number),
        path="/v1/track",
        status=400,
        reason="invalid_request",
        message=f"number {number}",
        network=network,
        user_agent="x\x00" * 300,
        library="",
        body_bytes=7,
        body_start="nonsense\x00",
    )


def test_only_the_newest_are_stored(store_url: str) -> None:
    store = Store(store_url)
    try:
        with store.unit_of_work() as work:
            add_rejected_requests(work, [])
            for begin in range(0, 120, 40):
                add_rejected_requests(work, [a_request(begin + number) for number in range(40)])
            add_rejected_requests(work, [a_request(1, source="till")])
            for number in range(12):
                noise = [a_request(number, source="", network=f"198.51.{number}.0/24") for _ in range(12)]
                add_rejected_requests(work, noise)
        with store.reading() as work:
            rejected_requests = read_rejected_requests(work, "website")
            assert [rejected_request.message for rejected_request in rejected_requests] == [
                f"number {number}" for number in range(119, 69, -1)
            ]
            assert len(rejected_requests) == KEPT_PER_SOURCE
            assert len(read_rejected_requests(work, "till")) == 1
            unknown = read_rejected_requests(work, "")
            assert len(unknown) == KEPT_PER_SOURCE
            networks = [item.network for item in unknown]
            assert max(map(networks.count, networks)) == KEPT_PER_NETWORK
            assert count_rejected_requests(work, since=ManualClock().now())["website"] == KEPT_PER_SOURCE
    finally:
        store.close()


MASKED = [
    ('{"email":"ann@example.com"}', '{"email":"***"}'),
    ('{"userId":"bob+x@sub.example.org","x":1}', '{"userId":"***","x":1}'),
    ('{"writeKey":"abc","x":1}', '{"writeKey":"***","x":1}'),
    ('{"apiKey" : "abc\\"d", "x":1}', '{"apiKey" : "***", "x":1}'),
    ('{"accessToken":12345,"x":1}', '{"accessToken":"***","x":1}'),
    ('{"password":"cut o', '{"password":"***"'),
    ("token=abc&x=1", "token=***&x=1"),
    ('{"x":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc123"}', '{"x":"***"}'),
    ('{"x":"sk_live_4eC39HqLyjWDarjtT1zdp7dc"}', '{"x":"***"}'),
    ('{"card":"4111 1111 1111 1111"}', '{"card":"***"}'),
    ('{"messageId":"0b4ac93f-1f5a-4d5e-9c1e-2f0a5a6a7b8c"}', '{"messageId":"0b4ac93f-1f5a-4d5e-9c1e-2f0a5a6a7b8c"}'),
    ('{"event":"Order Completed","revenue":9.99}', '{"event":"Order Completed","revenue":9.99}'),
    ('{"x":"my_own_key"}', '{"x":"***"}'),
    ("bell\x07", "bell�"),
    ("{'apiKey':'abc','x':1}", """{'apiKey':"***",'x':1}"""),
    ("{'password': 'it\\'s me', 'x':1}", """{'password': "***", 'x':1}"""),
    ('{"email":"ann.without', '{"email":"***"'),
    ('{"email":"ann\\u0040example.com"}', '{"email":"***"}'),
    ('{"x":"ann\\u0040example.com"}', '{"x":"***"}'),
    ('{"password":"cut off\\', '{"password":"***"'),
    ("event=X&email=ann%40example.com&x=1", "event=X&email=***&x=1"),
    ("event=X&who=ann%40example.com&x=1", "event=X&who=***&x=1"),
]


@pytest.mark.parametrize(("text", "expected"), MASKED)
def test_what_nobody_should_read_is_masked(text: str, expected: str) -> None:
    assert masked(text, "my_own_key") == expected


UTF_16 = {"with a mark": "utf-16", "little end first": "utf-16-le", "big end first": "utf-16-be"}


@pytest.mark.parametrize("encoding", UTF_16.values(), ids=UTF_16)
def test_a_body_in_utf_16_is_readable_and_masked(world: World, encoding: str) -> None:
    body = '{"event":"Checked In","apiKey":"short","email":"ann@example.com",'.encode(encoding)
    assert world.post("/v1/track", body) == 400
    (item,) = world.wait_for("website", bool)
    assert item["bodyStart"].removeprefix("\ufeff") == '{"event":"Checked In","apiKey":"***","email":"***",'


PATHS = {
    "/v1/projects/an_unknown_key_1/track": "/v1/projects/an_unknown_key_1/track",
    "/v1/webhooks/elsewhere/tracking": "/v1/webhooks/elsewhere/tracking",
    "/v1/track/a1b2c3d4e5f6a7b8c9d0e1f2": "/v1/track/***",
    "/v1/track/ann@example.com": "/v1/track/***",
    "/v1/wk_website/something": "/v1/***/something",
}


@pytest.mark.parametrize(("path", "shown"), PATHS.items(), ids=PATHS)
def test_a_path_says_which_call_was_meant_without_what_is_secret(world: World, path: str, shown: str) -> None:
    assert world.post(path, b"{}") == 404
    (item,) = world.wait_for("website", bool)
    assert item["path"] == shown
