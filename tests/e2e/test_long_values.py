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


TRACK = {"type": "track", "event": "Checked In", "userId": "ann", "properties": EMAIL}


def _of_persons(long: str) -> dict[str, dict[str, Any]]:
    """Events about a person, each with one long value, by what is long."""
    identify = {"type": "identify", "userId": "ann", "traits": EMAIL}
    return {
        "event-name": {**TRACK, "event": long},
        "user-id": {**TRACK, "userId": long},
        "anonymous-id": {**TRACK, "anonymousId": long},
        "email": {**TRACK, "properties": {"email": f"{long}@example.com"}},
        "host-of-an-email": {**TRACK, "properties": {"email": f"ann@{long}.com"}},
        "property-name": {**TRACK, "properties": {**EMAIL, long: 1}},
        "property-value": {**TRACK, "properties": {**EMAIL, "note": long}},
        "trait-name": {**identify, "traits": {**EMAIL, long: "x"}},
        "trait-value": {**identify, "traits": {**EMAIL, "plan": long}},
        "phone": {**identify, "traits": {**EMAIL, "phone": long}},
        "page-name": {"type": "page", "userId": "ann", "name": long, "properties": EMAIL},
        "page-category": {"type": "page", "userId": "ann", "name": "x", "category": long},
        "screen-name": {"type": "screen", "userId": "ann", "name": long},
        "group-id": {"type": "group", "userId": "ann", "groupId": long},
        "previous-id": {"type": "alias", "userId": "ann", "previousId": long},
    }


def _of_orders(long: str) -> dict[str, dict[str, Any]]:
    """Orders and refunds, likewise."""
    order, refund = {**TRACK, "event": "Order Completed"}, {**TRACK, "event": "Order Refunded"}
    return {
        "order-id": {**order, "properties": {**ORDER, "order_id": long}},
        "refund-id": {**refund, "properties": {**ORDER, "refund_id": long}},
        "refund-of-an-order": {**refund, "properties": {**ORDER, "order_id": long}},
        "amount": {**order, "properties": {**ORDER, "order_id": "amount", "revenue": long}},
        "number": {**order, "properties": {**ORDER, "order_id": "number", "revenue": "7" * len(long)}},
        "currency": {**order, "properties": {**ORDER, "order_id": "currency", "currency": long}},
        "product": {**order, "properties": {**ORDER, "order_id": "product", "products": [{"sku": long, "price": 1}]}},
    }


def _of_contexts(long: str) -> dict[str, dict[str, Any]]:
    """Events with what libraries add to them, likewise."""
    external_id = {"id": "1", "type": "card", "collection": "users", "encoding": "none"}
    return {
        "library": {**TRACK, "context": {"library": {"name": long, "version": long[:100]}}},
        "external-id": {**TRACK, "context": {"externalIds": [{**external_id, "id": long}]}},
        "type-of-an-external-id": {**TRACK, "context": {"externalIds": [{**external_id, "type": long}]}},
        "device": {**TRACK, "context": {"device": {"id": long, "token": long[:500]}}},
        "integration": {**TRACK, "integrations": {long: True}},
        "address": {**TRACK, "context": {"ip": long}},
        "time": {**TRACK, "timestamp": long},
    }


EVENTS = {
    message_id: {**event, "messageId": message_id}
    for script, long in (("latin", LONG), ("wide", WIDE))
    for what, event in (_of_persons(long) | _of_orders(long) | _of_contexts(long)).items()
    for message_id in [f"{script}-{what}"]
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
