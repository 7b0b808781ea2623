"""The ledger compared with a real sandbox: each kind of difference is found, shown with its proof, and resolved.

Nothing is corrected before somebody decides, and what is sent again never makes a second award.
"""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.contract.reconciliation_desk import CONFIG, KEY, PATH, Desk, open_desk

from punchcard.cli.reconciling import reconcile_ledger
from punchcard.errors import ConfigurationError
from punchcard.operations.alerts import find_alerts
from punchcard.operations.reconciliation_runner import ReconciliationPlan
from punchcard.operations.reconciliation_views import SidePoints, open_points
from punchcard.runtime.settings import read_settings
from punchcard.store.delivery.effects import EffectState
from punchcard.store.operations.partner_transactions import customers_by_ref, save_customer
from punchcard.store.operations.reconciliations import newest_finished
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.sandbox import SandboxProcess
from punchcard.workspace.alert_rules import AlertKind


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox")) as process:
        yield process


@pytest.fixture
def desk(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[Desk]:
    with open_desk(tmp_path, sandbox, f"sqlite:///{tmp_path / 'punchcard.db'}") as opened:
        yield opened


@pytest.fixture
def any_desk(tmp_path: Path, sandbox: SandboxProcess, store_url: str) -> Iterator[Desk]:
    """The same on each database engine."""
    with open_desk(tmp_path, sandbox, store_url) as opened:
        yield opened


def test_both_sides_agree_and_transactions_of_others_are_counted_apart(any_desk: Desk) -> None:
    desk = any_desk
    desk.award(desk.order("1"), desk.order("2", email="bob@example.com", revenue="2.50"))
    refund = {"messageId": "r1", "userId": "u", "event": "Order Refunded"}
    desk.award({**refund, "properties": {"email": "ann@example.com", "order_id": "1", "revenue": "4"}})
    desk.book(quantity="7")
    desk.book(trans_source_id="FRONTDESK:1", quantity="1")
    desk.book(trans_source_id="SEG:another-shop:ORDER:1:order-completed", quantity="1")
    reconciliation = desk.reconcile()
    assert (reconciliation["status"], reconciliation["differences"], reconciliation["differencesOpen"]) == (
        "finished",
        [],
        0,
    )
    assert reconciliation["ledger"] == reconciliation["partner"] == {"count": 3, "quantity": "8.5"}
    assert reconciliation["others"] == {"count": 3, "quantity": "9"}
    assert reconciliation["customersUnchecked"] == 0


def _delete(desk: Desk) -> None:
    desk.intervene("DELETE", f"/{desk.transaction('1')['transaction_id']}")


def _void(desk: Desk) -> None:
    desk.intervene("POST", f"/{desk.transaction('1')['transaction_id']}/void")


def _double(desk: Desk) -> None:
    desk.book(trans_source_id=KEY.format("1"), email="ann@example.com", quantity="10")


def _change(**members: str) -> Any:
    return lambda desk: desk.intervene("PATCH", f"/{desk.transaction('1')['transaction_id']}", members)


@pytest.mark.parametrize(
    ("cause", "kind", "proof"),
    [
        pytest.param(_delete, "missing_at_partner", "deleted there since", id="deleted"),
        pytest.param(_void, "reversed", "as VOID", id="voided"),
        pytest.param(_double, "doubled", "booked it 2 times", id="doubled"),
        pytest.param(_change(quantity="12"), "content_differs", "12 units instead of 10", id="quantity"),
        pytest.param(_change(perk="123457"), "content_differs", "123457 instead of 123456", id="perk"),
        pytest.param(
            _change(email="eve@example.com"), "content_differs", "eve@example.com instead of ann", id="customer"
        ),
    ],
)
def test_a_difference_is_found_with_its_proof(desk: Desk, cause: Any, kind: str, proof: str) -> None:
    desk.award(desk.order("1"), desk.order("2", email="bob@example.com"))
    cause(desk)
    before = desk.ledger()
    reconciliation = desk.reconcile()
    (difference,) = reconciliation["differences"]
    assert (difference["kind"], difference["effectKey"], difference["state"]) == (kind, KEY.format("1"), "open")
    assert difference["email"] == "ann@example.com"
    assert proof in difference["detail"]
    assert difference["ours"]["quantity"] == "10"
    assert (difference["theirs"] is None) == (kind == "missing_at_partner")
    assert reconciliation["ledger"]["count"] == 2
    assert desk.ledger() == before  # nothing is corrected by itself


def test_a_doubled_award_is_worth_both_transactions(desk: Desk) -> None:
    desk.award(desk.order("1"))
    _double(desk)
    (difference,) = desk.reconcile()["differences"]
    first, second = difference["theirs"]["transactionIds"]
    assert difference["detail"].endswith(f"as transactions {first}, {second}.")
    assert difference["theirs"]["transactionId"] == first
    assert difference["theirs"]["quantityTotal"] == "20"
    with desk.server.store.reading() as work:
        newest = newest_finished(work, "perkville")
        assert newest is not None
        points = open_points(work, newest, lambda slug, item: Decimal(2))
    assert points == SidePoints(ledger=Decimal(20), partner=Decimal(40))


def test_a_transaction_that_the_partner_has_not_decided_is_pending(desk: Desk) -> None:
    desk.award(desk.order("1"))
    _change(transaction_status="PENDING", transaction_dt="2026-01-01T00:00:00Z")(desk)
    # Its time is before the period: what is not listed any more would be reported as missing.
    _change(transaction_dt=desk.server.clock.now().isoformat())(desk)
    assert desk.reconcile()["differences"] == []
    reconciliation = desk.reconcile(plan=ReconciliationPlan(pending_hours=1e-6))
    assert [item["kind"] for item in reconciliation["differences"]] == ["pending_too_long"]


def test_a_deleted_award_is_sent_again_once(desk: Desk) -> None:
    desk.award(desk.order("1"))
    _delete(desk)
    reconciliation = desk.reconcile()
    assert desk.resolve(reconciliation, "send_again") == {"resolved": 1, "left": 0}
    assert desk.resolve(reconciliation, "send_again") == {"resolved": 0, "left": 0}
    decided = [reconciliation["differences"][0]["id"], "999999"]
    assert desk.resolve(reconciliation, "dismiss", ids=decided) == {"resolved": 0, "left": 2}
    desk.server.deliver(rounds=6)
    assert len(desk.sandbox.transactions()) == 1
    assert desk.reconcile()["differences"] == []
    actions = [attempt["action"] for attempt in desk.ledger()[0]["attempts"]]
    assert actions == ["send", "read_back", "send"]


def test_an_award_that_is_there_after_all_is_not_sent_again(desk: Desk) -> None:
    desk.award(desk.order("1"))
    _delete(desk)
    reconciliation = desk.reconcile()
    desk.book(trans_source_id=KEY.format("1"), email="ann@example.com", quantity="10")
    desk.resolve(reconciliation, "send_again", ids=[reconciliation["differences"][0]["id"]])
    desk.server.deliver(rounds=6)
    assert len(desk.sandbox.transactions()) == 1
    assert [attempt["action"] for attempt in desk.ledger()[0]["attempts"]] == ["send", "read_back"]


@pytest.mark.parametrize(
    ("cause", "status", "reason", "quantity", "perk"),
    [
        pytest.param(_delete, "rejected", "absent_at_partner", "10", "123456", id="deleted"),
        pytest.param(_void, "rejected", "reversed_at_partner", "10", "123456", id="voided"),
        pytest.param(_change(quantity="12"), "delivered", None, "12", "123456", id="quantity"),
        pytest.param(_change(perk="123457"), "delivered", None, "10", "123457", id="perk"),
    ],
)
def test_what_the_partner_has_can_be_accepted(
    any_desk: Desk, cause: Any, status: str, reason: str | None, quantity: str, perk: str
) -> None:
    desk = any_desk
    desk.award(desk.order("1"))
    cause(desk)
    assert desk.resolve(desk.reconcile(), "accept") == {"resolved": 1, "left": 0}
    (row,) = desk.ledger()
    assert (row["status"], row["reason"]) == (status, reason)
    assert (row["transaction"]["quantity"], row["transaction"]["perk"]) == (quantity, perk)
    assert "Corrected by token test" in row["detail"]
    again = desk.reconcile()
    assert again["differences"] == []
    assert again["ledger"] == again["partner"]


def test_an_award_that_was_accepted_as_absent_is_read_back_if_it_is_retried(desk: Desk) -> None:
    desk.award(desk.order("1"))
    _delete(desk)
    desk.resolve(desk.reconcile(), "accept")
    retry = "/api/destinations/perkville/transactions/retry"
    assert desk.request("POST", retry, {})["reopened"] == 0  # somebody has decided
    assert desk.request("POST", retry, {"reason": "absent_at_partner"})["reopened"] == 1
    desk.server.deliver(rounds=6)
    assert [attempt["action"] for attempt in desk.ledger()[0]["attempts"]] == ["send", "read_back", "send"]


def test_a_dismissed_difference_stays_dismissed_until_a_side_changes(desk: Desk) -> None:
    desk.award(desk.order("1"))
    _change(quantity="12")(desk)
    reconciliation = desk.reconcile()
    assert desk.resolve(reconciliation, "send_again") == {"resolved": 0, "left": 1}  # that does not fit it
    assert desk.resolve(reconciliation, "dismiss", kind="content_differs") == {"resolved": 1, "left": 0}
    again = desk.reconcile()
    assert (again["differencesOpen"], again["differencesTotal"]) == (0, 1)
    assert again["differences"][0]["resolvedBy"] == "token test"
    _change(quantity="13")(desk)
    assert desk.reconcile()["differencesOpen"] == 1


def test_what_the_ledger_has_lost_is_rebuilt_and_never_awarded_again(any_desk: Desk) -> None:
    """As after a restore from an old backup: the partner has an award of which the ledger knows nothing."""
    desk = any_desk
    desk.book(trans_source_id=KEY.format("9"), email="Ann@example.com", quantity="10")
    desk.book(trans_source_id="SEG:website:EVENT:m5", perk="123457", quantity="1")
    desk.book(trans_source_id="SEG:perkville:REFUND:9:r1", perk="123458", quantity="4", email="ann@example.com")
    reconciliation = desk.reconcile()
    assert {item["kind"] for item in reconciliation["differences"]} == {"unknown_to_us"}
    assert reconciliation["partner"] == {"count": 3, "quantity": "7"}
    assert desk.resolve(reconciliation, "accept", kind="unknown_to_us") == {"resolved": 3, "left": 0}
    rows = {row["effectKey"] if "effectKey" in row else row["transaction"]["effectKey"]: row for row in desk.ledger()}
    assert {row["status"] for row in rows.values()} == {"delivered"}
    order, refund = rows[KEY.format("9")], rows["SEG:perkville:REFUND:9:r1"]
    assert (order["orderId"], order["eventName"], order["transaction"]["quantity"]) == ("9", "Order Completed", "10")
    assert (refund["orderId"], refund["transaction"]["quantity"]) == ("9", "-4")
    assert rows["SEG:website:EVENT:m5"]["messageId"] == "m5"
    again = desk.reconcile()
    assert (again["differences"], again["ledger"]) == ([], {"count": 3, "quantity": "7"})
    desk.award(desk.order("9"))
    (result,) = desk.request("GET", "/api/events/m9")["results"]
    assert result["status"] == "duplicate"
    assert len(desk.sandbox.transactions()) == 3


def test_what_is_rebuilt_is_compared_at_once_if_the_partners_clock_is_ahead(desk: Desk) -> None:
    desk.book(trans_source_id=KEY.format("1"), email="ann@example.com", quantity="10")
    _change(transaction_dt=(desk.server.clock.now() + timedelta(hours=1)).isoformat())(desk)
    desk.resolve(desk.reconcile(), "accept")
    again = desk.reconcile()
    assert (again["differences"], again["ledger"], again["partner"]) == (
        [],
        {"count": 1, "quantity": "10"},
        {"count": 1, "quantity": "10"},
    )


def test_what_the_ledger_counts_as_rejected_and_the_partner_has_is_unknown_to_us(desk: Desk) -> None:
    desk.award(desk.order("1"))
    _delete(desk)
    desk.resolve(desk.reconcile(), "accept")
    desk.book(trans_source_id=KEY.format("1"), email="ann@example.com", quantity="10")
    reconciliation = desk.reconcile()
    (difference,) = reconciliation["differences"]
    assert (difference["kind"], difference["ours"]["status"]) == ("unknown_to_us", "rejected")
    desk.resolve(reconciliation, "accept")
    assert desk.ledger()[0]["status"] == "delivered"
    assert desk.reconcile()["differences"] == []


def test_an_award_that_is_neither_delivered_nor_ended_is_pending_too_long(desk: Desk) -> None:
    desk.server.send(desk.order("1"))
    desk.server.route()
    assert desk.reconcile()["differences"] == []
    desk.server.clock.advance(25 * 3600)
    reconciliation = desk.reconcile()
    assert [item["kind"] for item in reconciliation["differences"]] == ["pending_too_long"]
    assert desk.resolve(reconciliation, "accept") == {"resolved": 0, "left": 1}  # the partner has nothing to accept
    assert desk.resolve(reconciliation, "send_again") == {"resolved": 1, "left": 0}
    desk.server.deliver(rounds=2)
    assert len(desk.sandbox.transactions()) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param('event_settings = \'{"businessId": "43"}\'', id="as its event said"),
        pytest.param("account = 'business 43 at https://api.perkville.com'", id="as the settings said"),
    ],
)
def test_an_award_for_another_business_is_not_compared(desk: Desk, change: str) -> None:
    desk.award(desk.order("1"))
    assert desk.reconcile()["notCompared"] == 0
    with desk.server.store.unit_of_work() as work:
        work.exec_driver_sql(f"UPDATE effects SET {change}")
    _delete(desk)
    reconciliation = desk.reconcile()
    assert (reconciliation["differences"], reconciliation["notCompared"], reconciliation["ledger"]["count"]) == (
        [],
        1,
        0,
    )


