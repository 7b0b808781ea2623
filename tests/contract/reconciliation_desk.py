"""An installation beside a real sandbox, with what an operator of reconciliations does."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from punchcard.operations.reconciliation_runner import ReconciliationPlan
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.sandbox import SandboxProcess

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website"]
[destinations.settings]
apiKey = "sandbox-token"
businessId = "41"
locationId = "7"
eventToPerkMap = {{ "Order Completed" = "123456", "Order Refunded" = "123456", "Checked In" = "123457" }}
[destinations.options]
apiBaseUrl = "{url}"
requestsPerSecond = 0
{options}

[[destinations]]
slug = "hooks"
type = "webhooks"
sources = []
[destinations.settings]
url = "https://hooks.example.com/"
"""
PATH = "/api/destinations/perkville/reconciliations"
KEY = "SEG:perkville:ORDER:{}:order-completed"


@dataclass
class Desk:
    """An installation and its sandbox, with what an operator does."""

    server: PublicApiServer
    sandbox: SandboxProcess

    def order(self, number: str, *, email: str = "ann@example.com", revenue: str = "10", **more: Any) -> dict[str, Any]:
        properties = {"email": email, "order_id": number, "revenue": revenue, **more}
        return {"messageId": f"m{number}", "userId": "u", "event": "Order Completed", "properties": properties}

    def award(self, *events: dict[str, Any]) -> None:
        """Events are received, routed and delivered."""
        self.server.send(*events)
        self.server.route()
        self.server.deliver(rounds=6)

    def request(self, method: str, path: str, body: object = None) -> Any:
        response = self.server.request(method, path, None if body is None else json.dumps(body).encode())
        assert response.status == 200, response.body
        return response.json()["data"]

    def reconcile(self, *, plan: ReconciliationPlan | None = None) -> dict[str, Any]:
        """Ask for a reconciliation, have it made, and read it."""
        requested = self.request("POST", PATH, {"since": "30d"})["reconciliation"]
        assert requested["status"] == "queued"
        self.server.reconcile(plan=plan)
        reconciliation: dict[str, Any] = self.request("GET", f"{PATH}/{requested['id']}")["reconciliation"]
        return reconciliation

    def resolve(self, reconciliation: dict[str, Any], action: str, **which: object) -> dict[str, int]:
        resolved: dict[str, int] = self.request(
            "POST", f"{PATH}/{reconciliation['id']}/resolve", {"action": action, **which}
        )
        return resolved

    def transaction(self, number: str) -> dict[str, Any]:
        """The sandbox's transaction of an order."""
        (reconciliation,) = [
            item for item in self.sandbox.transactions() if item["trans_source_id"] == KEY.format(number)
        ]
        return reconciliation

    def intervene(self, method: str, path: str, body: object = None) -> None:
        response = self.sandbox.request(method, f"/sandbox/transactions{path}", body=body)
        assert response.status in (200, 201, 204), response.body

    def book(self, **members: object) -> None:
        """Somebody books a transaction at the sandbox."""
        body = {
            "business": "41",
            "location": "7",
            "perk": "123456",
            "quantity": "3",
            "email": "bob@example.com",
            **members,
        }
        self.intervene("POST", "", body)

    def ledger(self) -> list[dict[str, Any]]:
        reconciliation: list[dict[str, Any]] = self.request("GET", "/api/destinations/perkville/transactions")[
            "transactions"
        ]
        return reconciliation


@contextmanager
def open_desk(tmp_path: Path, sandbox: SandboxProcess, store_url: str, options: str = "") -> Iterator[Desk]:
    sandbox.faults({})
    for item in sandbox.transactions():
        sandbox.request("DELETE", f"/sandbox/transactions/{item['transaction_id']}")
    config = CONFIG.format(url=sandbox.url, options=options)
    with PublicApiServer(tmp_path, store_url, config) as server:
        # The sandbox is a process of its own, with the machine's clock.
        server.clock.set_wall_clock(by=(datetime.now(UTC) - server.clock.now()).total_seconds())
        server.delivers_really = True
        yield Desk(server, sandbox)


def open_paged_desk(tmp_path: Path, sandbox: SandboxProcess) -> AbstractContextManager[Desk]:
    options = 'wire = { reconcilePageLimit = "3" }'
    return open_desk(tmp_path, sandbox, f"sqlite:///{tmp_path / 'punchcard.db'}", options)
