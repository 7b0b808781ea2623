"""Webhooks with real processes: what is killed meanwhile loses no event, keeps each user's order, and is on record."""

import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from punchcard.testing.product import WRITE_KEY, ProductProcess, command
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until
from punchcard.testing.webhook_receiver import ReceivedRequest, Reply, WebhookReceiver

_USERS = 20


def configuration(
    receiver: WebhookReceiver,
    *,
    networks: list[str] | None = None,
    settings: Mapping[str, object] | None = None,
    options: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    return {
        "workspace": {"name": "Acme", "webhookAllowedNetworks": ["127.0.0.0/8"] if networks is None else networks},
        "sources": [{"slug": "website", "name": "Website", "write_key": WRITE_KEY}],
        "destinations": [
            {
                "slug": "hook",
                "type": "webhooks",
                "source": "website",
                "settings": {"url": receiver.url, **(settings or {})},
                "options": {"retryBaseSeconds": 0.1, **(options or {})},
            }
        ],
    }


@pytest.fixture(scope="module")
def receivers() -> Iterator[dict[str, WebhookReceiver]]:
    """Return a receiver for each test that shares the product, by the slug of its source and destination."""
    with ExitStack() as running:
        yield {slug: running.enter_context(WebhookReceiver()) for slug in ("seen", "filtered", "regulars")}


@pytest.fixture(scope="module")
def product(
    tmp_path_factory: pytest.TempPathFactory, receivers: Mapping[str, WebhookReceiver]
) -> Iterator[ProductProcess]:
    """One product with a source and a destination for each of these tests; its write key is the slug."""
    parts = {
        "seen": configuration(receivers["seen"]),
        "filtered": configuration(receivers["filtered"], settings={"triggers": ["track"]}),
        "regulars": configuration(receivers["regulars"], settings={"triggers": ["identify", "track"]}),
    }
    content: dict[str, Any] = {"workspace": parts["seen"]["workspace"], "sources": [], "destinations": []}
    for slug, part in parts.items():
        content["sources"].append({"slug": slug, "name": slug, "write_key": slug})
        content["destinations"].append({**part["destinations"][0], "slug": slug, "source": slug})
    content["audiences"] = [
        {
            "name": "Regulars",
            "definition": "event('Visited').count() >= 2",
            "destinations": ["regulars"],
            "send": ["identify", "track"],
        }
    ]
    with ProductProcess(tmp_path_factory.mktemp("webhooks"), content) as running:
        yield running


def test_no_event_is_lost_and_users_stay_in_order_whatever_dies(tmp_path: Path) -> None:
    chance = random.Random(7)
    with WebhookReceiver() as receiver:

        def decide(request: ReceivedRequest) -> Reply:
            draw = chance.random()
            if draw < 0.1:
                return Reply(status=503)
            if draw < 0.2:
                return Reply(resets=True)
            return Reply(delay_seconds=0.01)

        receiver.decide = decide
        content = configuration(receiver, settings={"batchSize": 5}, options={"retryAttemptsMax": 50})
        sent: dict[str, list[str]] = defaultdict(list)
        with ProductProcess(tmp_path, content) as product:
            for number in range(300):
                user, message_id = f"u{number % _USERS}", f"m{number}"
                fields = {"messageId": message_id, "userId": user, "properties": {"n": number}}
                while product.send("track", {"type": "track", "event": "Order Completed", **fields})[0] != 200:
                    time.sleep(0.05)
                sent[user].append(message_id)
                if number % 60 == 30:
                    product.kill_worker()
            everything = {message_id for ids in sent.values() for message_id in ids}
            receiver.wait_for(lambda: set(receiver.message_ids()) >= everything, seconds=PATIENCE_SECONDS)
            for message_id in ("m0", "m150", "m299"):
                product.wait_for_status(message_id, "delivered")
            rows = _all_rows(product)
        assert {row["messageId"] for row in rows} == everything
        assert _arrivals(receiver) == dict(sent)


def _arrivals(receiver: WebhookReceiver) -> dict[str, list[str]]:
    """When each event arrived first, by its user; repeats are dropped by message id, as a receiver does."""
    arrived: dict[str, list[str]] = defaultdict(list)
    for request in receiver.requests:
        for event in request.events:
            if event["messageId"] not in arrived[event["userId"]]:
                arrived[event["userId"]].append(event["messageId"])
    return dict(arrived)


def _all_rows(product: ProductProcess) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        status, body = product.call("GET", f"/api/destinations/hook/transactions?count=200{cursor}")
        assert status == 200, body
        rows += body["data"]["transactions"]
        if not (following := body["data"]["pagination"].get("next")):
            return rows
        cursor = f"&cursor={following}"


def test_a_call_is_seen_in_trace_and_ledger(product: ProductProcess, receivers: Mapping[str, WebhookReceiver]) -> None:
    receiver = receivers["seen"]
    receiver.replies.append(Reply(status=422, body=b"no such member"))
    product.send("page", {"messageId": "bad", "userId": "u1", "name": "Home"}, write_key="seen")
    rejected = product.wait_for_status("bad", "rejected")
    # Only now: calls of two users are delivered side by side, and the first request gets the refusal.
    good = {"messageId": "good", "userId": "u2", "traits": {"email": "Ann@Example.com"}}
    product.send("identify", good, write_key="seen")
    assert rejected["reason"] == "webhook_refused"
    assert "no such member" in rejected["detail"]
    delivered = product.wait_for_status("good", "delivered")
    assert delivered["transaction"]["summary"] == "identify call"
    assert [attempt["status"] for attempt in delivered["attempts"]] == [200]
    trace = command("trace", "bad", "--data", str(product.data)).stdout
    assert "page call" in trace
    assert "no such member" in trace
    bodies = {event["messageId"]: event for request in receiver.requests for event in request.events}
    assert (bodies["bad"]["type"], bodies["bad"]["name"], bodies["bad"]["version"]) == ("page", "Home", 2)


def test_a_private_address_is_named_until_the_workspace_allows_its_network(tmp_path: Path) -> None:
    with WebhookReceiver() as receiver:
        closed = configuration(receiver, networks=[], options={"retryAttemptsMax": 2})
        with ProductProcess(tmp_path, closed) as product:
            product.send("track", {"messageId": "m1", "userId": "u1", "event": "Checked In"})
            parked = product.wait_for_status("m1", "parked")
            assert parked["reason"] == "address_not_allowed"
            assert receiver.requests == []
            checked = command("check", "--config", str(product.config))
            assert "private address 127.0.0.1" in checked.stdout + checked.stderr
            product.write_config(configuration(receiver, options={"retryAttemptsMax": 2}))
            product.send("track", {"messageId": "m2", "userId": "u2", "event": "Checked In"})
            # Until the worker has read the new configuration, what is retried is parked again.
            wait_until(lambda: retried(product, "m1") and "m1" in receiver.message_ids())
            product.wait_for_status("m1", "delivered")
            assert receiver.message_ids()["m1"] == 1
            checked = command("check", "--config", str(product.config))
            assert "127.0.0.1 can be reached" in checked.stdout + checked.stderr


def retried(product: ProductProcess, message_id: str) -> bool:
    """Put the event back in the queue, if it is parked; whether the call was taken."""
    body = {"messageIds": [message_id]}
    return product.call("POST", "/api/destinations/hook/transactions/retry", body=body)[0] == 200


def test_the_types_that_are_not_triggers_are_filtered(
    product: ProductProcess, receivers: Mapping[str, WebhookReceiver]
) -> None:
    product.send("page", {"messageId": "p1", "userId": "u3", "name": "Home"}, write_key="filtered")
    product.send("track", {"messageId": "t1", "userId": "u3", "event": "Checked In"}, write_key="filtered")
    product.wait_for_status("t1", "delivered")
    filtered = product.wait_for_status("p1", "filtered_at_destination")
    assert filtered["reason"] == "unsupported_event_type"
    assert set(receivers["filtered"].message_ids()) == {"t1"}


def test_an_audience_is_synced_to_a_receiver(product: ProductProcess, receivers: Mapping[str, WebhookReceiver]) -> None:
    receiver = receivers["regulars"]
    for number in range(2):
        visit = {
            "messageId": f"m{number}",
            "userId": "u4",
            "event": "Visited",
            "properties": {"email": "bea@example.com"},
        }
        product.send("track", visit, write_key="regulars")
    receiver.wait_for(lambda: len(_synced(receiver)) == 2, seconds=PATIENCE_SECONDS)
    identify, track = sorted(_synced(receiver), key=lambda event: event["type"])
    assert identify["traits"]["regulars"] is True
    assert identify["context"]["personas"]["computation_key"] == "regulars"
    assert track["event"] == "Audience Entered"


def _synced(receiver: WebhookReceiver) -> list[dict[str, Any]]:
    """The calls of audiences that have arrived, each once."""
    events = {event["messageId"]: event for request in receiver.requests for event in request.events}
    return [event for event in events.values() if "personas" in event.get("context", {})]