def test_it_waits_while_the_partner_is_down_and_goes_on_by_itself(desk: Desk) -> None:
    desk.award(desk.order("1"))
    desk.sandbox.faults({"status": 503})
    reconciliation = desk.reconcile()
    assert reconciliation["status"] == "reading"
    assert reconciliation["waitingSince"] is not None
    assert "503" in reconciliation["detail"]
    desk.sandbox.faults({})
    desk.server.reconcile()
    again = desk.request("GET", f"{PATH}/{reconciliation['id']}")["reconciliation"]
    assert (again["status"], again["waitingSince"], again["detail"]) == ("finished", None, "")


def test_it_ends_if_the_settings_name_another_account_meanwhile(desk: Desk) -> None:
    desk.award(desk.order("1"))
    desk.sandbox.faults({"status": 503})
    reconciliation = desk.reconcile()
    desk.sandbox.faults({})
    changed = CONFIG.format(url=desk.sandbox.url, options="").replace('businessId = "41"', 'businessId = "43"')
    desk.server.configure(changed)
    desk.server.reconcile()
    ended = desk.request("GET", f"{PATH}/{reconciliation['id']}")["reconciliation"]
    assert (ended["status"], ended["differences"]) == ("failed", [])
    assert "business 41 at" in ended["detail"]
    assert "business 43 at" in ended["detail"]


