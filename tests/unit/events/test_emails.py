"""Whom an event is about."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.events.emails import email_of
from punchcard.events.model import Event
from punchcard.events.parse import read_request

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def read(members: dict[str, object]) -> Event:
    body = json.dumps({"type": "track", "event": "A", "userId": "u", **members}).encode()
    (event,) = read_request(b'{"batch":[%s]}' % body, call="batch", received_at=NOW, position=1)
    assert isinstance(event, Event)
    return event


@pytest.mark.parametrize(
    ("members", "email"),
    [
        ({"email": "A@B.example", "properties": {"email": "other@b.example"}}, "a@b.example"),
        ({"properties": {"email": " Ann@Example.com "}}, "ann@example.com"),
        ({"context": {"traits": {"email": "ann@example.com"}}}, "ann@example.com"),
        ({"type": "identify", "traits": {"email": "ann@example.com"}}, "ann@example.com"),
        ({"properties": {"email": 7}, "context": {"traits": {"email": "ann@example.com"}}}, "ann@example.com"),
        ({"properties": {"email": ""}}, None),
        ({"properties": {"note": "no email here"}}, None),
        ({"properties": {"nested": {"email": "ann@example.com"}}}, None),
        ({"properties": {"email": "no address"}}, "no address"),
        ({}, None),
    ],
    ids=["event", "properties", "context", "traits", "the next", "empty", "a mention", "nested", "mistyped", "none"],
)
def test_the_email_is_found_where_destinations_look(members: dict[str, object], email: str | None) -> None:
    assert email_of(read(members)) == email


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("email"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("email"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(properties=st.dictionaries(st.just("email") | st.text(max_size=5), json_values, max_size=3), context=json_values)
def test_any_event_has_an_email_or_none(properties: dict[str, object], context: object) -> None:
    members: dict[str, object] = {"properties": properties}
    if isinstance(context, dict):
        members["context"] = context
    body = json.dumps({"type": "track", "event": "A", "userId": "u", **members}).encode()
    (event,) = read_request(b'{"batch":[%s]}' % body, call="batch", received_at=NOW, position=1)
    if isinstance(event, Event):
        email = email_of(event)
        assert email is None or (email and email == email.strip().lower())
