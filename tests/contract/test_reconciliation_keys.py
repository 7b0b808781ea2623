"""A partner that does not show under which key it has booked: its list cannot prove that an award is missing."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.contract.privacy_world import dump, process, regulate
from tests.contract.reconciliation_desk import CONFIG, KEY, Desk, open_desk

from punchcard.errors import RejectedError
from punchcard.testing.partner.server import ReceivedRequest, Reply, item, serving
from punchcard.testing.sandbox import SandboxProcess


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox")) as process:
        yield process


@pytest.fixture
def desk(tmp_path: Path, sandbox: SandboxProcess, store_url: str) -> Iterator[Desk]:
    with open_desk(tmp_path, sandbox, store_url) as opened:
        yield opened


def hide_keys(desk: Desk, *numbers: str, key: str | None = None) -> None:
    for number in numbers:
        desk.intervene("PATCH", f"/{desk.transaction(number)['transaction_id']}", {"trans_source_id": key})


def forget_ids(desk: Desk) -> None:
    """Perkville confirmed the awards without an id."""
    with desk.server.store.unit_of_work() as work:
        work.exec_driver_sql("UPDATE effects SET partner_id = NULL")


@pytest.mark.parametrize("key", [None, ""], ids=["null", "empty"])
@pytest.mark.parametrize("has_ids", [True, False], ids=["confirmed-id", "no-id"])
def test_where_no_key_is_shown_no_award_is_called_missing(desk: Desk, key: str | None, has_ids: bool) -> None:
    desk.award(desk.order("1"), desk.order("2", email="bob@example.com"))
    hide_keys(desk, "1", "2", key=key)
    if not has_ids:
        forget_ids(desk)
    reconciliation = desk.reconcile()
    assert (reconciliation["status"], reconciliation["differences"]) == ("failed", [])
    assert "none of its transactions under a key" in reconciliation["detail"]


def test_an_award_under_its_confirmed_id_is_compared_whatever_became_of_its_key(desk: Desk) -> None:
    desk.award(desk.order("1"), desk.order("2", email="bob@example.com"), desk.order("3"))
    hide_keys(desk, "1")
    desk.intervene("PATCH", f"/{desk.transaction('2')['transaction_id']}", {"quantity": "12"})
    hide_keys(desk, "2")
    desk.book(quantity="7")
    reconciliation = desk.reconcile()
    assert reconciliation["status"] == "finished"
    assert [(item["kind"], item["effectKey"]) for item in reconciliation["differences"]] == [
        ("content_differs", KEY.format("2"))
    ]
    assert (reconciliation["partner"], reconciliation["others"]) == (
        {"count": 3, "quantity": "32"},
        {"count": 1, "quantity": "7"},
    )


def test_a_business_with_only_bookings_of_staff_is_compared(desk: Desk) -> None:
    desk.book(quantity="10")
    assert (before := desk.reconcile())["status"] == "finished"
    assert before["others"] == {"count": 1, "quantity": "10"}
    desk.award(desk.order("1"))
    desk.intervene("DELETE", f"/{desk.transaction('1')['transaction_id']}")
    # Perkville confirmed another id, so what staff have booked is not the award.
    assert [item["kind"] for item in desk.reconcile()["differences"]] == ["missing_at_partner"]


@pytest.mark.parametrize(
    "booked", [{"quantity": "9"}, {"perk": "123457", "quantity": "10"}], ids=["another-size", "another-perk"]
)
def test_an_award_without_an_id_is_missing_beside_other_bookings_of_staff(desk: Desk, booked: dict[str, str]) -> None:
    desk.book(**booked)
    desk.award(desk.order("1"))
    forget_ids(desk)
    desk.intervene("DELETE", f"/{desk.transaction('1')['transaction_id']}")
    assert [item["kind"] for item in desk.reconcile()["differences"]] == ["missing_at_partner"]


def test_an_award_without_an_id_is_missing_where_other_keys_are_shown(desk: Desk) -> None:
    desk.book(quantity="10")
    desk.award(desk.order("1"), desk.order("2"))
    forget_ids(desk)
    desk.intervene("DELETE", f"/{desk.transaction('1')['transaction_id']}")
    assert [item["effectKey"] for item in desk.reconcile()["differences"]] == [KEY.format("1")]


SECOND = CONFIG.replace("[[sources]]", '[[sources]]\nslug = "gym"\nwrite_key = "wk_gym"\n\n[[sources]]', 1).replace(
    '[[destinations]]\nslug = "hooks"',
    """[[destinations]]
