"""Conflicts resolved by operators, against a real sandbox: the partner's totals are those of the chosen content."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from punchcard.cli.running import run
from punchcard.cli.trace_text import print_text
from punchcard.operations.alerts import find_alerts
from punchcard.operations.remedies import next_step
from punchcard.testing.operators import FormBrowser, add_operators, signed_in
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.sandbox import SandboxProcess
from punchcard.workspace.alert_rules import AlertKind

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
eventToPerkMap = {{ {perks} }}
[destinations.options]
apiBaseUrl = "{url}"
requestsPerSecond = 0

[[destinations]]
slug = "hooks"
type = "webhooks"
sources = []
[destinations.settings]
url = "https://hooks.example.com/"
"""
MAPPED = '"Order Completed" = "123456", "Order Refunded" = "123456"'
PATH = "/api/destinations/perkville/conflicts"
ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox")) as process:
        yield process


@dataclass
class Shop:
    """An installation and its sandbox, with a shop that contradicts itself."""

    server: PublicApiServer
    sandbox: SandboxProcess
    sent: int = 0

    def order(self, revenue: str | None, *, email: str = ANN, event: str = "Order Completed", **more: Any) -> str:
        """Send an event about order 1; returns its message id."""
        self.sent += 1
        properties = {"email": email, "order_id": "1", **({} if revenue is None else {"revenue": revenue}), **more}
        self.server.send({"messageId": f"m{self.sent}", "userId": "u", "event": event, "properties": properties})
        self.server.route()
        return f"m{self.sent}"

    def refund(self, revenue: str | None, *, email: str = ANN, refund_id: str | None = None) -> str:
        more = {} if refund_id is None else {"refund_id": refund_id}
        return self.order(revenue, email=email, event="Order Refunded", **more)

    def deliver(self) -> None:
        self.server.deliver(rounds=8)

    def request(self, method: str, path: str, body: object = None) -> Any:
        response = self.server.request(method, path, None if body is None else json.dumps(body).encode())
        assert response.status == 200, response.body
        return response.json()["data"]

    def conflicts(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.request("GET", f"{PATH}?resolved=false")["conflicts"]
        return listed

    def resolve(self, conflict: dict[str, Any], resolution: str = "corrected") -> dict[str, Any]:
        path = f"{PATH}/{conflict['id']}/resolve"
        resolved: dict[str, Any] = self.request("POST", path, {"resolution": resolution})["conflict"]
        return resolved

    def units(self) -> dict[str, Decimal]:
        """What each customer has at the sandbox, without those who have nothing; no key is booked twice."""
        units: defaultdict[str, Decimal] = defaultdict(Decimal)
        transactions = self.sandbox.transactions()
        keys = [item["trans_source_id"] for item in transactions]
        assert len(keys) == len(set(keys))
        for item in transactions:
            units[item["email"]] += Decimal(item["quantity"])
        return {email: quantity for email, quantity in units.items() if quantity}

    def alerts(self) -> list[int]:
        with self.server.store.reading() as work:
            alerts = find_alerts(work, self.server.watch.current(), now=self.server.clock.now())
        return [alert.count for alert in alerts if alert.kind is AlertKind.CONFLICT]


@contextmanager
def _shop(tmp_path: Path, sandbox: SandboxProcess, store_url: str) -> Iterator[Shop]:
    sandbox.faults({})
    for item in sandbox.transactions():
        sandbox.request("DELETE", f"/sandbox/transactions/{item['transaction_id']}")
    with PublicApiServer(tmp_path, store_url, CONFIG.format(url=sandbox.url, perks=MAPPED)) as server:
        server.clock.set_wall_clock(by=(datetime.now(UTC) - server.clock.now()).total_seconds())
        server.delivers_really = True
        add_operators(server)
        yield Shop(server, sandbox)


@pytest.fixture
def shop(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[Shop]:
    with _shop(tmp_path, sandbox, f"sqlite:///{tmp_path / 'punchcard.db'}") as opened:
        yield opened


@pytest.fixture
def any_shop(tmp_path: Path, sandbox: SandboxProcess, store_url: str) -> Iterator[Shop]:
    """The same on each database engine."""
    with _shop(tmp_path, sandbox, store_url) as opened:
        yield opened


def _units(**units: str) -> dict[str, Decimal]:
    return {f"{name}@example.com": Decimal(quantity) for name, quantity in units.items()}


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        pytest.param({"revenue": "12.50"}, _units(ann="12.50"), id="more"),
        pytest.param({"revenue": "8"}, _units(ann="8"), id="less"),
        pytest.param({"revenue": "10", "email": BOB}, _units(bob="10"), id="another customer"),
        pytest.param({"revenue": "8", "email": BOB}, _units(bob="8"), id="another customer and less"),
    ],
)
def test_a_correction_gives_the_second_content(
    any_shop: Shop, second: dict[str, str], expected: dict[str, Decimal]
) -> None:
    shop = any_shop
    first, again = shop.order("10"), shop.order(**second)
    shop.deliver()
    assert shop.units() == _units(ann="10")
    assert shop.alerts() == [1]
    (conflict,) = shop.conflicts()
    assert (conflict["first"]["messageId"], conflict["second"]["messageId"]) == (first, again)
    shown = shop.request("GET", f"{PATH}/{conflict['id']}")["conflict"]["correction"]
    assert sum(Decimal(step["quantity"]) for step in shown) == sum(expected.values()) - 10
    assert shop.units() == _units(ann="10")  # looking changes nothing
    resolved = shop.resolve(conflict)
    assert [row["effectKey"].split(":")[2] for row in resolved["corrections"]] == ["CORRECTION"] * len(shown)
    shop.deliver()
    assert shop.units() == expected
    assert shop.conflicts() == []
    assert shop.alerts() == []
    sent = [
        row["transaction"]["quantity"]
        for row in shop.request("GET", f"{PATH}/{conflict['id']}")["conflict"]["corrections"]
    ]
    assert sent == [step["quantity"] for step in shown]
    # The same content again is a duplicate now, and so is the first one.
    shop.order(**second)
    shop.order("10")
    shop.deliver()
    assert shop.units() == expected
    assert shop.conflicts() == []


