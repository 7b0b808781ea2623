"""Every call of the Tracking API, every way to send the write key, and what is durable after the answer."""

import base64
import json
from typing import Any

import pytest

EVENT = {"userId": "ann", "event": "Checked In", "groupId": "g1", "previousId": "p1", "messageId": "m1"}
SINGLE = ["track", "identify", "page", "screen", "group", "alias"]


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("call", SINGLE)
def test_a_single_call_is_durable_when_it_is_answered(tracking: Any, call: str) -> None:
    response = tracking.post(call, EVENT)
    assert (response.status, response.body) == (200, b'{"success":true}')
    assert response.headers["content-type"] == "application/json"
    assert tracking.recorded() == [(call, "wk_website", "", json.dumps(EVENT).encode())]


@pytest.mark.parametrize("path", ["batch", "import"])
def test_both_names_of_a_batch_are_one_record(tracking: Any, path: str) -> None:
    body = {"batch": [{**EVENT, "type": "track", "messageId": f"m{number}"} for number in range(3)]}
    assert tracking.post(path, body).status == 200
    assert tracking.recorded() == [("batch", "wk_website", "", json.dumps(body).encode())]


@pytest.mark.parametrize(("path", "call"), [(call[0], call) for call in SINGLE] + [("b", "batch")])
def test_the_browsers_short_names_note_the_senders_address(tracking: Any, path: str, call: str) -> None:
    assert tracking.post(path, {"batch": [EVENT]} if call == "batch" else EVENT).status == 200
    ((item, _, ip, _),) = tracking.recorded()
    assert (item, ip) == (call, "127.0.0.1")


def test_a_path_may_end_with_a_slash(tracking: Any) -> None:
    assert tracking.post("track/", EVENT).status == 200
    assert [call for call, *_ in tracking.recorded()] == ["track"]


def test_the_browsers_metrics_are_taken_and_forgotten(tracking: Any) -> None:
    assert tracking.post("m", {"series": []}).status == 200
    assert tracking.recorded() == []


KEYS = [
    pytest.param(basic("wk_website:"), None, "wk_website", id="Basic with colon"),
    pytest.param(basic("wk_website"), None, "wk_website", id="Basic without colon"),
    pytest.param(basic("wk_website:").rstrip("="), None, "wk_website", id="Basic without padding"),
    pytest.param(basic("wk_website:a-password"), None, "wk_website", id="Basic with password"),
    pytest.param("basic " + basic("wk_website:")[6:], None, "wk_website", id="scheme in lower case"),
    pytest.param("", "wk_website", "wk_website", id="in the body"),
    pytest.param(basic("wk_website:"), "wk_other", "wk_website", id="Basic goes before the body"),
    pytest.param("Basic !!!", "wk_website", "wk_website", id="unreadable Basic: the body's"),
    pytest.param("Bearer x", "wk_website", "wk_website", id="another scheme: the body's"),
    pytest.param(basic("schlüssel:"), None, "schlüssel", id="unknown, beyond ASCII"),
]


@pytest.mark.parametrize(("authorization", "in_body", "expected"), KEYS)
def test_the_write_key_is_found(tracking: Any, authorization: str, in_body: str | None, expected: str) -> None:
    body = EVENT if in_body is None else {**EVENT, "writeKey": in_body}
    assert tracking.post("track", body, Authorization=authorization).status == 200
    ((_, key, _, _),) = tracking.recorded()
    assert key == expected


@pytest.mark.parametrize(
    ("authorization", "body"),
    [
        pytest.param("", EVENT, id="none"),
        pytest.param(basic(":"), EVENT, id="empty"),
        pytest.param("", {**EVENT, "writeKey": 7}, id="no text"),
        pytest.param("", {**EVENT, "writeKey": "x" * 257}, id="endless"),
    ],
)
def test_without_a_write_key_nothing_is_taken(tracking: Any, authorization: str, body: object) -> None:
    response = tracking.post("track", body, Authorization=authorization)
    assert (response.status, response.json()["code"]) == (400, "invalid_request")
    assert "write key" in str(response.json()["message"])
    assert tracking.recorded() == []


