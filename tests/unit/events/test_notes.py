"""What senders write that is not quite the spec is read all the same, and each conversion is noted on the event."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.events.model import Event
from punchcard.events.parse import IngestFailure, open_request, read_request

RECEIVED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GOOD = b'{"type":"track","userId":"bob","event":"Checked In","messageId":"good-%d"}'


def read(text: bytes, *, batch_members: bytes = b"") -> Event | IngestFailure:
    """One event sent between two good ones, which must come out untouched, and without notes."""
    body = b'{"batch":[%s,%s,%s]%s}' % (GOOD % 1, text, GOOD % 2, batch_members)
    opened = open_request(body)
    assert opened is not None
    left, result, right = read_request(opened.body, call="batch", received_at=RECEIVED, position=7)
    assert [neighbour.message_id for neighbour in (left, right)] == ["good-1", "good-2"]
    assert batch_members or (left.notes, right.notes) == ((), ())
    return result


def event_of(text: bytes, **options: Any) -> Event:
    result = read(text, **options)
    assert isinstance(result, Event), result
    return result


def sentences(parsed: Event | IngestFailure) -> list[str]:
    return [note.detail for note in parsed.notes]


def with_members(members: str) -> bytes:
    return b'{"type":"track","event":"x","messageId":"m1",%s}' % members.encode()


@pytest.mark.parametrize(
    "token", ["NaN", "Infinity", "-Infinity", "+Infinity", "nan", "-nan", "inf", "-inf", "INF", "-NaN", "infinity"]
)
@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ('{"revenue":%s,"x":1}', "properties.revenue", {"revenue": None, "x": 1}),
        ('{"list":[1,[%s,"NaN"]]}', "properties.list.1.0", {"list": [1, [None, "NaN"]]}),
        ('{"a":{"b": %s }}', "properties.a.b", {"a": {"b": None}}),
        ('{"a\\"b":%s}', 'properties.a\\"b', {'a"b': None}),
    ],
)
def test_a_number_that_json_does_not_have_is_null(token: str, template: str, path: str, expected: object) -> None:
    event = event_of(with_members(f'"userId":"ann","properties":{template % token}'))
    assert json.loads(bytes(event.wire.properties)) == expected
    assert json.loads(event.raw)["properties"] == expected
    assert sentences(event) == [f"{path} was {token}, which JSON does not allow, and is read as null"]


def test_texts_that_name_such_numbers_stay() -> None:
    text = with_members('"userId":"NaN","properties":{"NaN":"Infinity, NaN","x":"a\\\\","y":"nan","z":NaN}')
    event = event_of(text)
    assert json.loads(bytes(event.wire.properties)) == {"NaN": "Infinity, NaN", "x": "a\\", "y": "nan", "z": None}
    assert (event.wire.user_id, len(event.notes)) == ("NaN", 1)


def test_a_single_call_is_repaired_likewise() -> None:
    body = b'{"userId":"ann","event":"x","properties":{"revenue":NaN},"timestamp":Infinity}'
    opened = open_request(body)
    assert opened is not None
    (item,) = read_request(opened.body, call="track", received_at=RECEIVED, position=7)
    assert isinstance(item, Event)
    assert [note.reason for note in item.notes] == ["value_not_finite"] * 2
    assert item.timestamp == RECEIVED


def test_what_is_repaired_in_the_context_of_a_batch_is_noted_on_each_event() -> None:
    body = b'{"context":{"x":NaN},"batch":[%s,%s]}' % (GOOD % 1, GOOD % 2)
    items = read_request(body, call="batch", received_at=RECEIVED, position=7)
    repaired = "context.x was NaN, which JSON does not allow, and is read as null"
    assert [sentences(item) for item in items] == [[repaired]] * 2


def test_of_a_batch_that_stands_twice_the_last_counts_with_its_notes() -> None:
    body = b'{"batch":[{"x":NaN}],"batch":[%s]}' % (GOOD % 1)
    (item,) = read_request(body, call="batch", received_at=RECEIVED, position=7)
    assert (item.message_id, item.notes) == ("good-1", ())


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("7", "7"),
        ("-7", "-7"),
        ("1.0", "1"),
        ("1.50", "1.5"),
        ("1e3", "1000"),
        ("-0.0", "0"),
        ("0", "0"),
        ("12345678901234567890123456789012345678901234567890", "12345678901234567890123456789012345678901234567890"),
        ("9007199254740993", "9007199254740993"),
    ],
)
@pytest.mark.parametrize("name", ["userId", "anonymousId", "groupId", "previousId", "messageId"])
def test_a_numeric_id_is_its_text(name: str, written: str, text: str) -> None:
    members = {"userId": '"ann"', "messageId": '"m1"', "type": '"track"', "event": '"x"', name: written}
    event = event_of(("{" + ",".join(f'"{key}":{value}' for key, value in members.items()) + "}").encode())
    assert json.loads(event.raw)[name] == text
    attribute = {"userId": "user_id", "anonymousId": "anonymous_id", "groupId": "group_id"}.get(name)
    if attribute:
        assert getattr(event.wire, attribute) == text
    if name == "messageId":
        assert event.message_id == text
    assert sentences(event) == [f'{name} was a number and is read as the text "{text}"']


@pytest.mark.parametrize("written", ["true", "false", "[7]", "{}", "1e400", "1e-400", "9" * 101])
def test_what_is_no_id_stays_a_fault(written: str) -> None:
    result = read(with_members(f'"userId":{written}'))
    assert isinstance(result, IngestFailure)
    assert result.reason == "id_not_string"


@pytest.mark.parametrize("written", ["[]", "[ ]", "[\n]"])
@pytest.mark.parametrize("name", ["properties", "context", "traits", "integrations"])
def test_an_empty_list_is_an_empty_object(name: str, written: str) -> None:
    event = event_of(with_members(f'"userId":"ann","{name}":{written}'))
    assert bytes(getattr(event.wire, name)) == b"{}"
    assert json.loads(event.raw)[name] == {}
    assert sentences(event) == [f"{name} was an empty list and is read as an empty object"]


@pytest.mark.parametrize("name", ["properties", "context", "traits"])
@pytest.mark.parametrize("written", ["[1]", '"text"', "7", "true"])
def test_what_is_no_object_stays_a_fault(name: str, written: str) -> None:
    result = read(with_members(f'"userId":"ann","{name}":{written}'))
    assert isinstance(result, IngestFailure)
    assert result.reason == f"{name}_not_object"


def test_an_empty_list_in_php_gets_the_context_of_its_batch() -> None:
    event = event_of(
        with_members('"userId":"ann","context":[]'), batch_members=b',"context":{"traits":{"email":"ann@example.com"}}'
    )
    assert json.loads(bytes(event.wire.context)) == {"traits": {"email": "ann@example.com"}}
    assert sentences(event) == ["context was an empty list and is read as an empty object"]


def test_an_empty_list_as_context_of_a_batch_is_noted() -> None:
    event = event_of(with_members('"userId":"ann"'), batch_members=b',"context":[]')
    assert sentences(event) == ["context of the batch was an empty list and is read as an empty object"]


def test_the_consent_of_an_event_counts_as_a_whole() -> None:
    own = '"userId":"ann","context":{"consent":{"categoryPreferences":{"sale":false}}}'
    shared = b',"context":{"consent":{"categoryPreferences":{"ads":true}}}'
    event = event_of(with_members(own), batch_members=shared)
    assert json.loads(bytes(event.wire.context)) == {"consent": {"categoryPreferences": {"sale": False}}}


@pytest.mark.parametrize("blank", ["", "  ", "\\t", "\\u00a0"])
@pytest.mark.parametrize(("empty", "other"), [("userId", "anonymousId"), ("anonymousId", "userId")])
def test_an_empty_id_beside_the_other_one_is_absent(empty: str, other: str, blank: str) -> None:
    event = event_of(with_members(f'"{empty}":"{blank}","{other}":"a1"'))
    assert empty not in json.loads(event.raw)
    ids = {"userId": event.wire.user_id, "anonymousId": event.wire.anonymous_id}
    assert ids == {empty: None, other: "a1"}
    assert sentences(event) == [f"{empty} was empty and counts as absent"]


def test_an_empty_user_id_beside_a_numeric_anonymous_id_is_absent() -> None:
    event = event_of(with_members('"userId":"","anonymousId":7'))
    assert (event.wire.user_id, event.wire.anonymous_id, len(event.notes)) == (None, "7", 2)


@pytest.mark.parametrize("blank", ["", "   "])
def test_an_empty_message_id_is_absent(blank: str) -> None:
    event = event_of(b'{"type":"track","userId":"ann","event":"x","messageId":"%s"}' % blank.encode())
    assert event.message_id.startswith("derived-")
    assert sentences(event) == ["messageId was empty and counts as absent"]


TIMES = [
    pytest.param(
        "1767225600", ["timestamp 1767225600 was read as epoch seconds: 2026-01-01T00:00:00+00:00"], id="epoch"
    ),
    pytest.param('"2026-01-01T00:00:00Z"', [], id="ISO-8601"),
    pytest.param('"2026-01-01"', [], id="a date"),
    pytest.param("null", [], id="null"),
    pytest.param('" "', ["timestamp was empty and counts as absent"], id="empty"),
    pytest.param(
        '"03/11/2025"',
        ['timestamp cannot be read as a time: "03/11/2025"; the time of receipt is used'],
        id="March or November",
    ),
    pytest.param("[1]", ["timestamp cannot be read as a time: [1]; the time of receipt is used"], id="a list"),
    pytest.param("true", ["timestamp cannot be read as a time: true; the time of receipt is used"], id="a boolean"),
    pytest.param(
        '"2027-01-01T00:00:00Z"',
        ["timestamp 2027-01-01 00:00 UTC is in the future; the time of receipt is used"],
        id="the future",
    ),
]


@pytest.mark.parametrize(("written", "expected"), TIMES)
def test_an_unusual_time_is_noted(written: str, expected: list[str]) -> None:
    assert sentences(event_of(with_members(f'"userId":"ann","timestamp":{written}'))) == expected


def test_a_time_of_sending_that_cannot_be_read_is_noted() -> None:
    event = event_of(with_members('"userId":"ann","timestamp":"2026-01-01T00:00:00Z","sentAt":"soon"'))
    assert sentences(event) == ['sentAt cannot be read as a time: "soon"; the sender\'s clock is not corrected']
    assert event.timestamp == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "text", "sentence"),
    [
        (r'"half \ud83d"', "half �", "properties.x had half of a surrogate pair, which is read as �"),
        ('"two\nlines\x00"', "two\nlines\x00", "properties.x had a control character that JSON requires to be escaped"),
        (r'"\ud83d\ude00 \\ud83d"', "😀 \\ud83d", None),
    ],
)
def test_text_that_json_does_not_allow_is_repaired(written: str, text: str, sentence: str | None) -> None:
    event = event_of(with_members(f'"userId":"ann","properties":{{"x":{written}}}'))
    assert json.loads(bytes(event.wire.properties)) == {"x": text}
    assert sentences(event) == ([sentence] if sentence else [])


def test_nesting_beyond_the_limit_is_noted() -> None:
    event = event_of(with_members('"userId":"ann","properties":' + '{"a":' * 3_000 + "NaN" + "}" * 3_000))
    (note,) = sentences(event)
    assert note.endswith("was nested deeper than 100 levels and is read as null")


def test_notes_are_limited() -> None:
    event = event_of(with_members('"userId":"ann","properties":{"x":[' + ",".join(["NaN"] * 5_000) + "]}"))
    assert len(event.notes) == 20
    assert sentences(event)[-1] == "4,981 more values were converted"


def test_a_failure_keeps_what_was_noted_before() -> None:
    result = read(b'{"type":"track","userId":7,"properties":{"x":NaN},"messageId":8}')
    assert isinstance(result, IngestFailure)
    assert (result.reason, result.message_id, len(result.notes)) == ("event_not_defined", "8", 3)


TOKENS = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b'"a"',
        b'"batch"',
        b"NaN",
        b"1",
        b"\\",
        b"\n",
        b"\\ud800",
        b" ",
        b"null",
    ]
)


@given(parts=st.lists(TOKENS, max_size=40))
def test_any_tokens_are_repaired_or_refused(parts: list[bytes]) -> None:
    opened = open_request(b"".join(parts))
    if opened is not None:
        for call in ("track", "batch"):
            first = read_request(opened.body, call=call, received_at=RECEIVED, position=1)
            assert first
            assert read_request(opened.body, call=call, received_at=RECEIVED, position=1) == first
            for item in first:
                if isinstance(item, Event):
                    json.loads(item.raw)


@pytest.mark.parametrize(
    "body",
    [b'"\\' * 250_000, b"[" * 500_000, b'{"a":"' + b'\\"' * 240_000, b"NaN," * 120_000],
    ids=["escapes", "brackets", "an endless text", "no object"],
)
def test_hostile_text_is_refused_in_one_pass(body: bytes) -> None:
    """A repair that went over the text again for each quote would take hours here, and run into the time limit."""
    assert open_request(body) is None