def test_the_addresses_of_customers_are_those_of_one_account(desk: Desk) -> None:
    now = desk.server.clock.now()
    with desk.server.store.unit_of_work() as work:
        save_customer(work, "perkville", "7", ["ann@example.com"], account="business 41", now=now)
        assert customers_by_ref(work, "perkville", ["7"], account="business 41")["7"].emails == ["ann@example.com"]
        assert customers_by_ref(work, "perkville", ["7"], account="business 42") == {}
        save_customer(work, "perkville", "7", ["bob@example.com"], account="business 42", now=now)
        assert customers_by_ref(work, "perkville", ["7"], account="business 42")["7"].emails == ["bob@example.com"]
        assert customers_by_ref(work, "perkville", ["7"], account="business 41") == {}


def test_refused_credentials_are_waited_for_too(desk: Desk) -> None:
    desk.server.configure(CONFIG.format(url=desk.sandbox.url, options="").replace("sandbox-token", "revoked"))
    reconciliation = desk.reconcile()
    assert (reconciliation["status"], reconciliation["waitingSince"] is None) == ("reading", False)


def test_history_and_errors_of_the_call(desk: Desk) -> None:
    first, second = desk.reconcile(), desk.reconcile()
    page = desk.request("GET", f"{PATH}?count=1")
    assert [item["id"] for item in page["reconciliations"]] == [second["id"]]
    assert page["reconciliations"][0]["differences"] is None
    following = desk.request("GET", f"{PATH}?count=1&cursor={page['pagination']['next']}")
    assert [item["id"] for item in following["reconciliations"]] == [first["id"]]
    for path, body, status, field in (
        (PATH, {"since": "yesterday"}, 400, "since"),
        (PATH, {"since": "2999-01-01T00:00:00Z"}, 400, "since"),
        ("/api/destinations/hooks/reconciliations", {"since": "1d"}, 422, "destination"),
        ("/api/destinations/none/reconciliations", {"since": "1d"}, 404, None),
        (f"{PATH}/999/resolve", {"action": "accept"}, 404, None),
        (f"{PATH}/{first['id']}/resolve", {"action": "accept", "kind": "x"}, 400, "kind"),
    ):
        response = desk.server.request("POST", path, json.dumps(body).encode())
        assert (response.status, response.error["field"]) == (status, field), response.body


