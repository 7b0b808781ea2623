"""An event of the partner endpoint is mapped and delivered with the settings sent with it, and no others."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from punchcard.testing.forwarded import booked, event, message_of, new_id, partner
from punchcard.testing.partner.configuration import FORWARDED_SETTINGS as SETTINGS
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("forwarded-sandbox")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_faults(sandbox: SandboxProcess) -> Iterator[None]:
    yield
    sandbox.faults({})


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, sandbox: SandboxProcess) -> Iterator[ProductProcess]:
    with ProductProcess(tmp_path_factory.mktemp("forwarded"), configuration(perkville_url=sandbox.url)) as running:
        yield running


CHANGES = [
    pytest.param({"eventToPerkMap": {"Checked In": "123456"}}, "perk", 123456, id="perk"),
    pytest.param({"eventToPerkMap": {"Checked In": 123456}}, "perk", 123456, id="perk-as-a-number"),
    pytest.param({"sendEmail": True}, "send_email", True, id="send-email"),
    pytest.param({"sendEmail": "true"}, "send_email", True, id="send-email-as-text"),
]


@pytest.mark.parametrize(("change", "member", "booked_as"), CHANGES)
def test_an_event_is_delivered_with_the_settings_that_came_with_it(
    product: ProductProcess, sandbox: SandboxProcess, change: dict[str, object], member: str, booked_as: object
) -> None:
    """Whatever the calls before and after it bring: in turn, so that neither the first nor the last can win."""
    sent = {
        new_id("turn"): settings for settings in (SETTINGS, {**SETTINGS, **change}, SETTINGS, {**SETTINGS, **change})
    }
    for message_id, settings in sent.items():
        assert partner(product, event(message_id), settings=settings)[0] == 202
    for message_id, settings in sent.items():
        product.wait_for_status(message_id, "delivered")
        (item,) = [
            transaction for transaction in sandbox.transactions() if transaction["email"] == f"{message_id}@example.com"
        ]
        default = {"perk": 123457, "send_email": False}[member]
        assert str(item[member]) == str(default if settings is SETTINGS else booked_as)


def test_settings_that_are_left_out_have_their_default_not_the_value_of_another_call(
    product: ProductProcess, sandbox: SandboxProcess
) -> None:
    with_email, without, null = new_id("with-email"), new_id("without"), new_id("null")
    left_out = {key: value for key, value in SETTINGS.items() if key != "sendEmail"}
    assert partner(product, event(with_email), settings={**SETTINGS, "sendEmail": True})[0] == 202
    assert partner(product, event(without), settings=left_out)[0] == 202
    assert partner(product, event(null), settings={**SETTINGS, "sendEmail": None})[0] == 202
    for message_id in (with_email, without, null):
        product.wait_for_status(message_id, "delivered")
        (item,) = [
            transaction for transaction in sandbox.transactions() if transaction["email"] == f"{message_id}@example.com"
        ]
        assert item["send_email"] == (message_id == with_email)


def test_one_order_with_other_settings_is_one_order(product: ProductProcess, sandbox: SandboxProcess) -> None:
    first, again = new_id("order"), new_id("order-again")
    order = {"email": f"{first}@example.com", "order_id": first, "revenue": 5}
    other = {**SETTINGS, "sendEmail": True, "eventToPerkMap": {"Order Completed": "123460"}}
    assert partner(product, event(first, "Order Completed", properties=order))[0] == 202
    assert partner(product, event(first, "Order Completed", properties=order), settings=other)[0] == 202
    assert partner(product, event(again, "Order Completed", properties=order), settings=other)[0] == 202
    product.wait_for_status(again, "duplicate")
    product.wait_for_status(first, "delivered")
    (item,) = [transaction for transaction in sandbox.transactions() if transaction["email"] == f"{first}@example.com"]
    assert (item["quantity"], item["perk"], item["send_email"]) == ("5", 123456, False)


def test_the_settings_of_an_event_outlive_a_crash_and_later_calls(tmp_path: Path, sandbox: SandboxProcess) -> None:
    early, late = new_id("early"), new_id("late")
    content = configuration(perkville_url=sandbox.url, options={"retryBaseSeconds": 0.2})
    later = {**SETTINGS, "eventToPerkMap": {"Checked In": "123456"}, "sendEmail": True}
    with ProductProcess(tmp_path, content) as product:
        assert partner(product, event(new_id("first")))[0] == 202
        sandbox.faults({"status": 503, "rate": 1})
        assert partner(product, event(early))[0] == 202
        product.wait_for_status(early, "retrying")
        assert partner(product, event(late), settings=later)[0] == 202
        product.kill()
    with ProductProcess(tmp_path, content) as product:
        sandbox.faults({})
        product.wait_for_status(early, "delivered")
        product.wait_for_status(late, "delivered")
    result = {
        transaction["email"]: (transaction["perk"], transaction["send_email"]) for transaction in sandbox.transactions()
    }
    assert result[f"{early}@example.com"] == (123457, False)
    assert result[f"{late}@example.com"] == (123456, True)
    # Nothing of the token is readable on disk.
    for file in tmp_path.rglob("*.db*"):
        assert SandboxProcess.token.encode() not in file.read_bytes(), file


def test_a_retried_event_keeps_the_perk_that_came_with_it(product: ProductProcess, sandbox: SandboxProcess) -> None:
    problem, right = new_id("wrong"), new_id("right")
    settings = {**SETTINGS, "eventToPerkMap": {"Sauna Visited": "999"}}
    assert partner(product, event(problem, "Sauna Visited"), settings=settings)[0] == 202
    assert product.wait_for_status(problem, "rejected")["reason"] == "perk_unknown"
    better = {**SETTINGS, "eventToPerkMap": {"Sauna Visited": "123457"}}
    assert partner(product, event(right, "Sauna Visited"), settings=better)[0] == 202
    product.wait_for_status(right, "delivered")
    status, _ = product.call(
        "POST", "/api/destinations/partner-41-7/transactions/retry", body={"messageIds": [problem]}
    )
    assert status == 200
    wait_until(lambda: len(product.wait_for_status(problem, "rejected", "pending")["attempts"]) >= 2)
    result = product.wait_for_status(problem, "rejected")
    assert (result["transaction"]["perk"], result["reason"]) == ("999", "perk_unknown")
    assert booked(sandbox, f"{problem}@example.com") == []


def header(value: object) -> dict[str, dict[str, str]]:
    """A call with this header instead of settings."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return {"headers": {"X-Segment-Settings": base64.b64encode(text).decode()}}


