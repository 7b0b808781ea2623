"""The sandbox keeps the rules of Perkville's transactions, so that what passes here was a transaction worth posting."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from punchcard.sandbox.api import PerkvilleApi
from punchcard.sandbox.awards import void_transaction
from punchcard.sandbox.database import open_database
from punchcard.sandbox.faults import Faults
from punchcard.sandbox.web import Request
from punchcard.testing.clock import ManualClock
from punchcard.testing.sandbox import SandboxProcess, SandboxReply

ORDER_COMPLETED = {
    "business": "/v2/businesses/41/",
    "location": "/v2/locations/7/",
    "perk": "/v2/perks/123456/",
    "email": "example@example.com",
    "quantity": "9.99",
    "send_email": False,
}
_numbers = count(1)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox")) as process:
        yield process


@pytest.fixture
def api(tmp_path: Path) -> Iterator[PerkvilleApi]:
    clock = ManualClock()
    database = open_database(tmp_path, clock)
    yield PerkvilleApi(database, clock, faults=Faults)
    database.close()


def new_email() -> str:
    return f"customer{next(_numbers)}@example.com"


def post(sandbox: SandboxProcess, **changes: object) -> SandboxReply:
    body = {**ORDER_COMPLETED, **changes}
    body = {key: value for key, value in body.items() if value is not ...}
    return sandbox.request("POST", "/v2/transactions/", body=body)


def first_problem(reply: SandboxReply) -> tuple[int, str, str, str]:
    body = reply.json()
    ((field, problems),) = body["errors"].items()
    return reply.status, field, problems[0]["code"], problems[0]["message"]


def balance(sandbox: SandboxProcess, email: str) -> Decimal:
    response = sandbox.request("GET", f"/v2/connections/?business=41&user__emails__email={email}")
    (connection,) = json.loads(response.body, parse_float=Decimal, parse_int=Decimal)["objects"]
    return Decimal(connection["point_balance"])


def call(api: PerkvilleApi, method: str, path: str, body: object = None) -> tuple[int, Any]:
    headers = {"authorization": "Bearer sandbox-token", "content-type": "application/json"}
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = api.response(Request(method, path, headers=headers, body=sent))
    return response.status, json.loads(response.body)


def test_a_transaction_is_answered_with_the_stored_object(sandbox: SandboxProcess) -> None:
    response = post(sandbox, email=new_email(), trans_source_id="SEG:website:ORDER:whole-object")
    assert response.status == 201
    stored = response.json()
    assert stored | {"transaction_id": 0, "user": "", "transaction_dt": "", "resource_uri": ""} == {
        "transaction_id": 0,
        "title": "Order Completed",
        "classification": "EARN",
        "points": 1,
        "quantity": "9.99",
        "transaction_dt": "",
        "transaction_status": "ACTIVE",
        "user": "",
        "perk": "/v2/perks/123456/",
        "business": "/v2/businesses/41/",
        "location": "/v2/locations/7/",
        "trans_source_id": "SEG:website:ORDER:whole-object",
        "voucher": None,
        "resource_uri": "",
    }
    assert "T" in stored["transaction_dt"]
    assert sandbox.request("GET", stored["resource_uri"]).json() == stored


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        pytest.param("9.99", "9.99", id="text"),
        pytest.param(9.99, "9.99", id="number"),
        pytest.param(1, "1", id="whole-number"),
        pytest.param("10.00", "10.00", id="digits-are-kept"),
        pytest.param(b"0.1", "0.1", id="number-is-no-binary-float"),
        pytest.param(b"1e2", "100", id="exponent"),
        pytest.param("0.30", "0.30", id="cents"),
        pytest.param("999999999999.999999", "999999999999.999999", id="largest"),
        pytest.param("-3.5", "-3.5", id="negative"),
    ],
)
def test_a_quantity_is_an_exact_decimal(sandbox: SandboxProcess, sent: object, echoed: str) -> None:
    if isinstance(sent, bytes):
        text = json.dumps({**ORDER_COMPLETED, "quantity": 0}).replace('"quantity": 0', f'"quantity": {sent.decode()}')
        response = sandbox.request("POST", "/v2/transactions/", body=text.encode())
    else:
        response = post(sandbox, quantity=sent)
    assert (response.status, response.json().get("quantity")) == (201, echoed)


@pytest.mark.parametrize(
    ("perk", "quantity", "points"),
    [
        pytest.param(123456, "9.99", "9.99", id="one-point-a-dollar"),
        pytest.param(123457, "1", "10", id="ten-points-a-visit"),
        pytest.param(123457, "2.5", "25.0", id="points-times-quantity"),
        pytest.param(123462, "3", "0", id="tracked-only"),
        pytest.param(123458, "4.50", "-4.50", id="redeem-takes-away"),
        pytest.param(123456, "-4.50", "-4.50", id="negative-takes-away"),
    ],
)
def test_points_are_those_of_the_perk_times_the_quantity(
    sandbox: SandboxProcess, perk: int, quantity: str, points: str
) -> None:
    email = new_email()
    assert post(sandbox, perk=f"/v2/perks/{perk}/", quantity=quantity, email=email).status == 201
    assert balance(sandbox, email) == Decimal(points)
    (transaction,) = [each for each in sandbox.transactions() if each["email"] == email]
    assert Decimal(transaction["points_total"]) == Decimal(points)


def test_tenths_add_up_exactly(sandbox: SandboxProcess) -> None:
    email = new_email()
    for _ in range(3):
        post(sandbox, quantity="0.1", email=email)
    assert balance(sandbox, email) == Decimal("0.3")


def test_a_new_email_becomes_a_pending_customer(sandbox: SandboxProcess) -> None:
    email = new_email()
    user = post(sandbox, email=email).json()["user"]
    (connection,) = sandbox.request("GET", f"/v2/connections/?user__emails__email={email}").json()["objects"]
    assert (connection["status"], connection["user"]) == ("PENDING", user)


def test_an_email_is_the_same_customer_in_any_case(sandbox: SandboxProcess) -> None:
    email = new_email()
    first, second = post(sandbox, email=email).json(), post(sandbox, email=f" {email.upper()} ").json()
    assert first["user"] == second["user"]
    assert balance(sandbox, email.title()) == Decimal("19.98")


def test_a_customer_can_be_named_by_the_user(sandbox: SandboxProcess) -> None:
    user = post(sandbox, email=new_email()).json()["user"]
    assert post(sandbox, email=..., user=user).json()["user"] == user


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param({"perk": "/v2/perks/5/"}, ("perk", "does_not_exist", "Perk 5 does not exist"), id="E003"),
        pytest.param({"perk": "/v2/perks/123459/"}, ("perk", "not_active", "Perk 123459 is not active"), id="E004"),
        pytest.param(
            {"perk": "/v2/perks/223456/"},
            ("perk", "wrong_business", "Perk 223456 does not belong to Business 41"),
            id="E005",
        ),
        pytest.param(
            {"location": "/v2/locations/5/"}, ("location", "does_not_exist", "Location 5 does not exist"), id="E000"
        ),
        pytest.param(
            {"location": "/v2/locations/9/"}, ("location", "not_active", "Location 9 is not active"), id="E001"
        ),
        pytest.param(
            {"location": "/v2/locations/8/"},
            ("location", "wrong_business", "Location 8 does not belong to business 41"),
            id="E002",
        ),
        pytest.param(
            {"business": "/v2/businesses/99/"},
            ("business", "does_not_exist", "Business 99 does not exist"),
            id="unknown-business",
        ),
        pytest.param(
            {"business": "/v2/businesses/43/"}, ("business", "not_active", "Business 43 is not active"), id="closed"
        ),
        pytest.param({"user": "/v2/users/999/", "email": ...}, ("user", "does_not_exist", None), id="unknown-user"),
        pytest.param({"user": "/v2/users/1/"}, ("email", "required", None), id="email-and-user"),
        pytest.param({"email": ...}, ("email", "required", None), id="no-customer"),
        pytest.param({"email": "no-at-sign.example.com"}, ("email", "invalid_email", None), id="bad-email"),
        pytest.param({"email": None}, ("email", "invalid_email", None), id="null-email"),
        pytest.param({"email": "a@b"}, ("email", "invalid_email", None), id="email-without-domain"),
        pytest.param({"email": "a\x00b@example.com"}, ("email", "invalid_email", None), id="email-with-nul"),
        pytest.param({"email": "\ud800@example.com"}, ("__all__", "invalid_json", None), id="lone-surrogate"),
        pytest.param({"quantity": ...}, ("quantity", "required", None), id="no-quantity"),
        pytest.param({"quantity": "0.00"}, ("quantity", "zero_quantity", None), id="zero"),
        pytest.param({"quantity": "NaN"}, ("quantity", "invalid_quantity", None), id="nan"),
        pytest.param({"quantity": "1e5"}, ("quantity", "invalid_quantity", None), id="exponent-in-text"),
        pytest.param({"quantity": " 1"}, ("quantity", "invalid_quantity", None), id="blank"),
        pytest.param({"quantity": True}, ("quantity", "invalid_quantity", None), id="boolean"),
        pytest.param({"quantity": None}, ("quantity", "invalid_quantity", None), id="null-quantity"),
        pytest.param({"quantity": 10**15}, ("quantity", "invalid_quantity", None), id="too-large"),
        pytest.param({"quantity": "0.0000001"}, ("quantity", "invalid_quantity", None), id="too-many-places"),
        pytest.param(
            {"perk": "/v2/perks/123458/", "quantity": "-1"}, ("quantity", "negative_quantity", None), id="undo-redeem"
        ),
        pytest.param({"perk": "/v2/locations/7/"}, ("perk", "invalid_reference", None), id="uri-of-another-kind"),
        pytest.param({"perk": "/v2/perks/123456"}, ("perk", "invalid_reference", None), id="uri-without-slash"),
        pytest.param({"send_email": "no"}, ("send_email", "invalid_boolean", None), id="text-for-boolean"),
        pytest.param({"trans_source_id": ""}, ("trans_source_id", "invalid_trans_source_id", None), id="empty-id"),
        pytest.param(
            {"trans_source_id": "x" * 101}, ("trans_source_id", "invalid_trans_source_id", None), id="long-id"
        ),
        pytest.param({"trans_source_id": "é"}, ("trans_source_id", "invalid_trans_source_id", None), id="not-ascii"),
        pytest.param({"sendEmail": False}, ("sendEmail", "unknown_field", None), id="misspelt-key"),
    ],
)
def test_a_transaction_is_refused_with_the_reason_and_nothing_is_stored(
    sandbox: SandboxProcess, changes: dict[str, object], problem: tuple[str, str, str | None]
) -> None:
    before = len(sandbox.transactions())
    status, field, code, message = first_problem(post(sandbox, **changes))
    expected_field, expected_code, expected_message = problem
    assert (status, field, code) == (400, expected_field, expected_code)
    assert expected_message is None or message == expected_message
    assert len(sandbox.transactions()) == before


def test_another_business_is_not_served(sandbox: SandboxProcess) -> None:
    response = post(sandbox, business="/v2/businesses/42/", location="/v2/locations/8/", perk="/v2/perks/223456/")
    assert (response.status, response.json()["error_type"]) == (403, "permission_error")


def test_ids_are_taken_as_well_as_uris(sandbox: SandboxProcess) -> None:
    assert post(sandbox, business="41", location=7, perk=123456).status == 201


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="broken"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"\xff", id="not-utf-8"),
        pytest.param(b"[" * 50_000, id="deep"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(sandbox: SandboxProcess, body: bytes) -> None:
    assert first_problem(sandbox.request("POST", "/v2/transactions/", body=body))[:3] == (
        400,
        "__all__",
        "invalid_json",
    )


def test_a_body_that_is_too_large_or_not_json_is_refused(sandbox: SandboxProcess) -> None:
    large = json.dumps({**ORDER_COMPLETED, "email": "a" * 70_000}).encode()
    assert sandbox.request("POST", "/v2/transactions/", body=large).status == 413
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert sandbox.request("POST", "/v2/transactions/", body=b"a=b", headers=form).status == 415


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="the-same-again"),
        pytest.param({"quantity": "1"}, id="another-quantity"),
        pytest.param({"perk": "/v2/perks/123457/"}, id="another-perk"),
        pytest.param({"email": "somebody.else@example.com"}, id="another-customer"),
    ],
)
def test_a_reused_trans_source_id_is_refused(sandbox: SandboxProcess, changes: dict[str, object]) -> None:
    source_id = f"SEG:website:ORDER:{next(_numbers)}"
    assert post(sandbox, trans_source_id=source_id).status == 201
    problem = first_problem(post(sandbox, trans_source_id=source_id, **changes))
    assert problem[:3] == (400, "trans_source_id", "duplicate_trans_source_id")
    assert [each["trans_source_id"] for each in sandbox.transactions()].count(source_id) == 1


def test_transactions_without_a_trans_source_id_are_all_stored(sandbox: SandboxProcess) -> None:
    email = new_email()
    assert post(sandbox, email=email).json()["trans_source_id"] is None
    assert post(sandbox, email=email, trans_source_id=None).status == 201
    assert balance(sandbox, email) == Decimal("19.98")


def test_the_control_api_lists_everything(sandbox: SandboxProcess) -> None:
    email = new_email()
    stored = post(sandbox, email=email, trans_source_id="SEG:judge", send_email=True).json()
    (transaction,) = [each for each in sandbox.transactions() if each["email"] == email]
    assert datetime.fromisoformat(transaction.pop("received_at")).tzinfo == UTC
    assert transaction == {
        "transaction_id": stored["transaction_id"],
        "business": 41,
        "location": 7,
        "perk": 123456,
        "user": int(stored["user"].split("/")[3]),
        "email": email,
        "title": "Order Completed",
        "classification": "EARN",
        "points": 1,
        "quantity": "9.99",
        "points_total": "9.99",
        "transaction_status": "ACTIVE",
        "trans_source_id": "SEG:judge",
        "send_email": True,
    }


def test_once_a_day_ends_at_midnight_of_the_location(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 3, 2, 7, 59, tzinfo=UTC))  # a minute to midnight in Los Angeles
    database = open_database(tmp_path, clock)
    api = PerkvilleApi(database, clock, faults=Faults)
    body = ORDER_COMPLETED | {"limit_to_once_per_calendar_day": True}
    assert call(api, "POST", "/v2/transactions/", body)[0] == 201
    status, refused = call(api, "POST", "/v2/transactions/", body)
    assert (status, refused["errors"]["__all__"][0]["code"]) == (400, "limit_to_once_per_calendar_day")
    assert call(api, "POST", "/v2/transactions/", ORDER_COMPLETED)[0] == 201
    clock.advance(120)
    assert call(api, "POST", "/v2/transactions/", body)[0] == 201
    database.close()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([123456, 123457, 123458, 123462]),
            st.decimals(-1000, 1000, places=2),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_a_balance_is_the_sum_of_what_is_stored(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, Decimal, bool]]
) -> None:
    """Whatever is posted and voided, the balance agrees with the transactions, and a voided pair counts nothing."""
    clock = ManualClock()
    database = open_database(tmp_path_factory.mktemp("state"), clock)
    api = PerkvilleApi(database, clock, faults=Faults)
    expected = Decimal(0)
    for perk, quantity, is_voided in steps:
        body = {**ORDER_COMPLETED, "perk": perk, "quantity": str(quantity)}
        status, stored = call(api, "POST", "/v2/transactions/", body)
        assert (status == 400) == (quantity == 0 or (perk == 123458 and quantity < 0))
        if status == 400:
            continue
        if is_voided:
            assert void_transaction(database, clock, transaction_id=stored["transaction_id"])
            assert not void_transaction(database, clock, transaction_id=stored["transaction_id"])
        else:
            expected += (-1 if stored["classification"] == "REDEEM" else 1) * stored["points"] * quantity
    row = database.row("SELECT point_balance FROM connections")
    database.close()
    assert (Decimal(0) if row is None else Decimal(row["point_balance"])) == expected


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(body=_JSON | st.fixed_dictionaries({key: st.just(value) | _JSON for key, value in ORDER_COMPLETED.items()}))
def test_any_json_is_stored_or_refused(tmp_path_factory: pytest.TempPathFactory, body: object) -> None:
    """No body makes the sandbox fail: what cannot be a transaction is answered as the sender's error."""
    clock = ManualClock()
    database = open_database(tmp_path_factory.mktemp("state"), clock)
    status, response = call(PerkvilleApi(database, clock, faults=Faults), "POST", "/v2/transactions/", body)
    stored = database.count("SELECT count(*) FROM transactions")
    database.close()
    assert (status, stored) in {(201, 1), (400, 0), (403, 0), (413, 0)}
    assert status == 201 or response["errors"]