def test_the_page_has_a_chart_of_both_sides_and_what_open_differences_cost(desk: Desk) -> None:
    path = "/destinations/perkville/reconciliations"
    add_operators(desk.server)
    browser = FormBrowser(desk.server)
    assert browser.sign_in("owner@acme.example").status == 303
    fields = {"name": "Acme", "timezone": "UTC", "point_cost": "0.01", "currency": "USD"}
    assert browser.post("/settings", **fields).status == 303
    desk.award(desk.order("1"), desk.order("2", revenue="20"))
    desk.reconcile()
    assert "chart-data" not in browser.get(path).text
    _delete(desk)
    desk.server.clock.advance(60)
    reconciliation = desk.reconcile()
    chart = json.loads(re.search(r'id="chart-data">(.*?)</script>', browser.get(path).text, re.DOTALL)[1])  # type: ignore[index]
    assert [(series["label"], series["values"]) for series in chart["series"]] == [
        ("Ledger", [2, 2]),
        ("Perkville", [2, 1]),
        ("Differences", [0, 1]),
    ]
    assert browser.get("/destinations/perkville/map").status == 200  # reads the points per unit
    page = browser.get(f"{path}/{reconciliation['id']}").text
    assert re.search(r"10 points in the ledger\s+\(0\.10 USD\)", page), page