def test_another_perk_is_taken_back_from_the_first_and_given_as_the_second(shop: Shop) -> None:
    shop.order("10")
    shop.deliver()
    perks = '"Order Completed" = "123457", "Order Refunded" = "123456"'
    shop.server.configure(CONFIG.format(url=shop.sandbox.url, perks=perks))
    shop.order("8")
    (conflict,) = shop.conflicts()
    assert (conflict["first"]["item"], conflict["second"]["item"]) == ("123456", "123457")
    shop.resolve(conflict)
    shop.deliver()
    perks_given: defaultdict[int, Decimal] = defaultdict(Decimal)
    for item in shop.sandbox.transactions():
        perks_given[item["perk"]] += Decimal(item["quantity"])
    assert {perk: units for perk, units in perks_given.items() if units} == {123457: Decimal(8)}


def test_keeping_the_first_sends_nothing_and_holds_for_the_same_message(shop: Shop) -> None:
    shop.order("10")
    shop.order("8")
    shop.deliver()
    (conflict,) = shop.conflicts()
    assert shop.resolve(conflict, "kept")["resolution"] == "kept"
    shop.deliver()
    assert shop.units() == _units(ann="10")
    assert shop.conflicts() == []
    assert shop.alerts() == []
    shop.sent -= 1
    shop.order("8")  # the sender repeats its message
    assert shop.conflicts() == []


def test_nobody_resolves_a_conflict_twice(any_shop: Shop) -> None:
    shop = any_shop
    shop.order("10")
    shop.order("12")
    shop.deliver()
    (conflict,) = shop.conflicts()
    path, body = f"{PATH}/{conflict['id']}/resolve", json.dumps({"resolution": "corrected"}).encode()
    with ThreadPoolExecutor(4) as clicks:
        responses = list(clicks.map(lambda _: shop.server.request("POST", path, body), range(4)))
    assert sorted(response.status for response in responses) == [200, 409, 409, 409]
    refused = next(response for response in responses if response.status == 409)
    assert refused.error["type"] == "already_resolved"
    shop.deliver()
    assert shop.units() == _units(ann="12")
    audit = shop.request("GET", "/api/audit-events")["events"]
    assert sum(f"conflicts.{conflict['id']}" in json.dumps(event) for event in audit) == 1


@pytest.mark.parametrize(
    ("refunded", "second", "expected"),
    [
        pytest.param("4", {"revenue": "8"}, _units(ann="4"), id="a part, then less"),
        pytest.param("4", {"revenue": "12"}, _units(ann="8"), id="a part, then more"),
        pytest.param(None, {"revenue": "12"}, {}, id="all, then more"),
        pytest.param(None, {"revenue": "8"}, {}, id="all, then less"),
        pytest.param("4", {"revenue": "8", "email": BOB}, _units(bob="4"), id="a part, then another customer"),
        pytest.param(None, {"revenue": "8", "email": BOB}, {}, id="all, then another customer"),
    ],
)
def test_a_refund_that_came_meanwhile_counts(
    shop: Shop, refunded: str | None, second: dict[str, str], expected: dict[str, Decimal]
) -> None:
    shop.order("10")
    shop.order(**second)
    shop.deliver()
    shop.refund(refunded)
    shop.deliver()
    (conflict,) = shop.conflicts()
    shop.resolve(conflict)
    shop.deliver()
    assert shop.units() == expected