WITHOUT_MAP = {key: value for key, value in SETTINGS.items() if key != "eventToPerkMap"}
BAD_SETTINGS = [
    pytest.param({"settings": WITHOUT_MAP}, "eventToPerkMap is missing or null", id="map-absent"),
    pytest.param({"settings": {**SETTINGS, "eventToPerkMap": None}}, "eventToPerkMap is missing", id="map-null"),
    pytest.param({"settings": {**WITHOUT_MAP, "event_to_perk_map": None}}, "eventToPerkMap is missing", id="casing"),
    pytest.param({"settings": {**SETTINGS, "eventToPerkMap": {}}}, "not in the Event to Perk Map", id="map-empty"),
    pytest.param({"settings": {**SETTINGS, "eventToPerkMap": "123457"}}, "ust be a table", id="map-text"),
    pytest.param({"settings": {**SETTINGS, "eventToPerkMap": [1]}}, "ust be a table", id="map-list"),
    pytest.param({"settings": {**SETTINGS, "eventToPerkMap": 5}}, "ust be a table", id="map-number"),
    pytest.param({"settings": {**SETTINGS, "eventToPerkMap": {"Checked In": None}}}, "not null", id="perk-null"),
    pytest.param({"settings": {**SETTINGS, "eventToPerkMap": {"Checked In": ["1"]}}}, "not a list", id="perk-list"),
    pytest.param({"settings": {**SETTINGS, "eventToPerkMap": {"Checked In": ""}}}, "perk id", id="perk-empty"),
    pytest.param({"settings": {**SETTINGS, "eventToPerkMap": {"Checked In": True}}}, "true or false", id="perk-true"),
    pytest.param({"settings": {**SETTINGS, "eventToPerkMap": {"": "123457"}}}, "cannot be a name", id="no-name"),
    pytest.param({"settings": {**SETTINGS, "businessId": None}}, "businessId: is required", id="business-null"),
    pytest.param({"settings": {**SETTINGS, "locationId": ["7"]}}, "locationId: must be text", id="location-list"),
    pytest.param({"settings": {**SETTINGS, "sendEmail": "maybe"}}, "sendEmail: must be true or false", id="email"),
    pytest.param({"settings": {**SETTINGS, "sendEmail": 1}}, "sendEmail: must be true or false", id="email-number"),
    pytest.param({"headers": {"X-Segment-Settings": ""}}, "X-Segment-Settings is missing", id="empty-header"),
    pytest.param({"headers": {"X-Segment-Settings": "{}"}}, "is not base64", id="json-as-it-is"),
    pytest.param({"headers": {"X-Segment-Settings": "A"}}, "is not base64", id="one-letter"),
    pytest.param({"headers": {"X-Segment-Settings": "e30!e30="}}, "is not base64", id="junk-within"),
    pytest.param(header(b"nonsense"), "not JSON", id="no-json"),
    pytest.param(header(b'{"businessId": "41"'), "not JSON", id="truncated-json"),
    pytest.param(header(b'{"businessId": "\xff"}'), "not JSON", id="not-utf-8"),
    pytest.param(header(b'{"businessId": NaN}'), "not JSON", id="nan"),
    pytest.param(header(b"[" * 5_000), "not JSON", id="deep"),
    pytest.param(header(b""), "X-Segment-Settings is missing", id="nothing"),
    pytest.param(header([SETTINGS]), "not a JSON object", id="list"),
    pytest.param(header(None), "not a JSON object", id="null"),
    pytest.param(header("text"), "not a JSON object", id="text"),
]


@pytest.mark.parametrize(("given", "message"), BAD_SETTINGS)
def test_bad_settings_are_refused_in_words_and_never_replaced_by_those_of_another_call(
    product: ProductProcess, sandbox: SandboxProcess, given: dict[str, Any], message: str
) -> None:
    assert partner(product, event(new_id("good")))[0] == 202  # there is a stored account with a map of its own
    sent = new_id("bad-settings")
    result = partner(product, event(sent), **given)
    assert result[0] == 400
    assert message in message_of(result)
    assert booked(sandbox, f"{sent}@example.com") == []


def test_a_deletion_needs_no_map(product: ProductProcess) -> None:
    deletion = {"type": "delete", "userId": "u5", "messageId": new_id("delete")}
    assert partner(product, deletion, settings=WITHOUT_MAP)[0] == 202
