"""The error of a refused body is a sentence with the cure."""

import pytest

from punchcard.events.malformed import explain_malformed, is_single_event
from punchcard.events.parse import open_request

EXPLAINED = [
    pytest.param(b"", "the body is empty", id="empty"),
    pytest.param(b" \n", "the body is empty", id="blank"),
    pytest.param(b'{"batch":[,{"type":"track"}]}', "begins with a comma", id="leading comma"),
    pytest.param(
        b'{"batch": [ \n,{"a":"[1]"},{"b":2}],"sentAt":"x"}', "begins with a comma", id="leading comma, spaced"
    ),
    pytest.param(b'{"batch":[{"a":1},,{"b":2}]}', "two commas", id="doubled comma"),
    pytest.param(b'{"batch":[{"a":1},]}', "there is a comma before the end", id="trailing comma"),
    pytest.param(b'{"a":1,}', "there is a comma before the end", id="trailing comma in an object"),
    pytest.param(b"{'batch':[]}", "single quotes", id="single quotes"),
    pytest.param(b"userId=ann&event=Checked+In", "the body is a form", id="a form"),
    pytest.param(b'{"a":undefined}', "undefined is not JSON", id="undefined"),
    pytest.param(b'{"a":True}', "True is not JSON", id="a dict of Python"),
    pytest.param(b'{"batch":[{"a":1},{"b"', "incomplete (it ends too early at line 1, character 23)", id="cut off"),
    pytest.param(b'{"batch":[{"a":"1', "the JSON is incomplete", id="cut off in a text"),
    pytest.param(b'[{"type":"track"}]', "the body is a list", id="a list"),
    pytest.param(b'"text"', "must be a JSON object", id="a text"),
    pytest.param('{"a":1}'.encode("utf-16"), "UTF-16", id="UTF-16"),
    pytest.param('{"a":1}'.encode("utf-16-le"), "UTF-16", id="UTF-16 without a mark"),
    pytest.param('{"a":"é"}'.encode("latin-1"), "not UTF-8 (byte 6)", id="Latin-1"),
    pytest.param(
        b'{"a":"[,","b":01}', "expecting ',' delimiter at line 1, character 16", id="a comma in a text is none"
    ),
    pytest.param(b"not json", "malformed JSON: expecting value at line 1, character 1", id="no JSON at all"),
    pytest.param(b"\x1f\x8b\x08\x00", "malformed JSON", id="gzip without its header"),
]


@pytest.mark.parametrize(("body", "expected"), EXPLAINED)
def test_a_malformed_body_is_explained(body: bytes, expected: str) -> None:
    assert open_request(body) is None
    explanation = explain_malformed(body)
    assert explanation.startswith("malformed JSON: ")
    assert expected in explanation
    assert "JSON is malformed" not in explanation  # once is enough


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"type":"track","event":"x","userId":"ann"}', True),
        (b'{"event":"x","anonymousId":"a"}', True),
        (b'{"type":"track","batch":[]}', False),
        (b"{}", False),
        (b'{"writeKey":"wk"}', False),
        (b"[]", False),
        (b"nonsense", False),
    ],
)
def test_a_single_event_is_distinguished_from_a_batch(body: bytes, expected: bool) -> None:
    assert is_single_event(body) is expected


@pytest.mark.parametrize(
    "body", [b'{"a":"' + b'\\"' * 250_000, b"[," * 200_000, b"," * 400_000, b"=" * 400_000, b"a=" * 9]
)
def test_a_hostile_body_is_explained_in_one_pass(body: bytes) -> None:
    assert explain_malformed(body)