def test_an_unknown_write_key_is_taken_and_in_strict_mode_refused(tracking: Any) -> None:
    unknown = basic("wk_nobody:")
    assert tracking.post("track", EVENT, Authorization=unknown).status == 200
    response = tracking.post("track", EVENT, Authorization=unknown, X_Punchcard_Strict="1")
    assert (response.status, response.json()["code"]) == (401, "unknown_source")
    assert len(tracking.recorded()) == 1


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain;charset=UTF-8", "application/json", "", "x/y"])
def test_json_is_taken_under_any_content_type(tracking: Any, content_type: str) -> None:
    assert tracking.post("track", EVENT, Content_Type=content_type).status == 200
    assert len(tracking.recorded()) == 1


def test_a_packed_body_is_the_same_event(tracking: Any) -> None:
    assert tracking.post("batch", {"batch": [EVENT]}, packed=True).status == 200
    ((_, _, _, body),) = tracking.recorded()
    assert json.loads(body) == {"batch": [EVENT]}


def test_browsers_are_allowed_from_every_origin(tracking: Any) -> None:
    requested = {
        "Origin": "https://shop.example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    response = tracking.request("OPTIONS", "/v1/t", headers=requested)
    assert response.status == 204
    assert response.headers["access-control-allow-origin"] == "*"
    assert "POST" in response.headers["access-control-allow-methods"]
    for name in ("authorization", "content-type"):
        assert name in response.headers["access-control-allow-headers"]
    for status, body in ((200, EVENT), (400, b"{")):
        given = tracking.post("t", body)
        assert (given.status, given.headers["access-control-allow-origin"]) == (status, "*")


@pytest.mark.parametrize("call", ["track", "page"])
def test_a_pixel_is_a_picture_and_an_event(tracking: Any, call: str) -> None:
    data = base64.b64encode(json.dumps({**EVENT, "writeKey": "wk_website"}).encode()).decode().rstrip("=")
    response = tracking.request("GET", f"/v1/pixel/{call}?data={data}")
    assert (response.status, response.headers["content-type"]) == (200, "image/gif")
    assert response.body.startswith(b"GIF89a")
    ((item, key, _, body),) = tracking.recorded()
    assert (item, key, json.loads(body)["userId"]) == (call, "wk_website", "ann")


@pytest.mark.parametrize("query", ["", "?data=!!!", "?data=e30", "?data=" + "A" * 60_000, "?a=b&writeKey=", "?%ff=1"])
def test_a_pixel_without_an_event_is_a_picture_all_the_same(tracking: Any, query: str) -> None:
    response = tracking.request("GET", f"/v1/pixel/track{query}")
    assert response.status in (200, 400, 414, 431)
    assert tracking.recorded() == []


def test_libraries_get_the_settings_they_ask_for_first(tracking: Any) -> None:
    response = tracking.request("GET", "/v1/projects/wk_website/settings", headers={"Host": "events.example.com"})
    assert response.status == 200
    segment = response.json()["integrations"]["Segment.io"]  # type: ignore[index]
    assert segment["apiKey"] == "wk_website"
    assert segment["apiHost"] == "events.example.com/v1"
    assert response.headers["access-control-allow-origin"] == "*"
    assert tracking.request("GET", "/v1/projects/wk_nobody/settings").status == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/track", 405),
        ("PUT", "/v1/batch", 405),
        ("DELETE", "/v1/t", 405),
        ("POST", "/v1/pixel/track", 405),
        ("POST", "/v1/projects/wk_website/settings", 405),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/", 404),
        ("POST", "/v1/pixel/nothing", 404),
        ("POST", "/v1/track/more", 404),
        ("POST", "/v1/" + "x" * 5_000, 404),
    ],
)
def test_a_wrong_method_or_path_is_reported(tracking: Any, method: str, path: str, status: int) -> None:
    response = tracking.request(method, path, b"{}")
    assert response.status == status
    assert response.json()["success"] is False
    assert tracking.recorded() == []