def test_a_refund_of_another_amount_is_corrected_both_ways(shop: Shop) -> None:
    shop.order("10")
    shop.refund("4", refund_id="r1")
    shop.deliver()
    for amount, left in (("6", "4"), ("1", "9")):
        shop.refund(amount, refund_id="r1")
        shop.resolve(shop.conflicts()[0])
        shop.deliver()
        assert shop.units() == _units(ann=left)
    shop.refund("2", email=BOB, refund_id="r1")
    (conflict,) = shop.conflicts()
    shown = shop.request("GET", f"{PATH}/{conflict['id']}")["conflict"]
    assert "only from the customer of its order" in shown["notCorrectable"]
    response = shop.server.request("POST", f"{PATH}/{conflict['id']}/resolve", b'{"resolution": "corrected"}')
    assert (response.status, response.error["type"]) == (422, "cannot_correct")
    assert shop.resolve(conflict, "kept")["resolution"] == "kept"


def test_a_first_award_that_was_rejected_is_not_sent_any_more(shop: Shop) -> None:
    broken = '"Order Completed" = "999999", "Order Refunded" = "123456"'
    shop.server.configure(CONFIG.format(url=shop.sandbox.url, perks=broken))
    first = shop.order("10")
    shop.deliver()
    shop.server.configure(CONFIG.format(url=shop.sandbox.url, perks=MAPPED))
    shop.order("8")
    (conflict,) = shop.conflicts()
    assert conflict["status"] == "rejected"
    shop.resolve(conflict)
    retry = {"messageIds": [first]}
    assert shop.request("POST", "/api/destinations/perkville/transactions/retry", retry)["reopened"] == 0
    shop.deliver()
    assert shop.units() == _units(ann="8")


def test_an_award_in_delivery_is_awaited_and_then_corrected(shop: Shop) -> None:
    shop.order("10")
    shop.order("8")
    (conflict,) = shop.conflicts()
    (step,) = shop.request("GET", f"{PATH}/{conflict['id']}")["conflict"]["correction"]
    assert step["quantity"] is None
    assert "in delivery" in step["detail"]
    shop.resolve(conflict)
    shop.deliver()
    shop.server.clock.advance(31)
    shop.deliver()
    assert shop.units() == _units(ann="8")


def test_rows_of_events_and_transactions_have_what_can_be_done(shop: Shop) -> None:
    first, second = shop.order("10"), shop.order("8")
    shop.deliver()
    shop.server.send({"messageId": "unmapped", "userId": "u", "event": "Class Booked", "properties": {"email": ANN}})
    shop.server.route()
    shop.sandbox.faults({"status": 503})
    shop.order("3", order_id="2")
    shop.deliver()
    shop.sandbox.faults({})
    (conflict,) = shop.conflicts()
    path = f"/destinations/perkville/conflicts/{conflict['id']}"
    resolve = f'href="{path}">Resolve conflict'
    browser = FormBrowser(shop.server)
    browser.sign_in("read_only@acme.example")
    events, transactions = "/events", "/destinations/perkville/transactions"
    for listed in (events, transactions):
        page = browser.get(listed).text
        assert "Resolve conflict" not in page
        assert "Next try" in page
    browser.sign_in("editor@acme.example")
    page = browser.get(events).text
    assert page.count(resolve) == 2, (first, second)  # of either event
    assert 'href="/destinations/perkville/map?add=Class%20Booked">Map event' in page
    assert "Next try" in page
    assert browser.get(transactions).text.count(resolve) == 2  # in the row, and in its details
    shop.request("POST", "/api/destinations/perkville/pause", {"reason": "inventory"})
    for listed in (events, transactions):
        page = browser.get(listed).text
        assert "Next try" not in page  # nothing is tried during a pause
        assert 'href="/destinations/perkville/state">Resume destination' in page
    shop.request("POST", "/api/destinations/perkville/resume")
    shop.resolve(conflict)
    for listed in (events, transactions):
        assert resolve not in browser.get(listed).text


def test_an_award_is_retried_from_its_row(shop: Shop) -> None:
    shop.order("10")
    shop.sandbox.faults({"status": 400})
    shop.deliver()
    shop.sandbox.faults({})
    browser = FormBrowser(shop.server)
    browser.sign_in("editor@acme.example")
    page = browser.get("/destinations/perkville/transactions").text
    for shown in (browser.get("/events").text, page):
        assert 'form="remedy" formaction="/destinations/perkville/transactions"' in shown
    form = re.search(r'<form id="remedy".*?</form>', page, re.DOTALL)
    button = re.search(r'form="remedy" formaction="([^"]+)" name="(\w+)" value="(\d+)">Retry', page)
    assert form is not None
    assert button is not None
    fields = dict(re.findall(r'name="(\w+)"\s+value="(\w+)"', form[0]))
    response = browser.post(button[1], **{**fields, button[2]: button[3]})
    assert response.status == 303
    assert "1 award back in the queue." in browser.get(response.headers["location"]).text
    shop.deliver()
    assert shop.units() == _units(ann="10")


