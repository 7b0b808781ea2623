"""What each kind of event becomes, through the running product: one transaction, or a result that says why not."""

import json
import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from segment.analytics.client import Client

from punchcard.testing.partner.configuration import EVENT_TO_PERK_MAP, configuration
from punchcard.testing.product import WRITE_KEY, ProductProcess, command
from punchcard.testing.sandbox import SandboxProcess

PAGE_EXAMPLE = {"order_id": "o283h08fh2390f923uofu23", "revenue": 9.99, "email": "example@example.com"}
PAGE_EXAMPLE_KEY = "SEG:perkville:ORDER:o283h08fh2390f923uofu23:order-completed"
NUMBERS = count(1)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("first-award-sandbox")) as running:
        yield running


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, sandbox: SandboxProcess) -> Iterator[ProductProcess]:
    content = configuration(
        perkville_url=sandbox.url,
        options={"oncePerDay": ["Class Attended"]},
        event_to_perk_map={**EVENT_TO_PERK_MAP, "Class Attended": "123460", "Points Redeemed Refund": "123458"},
    )
    with ProductProcess(tmp_path_factory.mktemp("first-award"), content) as running:
        yield running


@pytest.fixture
def email() -> str:
    """A customer of this test's own."""
    return f"customer{next(NUMBERS)}@example.com"


def fresh_id() -> str:
    return f"first-award-{next(NUMBERS)}"


def track(product: ProductProcess, event: str, properties: Mapping[str, object] | bytes, **fields: object) -> str:
    """Send one track call; its message id. Properties given as bytes go out as they are, digit by digit."""
    message_id = fresh_id()
    envelope = {"type": "track", "event": event, "userId": "ann", "messageId": message_id, **fields}
    text = properties if isinstance(properties, bytes) else json.dumps(properties).encode()
    status, _ = product.send("track", json.dumps(envelope).encode()[:-1] + b', "properties": ' + text + b"}")
    assert status == 200
    return message_id


def transactions_of(sandbox: SandboxProcess, email: str) -> list[dict[str, Any]]:
    """What stands at Perkville for a customer."""
    return [transaction for transaction in sandbox.transactions() if transaction["email"].lower() == email.lower()]


def quantities(sandbox: SandboxProcess, email: str) -> list[str]:
    return [item["quantity"] for item in transactions_of(sandbox, email)]


def test_the_pages_example_is_one_transaction_whoever_sends_it(
    product: ProductProcess, sandbox: SandboxProcess
) -> None:
    by_http = track(product, "Order Completed", PAGE_EXAMPLE)
    product.wait_for_status(by_http, "delivered")

    sent = command(
        *("send", "--write-key", WRITE_KEY, "--url", product.url, "track", "Order Completed"),
        *("--user-id", "ann", "--properties", json.dumps(PAGE_EXAMPLE)),
    )
    assert (sent.returncode, sent.stderr) == (0, "")
    by_library = fresh_id()
    client = Client(WRITE_KEY, host=product.url)
    client.track(user_id="ann", event="Order Completed", properties=PAGE_EXAMPLE, message_id=by_library)
    client.shutdown()

    for later in (sent.stdout.strip(), by_library):
        result = product.wait_for_status(later, "duplicate")
        assert result["reason"] == "same_effect"
        assert result["transaction"]["effectKey"] == PAGE_EXAMPLE_KEY
        assert result["attempts"] == []
    (transaction,) = transactions_of(sandbox, "example@example.com")
    assert transaction["quantity"] == "9.99"
    assert transaction["trans_source_id"] == PAGE_EXAMPLE_KEY
    assert (transaction["business"], transaction["location"], transaction["perk"]) == (41, 7, 123456)
    assert transaction["send_email"] is False


