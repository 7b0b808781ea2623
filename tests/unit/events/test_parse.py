"""What a request body holds, read as events: every reason that Segment gives, and never a lost neighbour."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from punchcard.events.model import Event, EventType
from punchcard.events.parse import EVENT_BYTES_MAX, IngestFailure, open_request, read_request

RECEIVED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TRACK: dict[str, Any] = {"type": "track", "userId": "ann", "event": "Checked In", "messageId": "m1"}


def read(body: object, *, call: str = "batch", position: int = 7, ip: str = "") -> list[Event | IngestFailure]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    opened = open_request(text)
    assert opened is not None
    return list(read_request(opened.body, call=call, received_at=RECEIVED, position=position, ip=ip))


def parse_one(event: object, **options: Any) -> Event | IngestFailure:
    """One event sent between two good ones, which must come out untouched."""
    text = event if isinstance(event, bytes) else json.dumps(event).encode()
    good = [json.dumps({**TRACK, "messageId": f"good-{side}"}).encode() for side in ("left", "right")]
    left, result, right = read(b'{"batch":[' + b",".join([good[0], text, good[1]]) + b"]}", **options)
    assert [neighbour.message_id for neighbour in (left, right)] == ["good-left", "good-right"]
    assert all(isinstance(neighbour, Event) for neighbour in (left, right))
    return result


def reason(parsed: Event | IngestFailure) -> str | None:
    return parsed.reason if isinstance(parsed, IngestFailure) else None


def sized(size: int) -> bytes:
    empty = json.dumps({**TRACK, "properties": {"x": ""}}).encode()
    return empty.replace(b'"x": ""', b'"x": "' + b"y" * (size - len(empty)) + b'"')


def nested(levels: int) -> bytes:
    return json.dumps(TRACK).encode()[:-1] + b',"properties":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"


FAILURES = [
    pytest.param(b"7", "event_not_object", id="a number"),
    pytest.param(b"null", "event_not_object", id="null"),
    pytest.param(b'["track"]', "event_not_object", id="a list"),
    pytest.param({**TRACK, "type": "purchase"}, "unknown_type", id="unknown type"),
    pytest.param({**TRACK, "type": None}, "unknown_type", id="no type"),
    pytest.param({**TRACK, "type": 7}, "unknown_type", id="number as type"),
    pytest.param({**TRACK, "userId": None}, "no_user_anon_id", id="nobody"),
    pytest.param({**TRACK, "userId": True}, "id_not_string", id="boolean as userId"),
    pytest.param({**TRACK, "userId": ["ann"]}, "id_not_string", id="list as userId"),
    pytest.param({**TRACK, "userId": "  "}, "id_not_string", id="blank userId"),
    pytest.param({**TRACK, "userId": "", "anonymousId": " "}, "id_not_string", id="both ids empty"),
    pytest.param({**TRACK, "userId": "", "anonymousId": None}, "id_not_string", id="empty userId beside null"),
    pytest.param({**TRACK, "userId": {}, "anonymousId": "a1"}, "id_not_string", id="object as userId"),
    pytest.param({**TRACK, "userId": ""}, "id_not_string", id="empty userId"),
    pytest.param({**TRACK, "anonymousId": {"a": 1}}, "id_not_string", id="object as anonymousId"),
    pytest.param({**TRACK, "event": None}, "event_not_defined", id="no event name"),
    pytest.param({**TRACK, "event": ""}, "event_not_defined", id="empty event name"),
    pytest.param({**TRACK, "event": ["x"]}, "event_not_string", id="list as event name"),
    pytest.param({**TRACK, "properties": "x"}, "properties_not_object", id="text as properties"),
    pytest.param({**TRACK, "properties": [1]}, "properties_not_object", id="list as properties"),
    pytest.param({**TRACK, "traits": 7}, "traits_not_object", id="number as traits"),
    pytest.param({**TRACK, "type": "page", "name": 7}, "name_not_string", id="number as page name"),
    pytest.param({**TRACK, "type": "page", "category": []}, "category_not_string", id="list as category"),
    pytest.param({**TRACK, "type": "group"}, "id_required", id="group without groupId"),
    pytest.param({**TRACK, "type": "alias"}, "id_required", id="alias without previousId"),
    pytest.param({**TRACK, "messageId": "m" * 101}, "message_id_too_long", id="message id of 101"),
    pytest.param({**TRACK, "context": "x"}, "context_not_object", id="text as context"),
    pytest.param(
        {**TRACK, "context": {"consent": {}}}, "consent_categorypreferences_should_exist", id="consent without content"
    ),
    pytest.param(
        {**TRACK, "context": {"consent": {"categoryPreferences": []}}},
        "consent_categorypreferences_fields_should_be_object",
        id="consent as list",
    ),
    pytest.param(
        {**TRACK, "context": {"consent": {"categoryPreferences": {"ads": "yes"}}}},
        "consent_categorypreferences_fields_should_be_bool",
        id="consent in words",
    ),
    pytest.param(
        {**TRACK, "context": {"consent": {"categoryPreferences": {}, "version": "2"}}},
        "consent_version_should_be_number",
        id="consent version as text",
    ),
    pytest.param(
        {**TRACK, "context": {"device": {"advertisingId": 7}}},
        "device_advertisingid_should_be_string",
        id="number as advertisingId",
    ),
    pytest.param(sized(EVENT_BYTES_MAX + 1), "event_too_large", id="32 KB and a byte"),
]


@pytest.mark.parametrize(("event", "expected"), FAILURES)
def test_a_faulty_event_ends_with_its_reason_and_costs_no_neighbour(event: object, expected: str) -> None:
    result = parse_one(event)
    assert reason(result) == expected
    assert isinstance(result, IngestFailure)
    assert result.detail


GOOD = [
    pytest.param(TRACK, id="a track call"),
    pytest.param({**TRACK, "userId": None, "anonymousId": "a1"}, id="anonymous"),
    pytest.param({**TRACK, "messageId": "m" * 100}, id="message id of 100"),
    pytest.param({**TRACK, "properties": None, "traits": None, "context": None, "integrations": None}, id="nulls"),
    pytest.param({**TRACK, "context": {"consent": None, "device": None}}, id="nulls in context"),
    pytest.param({**TRACK, "context": {"consent": {"categoryPreferences": {"ads": True}, "version": 2}}}, id="consent"),
    pytest.param({**TRACK, "integrations": "whatever"}, id="integrations of a wrong type"),
    pytest.param({**TRACK, "something": {"else": [1]}}, id="unknown members"),
    pytest.param({**TRACK, "userId": "a\u0000b"}, id="a zero character"),
    pytest.param(sized(EVENT_BYTES_MAX), id="32 KB to the byte"),
    pytest.param(
        b'{"type":"track","userId":"ann","event":"x","properties":{"n":1e400,"big":' + b"9" * 400 + b"}}", id="huge"
    ),
    pytest.param(b'{"type":"track","userId":"ann","event":"x","messageId":"\\ud83d"}', id="half a character"),
    pytest.param(b'{"type":"track","userId":"bob","userId":"ann","event":"x"}', id="a key twice: the last counts"),
    pytest.param({**TRACK, "type": "identify"}, id="identify"),
    pytest.param({**TRACK, "type": "screen", "name": "Home"}, id="screen"),
    pytest.param({**TRACK, "type": "group", "groupId": "g"}, id="group"),
    pytest.param({**TRACK, "type": "alias", "previousId": "p"}, id="alias"),
    pytest.param(nested(90), id="ninety levels"),
]


@pytest.mark.parametrize("event", GOOD)
def test_a_good_event_is_an_event(event: object) -> None:
    result = parse_one(event)
    assert isinstance(result, Event), result


@pytest.mark.parametrize("levels", [500, 5_000, 80_000])
def test_an_event_nested_beyond_reading_is_taken_without_its_depths(levels: int) -> None:
    result = parse_one(nested(levels))
    assert isinstance(result, Event)
    assert json.loads(result.raw)["properties"]["a"]["a"]["a"]


@pytest.mark.parametrize("call", [kind.value for kind in EventType])
def test_a_single_call_has_the_type_of_its_path(call: str) -> None:
    body = {**TRACK, "type": "nonsense", "groupId": "g", "previousId": "p"}
    (item,) = read(body, call=call)
    assert isinstance(item, Event)
    assert item.type is EventType(call)


@pytest.mark.parametrize("body", [{}, {"batch": []}, {"batch": None}, {"batch": "x"}, {"batch": {"a": 1}}])
def test_a_batch_without_events_is_one_failure(body: object) -> None:
    assert [reason(item) for item in read(body)] == ["empty_batch"]


def test_events_beyond_the_limit_of_a_batch_fail_each_by_itself() -> None:
    result = read(b'{"batch":[' + b",".join([json.dumps(TRACK).encode()] * 2_503) + b"]}")
    assert len(result) == 2_503
    assert all(isinstance(item, Event) for item in result[:2_500])
    assert [reason(item) for item in result[2_500:]] == ["batch_too_many_events"] * 3


def test_a_batch_of_nonsense_by_the_hundred_thousand_is_reported_in_short() -> None:
    result = read(b'{"batch":[' + b",".join([b"1"] * 200_000) + b"]}")
    assert len(result) == 10_001
    assert isinstance(result[-1], IngestFailure)
    assert "190,000" in result[-1].detail


def test_an_event_without_a_message_id_gets_one_that_is_its_own_for_ever() -> None:
    nameless = {name: value for name, value in TRACK.items() if name != "messageId"}
    first = read({"batch": [nameless, nameless]}, position=7)
    again = read({"batch": [nameless, nameless]}, position=7)
    elsewhere = read({"batch": [nameless]}, position=8)
    ids = [item.message_id for item in [*first, *elsewhere]]
    assert len(set(ids)) == 3
    assert [item.message_id for item in again] == ids[:2]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        pytest.param({}, {"app": {"name": "till"}, "locale": "en"}, id="none of its own"),
        pytest.param({"context": None}, {"app": {"name": "till"}, "locale": "en"}, id="null"),
        pytest.param(
            {"context": {"locale": "de"}}, {"app": {"name": "till"}, "locale": "de"}, id="its own member wins"
        ),
        pytest.param(
            {"context": {"app": {"build": 7}}},
            {"app": {"name": "till", "build": 7}, "locale": "en"},
            id="objects in it are merged likewise",
        ),
        pytest.param({"context": {"app": None}}, {"app": None, "locale": "en"}, id="a null of its own wins"),
        pytest.param({"context": []}, {"app": {"name": "till"}, "locale": "en"}, id="an empty list"),
    ],
)
def test_the_context_of_a_batch_counts_for_each_event(own: dict[str, Any], expected: object) -> None:
    body = {"batch": [{**TRACK, **own}], "context": {"app": {"name": "till"}, "locale": "en"}}
    (item,) = read(body)
    assert isinstance(item, Event)
    assert json.loads(bytes(item.wire.context)) == expected
    assert json.loads(item.raw)["context"] == expected


def test_integrations_of_a_batch_count_for_each_event() -> None:
    body = {
        "batch": [{**TRACK, "integrations": {"Perkville": True}}],
        "integrations": {"All": False, "Perkville": False},
    }
    (item,) = read(body)
    assert isinstance(item, Event)
    assert json.loads(bytes(item.wire.integrations)) == {"All": False, "Perkville": True}


def test_a_context_of_a_batch_that_is_too_large_fails_its_events_and_nothing_else() -> None:
    result = read({"batch": [TRACK], "context": {"x": "y" * 40_000}})
    assert [reason(item) for item in result] == ["event_too_large"]


@pytest.mark.parametrize(
    ("own", "expected"), [({}, "203.0.113.9"), ({"context": {"ip": "198.51.100.1"}}, "198.51.100.1")]
)
def test_the_senders_address_is_noted_unless_the_event_names_one(own: dict[str, Any], expected: str) -> None:
    (item,) = read({"batch": [{**TRACK, **own}]}, ip="203.0.113.9")
    assert isinstance(item, Event)
    assert json.loads(bytes(item.wire.context))["ip"] == expected


TIMES = [
    pytest.param({}, {}, RECEIVED, id="none: when it was received"),
    pytest.param({"timestamp": "2026-01-01T00:00:00Z"}, {}, datetime(2026, 1, 1, tzinfo=UTC), id="its own word"),
    pytest.param(
        {"timestamp": "2026-01-01T00:00:00Z", "sentAt": "2026-01-01T00:00:05Z"},
        {},
        datetime(2026, 1, 2, 3, 4, 0, tzinfo=UTC),
        id="corrected by its sentAt",
    ),
    pytest.param(
        {"timestamp": "2026-01-01T00:00:00Z"},
        {"sentAt": "2026-01-01T00:01:00Z"},
        datetime(2026, 1, 2, 3, 3, 5, tzinfo=UTC),
        id="corrected by the batch's sentAt",
    ),
    pytest.param(
        {"timestamp": "2026-01-01T00:00:00Z", "sentAt": "2026-01-01T00:00:05Z"},
        {"sentAt": "2030-01-01T00:00:00Z"},
        datetime(2026, 1, 2, 3, 4, 0, tzinfo=UTC),
        id="its own sentAt goes before the batch's",
    ),
    pytest.param(
        {"originalTimestamp": "2025-12-31T00:00:00Z", "timestamp": "2026-01-01T00:00:00Z"},
        {},
        datetime(2025, 12, 31, tzinfo=UTC),
        id="originalTimestamp goes first",
    ),
    pytest.param({"timestamp": "yesterday"}, {}, RECEIVED, id="unreadable"),
    pytest.param({"timestamp": {"a": 1}}, {}, RECEIVED, id="an object"),
    pytest.param({"timestamp": 1767225600000}, {}, datetime(2026, 1, 1, tzinfo=UTC), id="milliseconds"),
    pytest.param({"timestamp": 1672531200}, {}, datetime(2023, 1, 1, tzinfo=UTC), id="seconds of years ago"),
    pytest.param({"timestamp": True}, {}, RECEIVED, id="a boolean"),
    pytest.param(
        {"timestamp": "2026-01-03T03:04:05Z"}, {}, datetime(2026, 1, 3, 3, 4, 5, tzinfo=UTC), id="a day ahead"
    ),
    pytest.param({"timestamp": "2026-01-03T03:04:06Z"}, {}, RECEIVED, id="a day and a second ahead"),
    pytest.param(
        {"timestamp": "2030-01-01T00:00:00Z", "sentAt": "2030-01-01T00:00:05Z"},
        {},
        datetime(2026, 1, 2, 3, 4, 0, tzinfo=UTC),
        id="a clock that is years ahead is corrected",
    ),
    pytest.param(
        {"timestamp": 1767225600, "sentAt": "Thu, 01 Jan 2026 00:00:05 GMT"},
        {},
        datetime(2026, 1, 2, 3, 4, 0, tzinfo=UTC),
        id="corrected in other forms",
    ),
    pytest.param(
        {"timestamp": "2026-01-01T00:00:00Z", "sentAt": "1970-01-01T00:00:00Z"},
        {},
        RECEIVED,
        id="sent before it happened",
    ),
    pytest.param(
        {"originalTimestamp": "yesterday", "timestamp": "2026-01-01T00:00:00Z"},
        {},
        datetime(2026, 1, 1, tzinfo=UTC),
        id="the next one if the first cannot be read",
    ),
    pytest.param(
        {"timestamp": "2026-01-01T00:00:00Z"}, {"sentAt": ["x"]}, datetime(2026, 1, 1, tzinfo=UTC), id="sentAt a list"
    ),
]


@pytest.mark.parametrize(("own", "of_batch", "expected"), TIMES)
def test_when_an_event_happened(own: dict[str, Any], of_batch: dict[str, Any], expected: datetime) -> None:
    (item,) = read({"batch": [{**TRACK, **own}], **of_batch})
    assert isinstance(item, Event)
    assert item.timestamp == expected
    assert item.received_at == RECEIVED


def test_numbers_stay_as_they_were_written() -> None:
    (item,) = read(b'{"batch":[{"type":"track","userId":"a","event":"x","properties":{"revenue":9.990, "n":1e2}}]}')
    assert isinstance(item, Event)
    assert b'"revenue":9.990' in bytes(item.wire.properties)
    assert b'"n":1e2' in bytes(item.wire.properties)


KEYS = [
    pytest.param(b'{"writeKey":"wk"}', "wk", id="text"),
    pytest.param(b'{"writeKey":null}', None, id="null"),
    pytest.param(b'{"writeKey":7}', None, id="number"),
    pytest.param(b"{}", None, id="none"),
    pytest.param(b'{"a":{"writeKey":"inner"}}', None, id="deeper down"),
]


@pytest.mark.parametrize(("body", "expected"), KEYS)
def test_the_write_key_of_a_body(body: bytes, expected: str | None) -> None:
    opened = open_request(body)
    assert opened is not None
    assert opened.write_key == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ["type", "userId", "anonymousId", "event", "messageId", "timestamp", "sentAt", "context", "properties"]
EVENTS = st.dictionaries(
    st.sampled_from([*MEMBERS, "traits", "integrations", "groupId", "previousId", "name", "category"]),
    JSON
    | st.sampled_from(["track", "ann", "2026-01-01T00:00:00Z"])
    | st.fixed_dictionaries({"consent": JSON, "device": JSON}),
)
BODIES = st.fixed_dictionaries(
    {"batch": st.lists(JSON | EVENTS, max_size=4)}, optional={"sentAt": JSON, "context": JSON, "integrations": JSON}
)


@settings(max_examples=300, deadline=None)
@given(
    body=BODIES | JSON,
    call=st.sampled_from(["batch", "track", "page", "alias"]),
    ip=st.sampled_from(["", "203.0.113.9"]),
)
def test_any_json_is_read_the_same_each_time_and_gives_an_item_per_event(body: Any, call: str, ip: str) -> None:
    opened = open_request(json.dumps(body).encode())
    if opened is None:
        assert not isinstance(body, dict)
        return
    options: dict[str, Any] = {"call": call, "received_at": RECEIVED, "position": 3, "ip": ip}
    first = list(read_request(opened.body, **options))
    assert list(read_request(opened.body, **options)) == first
    batch = body.get("batch") if call == "batch" else None
    assert len(first) == (len(batch) if isinstance(batch, list) and batch else 1)
    assert all(0 < len(item.message_id) <= 100 for item in first)
    for item in first:
        if isinstance(item, Event):
            # What was accepted is accepted again, as the same event.
            (again,) = read_request(item.raw, call=item.type.value, received_at=RECEIVED, position=3)
            assert isinstance(again, Event)
            assert (again.type, again.wire, again.raw) == (item.type, item.wire, item.raw)


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=200) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_opened_or_refused(body: bytes) -> None:
    opened = open_request(body)
    if opened is not None:
        assert read_request(opened.body, call="track", received_at=RECEIVED, position=1)
