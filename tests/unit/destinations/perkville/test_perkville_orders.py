"""Orders and refunds as senders really write them: spellings, missing amounts, lists of products, keys per scope."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.destinations.perkville.keys import OrderKey, RefundKey
from punchcard.destinations.perkville.mapping import plan
from punchcard.destinations.perkville.settings import PerkvilleSettings, read_settings
from punchcard.destinations.port import Intent, KeyScope, OnRepeat
from punchcard.errors import ConfigurationError, RefusedError
from punchcard.events.model import Event, EventType, MessageId, WireEvent

NOW = datetime(2026, 1, 31, 7, 30, tzinfo=UTC)
EMAIL = "ann@example.com"
MAP = {"Order Completed": "1", "Order Refunded": "2", "Checked In": "3", "Größe gewählt": "4"}


def settings_with(**options: object) -> PerkvilleSettings:
    return read_settings({"apiKey": "k", "businessId": "41", "locationId": "7", "eventToPerkMap": MAP}, options)


SETTINGS = settings_with(oncePerDay=["Checked In"])


def track(properties: object, name: str = "Order Completed", **members: object) -> Event:
    raw = msgspec.json.encode({"type": "track", "event": name, "properties": properties} | members)
    return Event(
        type=EventType.TRACK,
        message_id=MessageId("m1"),
        timestamp=NOW,
        received_at=NOW,
        wire=msgspec.json.decode(raw, type=WireEvent),
        raw=raw,
    )


def planned(event: Event, settings: PerkvilleSettings = SETTINGS) -> Intent:
    return plan(event, settings, source="website", destination="perkville", timezone=ZoneInfo("UTC"))


def refusal(event: Event) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        planned(event)
    return caught.value


def refund(**properties: Any) -> Event:
    return track({"order_id": "1001", "email": EMAIL} | properties, "Order Refunded")


@pytest.mark.parametrize(
    "properties",
    [
        {"orderId": "1001", "revenue": 50, "email": EMAIL},
        {"Order ID": 1001, "Revenue": "50.00", "Email": EMAIL},
        {"ORDER_ID": 1001.0, "VALUE": 50, "E-mail": EMAIL},
        {"order-id": " 1001 ", "Total": 50, "email": "", "EMAIL": EMAIL},
        {"orderID": "1001", "revenue": None, "Revenue": 50, "total": 60, "email": EMAIL},
        {"order_id": "1001", "orderId": "7", "revenue": "", "total": 50, "email": EMAIL},
        {"orderId": "1001", "re venue": 50, "email": EMAIL},
    ],
    ids=lambda properties: " ".join(properties),
)
def test_an_order_in_any_spelling_is_the_same_order(properties: Mapping[str, object]) -> None:
    intent = planned(track(properties))
    assert (intent.order_id, intent.quantity, intent.email) == ("1001", Decimal(50), EMAIL)
    assert intent.effect_key == "SEG:perkville:ORDER:1001:order-completed"
    assert intent.note_code is None


# JSON text as sent, what it is read as, and whether the trace has to say so.
IDS = [
    pytest.param('"1001"', "1001", False, id="text"),
    pytest.param("1001", "1001", False, id="a number"),
    pytest.param('" 1001 "', "1001", False, id="text with blanks"),
    pytest.param("1001.0", "1001", True, id="a float"),
    pytest.param("1.001e3", "1001", True, id="a number with an exponent"),
    pytest.param('"1001.0"', "1001", True, id="the text of a float"),
    pytest.param('" 1001.0\\n"', "1001", True, id="the text of a float with blanks"),
    pytest.param('"\\u0031001.0"', "1001", True, id="the text of a float with escapes"),
    pytest.param('"-5.0"', "-5", True, id="the text of a negative float"),
    pytest.param("-5.0", "-5", True, id="a negative float"),
    pytest.param('"0.0"', "0", True, id="the text of zero"),
    pytest.param('"' + "9" * 255 + '.0"', "9" * 255, True, id="the longest"),
    pytest.param('"1001.10"', "1001.10", False, id="an order of a suborder"),
    pytest.param('"1001.1"', "1001.1", False, id="a fraction"),
    pytest.param('"1001.00"', "1001.00", False, id="two zeros"),
    pytest.param('"1001."', "1001.", False, id="a point"),
    pytest.param('"1.0.0"', "1.0.0", False, id="a version"),
    pytest.param('"A1001.0"', "A1001.0", False, id="a letter before"),
    pytest.param('"1001.0A"', "1001.0A", False, id="a letter behind"),
    pytest.param('"+1001.0"', "+1001.0", False, id="a plus"),
    pytest.param('"1 001.0"', "1 001.0", False, id="a blank within"),
    pytest.param('"1,001.0"', "1,001.0", False, id="a thousands separator"),
    pytest.param('".0"', ".0", False, id="no digit"),
    pytest.param('"-0.0"', "-0.0", False, id="minus zero"),
    pytest.param('"1.001e3"', "1.001e3", False, id="text with an exponent"),
    pytest.param('"01001"', "01001", False, id="a leading zero"),
    pytest.param('"01001.0"', "01001.0", False, id="a leading zero and .0"),
    pytest.param('"\uff11\uff10\uff10\uff11.0"', "\uff11\uff10\uff10\uff11.0", False, id="wide digits"),
    pytest.param('"\u0661\u0660.0"', "\u0661\u0660.0", False, id="digits of another script"),
]


@pytest.mark.parametrize(("sent", "read", "is_noted"), IDS)
def test_an_id_of_a_column_of_floats_is_the_whole_number(sent: str, read: str, is_noted: bool) -> None:
    """A sender that writes order 1001 as 1001.0 means order 1001; ids that no float column writes are never merged."""
    properties = {"order_id": msgspec.Raw(sent.encode()), "refund_id": "r", "total": 5, "email": EMAIL}
    award = planned(track(properties))
    assert award.order_id == read
    assert award.effect_key == OrderKey(read, "Order Completed").within("perkville")
    taken = planned(track(properties, "Order Refunded"))
    assert (taken.order_id, taken.refund_id) == (read, "r")
    assert [is_noted, is_noted] == ["is read as" in (planned_intent.note or "") for planned_intent in (award, taken)]
    refunded = planned(track(properties | {"order_id": "o", "refund_id": properties["order_id"]}, "Order Refunded"))
    assert (refunded.order_id, refunded.refund_id) == ("o", read)
    assert refunded.effect_key == RefundKey("o", read).within("perkville")
    assert ("properties.refund_id was sent as" in (refunded.note or "")) is is_noted


@pytest.mark.parametrize("order_id", ["1001", 1001, "1001.0"])
def test_a_whole_number_is_looked_for_under_the_key_that_its_float_had(order_id: object) -> None:
    award = planned(track({"order_id": order_id, "total": 5, "email": EMAIL}))
    assert [key.within("perkville") for key in award.other_keys] == ["SEG:perkville:ORDER:1001.0:order-completed"]
    taken = planned(track({"order_id": order_id, "refund_id": 7, "email": EMAIL}, "Order Refunded"))
    assert {key.within("s") for key in taken.other_keys} == {
        "SEG:s:REFUND:1001:7.0",
        "SEG:s:REFUND:1001.0:7",
        "SEG:s:REFUND:1001.0:7.0",
    }


def test_a_message_id_in_place_of_a_refund_id_is_not_read_as_a_number() -> None:
    event = msgspec.structs.replace(
        track({"order_id": "o", "email": EMAIL}, "Order Refunded"), message_id=MessageId("5.0")
    )
    assert planned(event).effect_key == "SEG:perkville:REFUND:o:5.0"
    assert planned(event).other_keys == ()


def test_a_refund_in_another_spelling_takes_points_and_gives_none() -> None:
    properties = {"orderId": "1001", "refundId": 7, "Total": "20", "Email": EMAIL}
    intent = planned(track(properties, "Order Refunded"))
    assert (intent.quantity, intent.is_refund, intent.refund_id) == (Decimal(-20), True, "7")
    assert intent.effect_key == "SEG:perkville:REFUND:1001:7"


@pytest.mark.parametrize(
    ("members", "email"),
    [
        pytest.param({"context": {"traits": {"Email": EMAIL}}}, EMAIL, id="traits of the context"),
        pytest.param({"Email": EMAIL}, EMAIL, id="beside the properties"),
        pytest.param({"Email": "bob@example.com", "context": {"traits": {"e_mail": EMAIL}}}, EMAIL, id="that is last"),
    ],
)
def test_the_email_in_any_spelling(members: dict[str, object], email: str) -> None:
    assert planned(track({}, "Checked In", **members)).email == email


@pytest.mark.parametrize(
    ("properties", "taken"),
    [
        pytest.param({"total": 20}, "20", id="an amount"),
        pytest.param({"total": -20}, "20", id="a negative amount"),
        pytest.param({"total": "-20.00"}, "20", id="a negative amount as text"),
        pytest.param({"total": "", "value": -20}, "20", id="empty text is absent"),
        pytest.param({"products": [{"price": 10, "quantity": 2}]}, "20", id="products"),
        pytest.param({"products": [{"price": "6.67", "quantity": 1}, {"price": 13.33}]}, "20", id="without a quantity"),
        pytest.param({"Products": [{"Price": 5, "QUANTITY": "4"}]}, "20", id="products in another spelling"),
        pytest.param({"products": [{"price": 25}, {"price": -5}]}, "20", id="a discount as a product"),
        pytest.param({"products": [{"price": 10, "quantity": -2}]}, "20", id="negative quantities"),
        pytest.param({"products": [{"price": 8, "quantity": 2.5}]}, "20", id="weights"),
        pytest.param({"products": [{"price": "6.665", "quantity": 3}]}, "20", id="rounded once, at the end"),
        pytest.param({"total": 20, "products": [{"price": 5}]}, "20", id="an amount before products"),
        pytest.param({"total": 20, "products": []}, "20", id="an amount beside no products"),
        pytest.param({"products": [{"price": 20, "quantity": None}]}, "20", id="a quantity that is null"),
        pytest.param({"products": [{"price": 20, "quantity": ""}]}, "20", id="a quantity that is empty text"),
        pytest.param({"products": [{"price": 20}, {"price": 5, "quantity": 0}]}, "20", id="one of quantity zero"),
        pytest.param({"products": None, "Products": [{"price": 20}]}, "20", id="null beside a list"),
        pytest.param({"products": None}, None, id="null"),
        pytest.param({"products": " "}, None, id="blank text"),
        pytest.param({}, None, id="nothing"),
        pytest.param({"total": None, "revenue": " "}, None, id="amounts that are absent"),
    ],
)
def test_what_a_refund_asks_to_take_back(properties: dict[str, Any], taken: str | None) -> None:
    quantity = planned(refund(**properties)).quantity
    assert (None if quantity is None else str(-quantity)) == taken


@pytest.mark.parametrize(
    ("properties", "code", "words"),
    [
        pytest.param({"products": []}, "missing_amount", "products is empty", id="no products"),
        pytest.param({"Products": []}, "missing_amount", "products is empty", id="no products in another spelling"),
        pytest.param({"products": [], "total": ""}, "missing_amount", "products is empty", id="nor an amount"),
        pytest.param({"products": msgspec.Raw(b"[ ]")}, "missing_amount", "is empty", id="a blank list"),
        pytest.param({"products": [{}]}, "missing_amount", "products[0]", id="an empty product"),
        pytest.param({"products": [{"price": None}]}, "missing_amount", "products[0]", id="a price that is null"),
        pytest.param({"products": [{"price": 5, "quantity": 0}]}, "zero_amount", "sum", id="a quantity of zero"),
        pytest.param({"products": [None]}, "invalid_amount", "products[0]", id="a product that is null"),
        pytest.param({"products": [[]]}, "invalid_amount", "products[0]", id="a product that is a list"),
        pytest.param({"products": ["sku"]}, "invalid_amount", "products[0]", id="a product that is text"),
        pytest.param({"products": {}}, "invalid_amount", "not a list", id="an empty object"),
        pytest.param({"products": False}, "invalid_amount", "not a list", id="false"),
        pytest.param({"products": 0}, "invalid_amount", "not a list", id="a number"),
        pytest.param({"products": "none"}, "invalid_amount", "not a list", id="text"),
        pytest.param({"products": [{"price": 5}, {"sku": "a"}]}, "missing_amount", "products[1]", id="no price"),
        pytest.param({"products": [{"price": "", "quantity": 1}]}, "missing_amount", "[0]", id="an empty price"),
        pytest.param({"products": [{"price": "$5"}]}, "invalid_amount", "[0].price", id="a currency sign"),
        pytest.param({"products": [{"price": 5, "quantity": "two"}]}, "invalid_amount", "quantity", id="words"),
        pytest.param({"products": [{"price": True}]}, "invalid_amount", "true", id="true"),
        pytest.param({"products": [5]}, "invalid_amount", "products[0]", id="no product"),
        pytest.param({"products": {"price": 5}}, "invalid_amount", "products", id="no list"),
        pytest.param({"products": [{"price": "1e4000", "quantity": "1e4000"}]}, "invalid_amount", "price", id="huge"),
        pytest.param({"products": [{"price": 10**12 - 1, "quantity": 9}]}, "invalid_amount", "sum", id="a huge sum"),
        pytest.param({"products": [{"price": 0, "quantity": 2}]}, "zero_amount", "sum", id="a sum of zero"),
        pytest.param({"products": [{"price": 5}, {"price": -5}]}, "zero_amount", "sum", id="that adds up to zero"),
        pytest.param({"total": 0, "products": [{"price": 5}]}, "zero_amount", "total", id="an amount of zero"),
        pytest.param({"total": "20 EUR"}, "invalid_amount", "20 EUR", id="a currency"),
        pytest.param({"total": "-1,000.00"}, "invalid_amount", "1,000", id="a thousands separator"),
        pytest.param({"total": -(10**15)}, "invalid_amount", "larger", id="a huge amount"),
    ],
)
def test_a_refund_that_cannot_be_counted_takes_nothing(properties: dict[str, Any], code: str, words: str) -> None:
    error = refusal(refund(**properties))
    assert error.code == code
    assert words in error.message


def test_a_negative_order_stays_refused() -> None:
    assert refusal(track({"order_id": "1001", "email": EMAIL, "total": -20})).code == "invalid_amount"


@pytest.mark.parametrize(
    ("properties", "members", "name"),
    [
        pytest.param({"orderNumber": 7, "revenue": 50}, {}, "Order Completed", id="order number"),
        pytest.param({"transaction_id": "t"}, {}, "Order Completed", id="transaction id"),
        pytest.param({"total": 50}, {}, "Checked In", id="an amount"),
        pytest.param({}, {"order_id": "1001"}, "Order Completed", id="order id in the wrong place"),
        pytest.param({"order_id": "", "total": 5}, {}, "Order Refunded", id="a refund with an empty order id"),
    ],
)
def test_an_event_that_looks_like_an_order_and_earns_one_says_so(
    properties: dict[str, object], members: dict[str, object], name: str
) -> None:
    intent = planned(track(properties | {"email": EMAIL}, name, **members))
    assert intent.quantity == Decimal(1)
    assert intent.note_code == "looks_like_order"
    assert "properties.order_id" in (intent.note or "")


def test_a_visit_has_no_note() -> None:
    assert planned(track({"email": EMAIL, "minutes": 45}, "Checked In")).note is None


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"email": EMAIL}, "missing_amount"),
        ({"email": EMAIL, "total": 0}, "zero_amount"),
        ({"email": EMAIL, "total": "a"}, "invalid_amount"),
        ({"total": 5}, "missing_email"),
        ({"total": 5, "email": "ann"}, "invalid_email"),
    ],
)
def test_a_refused_order_names_its_order(properties: dict[str, object], code: str) -> None:
    error = refusal(track({"orderId": 1001} | properties))
    assert (error.code, error.context["order_id"]) == (code, "1001")


def test_a_refused_refund_is_no_refused_order() -> None:
    assert "order_id" not in refusal(refund(total="a")).context


@pytest.mark.parametrize(
    ("event", "key"),
    [
        (track({"order_id": 1, "total": 5, "email": EMAIL}), "ORDER:1:order-completed"),
        (track({"order_id": 1, "email": EMAIL}, "Order Refunded"), "REFUND:1:m1"),
        (track({"email": EMAIL}, "Checked In"), "DAY:3:"),
    ],
    ids=["order", "refund", "day"],
)
def test_keys_of_orders_have_the_scope_that_is_set(event: Event, key: str) -> None:
    of_destination = planned(event)
    of_source = planned(event, settings_with(orderIdScope="source", oncePerDay=["Checked In"]))
    assert of_destination.effect_key.startswith(f"SEG:perkville:{key}")
    assert of_source.effect_key.startswith(f"SEG:website:{key}")
    assert (of_destination.scope, of_source.scope) == (KeyScope.DESTINATION, KeyScope.SOURCE)
    assert of_destination.scoped_key is not None
    assert of_destination.scoped_key.within("website") == of_source.effect_key


def test_an_order_awarded_once_a_day_is_found_by_its_day() -> None:
    intent = planned(track({"order_id": 1, "total": 5, "email": EMAIL}), settings_with(oncePerDay=["Order Completed"]))
    assert intent.effect_key.startswith("SEG:perkville:DAY:1:")
    assert intent.on_repeat is OnRepeat.DUPLICATE
    assert intent.order_id == "1"


def test_the_key_of_any_other_event_has_its_source() -> None:
    assert planned(track({"email": EMAIL}, "Größe gewählt")).effect_key == "SEG:website:EVENT:m1"


@pytest.mark.parametrize(
    "option",
    [{"orderIdScope": "workspace"}, {"refundWaitHours": -1}, {"refundFollows": "page"}, {"refundWaitHours": "x"}],
)
def test_an_option_that_means_nothing_is_refused(option: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(option))):
        settings_with(**option)


@pytest.mark.parametrize(
    ("name", "mapped"),
    [
        ("order completed", "Order Completed"),
        ("Order  Completed ", "Order Completed"),
        ("order_completed", "Order Completed"),
        ("OrderCompleted", "Order Completed"),
        ("ORDER-COMPLETED", "Order Completed"),
        ("Order Completed", "Order Completed"),
        ("Ｏｒｄｅｒ Completed", "Order Completed"),
        ("Gro\u0308\u00dfe gewa\u0308hlt", "Größe gewählt"),
        ("GRÖSSE GEWÄHLT", "Größe gewählt"),
        ("Checked\u200bIn", "Checked In"),
    ],
)
def test_a_near_match_is_hinted_at(name: str, mapped: str) -> None:
    if name in MAP:
        return
    error = refusal(track({}, name))
    assert error.code == "not_allowlisted"
    assert f'"{mapped}" is mapped, and names must be the same' in error.message


@pytest.mark.parametrize("name", ["Order Complete", "Orders Completed", "Checked Out", "!", "Order Completed 2"])
def test_another_name_has_no_hint(name: str) -> None:
    assert "is mapped" not in refusal(track({}, name)).message


def read(raw: bytes) -> Event:
    wire = msgspec.json.decode(raw, type=WireEvent)
    return Event(type=EventType.TRACK, message_id=MessageId("m1"), timestamp=NOW, received_at=NOW, wire=wire, raw=raw)


@given(amount=st.decimals(min_value="0.01", max_value="999999999", places=2))
def test_an_amount_is_awarded_to_the_cent(amount: Decimal) -> None:
    body = b'{"type":"track","event":"Order Completed","email":"a@x.co","properties":{"order_id":"o","revenue":%s}}'
    assert planned(read(body % f"{amount:f}".encode())).quantity == amount
    assert planned(read(body % f'"{amount:f}"'.encode())).quantity == amount
    # And as a sender that computes in binary floats writes it.
    assert planned(read(body % repr(float(amount)).encode())).quantity == amount
