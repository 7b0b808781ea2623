"""How senders, proxies and browsers wrap their calls: paths, encodings, byte order marks, preflights, methods."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

EVENT = {"userId": "Ännchen", "event": "Checked In", "messageId": "m1"}
TEXT = json.dumps(EVENT, ensure_ascii=False).encode()
BATCH = json.dumps({"batch": [{**EVENT, "type": "track"}]}).encode()
LIBRARIES_HEADERS = "authorization, content-type, content-encoding, x-retry-count, x-punchcard-strict"
BASIC = {"Authorization": "Basic d2tfd2Vic2l0ZTo="}


@pytest.mark.parametrize(
    "path",
    ["//v1/batch", "/v1/batch/", "/v1//batch", "///v1///batch//", "/v1/batch//", "//v1/b", "/v1//b/", "/v1/import/"],
)
def test_slashes_too_many_do_not_matter(tracking: Any, path: str) -> None:
    assert tracking.request("POST", path, BATCH, BASIC).status == 200
    assert [body for *_, body in tracking.recorded()] == [BATCH]


@pytest.mark.parametrize(("call", "text"), [("track", TEXT), ("batch", BATCH)])
@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        pytest.param(lambda text: "\ufeff".encode() + text, None, id="byte order mark"),
        pytest.param(lambda text: text.decode().encode("utf-16"), None, id="UTF-16"),
        pytest.param(gzip.compress, None, id="gzip without its header"),
        pytest.param(gzip.compress, "X-GZIP", id="x-gzip in capitals"),
        pytest.param(gzip.compress, " GZip ", id="mixed case"),
        pytest.param(lambda text: gzip.compress(text[:5]) + gzip.compress(text[5:]), "gzip", id="two members"),
        pytest.param(lambda text: gzip.compress(gzip.compress(text)), "gzip, gzip", id="twice"),
        pytest.param(lambda text: text, "gzip", id="header without gzip"),
        pytest.param(lambda text: text, "Identity", id="identity"),
    ],
)
def test_what_is_recorded_is_the_text(
    tracking: Any, call: str, text: bytes, packed: Callable[[bytes], bytes], encoding: str | None
) -> None:
    headers = BASIC | ({"Content-Encoding": encoding} if encoding else {})
    response = tracking.request("POST", f"/v1/{call}", packed(text), headers)
    assert (response.status, response.body) == (200, b'{"success":true}')
    assert [recorded for *_, recorded in tracking.recorded()] == [text]


@pytest.mark.parametrize(
    ("body", "encoding", "status", "message"),
    [
        pytest.param(gzip.compress(BATCH)[:-6], "gzip", 400, "truncated", id="gzip cut off"),
        pytest.param(gzip.compress(BATCH)[:-6], "", 400, "truncated", id="gzip cut off, no header"),
        pytest.param(gzip.compress(BATCH)[:-8] + bytes(8), "gzip", 400, "damaged", id="gzip damaged"),
        pytest.param(gzip.compress(bytes(600_000)), "gzip", 400, "500 KB", id="too large"),
        pytest.param(BATCH, "br", 415, "gzip or identity", id="brotli"),
        pytest.param(b"x", "zstd", 415, "gzip or identity", id="zstd"),
        pytest.param(b"x", "deflate", 415, "gzip or identity", id="deflate"),
    ],
)
def test_what_cannot_be_unpacked_is_refused_with_its_reason(
    tracking: Any, body: bytes, encoding: str, status: int, message: str
) -> None:
    response = tracking.request("POST", "/v1/batch", body, BASIC | ({"Content-Encoding": encoding} if encoding else {}))
    assert response.status == status
    assert response.json()["success"] is False
    assert message in str(response.json()["message"])
    assert (response.headers.get("accept-encoding") == "gzip, identity") is (status == 415)
    assert tracking.recorded() == []


@pytest.mark.parametrize("path", ["/v1/t", "/v1/track", "/v1/b", "/v1/m", "/v1/projects/k/settings", "//v1/t"])
@pytest.mark.parametrize(
    "requested",
    ["baggage,traceparent,sentry-trace", "AnonymousId, content-type", "x-a", "X_1!#$%&'*+.^`|~ ,\ty"],
)
def test_a_preflight_allows_the_headers_that_are_requested(tracking: Any, path: str, requested: str) -> None:
    headers = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": requested,
    }
    response = tracking.request("OPTIONS", path, None, headers)
    assert (response.status, response.body) == (204, b"")
    allowed = response.headers["access-control-allow-headers"]
    assert allowed == f"{requested}, {LIBRARIES_HEADERS}"
    assert response.headers["access-control-allow-origin"] == "*"
    assert "POST" in response.headers["access-control-allow-methods"]
    assert int(response.headers["access-control-max-age"]) > 0
    assert "access-control-allow-private-network" not in response.headers


@pytest.mark.parametrize(
    "requested",
    [
        pytest.param("", id="none"),
        pytest.param("a b", id="two words"),
        pytest.param("a;b", id="no token"),
        pytest.param("ä", id="no ASCII"),
        pytest.param(",".join(["x-header"] * 1_000), id="very many"),
        pytest.param("a,,b", id="an empty name"),
    ],
)
def test_a_preflight_for_headers_that_are_none_allows_those_of_the_libraries(tracking: Any, requested: str) -> None:
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Headers": requested.encode().decode("latin-1")}
    response = tracking.request("OPTIONS", "/v1/t", None, headers)
    assert response.status == 204
    assert response.headers["access-control-allow-headers"] == LIBRARIES_HEADERS


def test_a_preflight_from_a_public_page_to_a_private_network_is_allowed(tracking: Any) -> None:
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Private-Network": "true"}
    response = tracking.request("OPTIONS", "/v1/t", None, headers)
    assert response.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("content_type", ["text/plain;charset=UTF-8", "text/plain", "application/octet-stream", ""])
def test_a_beacon_is_taken_whatever_its_type(tracking: Any, content_type: str) -> None:
    body = json.dumps({**EVENT, "writeKey": "wk_website"}).encode()
    headers = {"Content-Type": content_type} if content_type else {}
    assert tracking.request("POST", "/v1/t", body, headers).status == 200
    assert len(tracking.recorded()) == 1


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/track", "POST, OPTIONS"),
        ("HEAD", "/v1/batch", "POST, OPTIONS"),
        ("PUT", "/v1/t", "POST, OPTIONS"),
        ("DELETE", "/v1/import", "POST, OPTIONS"),
        ("PATCH", "/v1/m", "POST, OPTIONS"),
        ("POST", "/v1/pixel/track", "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/projects/wk_website/settings", "GET, HEAD, OPTIONS"),
    ],
)
def test_another_method_is_refused_with_those_that_are_allowed(
    tracking: Any, method: str, path: str, allowed: str
) -> None:
    response = tracking.request(method, path)
    assert (response.status, response.headers["allow"]) == (405, allowed)