def test_resolving_on_the_page_leads_back_to_the_list_as_it_was_filtered(desk: Desk) -> None:
    add_operators(desk.server)
    browser = FormBrowser(desk.server)
    browser.sign_in("owner@acme.example")
    desk.award(desk.order("1"), desk.order("2"))
    _delete(desk)
    path = f"/destinations/perkville/reconciliations/{desk.reconcile()['id']}"
    shown = browser.get(f"{path}?kind=missing_at_partner&state=open")
    assert shown.status == 200
    response = browser.post(path, do="dismiss", which="all", confirmed="on", kind="missing_at_partner", state="open")
    assert (response.status, response.headers["location"]) == (303, f"{path}?kind=missing_at_partner&state=open")
    assert browser.get(path).status == 200


def test_one_that_is_cancelled_is_not_made(desk: Desk) -> None:
    requested = desk.request("POST", PATH, {})["reconciliation"]
    cancelled = desk.request("POST", f"{PATH}/{requested['id']}/cancel")["reconciliation"]
    assert (cancelled["status"], cancelled["detail"]) == ("cancelled", "Cancelled by token test.")
    assert desk.server.reconcile() is False


def test_counts_follow_every_correction(desk: Desk) -> None:
    desk.award(desk.order("1"), desk.order("2"))
    _delete(desk)
    desk.resolve(desk.reconcile(), "accept")
    with desk.server.store.reading() as work:
        rows = work.exec_driver_sql("SELECT sum(hundredths), sum(transactions) FROM award_totals").all()
        ends: dict[str, int] = dict(
            work.exec_driver_sql("SELECT status, sum(count) FROM result_counts GROUP BY status").all()
        )
    assert rows == [(1000, 1)]
    assert (ends[EffectState.DELIVERED], ends[EffectState.REJECTED]) == (1, 1)


def test_open_differences_are_an_alert_until_they_are_resolved(desk: Desk) -> None:
    desk.award(desk.order("1"))
    _delete(desk)
    reconciliation = desk.reconcile()

    def alerts() -> list[tuple[str, int]]:
        with desk.server.store.reading() as work:
            listed = find_alerts(work, desk.server.watch.newest(), now=desk.server.clock.now())
        return [(alert.subject, alert.count) for alert in listed if alert.kind is AlertKind.LEDGER]

    assert alerts() == [("perkville", 1)]
    desk.resolve(reconciliation, "dismiss")
    assert alerts() == []


def test_the_command_prints_differences_and_exits_with_1(
    desk: Desk, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    desk.award(desk.order("1"))
    _delete(desk)
    settings = read_settings({"PUNCHCARD_DATA": str(tmp_path)})

    def run() -> tuple[int, list[str]]:
        status = reconcile_ledger(settings, destination="perkville", since="1d", output="json")
        (line,) = [line for line in capfdbinary.readouterr().out.splitlines() if line.startswith(b'{"data"')]
        return status, [item["state"] for item in json.loads(line)["data"]["reconciliation"]["differences"]]

    assert run() == (1, ["open"])
    newest = desk.request("GET", f"{PATH}?count=1")["reconciliations"][0]
    desk.resolve(newest, "dismiss")
    assert run() == (0, ["dismissed"])
    assert reconcile_ledger(settings, destination=None, since="1d", output="table") == 0
    with pytest.raises(ConfigurationError):
        reconcile_ledger(settings, destination="hooks", since="1d", output="table")
