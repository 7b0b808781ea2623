"""A store with a part that this version cannot use: the product starts, accepts events, and says what is wrong."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

ORDER = {"email": "ann@example.com", "order_id": "1001", "revenue": 9.99}
STAFF = {"email": "bob@example.com", "order_id": "1002", "revenue": 5, "staff": True}
FILTER = {"title": "no staff", "if": "properties.staff", "actions": [{"type": "DROP"}]}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path / "sandbox") as running:
        yield running


def change_stored(data: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the stored destination past all validation."""
    with closing(sqlite3.connect(data / "punchcard.db")) as database, database:
        (body,) = database.execute("SELECT body FROM configuration_documents WHERE kind = 'destination'").fetchone()
        content = json.loads(body)
        change(content)
        database.execute(
            "UPDATE configuration_documents SET body = ? WHERE kind = 'destination'", [json.dumps(content)]
        )
        database.execute("UPDATE revisions SET value = value + 1 WHERE name = 'configuration'")


def wait_for_reason(product: ProductProcess, message_id: str, reason: str) -> dict[str, Any]:
    def result() -> dict[str, Any]:
        wait = product.wait_for_status(message_id, "pending")
        return wait if wait["reason"] == reason else {}

    return wait_until(result, lambda: product.trace(message_id))


def test_a_stored_filter_that_does_not_compile_holds_its_destination_and_nothing_else(
    tmp_path: Path, sandbox: SandboxProcess
) -> None:
    folder = tmp_path / "product"
    content: Any = configuration(perkville_url=sandbox.url)
    content["destinations"][0]["filters"] = [FILTER]
    with ProductProcess(folder, content):
        pass
    deep = "properties." + ".".join(["a"] * 399) + " = 1"
    change_stored(folder / "data", lambda destination: destination["filters"][0].update(condition=deep))
    with ProductProcess(folder, applies_file=False) as product:
        for message_id, properties in (("order", ORDER), ("staff", STAFF)):
            body = {"messageId": message_id, "event": "Order Completed", "userId": "ann", "properties": properties}
            assert product.send("track", body, strict=True) == (200, {"success": True})
        assert product.send("track", {}, write_key="nobody", strict=True)[0] == 401
        held = wait_for_reason(product, "staff", "destination_on_hold")
        assert 'filter "no staff"' in held["detail"]
        assert "a path has at most 100 parts" in held["detail"]
        status, ready = product.call("GET", "/health/ready")
        assert (status, ready["status"]) == (200, "ready")
        assert [(problem["code"], problem["slug"]) for problem in ready["problems"]] == [
            ("destination_invalid", "perkville")
        ]
        checked = command("check", "--data", str(product.data))
        assert checked.returncode == 1
        assert 'PROBLEM  perkville: filter "no staff"' in checked.stderr
        assert "2 events are held" in checked.stderr
        assert 'punchcard_held_events{destination="perkville"} 2.0' in product.call("GET", "/metrics")[1]
        status, body = product.call("GET", "/api/destination/perkville/filters")
        assert status == 200
        path = f"/api/destination/perkville/filters/{body['data']['filters'][0]['id']}"
        status, body = product.call("PATCH", path, body={"if": "properties.staff"})
        assert (status, body["errors"][0]["type"]) == (409, "managed_by_file")
    # The config file manages the destination: it corrects it at the next start, and all goes its way.
    with ProductProcess(folder) as product:
        assert product.wait_for_status("order", "delivered")["transaction"]["quantity"] == "9.99"
        assert product.wait_for_status("staff", "filtered_at_destination")["reason"] == "FILTERED_BY_RULES"
        assert product.call("GET", "/health/ready") == (200, {"status": "ready"})
    assert [transaction["email"] for transaction in sandbox.transactions()] == ["ann@example.com"]
    assert product.logged("routing_stopped") == []


def test_what_took_an_older_version_down_works(tmp_path: Path, sandbox: SandboxProcess) -> None:
    content: Any = configuration(perkville_url=sandbox.url)
    names = ['a\\"b', "a\\\\b", "a\\\nb"]
    content["destinations"][0]["filters"] = [
        FILTER | {"title": f"odd {number}", "if": f"properties.{name} = 1"} for number, name in enumerate(names)
    ]
    with ProductProcess(tmp_path / "product", content) as product:
        assert product.track("Order Completed", ORDER, messageId="order") == 200
        assert product.wait_for_status("order", "delivered")
        dropped = {**ORDER, "order_id": "1002", "a\nb": 1}
        assert product.track("Order Completed", dropped, messageId="dropped") == 200
        assert product.wait_for_status("dropped", "filtered_at_destination")
