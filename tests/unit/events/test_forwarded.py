"""What Segment's cloud forwards, read as the spec spells it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.events.forwarded import Deletion, plain_event, read_deletion

keys = st.sampled_from(["userId", "user_id", "UserID", "properties", "Properties", "context", "type", "messageId", "x"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("delete"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.sampled_from(["Email", "order-id"]), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"User_ID": "a", "EVENT": "e"}, {"userId": "a", "event": "e"}),
        ({"userId": "a", "user_id": "b"}, {"userId": "a", "user_id": "b"}),
        ({"user_id": "b", "UserId": "c"}, {"userId": "b", "UserId": "c"}),
        ({"Properties": {"EMail": "x", "orderId": 1}}, {"properties": {"email": "x", "order_id": 1}}),
        ({"Context": {"Traits": {"Email": "x"}}}, {"context": {"traits": {"email": "x"}}}),
        ({"context": None, "integrations": None}, {"context": None, "integrations": None}),
        ({"properties": "text"}, {"properties": "text"}),
    ],
)
def test_keys_of_any_casing_stand_as_the_spec_spells_them(sent: object, read: object) -> None:
    result = plain_event(json.dumps(sent).encode())
    assert result is not None
    assert json.loads(result) == read


def test_what_is_spelled_right_stays_to_the_byte() -> None:
    text = b'{ "type" : "track", "properties": {"revenue": 9.990, "email":"\\u00e4"} , "messageId":"m"}'
    assert plain_event(text) == text


def test_an_event_that_says_when_but_not_which_gets_an_id_of_its_content() -> None:
    first, same, other = (b'{"timestamp":"2026-01-01T00:00:0%dZ"}' % second for second in (1, 1, 2))
    assert plain_event(first) == plain_event(same) != plain_event(other)
    assert b'"messageId":"content-' in (plain_event(first) or b"")
    assert plain_event(b'{"event":"x"}') == b'{"event":"x"}'


@pytest.mark.parametrize(
    ("message", "deletion"),
    [
        ({"type": "delete", "userId": "u", "messageId": "m"}, Deletion(user_id="u", message_id="m")),
        ({"Type": "delete", "user_id": "u", "MessageID": "m"}, Deletion(user_id="u", message_id="m")),
        ({"type": "track", "userId": "u", "messageId": "m"}, None),
        ({"type": "delete", "messageId": "m"}, None),
        ({"type": "delete", "userId": "", "messageId": "m"}, None),
        ({"type": "delete", "userId": 7, "messageId": "m"}, None),
    ],
)
def test_a_deletion_names_its_user(message: object, deletion: Deletion | None) -> None:
    assert read_deletion(json.dumps(message).encode()) == deletion


def test_a_deletion_with_an_id_of_no_use_gets_one_of_its_content() -> None:
    long = read_deletion(json.dumps({"type": "delete", "userId": "u", "messageId": "m" * 200}).encode())
    assert long is not None
    assert long.message_id.startswith("content-")


@given(content=values)
def test_reading_twice_changes_nothing_more(content: object) -> None:
    once = plain_event(json.dumps(content).encode())
    assert once is None or plain_event(once) == once


@given(text=st.binary(max_size=60))
def test_any_text_is_read(text: bytes) -> None:
    plain_event(text)
    read_deletion(text)
