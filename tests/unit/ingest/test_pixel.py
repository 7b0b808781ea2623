"""A pixel's query string becomes one event's JSON."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.ingest.pixel import pixel_body

EVENT = {"userId": "ann", "event": "OpenedRequest >>> ??? ünd", "writeKey": "wk"}
STANDARD = base64.b64encode(json.dumps(EVENT, ensure_ascii=False).encode()).decode()

SAME = [
    pytest.param(STANDARD, id="as it is, with its plus signs"),
    pytest.param(STANDARD.rstrip("="), id="without padding"),
    pytest.param(STANDARD.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"), id="escaped"),
    pytest.param(STANDARD.replace("+", "-").replace("/", "_"), id="in the alphabet for URLs"),
]


@pytest.mark.parametrize("data", SAME)
def test_packed_json_is_unpacked(data: str) -> None:
    body = pixel_body(f"data={data}".encode())
    assert body is not None
    assert json.loads(body) == EVENT


def test_plain_keys_with_dots_lie_deeper() -> None:
    body = pixel_body(b"userId=ann&event=OpenedRequest&properties.list=7&properties.a.b=x&context.ip=&writeKey=wk")
    assert body is not None
    assert json.loads(body) == {
        "userId": "ann",
        "event": "OpenedRequest",
        "properties": {"list": "7", "a": {"b": "x"}},
        "context": {"ip": ""},
        "writeKey": "wk",
    }


def test_keys_that_contradict_each_other_keep_the_first() -> None:
    body = pixel_body(b"a=1&a.b=2&c.d=3")
    assert body is not None
    assert json.loads(body) == {"a": "1", "c": {"d": "3"}}


@pytest.mark.parametrize("query", [b"", b"data=!!!", b"data=%ff%fe", b"\xff=1", b"&".join([b"a=1"] * 300)])
def test_what_holds_no_event_is_none(query: bytes) -> None:
    assert pixel_body(query) is None


@given(query=st.binary(max_size=80))
def test_any_query_is_read_or_none(query: bytes) -> None:
    body = pixel_body(query)
    assert body is None or isinstance(body, bytes)
