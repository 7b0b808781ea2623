"""Whatever is sent to the Tracking API, it answers as documented, never with a 500, and stays up."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from punchcard.errors import StorageError

EVENT = {"userId": "ann", "event": "Checked In", "messageId": "m1"}
HEAD = b"POST /v1/track HTTP/1.1\r\nHost: x\r\nAuthorization: Basic d2tfd2Vic2l0ZTo=\r\n"


def sized(size: int) -> bytes:
    """A track event of exactly this many bytes."""
    empty = json.dumps({**EVENT, "properties": {"x": ""}}).encode()
    return empty.replace(b'"x": ""', b'"x": "' + b"y" * (size - len(empty)) + b'"')


MALFORMED = [
    pytest.param(b"", id="empty"),
    pytest.param(b"{", id="cut off"),
    pytest.param(b'{"userId": "ann"} trailing', id="something behind it"),
    pytest.param(b"not json", id="no JSON"),
    pytest.param(b'{"properties": {"x": NaN}', id="NaN and cut off"),
    pytest.param(b'{"properties": {"x": NaN}]', id="NaN and brackets that do not fit"),
    pytest.param(b'{"properties": {"x": NaN, "y": "}}', id="NaN and a quote that does not end"),
    pytest.param(b'{"properties": {"x": 01}}', id="a number that is none"),
    pytest.param(b"{'userId': 'ann'}", id="single quotes"),
    pytest.param(b'{"userId": "\xff\xfe"}', id="no UTF-8"),
    pytest.param(b'"text"', id="a text"),
    pytest.param(b"[]", id="a list"),
    pytest.param(b"null", id="null"),
    pytest.param(b"[" * 100_000, id="deep and cut off"),
]


@pytest.mark.parametrize("call", ["track", "batch"])
@pytest.mark.parametrize("body", MALFORMED)
def test_what_is_no_json_object_is_refused(tracking: Any, call: str, body: bytes) -> None:
    response = tracking.post(call, body)
    assert response.status == 400
    assert response.json()["success"] is False
    assert response.json()["code"] == "invalid_request"
    assert tracking.recorded() == []


TAKEN = [
    pytest.param(b'{"userId": "ann", "userId": "bob", "event": "x"}', id="a key twice"),
    pytest.param(
        b'{"userId": "ann", "event": "x", "properties": {"n": 1e400, "m": 123456789012345678901234567890}}', id="huge"
    ),
    pytest.param(b'{"userId": "\\ud83d", "event": "x"}', id="half a character"),
    pytest.param(b'{"userId": 7}', id="wrong types"),
    pytest.param(b"{}", id="nothing in it"),
    pytest.param(b'  \n{"userId": "ann", "event": "x"}\n ', id="white space"),
    pytest.param(b'{"event": "x", "properties": ' + b'{"a":' * 400 + b"1" + b"}" * 400 + b"}", id="deep"),
    pytest.param(b'{"event": "\\u0000"}', id="a zero character"),
    pytest.param(b'{"event": "x", "properties": {"n": NaN, "text": "NaN"}}', id="NaN"),
    pytest.param(b'{"event": "x", "properties": {"list": [1, -Infinity]}}', id="Infinity"),
    pytest.param(b'{"event": "x", "properties": {"text": "two\nlines"}}', id="a line end in a text"),
]


@pytest.mark.parametrize("body", TAKEN)
def test_what_is_an_object_is_taken_and_evaluated_later(tracking: Any, body: bytes) -> None:
    assert tracking.post("track", body).status == 200
    ((_, _, _, recorded),) = tracking.recorded()
    assert recorded == body, "what is repaired is repaired when it is read"


def test_sizes_are_limited_to_the_byte(tracking: Any) -> None:
    assert tracking.post("track", sized(32 * 1024)).status == 200
    response = tracking.post("track", sized(32 * 1024 + 1))
    assert (response.status, response.json()["code"]) == (400, "invalid_request")
    batch = b'{"batch":[' + b",".join([sized(30_000)] * 17) + b"]"
    assert tracking.post("batch", batch + b" " * (500 * 1024 - len(batch) - 1) + b"}").status == 200
    response = tracking.post("batch", batch + b" " * (500 * 1024 - len(batch)) + b"}")
    assert (response.status, response.json()["code"]) == (400, "invalid_request")
    assert len(tracking.recorded()) == 2


def test_a_small_body_that_unpacks_to_a_huge_one_is_refused(tracking: Any) -> None:
    bomb = gzip.compress(b"[" + b" " * 200_000_000 + b"]")
    response = tracking.request(
        "POST", "/v1/batch", bomb, {"Authorization": "Basic d2tfd2Vic2l0ZTo=", "Content-Encoding": "gzip"}
    )
    assert response.status == 400
    assert tracking.recorded() == []


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        pytest.param("gzip", b"this is not packed", 400, id="not gzip"),
        pytest.param("gzip", gzip.compress(b"{}")[:-6], 400, id="gzip cut off"),
        pytest.param("gzip", gzip.compress(b"{}") + b"x", 400, id="something behind it"),
        pytest.param("br", b"{}", 415, id="brotli"),
        pytest.param("gzip, gzip", b"{}", 415, id="twice"),
    ],
)
def test_an_encoding_that_cannot_be_read_is_reported(tracking: Any, encoding: str, body: bytes, status: int) -> None:
    assert tracking.post("batch", body, Content_Encoding=encoding).status == status
    assert tracking.recorded() == []


STRICT = [
    pytest.param("track", {"userId": "ann"}, "event_not_defined", None, id="no event name"),
    pytest.param("track", {"event": "x"}, "no_user_anon_id", None, id="nobody"),
    pytest.param("track", {"userId": True, "event": "x"}, "id_not_string", None, id="boolean as id"),
    pytest.param("track", {**EVENT, "properties": {"x": float("nan")}}, "value_not_finite", 0, id="NaN"),
    pytest.param("track", {**EVENT, "timestamp": "yesterday"}, "time_unreadable", 0, id="a time that nobody can read"),
    pytest.param("track", {**EVENT, "timestamp": "03/11/2025"}, "time_unreadable", 0, id="March or November"),
    pytest.param("track", {**EVENT, "timestamp": "2099-01-01T00:00:00Z"}, "time_not_believed", 0, id="a future time"),
    pytest.param(
        "batch",
        {"batch": [{**EVENT, "type": "track"}], "sentAt": "yesterday"},
        "time_unreadable",
        0,
        id="a time of sending that nobody can read",
    ),
    pytest.param("group", {"userId": "ann"}, "id_required", None, id="group without id"),
    pytest.param(
        "batch",
        {"batch": [{**EVENT, "type": "track"}, {"type": "x", "userId": "a"}]},
        "unknown_type",
        1,
        id="second of a batch",
    ),
    pytest.param("batch", {"batch": []}, "empty_batch", 0, id="empty batch"),
    pytest.param(
        "batch", {"batch": [{**EVENT, "type": "track"}] * 2_501}, "batch_too_many_events", 2_500, id="2,501 events"
    ),
]


@pytest.mark.parametrize(("call", "body", "reason", "index"), STRICT)
def test_strict_mode_tells_at_once_what_is_recorded_otherwise(
    tracking: Any, call: str, body: object, reason: str, index: int | None
) -> None:
    response = tracking.post(call, body, X_Punchcard_Strict="1")
    assert (response.status, response.json()["code"]) == (400, reason)
    if index is not None:
        assert response.json()["index"] == index
    assert tracking.recorded() == []
    assert tracking.post(call, body).status == 200
    assert len(tracking.recorded()) == 1


def test_a_client_that_sends_too_slowly_is_reported_and_dropped(tracking: Any) -> None:
    result = tracking.raw(HEAD + b"Content-Length: 100\r\n\r\n{")
    assert b" 408 " in result.partition(b"\r\n")[0]
    assert tracking.recorded() == []


def test_half_a_body_is_never_an_event(tracking: Any) -> None:
    tracking.raw(HEAD + b'Content-Length: 100\r\n\r\n{"userId": "ann"}', then_close=True)
    tracking.raw(HEAD + b"Content-Length: 1000000000\r\n\r\n{", then_close=True)
    assert tracking.post("track", EVENT).status == 200
    assert len(tracking.recorded()) == 1


def test_a_body_in_chunks_is_one_body(tracking: Any) -> None:
    text = json.dumps(EVENT).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (text[:5], text[5:])) + b"0\r\n\r\n"
    assert b" 200 " in tracking.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks).partition(b"\r\n")[0]
    ((_, _, _, body),) = tracking.recorded()
    assert body == text


def test_an_endless_body_is_refused_before_it_ends(tracking: Any) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    result = tracking.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 4)
    assert b" 400 " in result.partition(b"\r\n")[0]
    assert tracking.recorded() == []


@pytest.mark.parametrize(
    "text",
    [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", HEAD + b"Content-Length: minus\r\n\r\n", b"\r\n" * 50],
)
def test_what_is_no_http_harms_nobody(tracking: Any, text: bytes) -> None:
    tracking.raw(text, then_close=True)
    assert tracking.post("track", EVENT).status == 200


def test_a_log_that_fails_is_answered_503_and_retried(tracking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(records: object) -> None:
        raise StorageError("the event log cannot be written: database or disk is full")

    with monkeypatch.context() as failing:
        failing.setattr(tracking.log, "append", full)
        response = tracking.post("track", EVENT)
    assert response.status == 503
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["success"] is False
    assert "disk is full" in str(response.json()["message"])
    assert tracking.post("track", EVENT).status == 200
    assert len(tracking.recorded()) == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=10) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["batch", "userId", "event", "type", "context", "writeKey", "integrations", "x"]), inner
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
    call=st.sampled_from(["track", "batch", "identify", "b", "p"]),
    strict=st.sampled_from(["", "1"]),
)
def test_anything_at_all_is_taken_or_refused(tracking: Any, body: bytes, call: str, strict: str) -> None:
    response = tracking.post(call, body, X_Punchcard_Strict=strict)
    assert response.status in (200, 400)
    assert response.json()["success"] is (response.status == 200)
