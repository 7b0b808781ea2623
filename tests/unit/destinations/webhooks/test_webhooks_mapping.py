"""What an event becomes: Segment's form of it, or what a template makes of it, under a key that is always the same."""

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from punchcard.destinations.port import Intent
from punchcard.destinations.webhooks.mapping import read_call
from punchcard.destinations.webhooks.partner import WebhooksPartner
from punchcard.errors import RefusedError
from punchcard.events.model import Event
from punchcard.events.parse import read_request

RECEIVED_AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
PARTNER = WebhooksPartner()


def plan(event: str, *, template: str = "", source: str = "website") -> Intent:
    (read,) = read_request(
        f'{{"batch":[{event}],"writeKey":"wk"}}'.encode(), call="batch", received_at=RECEIVED_AT, position=7
    )
    assert isinstance(read, Event), read
    settings = PARTNER.read_settings({"url": "https://example.com"}, {"template": template})
    return PARTNER.plan(read, settings, source=source, destination="hook", timezone=ZoneInfo("UTC"))


TRACK = (
    '{"type":"track","event":"Order Completed","messageId":"m1","userId":"u1","writeKey":"wk_secret",'
    '"timestamp":"2026-01-02T03:04:00.000Z","sentAt":"2026-01-02T03:04:05.678Z",'
    '"properties":{"email":"Ann@Example.com","revenue":9.990},"extra":{"kept":[1]}}'
)


def test_the_body_is_the_event_as_segment_sends_it() -> None:
    intent = plan(TRACK)
    assert json.loads(bytes(read_call(intent.payload).body)) == {
        "type": "track",
        "event": "Order Completed",
        "messageId": "m1",
        "userId": "u1",
        "properties": {"email": "Ann@Example.com", "revenue": 9.99},
        "extra": {"kept": [1]},
        "context": {},
        "integrations": {},
        "version": 2,
        "channel": "server",
        "projectId": "website",
        "originalTimestamp": "2026-01-02T03:04:00.000Z",
        "sentAt": "2026-01-02T03:04:05.678Z",
        "timestamp": "2026-01-02T03:04:00.000Z",
        "receivedAt": "2026-01-02T03:04:05.678Z",
    }
    assert '"revenue":9.990' in (intent.payload or "")  # digit by digit


def test_a_write_key_is_never_sent_on() -> None:
    assert "wk_secret" not in (plan(TRACK).payload or "")


def test_a_template_makes_the_body() -> None:
    body = read_call(plan(TRACK, template='{"id":{"@path":"$.messageId"},"at":{"@path":"$.receivedAt"}}').payload).body
    assert json.loads(bytes(body)) == {"id": "m1", "at": "2026-01-02T03:04:05.678Z"}


@pytest.mark.parametrize(
    ("event", "name", "ordering_key"),
    [
        ('{"type":"track","event":"A","messageId":"m","userId":"u"}', "A", "website:user:u"),
        ('{"type":"identify","messageId":"m","anonymousId":"a"}', "identify", "website:anonymous:a"),
        ('{"type":"page","name":"Home","messageId":"m","userId":"u"}', "Home", "website:user:u"),
        ('{"type":"screen","messageId":"m","userId":"u"}', "screen", "website:user:u"),
        ('{"type":"group","groupId":"g","messageId":"m","userId":"u"}', "group", "website:user:u"),
        ('{"type":"alias","previousId":"p","messageId":"m","userId":"u"}', "alias", "website:user:u"),
    ],
)
def test_each_of_the_six_calls_has_a_name_and_an_order(event: str, name: str, ordering_key: str) -> None:
    intent = plan(event)
    assert (intent.kind, intent.event_name, intent.ordering_key) == ("webhook_call", name, ordering_key)
    assert (intent.customer, intent.quantity, intent.item) == ("", None, None)


def test_keys_are_stable_and_differ_by_event_and_source() -> None:
    keys = [plan(TRACK).effect_key, plan(TRACK).effect_key, plan(TRACK, source="pos").effect_key]
    assert keys == ["SEG:website:EVENT:m1", "SEG:website:EVENT:m1", "SEG:pos:EVENT:m1"]


def test_the_customer_of_a_call_is_found_by_email() -> None:
    assert plan(TRACK).customer == "ann@example.com"


def test_ordering_keys_fit_their_column() -> None:
    intent = plan(f'{{"type":"track","event":"A","messageId":"m","userId":"{"u" * 5000}"}}')
    assert len(intent.ordering_key or "") <= 320


def test_a_body_that_is_too_large_is_refused_with_its_reason() -> None:
    template = "[" + ",".join(['{"@path":"$"}'] * 600) + "]"
    event = f'{{"type":"track","event":"A","messageId":"m","userId":"u","properties":{{"x":"{"y" * 2000}"}}}}'
    with pytest.raises(RefusedError) as caught:
        plan(event, template=template)
    assert caught.value.code == "webhook_body_too_large"


def test_a_member_that_nothing_can_read_is_refused_by_a_template_and_passed_on_without_one() -> None:
    event = '{"type":"track","event":"A","messageId":"m","userId":"u","properties":{"x":1e999999}}'
    assert "1e999999" in (plan(event).payload or "")
