"""One shop tracks in its browser and on its server, through the running product, kills and upgrades included."""

import json
import sqlite3
import tomllib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.long

NUMBERS = count(1)
KEYS = {"website": "wk_website", "server": "wk_server"}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("orders-sandbox")) as running:
        yield running


@pytest.fixture
def email() -> str:
    """A customer of this test's own."""
    return f"orders{next(NUMBERS)}@example.com"


def content(sandbox: SandboxProcess, **options: object) -> dict[str, Any]:
    result: dict[str, Any] = configuration(perkville_url=sandbox.url, options=options)
    result["sources"].append({"slug": "server", "write_key": KEYS["server"]})
    (destination,) = result["destinations"]
    del destination["source"]
    destination["sources"] = list(KEYS)
    return result


def reconfigure(product: ProductProcess, changed: dict[str, Any]) -> None:
    """Change the config file of a running product; routing reads the configuration again for each batch."""
    if tomllib.loads(product.config.read_text()) == changed:
        return
    changes = len(product.logged("configuration_changed"))
    product.write_config(changed)
    wait_until(lambda: len(product.logged("configuration_changed")) > changes)


def track(product: ProductProcess, source: str, event: str, message_id: str = "", **properties: object) -> str:
    message_id = message_id or f"two-sources-{next(NUMBERS)}"
    body = {"event": event, "userId": "ann", "messageId": message_id, "writeKey": KEYS[source]}
    status, _ = product.send("track", json.dumps({**body, "properties": properties}).encode(), write_key=KEYS[source])
    assert status == 200
    return message_id


def quantities(sandbox: SandboxProcess, email: str) -> list[str]:
    return [transaction["quantity"] for transaction in sandbox.transactions() if transaction["email"] == email]


def test_orders_and_refunds_of_two_sources_survive_kills(email: str, sandbox: SandboxProcess, tmp_path: Path) -> None:
    order_id = f"o-{email}"
    with ProductProcess(tmp_path, content(sandbox)) as product:
        early = track(product, "server", "Order Refunded", orderId=order_id, Total="-20", email=email)
        assert product.wait_for_status(early, "retrying")["reason"] == "waiting_for_order"
        product.kill()
    with ProductProcess(tmp_path) as product:
        track(product, "website", "Order Completed", order_id=order_id, revenue=50, email=email)
        product.wait_for_status(early, "delivered")
        product.kill()
    with ProductProcess(tmp_path) as product:
        again = track(product, "server", "Order Completed", orderId=order_id, Revenue="50.00", Email=email)
        assert product.wait_for_status(again, "duplicate")["reason"] == "same_effect"
        copy = track(product, "website", "Order Refunded", order_id=order_id, total=20, email=email)
        assert product.wait_for_status(copy, "rejected")["reason"] == "refund_tracked_twice"
        stranger = track(product, "website", "Order Refunded", order_id=order_id, email=f"x{email}")
        parked = product.wait_for_status(stranger, "parked")
        assert parked["reason"] == "refund_other_customer"
        assert email in parked["detail"]
        assert f"x{email}" in parked["detail"]
        rest = track(product, "website", "Order Refunded", order_id=order_id, email=email)
        product.wait_for_status(rest, "delivered")
        for source in KEYS:
            track(product, source, "Checked In", "1", email=email)
        last = track(product, "server", "Checked In", email=email)
        product.wait_for_status(last, "delivered")
    assert quantities(sandbox, email) == ["50", "-20", "-30", "1", "1", "1"]


def test_a_ledger_of_before_is_one_with_the_new_keys(email: str, sandbox: SandboxProcess, tmp_path: Path) -> None:
    order_id = f"o-{email}"
    with ProductProcess(tmp_path, content(sandbox)) as product:
        first = track(product, "website", "Order Completed", order_id=order_id, revenue=50, email=email)
        product.wait_for_status(first, "delivered")
        product.stop()
    with sqlite3.connect(tmp_path / "data" / "punchcard.db") as store:
        # As the version before has written it.
        changed = store.execute("UPDATE effects SET effect_key = replace(effect_key, 'SEG:perkville:', 'SEG:website:')")
        assert changed.rowcount == 1
    store.close()
    with ProductProcess(tmp_path, content(sandbox, orderIdScope="destination")) as product:
        for scope in ("destination", "source", "destination"):
            reconfigure(product, content(sandbox, orderIdScope=scope))
            again = track(product, "website", "Order Completed", order_id=order_id, revenue=50, email=email)
            assert product.wait_for_status(again, "duplicate")["reason"] == "same_effect"
        other = track(product, "server", "Order Completed", order_id=order_id, revenue="50.0", email=email)
        product.wait_for_status(other, "duplicate")
        refund = track(product, "server", "Order Refunded", order_id=order_id, email=email)
        product.wait_for_status(refund, "delivered")
    assert quantities(sandbox, email) == ["50", "-50"]


def test_a_register_that_writes_ids_as_floats_means_the_same_orders(
    email: str, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """Also over a ledger of a version that kept `1001.0` apart, and whatever the scope is set to meanwhile."""
    number = 700_000 + next(NUMBERS)
    with ProductProcess(tmp_path, content(sandbox)) as product:
        first = track(product, "server", "Order Completed", order_id=f"{number}.0", revenue=50, email=email)
        assert f'"{number}.0" and is read as {number}.' in product.wait_for_status(first, "delivered")["detail"]
        product.kill()
    with sqlite3.connect(tmp_path / "data" / "punchcard.db") as store:
        changed = store.execute(
            "UPDATE effects SET order_id = :id || '.0', effect_key = replace(effect_key, :id, :id || '.0')",
            {"id": str(number)},
        )
        assert changed.rowcount == 1
    store.close()
    with ProductProcess(tmp_path, content(sandbox, orderIdScope="source")) as product:
        for scope in ("source", "destination"):
            reconfigure(product, content(sandbox, orderIdScope=scope))
            again = track(product, "server", "Order Completed", order_id=number, revenue=50, email=email)
            assert product.wait_for_status(again, "duplicate")["reason"] == "same_effect"
        other = track(product, "website", "Order Completed", order_id=str(number), revenue="50.0", email=email)
        product.wait_for_status(other, "duplicate")
        part = track(product, "website", "Order Refunded", order_id=number, refund_id=1, total=20, email=email)
        product.wait_for_status(part, "delivered")
        copy = track(
            product, "server", "Order Refunded", order_id=f"{number}.0", refund_id="1.0", total=20, email=email
        )
        product.wait_for_status(copy, "duplicate")
        nothing = track(product, "website", "Order Refunded", order_id=number, products=[], email=email)
        assert product.wait_for_status(nothing, "refused")["reason"] == "missing_amount"
    assert quantities(sandbox, email) == ["50", "-20"]