def test_a_resolved_conflict_asks_for_nothing(shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop.order("10")
    second = shop.order("8")
    shop.deliver()
    for is_resolved in (False, True):
        if is_resolved:
            shop.resolve(shop.conflicts()[0])
        trace = shop.server.traces.trace(second)
        assert trace is not None
        assert bool(next_step(trace.results[0])) != is_resolved
        print_text(trace, Console(width=200))
        assert ("what to do" in capsys.readouterr().out) != is_resolved


def test_lost_responses_double_no_correction(shop: Shop) -> None:
    shop.order("10")
    shop.order("8", email=BOB)
    shop.deliver()
    shop.sandbox.faults({"status": 504, "rate": 1, "afterCommit": True})
    shop.resolve(shop.conflicts()[0])
    shop.server.deliver(rounds=2)
    shop.sandbox.faults({})
    shop.server.clock.advance(60)
    shop.deliver()
    assert shop.units() == _units(bob="8")


def test_the_app_shows_both_contents_and_resolves(shop: Shop) -> None:
    first, second = shop.order("10"), shop.order("8", email=BOB)
    shop.deliver()
    browser = FormBrowser(shop.server)
    assert browser.sign_in("read_only@acme.example").status == 303
    (conflict,) = shop.conflicts()
    path = f"/destinations/perkville/conflicts/{conflict['id']}"
    assert path in browser.get("/destinations/perkville/conflicts").text
    page = browser.get(path).text
    for text in (f"/events/{first}", f"/events/{second}", ANN, BOB, "This will be sent", "-10", "8"):
        assert text in page
    assert "Keep the first</button>" not in page
    assert browser.post(path, resolution="corrected").status == 403
    assert browser.sign_in("editor@acme.example").status == 303
    assert "Keep the first</button>" in browser.get(path).text
    for message_id in (first, second):
        assert f'href="{path}">Resolve conflict' in browser.get(f"/events/{message_id}").text
        (result,) = shop.request("GET", f"/api/events/{message_id}")["results"]
        (remedy,) = result["remedies"]
        assert (remedy["action"], remedy["path"]) == ("resolve_conflict", path)
        assert remedy["command"] == f"punchcard conflicts {conflict['id']}"
    assert browser.post(path, resolution="corrected").status == 303
    assert browser.post(path, resolution="kept").status == 303  # the second click
    shop.deliver()
    assert shop.units() == _units(bob="8")
    assert "the second content" in browser.get(path).text
    assert path not in browser.get("/destinations/perkville/conflicts").text
    assert path in browser.get("/destinations/perkville/conflicts?show=all").text
    assert browser.get("/destinations/perkville/conflicts/999").status == 404
    (result,) = shop.request("GET", f"/api/events/{second}")["results"]
    assert result["detail"].endswith("the second content counts")
    assert "remedies" not in result


def test_the_command_line_shows_and_resolves(shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop.order("10")
    shop.order("8")
    shop.deliver()
    (conflict,) = shop.conflicts()
    common = ["conflicts", "--data", str(tmp_path)]
    assert run(common) == 0
    assert "10 × 123456 for ann@example.com" in capsys.readouterr().out
    assert run([*common, conflict["id"]]) == 0
    assert "Correcting sends -2 × 123456" in capsys.readouterr().out
    assert run([*common, conflict["id"], "--correct"]) == 2  # nobody to ask
    assert run([*common, conflict["id"], "--correct", "--keep"]) == 2
    assert run([*common, "999"]) == 2
    assert run([*common, conflict["id"], "--correct", "--yes"]) == 0
    assert run([*common, conflict["id"], "--keep", "--yes"]) == 2  # resolved already
    shop.server.clock.advance(60)  # the command line goes by the machine's clock
    shop.deliver()
    assert shop.units() == _units(ann="8")


def test_an_alert_offers_the_decision_to_those_who_may_take_it(shop: Shop) -> None:
    shop.order("10")
    shop.deliver()
    shop.order("12")
    for role, label in (("editor", "Resolve"), ("read_only", "View")):
        for path in ("/", "/alerts"):
            page = signed_in(shop.server, role).get(path).text
            link = re.search(r'href="/destinations/perkville/conflicts[^"]*">\s*(\w+)</a>', page)
            assert link is not None, (role, path)
            assert link[1] == label, (role, path)
