"""Values as long as an event may hold, everywhere in it, on PostgreSQL: each event is answered, and the next one too.

PostgreSQL refuses an entry of an index over 2,704 bytes, and a text that is longer than its column. A row that it
refuses would stop everything behind the event.
"""

import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until
from punchcard.testing.webhook_receiver import WebhookReceiver

LONG = "".join(random.Random(1).choices(string.ascii_letters, k=20_000))  # which cannot be compressed
WIDE = "".join(random.Random(2).choices([chr(code) for code in range(0x1F300, 0x1F600)], k=2_000))  # four bytes each
EMAIL = {"email": "ann@example.com"}
ORDER = {"order_id": "o-1", "revenue": 5, **EMAIL}


def _events() -> dict[str, dict[str, Any]]:
    """Events with one long value each, by what it is."""
    events: dict[str, dict[str, Any]] = {}
    for name, long in (("long", LONG), ("wide", WIDE)):
        track = {"type": "track", "event": "Checked In", "userId": "ann", "properties": EMAIL}
        order = {**track, "event": "Order Completed"}
        identify = {"type": "identify", "userId": "ann", "traits": EMAIL}
        events |= {
            f"{name} event name": {**track, "event": long},
            f"{name} user id": {**track, "userId": long},
            f"{name} anonymous id": {**track, "anonymousId": long},
            f"{name} email": {**track, "properties": {"email": f"{long}@example.com"}},
            f"{name} host of an email": {**track, "properties": {"email": f"ann@{long}.com"}},
            f"{name} property name": {**track, "properties": {**EMAIL, long: 1}},
            f"{name} property value": {**track, "properties": {**EMAIL, "note": long}},
            f"{name} order id": {**order, "properties": {**ORDER, "order_id": long}},
            f"{name} refund id": {
                **order,
                "event": "Order Refunded",
                "properties": {**ORDER, "refund_id": long},
            },
            f"{name} refund of a long order": {
                **order,
                "event": "Order Refunded",
                "properties": {**ORDER, "order_id": long},
            },
            f"{name} amount": {**order, "properties": {**ORDER, "order_id": f"{name}-amount", "revenue": long}},
            f"{name} number": {**order, "properties": {**ORDER, "order_id": f"{name}-number", "revenue": "7" * 5_000}},
            f"{name} currency": {**order, "properties": {**ORDER, "order_id": f"{name}-currency", "currency": long}},
            f"{name} product": {
                **order,
                "properties": {**ORDER, "order_id": f"{name}-product", "products": [{"sku": long, "price": 1}]},
            },
            f"{name} trait name": {**identify, "traits": {**EMAIL, long: "x"}},
            f"{name} trait value": {**identify, "traits": {**EMAIL, "plan": long}},
            f"{name} phone": {**identify, "traits": {**EMAIL, "phone": long}},
            f"{name} page name": {"type": "page", "userId": "ann", "name": long, "properties": EMAIL},
            f"{name} page category": {"type": "page", "userId": "ann", "name": "x", "category": long},
            f"{name} screen name": {"type": "screen", "userId": "ann", "name": long},
            f"{name} group id": {"type": "group", "userId": "ann", "groupId": long},
            f"{name} previous id": {"type": "alias", "userId": "ann", "previousId": long},
            f"{name} library": {**track, "context": {"library": {"name": long, "version": long[:100]}}},
            f"{name} external id": {
                **track,
                "context": {"externalIds": [{"id": long, "type": "card", "collection": "users", "encoding": "none"}]},
            },
            f"{name} type of an external id": {
                **track,
                "context": {"externalIds": [{"id": "1", "type": long, "collection": "users", "encoding": "none"}]},
            },
            f"{name} device token": {**track, "context": {"device": {"id": long, "token": long[:500]}}},
            f"{name} integration": {**track, "integrations": {long: True}},
            f"{name} address": {**track, "context": {"ip": long}},
            f"{name} time": {**track, "timestamp": long},
        }
    return events


EVENTS = {
    message_id: {**event, "messageId": message_id}
    for what, event in _events().items()
    for message_id in [what.replace(" ", "-")]
}


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as running:
        yield running


def content(sandbox: SandboxProcess, receiver: WebhookReceiver) -> dict[str, Any]:
    perks = {"Checked In": "123457", "Order Completed": "123456", "Order Refunded": "123456"}
    settings: dict[str, Any] = dict(configuration(perkville_url=sandbox.url, event_to_perk_map=perks))
    settings["workspace"]["webhookAllowedNetworks"] = ["127.0.0.0/8"]
    hook = {"slug": "hook", "type": "webhooks", "source": "website", "settings": {"url": receiver.url}}
    settings["destinations"].append({**hook, "options": {"requestsPerSecond": 1_000}})
    settings["destinations"][0]["options"]["requestsPerSecond"] = 1_000
    definitions = {
        "Last Note": "event('Checked In').last(property('note'))",
        "Orders": "event('Order Completed').unique(property('order_id'))",
        "Notes": "event('Checked In').unique(property('note'))",
    }
    settings["computed_traits"] = [
        {"name": name, "definition": definition, "destinations": ["perkville", "hook"]}
        for name, definition in definitions.items()
    ]
    return settings


def test_whatever_is_long_every_event_is_answered_and_the_next_one_awarded(
    tmp_path: Path, postgres_url: str, receiver: WebhookReceiver
) -> None:
    with (
        SandboxProcess(tmp_path / "sandbox") as sandbox,
        ProductProcess(
            tmp_path / "up", content(sandbox, receiver), environment={"PUNCHCARD_DATABASE_URL": postgres_url}
        ) as product,
    ):
        for event in EVENTS.values():
            assert product.send(str(event["type"]), event)[0] == 200
        product.track("Checked In", {"email": "bob@example.com"}, userId="bob", messageId="next")
        assert product.wait_for_status("next", "delivered")["transaction"]["email"] == "bob@example.com"
        for message_id in EVENTS:
            wait_until(lambda: product.trace(message_id), what=f"no trace of {message_id}")  # noqa: B023
        failed = [line for line in product.log.splitlines() if '"level": "error"' in line]
        assert failed == []