@pytest.mark.parametrize(
    ("properties", "quantity"),
    [
        pytest.param(b'"revenue": 19.99', "19.99", id="as it stands"),
        pytest.param(b'"revenue": 0.30000000000000004', "0.3", id="0.1 + 0.2"),
        pytest.param(b'"revenue": 1.1500000000000001', "1.15", id="a float's last digit"),
        pytest.param(b'"revenue": "9.99"', "9.99", id="text"),
        pytest.param(b'"revenue": 50.00', "50", id="no cents"),
        pytest.param(b'"revenue": 1e2', "100", id="exponent"),
        pytest.param(b'"revenue": 19.995', "20", id="half a cent is rounded up"),
        pytest.param(b'"total": 3, "value": 2, "revenue": 1', "1", id="revenue first"),
        pytest.param(b'"total": 3, "value": 2', "2", id="then value"),
        pytest.param(b'"total": 3, "revenue": null', "3", id="then total"),
    ],
)
def test_an_orders_amount_arrives_to_the_cent(
    properties: bytes, quantity: str, email: str, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    text = b'{"order_id": "%s", "email": "%s", %s}' % (fresh_id().encode(), email.encode(), properties)
    product.wait_for_status(track(product, "Order Completed", text), "delivered")
    assert quantities(sandbox, email) == [quantity]


@pytest.mark.parametrize(
    ("requested", "removed", "expected_reason"),
    [
        pytest.param({"total": 5}, "-5", None, id="part of it"),
        pytest.param({}, "-20", "taken from the ledger", id="no amount: what was awarded"),
        pytest.param({"revenue": "30"}, "-20", "cut from 30 to 20", id="more than awarded: cut"),
    ],
)
def test_a_refund_takes_points_back(
    requested: dict[str, object],
    removed: str,
    expected_reason: str | None,
    email: str,
    product: ProductProcess,
    sandbox: SandboxProcess,
) -> None:
    order = {"order_id": fresh_id(), "email": email}
    track(product, "Order Completed", {**order, "revenue": 20})
    refund = product.wait_for_status(track(product, "Order Refunded", {**order, **requested}), "delivered")
    assert quantities(sandbox, email) == ["20", removed]
    assert refund["transaction"]["quantity"] == removed
    assert (refund["detail"] is None) if expected_reason is None else expected_reason in refund["detail"]


def test_refunds_never_take_more_than_an_order_gave(
    email: str, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    order = {"order_id": fresh_id(), "email": email}
    track(product, "Order Completed", {**order, "revenue": 20})
    track(product, "Order Refunded", {**order, "total": 15})
    cut = track(product, "Order Refunded", {**order, "total": 15})
    nothing_left = track(product, "Order Refunded", order)
    assert "15 removed before" in product.wait_for_status(cut, "delivered")["detail"]
    assert product.wait_for_status(nothing_left, "rejected")["reason"] == "refund_nothing_left"
    assert quantities(sandbox, email) == ["20", "-15", "-5"]


def test_a_refund_on_a_perk_that_redeems_has_a_positive_quantity(
    email: str, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    order = {"order_id": fresh_id(), "email": email}
    track(product, "Order Completed", {**order, "revenue": 20})
    product.wait_for_status(track(product, "Points Redeemed Refund", order), "delivered")
    assert [(item["quantity"], item["points_total"]) for item in transactions_of(sandbox, email)] == [
        ("20", "20"),
        ("20", "-20"),
    ]


def test_a_refund_that_comes_before_its_order_waits_for_it(
    email: str, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    order = {"order_id": fresh_id(), "email": email}
    refund = track(product, "Order Refunded", order)
    waiting = product.wait_for_status(refund, "retrying")
    assert waiting["reason"] == "waiting_for_order"
    assert f"Waiting for order {order['order_id']} until" in waiting["detail"]
    product.wait_for_status(track(product, "Checked In", {"email": email}), "delivered")
    product.wait_for_status(track(product, "Order Completed", {**order, "revenue": 12.5}), "delivered")
    product.wait_for_status(refund, "delivered")
    assert quantities(sandbox, email) == ["1", "12.5", "-12.5"]


@pytest.mark.parametrize(
    ("event", "properties", "reason"),
    [
        pytest.param("Order Completed", {"order_id": "z1", "revenue": 0, "email": "{}"}, "zero_amount", id="zero"),
        pytest.param("Order Completed", {"order_id": "z2", "revenue": "0.00", "email": "{}"}, "zero_amount", id="0.00"),
        pytest.param("Order Completed", {"order_id": "z3", "email": "{}"}, "missing_amount", id="no amount"),
        pytest.param(
            "Order Completed", {"order_id": "z4", "revenue": -1, "email": "{}"}, "invalid_amount", id="negative"
        ),
        pytest.param(
            "Order Completed", {"order_id": "z5", "revenue": True, "email": "{}"}, "invalid_amount", id="boolean"
        ),
        pytest.param("Checked In", {}, "missing_email", id="no email"),
        pytest.param("Checked In", {"email": "  "}, "missing_email", id="blank email"),
        pytest.param("Checked In", {"email": "ann at example.com"}, "invalid_email", id="not an email"),
        pytest.param("Checked In", {"email": 7}, "invalid_email", id="email is a number"),
        pytest.param("Sauna Visited", {"email": "{}"}, "not_allowlisted", id="not in the map"),
        pytest.param("checked in", {"email": "{}"}, "not_allowlisted", id="other case than in the map"),
    ],
)
def test_what_earns_nothing_says_why(
    event: str,
    properties: dict[str, object],
    reason: str,
    email: str,
    product: ProductProcess,
    sandbox: SandboxProcess,
) -> None:
    filled = {key: email if value == "{}" else value for key, value in properties.items()}
    result = product.wait_for_status(track(product, event, filled), "refused")
    assert result["reason"] == reason
    assert result["detail"]
    assert result["transaction"] is None
    if reason == "not_allowlisted":
        assert f'"{event}"' in result["detail"]
    assert transactions_of(sandbox, email) == []


@pytest.mark.parametrize(
    ("on_event", "in_properties", "in_traits", "chosen"),
    [
        pytest.param("a{}", "b{}", "c{}", "a{}", id="the event itself first"),
        pytest.param(None, "b{}", "c{}", "b{}", id="then properties"),
        pytest.param(None, None, "c{}", "c{}", id="then context.traits"),
        pytest.param("", "  B{} ", None, "B{}", id="trimmed and sent as written"),
    ],
)
def test_the_email_is_found_in_three_places(
    on_event: str | None,
    in_properties: str | None,
    in_traits: str | None,
    chosen: str,
    email: str,
    product: ProductProcess,
    sandbox: SandboxProcess,
) -> None:
    def address(pattern: str | None) -> str | None:
        return None if pattern is None else pattern.replace("{}", email)

    message_id = track(
        product,
        "Checked In",
        {"email": address(in_properties)},
        email=address(on_event),
        context={"traits": {"email": address(in_traits)}},
    )
    result = product.wait_for_status(message_id, "delivered")
    assert result["transaction"]["email"] == address(chosen)
    assert [transaction["email"] for transaction in sandbox.transactions() if transaction["email"].endswith(email)] == [
        address(chosen)
    ]


@pytest.mark.parametrize(
    ("call", "fields"),
    [
        pytest.param("page", {"name": "Home"}, id="page"),
        pytest.param("screen", {"name": "Home"}, id="screen"),
        pytest.param("group", {"groupId": "acme"}, id="group"),
        pytest.param("alias", {"previousId": "anonymous-ann"}, id="alias"),
    ],
)
def test_calls_that_perkville_does_not_take(call: str, fields: dict[str, object], product: ProductProcess) -> None:
    message_id = fresh_id()
    body = {"userId": "ann", "messageId": message_id, "context": {"traits": {"email": "ann@example.com"}}, **fields}
    assert product.send(call, body)[0] == 200
    result = product.wait_for_status(message_id, "filtered_at_destination")
    assert result["reason"] == "unsupported_event_type"


INTEGRATIONS = [
    pytest.param({}, True, id="empty"),
    pytest.param(None, True, id="null"),
    pytest.param({"All": True}, True, id="all"),
    pytest.param({"All": False}, False, id="none"),
    pytest.param({"All": False, "Perkville": True}, True, id="only Perkville"),
    pytest.param({"All": False, "Perkville": {"x": 1}}, True, id="Perkville with options"),
    pytest.param({"Perkville": False}, False, id="not Perkville"),
    pytest.param({"perkville": False}, True, id="wrong case counts for nothing"),
    pytest.param({"All": False, "perkville": True}, False, id="wrong case opens nothing"),
    pytest.param({"All": True, "Perkville": False}, False, id="all but Perkville"),
    pytest.param({"Salesforce": False}, True, id="another destination"),
]


@pytest.mark.parametrize(("integrations", "goes"), INTEGRATIONS)
def test_the_integrations_object_decides_where_an_event_goes(
    integrations: object, goes: bool, email: str, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    message_id = track(product, "Checked In", {"email": email}, integrations=integrations)
    if goes:
        product.wait_for_status(message_id, "delivered")
    else:
        result = product.wait_for_status(message_id, "filtered_at_destination")
        assert result["reason"] == "FILTERED_BY_INTEGRATIONS_OBJECT"
    assert len(transactions_of(sandbox, email)) == int(goes)


def test_a_batchs_integrations_object_holds_for_its_events_unless_they_say_otherwise(
    email: str, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    stored, sent = fresh_id(), fresh_id()
    event = {"type": "track", "userId": "ann", "event": "Checked In", "properties": {"email": email}}
    own = {**event, "messageId": sent, "integrations": {"Perkville": True}}
    body = {"integrations": {"Perkville": False}, "batch": [{**event, "messageId": stored}, own]}
    assert product.send("batch", body)[0] == 200
    product.wait_for_status(stored, "filtered_at_destination")
    product.wait_for_status(sent, "delivered")
    assert len(transactions_of(sandbox, email)) == 1


def test_a_perk_once_a_day_follows_the_local_calendar(
    email: str, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    def attend(timestamp: str) -> str:
        return track(product, "Class Attended", {"email": email}, timestamp=timestamp)

    first = attend("2026-01-01T20:00:00Z")  # noon in Los Angeles
    again = attend("2026-01-02T07:59:00Z")  # a minute before midnight there
    next_day = attend("2026-01-02T08:01:00Z")
    product.wait_for_status(first, "delivered")
    assert product.wait_for_status(again, "duplicate")["reason"] == "once_per_day"
    product.wait_for_status(next_day, "delivered")
    assert quantities(sandbox, email) == ["1", "1"]


def computed(product: ProductProcess, email: str, *, key: str, value: object, class_: str = "audience") -> str:
    """An identify call as Engage sends it."""
    message_id = fresh_id()
    body = {
        "userId": "ann",
        "messageId": message_id,
        "traits": {key: value, "email": email},
        "context": {"personas": {"computation_class": class_, "computation_key": key, "namespace": "spa_1"}},
        "integrations": {"All": False, "Perkville": True},
    }
    assert product.send("identify", body)[0] == 200
    return message_id


def attributes(sandbox: SandboxProcess, email: str) -> dict[str, object]:
    path = f"/v2/connections/?business=41&user__emails__email={email}&limit=10&offset=0"
    (connection,) = sandbox.request("GET", path, headers={"User-Agent": "test"}).json()["objects"]
    custom_attributes: dict[str, object] = connection["custom_attributes"]
    return custom_attributes


def test_computed_traits_become_user_properties_of_a_known_customer(
    email: str, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    product.wait_for_status(track(product, "Checked In", {"email": email}), "delivered")
    entered = computed(product, email, key="Order Completed Last 30days", value=True)
    product.wait_for_status(entered, "delivered")
    assert attributes(sandbox, email) == {"order_completed_last_30days": True}
    product.wait_for_status(computed(product, email, key="order_completed_last_30days", value=False), "delivered")
    spent = computed(product, email, key="lifetime_spend", value=129.5, class_="computed_trait")
    result = product.wait_for_status(spent, "delivered")
    assert result["transaction"]["attributes"] == {"lifetime_spend": 129.5}
    assert attributes(sandbox, email) == {"order_completed_last_30days": False, "lifetime_spend": 129.5}


def test_a_user_property_waits_in_sight_until_perkville_knows_the_customer(
    email: str, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    entered = computed(product, email, key="vip", value=True)
    waiting = product.wait_for_status(entered, "retrying")
    assert waiting["reason"] == "no_connection"
    assert email in waiting["detail"]
    # The first award makes the customer known: it must not queue behind what waits for it.
    product.wait_for_status(track(product, "Checked In", {"email": email}), "delivered")
    product.wait_for_status(entered, "delivered")
    assert attributes(sandbox, email) == {"vip": True}


def test_an_identify_call_that_carries_no_computed_trait_is_refused(product: ProductProcess, email: str) -> None:
    message_id = fresh_id()
    product.send("identify", {"userId": "ann", "messageId": message_id, "traits": {"email": email}})
    assert product.wait_for_status(message_id, "refused")["reason"] == "no_computed_trait"


def test_the_same_order_with_another_amount_is_a_conflict_in_sight_of_all(
    email: str, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    order = {"order_id": fresh_id(), "email": email}
    first = track(product, "Order Completed", {**order, "revenue": 10})
    product.wait_for_status(first, "delivered")
    other = track(product, "Order Completed", {**order, "revenue": 11})
    result = product.wait_for_status(other, "conflict")
    assert result["reason"] == "same_key_other_content"
    assert "10 for" in result["detail"]
    assert "now 11" in result["detail"]
    assert result["transaction"]["quantity"] == "10"
    assert quantities(sandbox, email) == ["10"]

    (row,) = product.call("GET", f"/api/destinations/perkville/transactions?email={email}")[1]["data"]["transactions"]
    assert (row["messageId"], row["status"]) == (first, "delivered")
    (conflict,) = row["conflicts"]
    assert conflict["messageId"] == other
    assert conflict["content"]["quantity"] == "11"


def test_a_message_id_that_was_seen_before_does_nothing(
    email: str, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    message_id = fresh_id()
    event = {"userId": "ann", "event": "Checked In", "messageId": message_id, "properties": {"email": email}}
    for _ in range(2):
        assert product.send("track", event)[0] == 200
    other_content = {**event, "properties": {"email": email, "order_id": fresh_id(), "revenue": 5}}
    assert product.send("track", {**other_content, "event": "Order Completed"})[0] == 200
    product.wait_for_status(message_id, "delivered")
    product.wait_for_status(track(product, "Sauna Visited", {}), "refused")  # routing has passed the repeats
    trace = product.trace(message_id)
    assert trace is not None
    repeated = [copy["results"][0] for copy in trace["copies"]]
    assert [(item["status"], item["reason"]) for item in repeated] == [("duplicate", "duplicate_message_id")] * 2
    assert quantities(sandbox, email) == ["1"]


def test_an_unknown_write_key_is_taken_and_reported(
    product: ProductProcess, email: str, sandbox: SandboxProcess
) -> None:
    message_id = fresh_id()
    event = {"userId": "ann", "event": "Checked In", "messageId": message_id, "properties": {"email": email}}
    assert product.send("track", event, write_key="wk_of_nobody") == (200, {"success": True})
    result = product.wait_for_status(message_id, "failed_on_ingest")
    assert result["reason"] == "unknown_source"
    assert result["destination"] is None
    assert transactions_of(sandbox, email) == []


def test_a_bad_event_costs_none_of_its_neighbours(email: str, product: ProductProcess, sandbox: SandboxProcess) -> None:
    good = {"type": "track", "userId": "ann", "event": "Checked In", "properties": {"email": email}}
    bad: dict[str, dict[str, object]] = {
        "no_user_anon_id": {**good, "userId": None},
        "event_not_defined": {**good, "event": None},
        "properties_not_object": {**good, "properties": [1]},
        "unknown_type": {**good, "type": "trick"},
        "event_too_large": {**good, "properties": {"email": email, "note": "x" * 33_000}},
    }
    batch: list[dict[str, object]] = []
    for reason, event in bad.items():
        batch += [{**good, "messageId": fresh_id()}, {**event, "messageId": f"{email}-{reason}"}]
    odd = {**good, "messageId": fresh_id(), "properties": {"email": email, "margin": float("nan")}}
    text = json.dumps({"batch": [*batch, 7, "text", None, odd]}).encode()
    assert b"NaN" in text
    assert product.send("batch", text) == (200, {"success": True})

    for event in [*batch[::2], odd]:
        product.wait_for_status(str(event["messageId"]), "delivered")
    for reason in bad:
        assert product.wait_for_status(f"{email}-{reason}", "failed_on_ingest")["reason"] == reason
    assert quantities(sandbox, email) == ["1"] * (len(bad) + 1)


@pytest.mark.parametrize(
    ("change", "write_key", "status", "code"),
    [
        pytest.param({}, WRITE_KEY, 200, None, id="a good event"),
        pytest.param({"userId": None}, WRITE_KEY, 400, "no_user_anon_id", id="nobody's"),
        pytest.param({"event": 7}, WRITE_KEY, 400, "event_not_string", id="a name that is no text"),
        pytest.param({}, "wk_of_nobody", 401, None, id="unknown write key"),
    ],
)
def test_strict_mode_tells_the_sender_at_once(
    change: dict[str, object], write_key: str, status: int, code: str | None, email: str, product: ProductProcess
) -> None:
    message_id = fresh_id()
    event = {"userId": "ann", "event": "Checked In", "messageId": message_id, "properties": {"email": email}, **change}
    answered, body = product.send("track", event, write_key=write_key, strict=True)
    assert answered == status
    assert body["success"] is (status == 200)
    if code is not None:
        assert body["code"] == code
        assert body["message"]
    if status == 200:
        product.wait_for_status(message_id, "delivered")
    else:
        time.sleep(0.1)
        assert product.trace(message_id) is None


def test_totals_at_perkville_are_exact_decimals(email: str, product: ProductProcess, sandbox: SandboxProcess) -> None:
    cents = [Decimal(number) / 100 for number in (10, 20, 30, 199, 1999)]
    ids = [
        track(product, "Order Completed", {"order_id": fresh_id(), "revenue": float(cent), "email": email})
        for cent in cents
    ]
    for message_id in ids:
        product.wait_for_status(message_id, "delivered")
    assert sum(Decimal(quantity) for quantity in quantities(sandbox, email)) == sum(cents)
