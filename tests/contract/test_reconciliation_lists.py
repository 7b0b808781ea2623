"""A partner's list of transactions while it is read: faults and pages that change hide nothing and invent nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.reconciliation_desk import KEY, PATH, open_paged_desk

from punchcard.testing.sandbox import SandboxProcess


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox")) as process:
        yield process


LISTING_FAULTS: dict[str, tuple[dict[str, object], str]] = {
    "unavailable": ({"status": 503}, "503"),
    "failing": ({"status": 500}, "500"),
    "gateway": ({"status": 502, "html": True}, "502"),
    "throttled": ({"status": 429, "retryAfter": 7}, "429"),
    "unreadable": ({"status": 200, "html": True}, "HTML"),
    "reset": ({"reset": True}, ""),
}


@pytest.mark.parametrize("fault", LISTING_FAULTS)
def test_whatever_befalls_the_list_between_pages_it_waits_and_goes_on_where_it_was(
    tmp_path: Path, sandbox: SandboxProcess, fault: str
) -> None:
    faults, word = LISTING_FAULTS[fault]
    with open_paged_desk(tmp_path, sandbox) as desk:
        desk.award(*(desk.order(str(number), email=f"{number}@example.com") for number in range(7)))
        desk.intervene("DELETE", f"/{desk.transaction('3')['transaction_id']}")
        requested = desk.request("POST", PATH, {"since": "30d"})["reconciliation"]
        desk.server.reconcile(before_request=lambda number: sandbox.faults(faults if number == 2 else {}))
        waiting = desk.request("GET", f"{PATH}/{requested['id']}")["reconciliation"]
        assert (waiting["status"], waiting["read"]) == ("reading", 3)
        assert waiting["waitingSince"] is not None
        assert word in waiting["detail"]
        sandbox.faults({})
        desk.server.reconcile()
        done = desk.request("GET", f"{PATH}/{requested['id']}")["reconciliation"]
    assert (done["status"], done["waitingSince"], done["read"]) == ("finished", None, 6)
    assert [(item["kind"], item["effectKey"]) for item in done["differences"]] == [
        ("missing_at_partner", KEY.format(3))
    ]


@pytest.mark.parametrize("page", range(2, 6))
@pytest.mark.parametrize("deleted", [1, 2, 3])
def test_transactions_that_are_deleted_while_the_list_is_read_hide_no_others(
    tmp_path: Path, sandbox: SandboxProcess, page: int, deleted: int
) -> None:
    with open_paged_desk(tmp_path, sandbox) as desk:
        desk.award(*(desk.order(str(number), email=f"{number}@example.com") for number in range(9)))
        listed = [item["transaction_id"] for item in sandbox.transactions()]

        def delete_first(number: int) -> None:
            if number == page:
                for transaction_id in listed[:deleted]:
                    desk.intervene("DELETE", f"/{transaction_id}")

        requested = desk.request("POST", PATH, {"since": "30d"})["reconciliation"]
        desk.server.reconcile(before_request=delete_first)
        done = desk.request("GET", f"{PATH}/{requested['id']}")["reconciliation"]
    # Those that were deleted may have been read before; none of the others may be missing.
    assert done["status"] == "finished"
    assert done["read"] >= 9 - deleted
    assert {item["effectKey"] for item in done["differences"]} <= {KEY.format(number) for number in range(deleted)}


def test_transactions_that_are_booked_while_the_list_is_read_are_no_differences(
    tmp_path: Path, sandbox: SandboxProcess
) -> None:
    with open_paged_desk(tmp_path, sandbox) as desk:
        desk.award(*(desk.order(str(number), email=f"{number}@example.com") for number in range(7)))
        requested = desk.request("POST", PATH, {"since": "30d"})["reconciliation"]

        def award_another(number: int) -> None:
            if number in (2, 3):
                desk.server.clock.advance(1)
                desk.award(desk.order(f"late-{number}"))
                desk.book(quantity="1")

        desk.server.reconcile(before_request=award_another)
        done = desk.request("GET", f"{PATH}/{requested['id']}")["reconciliation"]
    assert (done["status"], done["differences"], done["ledger"]["count"]) == ("finished", [], 7)


def test_a_list_is_read_in_pages(tmp_path: Path, sandbox: SandboxProcess) -> None:
    with open_paged_desk(tmp_path, sandbox) as desk:
        desk.award(*(desk.order(str(number)) for number in range(5)))
        reconciliation = desk.reconcile()
    assert (reconciliation["read"], reconciliation["differences"], reconciliation["partner"]["count"]) == (5, [], 5)