slug = "gym-perkville"
type = "perkville"
sources = ["gym"]
[destinations.settings]
apiKey = "sandbox-token"
businessId = "41"
locationId = "7"
eventToPerkMap = {{ "Checked In" = "123457" }}
[destinations.options]
apiBaseUrl = "{url}"
requestsPerSecond = 0

[[destinations]]
slug = "hooks\"""",
)


def test_what_another_destination_of_the_business_has_awarded_is_not_unknown(desk: Desk) -> None:
    """Its keys have the slug of a source, too, so only the ledger tells which destination they are of."""
    desk.server.configure(SECOND.format(url=desk.sandbox.url, options=""))
    visit = {"messageId": "v1", "userId": "u", "event": "Checked In", "properties": {"email": "ann@example.com"}}
    desk.server.send(visit, write_key="wk_gym")
    desk.server.route()
    desk.server.deliver(slug="gym-perkville", rounds=6)
    desk.award(desk.order("1"), {**visit, "messageId": "v2"})
    reconciliation = desk.reconcile()
    assert reconciliation["differences"] == []
    assert (reconciliation["partner"]["count"], reconciliation["others"]["count"]) == (2, 1)
    # Also once it is removed from the configuration: its rows stay in the ledger.
    desk.server.configure(CONFIG.format(url=desk.sandbox.url, options=""))
    assert desk.reconcile()["differences"] == []


def test_awards_of_a_deleted_person_agree_and_bring_no_address_back(desk: Desk, store_url: str) -> None:
    desk.award(desk.order("1", email="zoe.deleted@example.com"), desk.order("2", email="bob@example.com"))
    process(desk.server)
    regulate(desk.server, "DELETE_INTERNAL", "zoe.deleted@example.com", by="EMAIL")
    desk.server.run_regulations()
    reconciliation = desk.reconcile()
    assert (reconciliation["differences"], reconciliation["partner"]["count"]) == ([], 2)
    assert [table for table, row in dump(store_url) if "zoe.deleted" in row] == []


def listed_keys(objects: list[dict[str, object]]) -> list[str | None]:
    """The keys of all transactions in Perkville's list, read page by page."""

    def reply(request: ReceivedRequest) -> Reply:
        offset, limit = (int(request.query[name][0]) for name in ("offset", "limit"))
        page = objects[offset : offset + limit]
        return Reply(body={"meta": {"limit": limit, "total_count": len(objects)}, "objects": page})

    async def read() -> list[str | None]:
        async with serving(reply) as (client, _):
            keys: list[str | None] = []
            cursor: str | None = None
            while True:
                page = await client.list_transactions(datetime(2026, 1, 1, tzinfo=UTC), cursor=cursor)
                keys += [transaction.effect_key for transaction in page.transactions]
                if (cursor := page.cursor) is None:
                    return keys

    return asyncio.run(read())


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"resource_uri": "/v2/transactions/1/"}, id="no-member"),
        pytest.param({**item(1), "trans_source_id": 5}, id="a-number"),
        pytest.param({**item(1), "trans_source_id": {"id": "x"}}, id="an-object"),
        pytest.param({"trans_source_id": None}, id="neither-key-nor-id"),
        pytest.param({"trans_source_id": ""}, id="empty-without-id"),
    ],
)
def test_a_list_that_tells_neither_keys_nor_ids_is_not_compared(odd: dict[str, object]) -> None:
    with pytest.raises(RejectedError) as caught:
        listed_keys([odd, item(2)])
    assert caught.value.code == "keys_not_shown"
    assert listed_keys([odd, item(2, "x")])[1:] == ["x"]


def test_a_list_of_bookings_of_staff_is_read() -> None:
    assert listed_keys([item(1), {**item(2), "trans_source_id": ""}]) == [None, None]
