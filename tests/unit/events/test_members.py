"""Members are found in every spelling, always the same one, and nothing else of an event is changed."""

import itertools
import json
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.events.commerce import Commerce, commerce_of
from punchcard.events.emails import email_of
from punchcard.events.members import PROPERTIES, exact_members, exact_properties, folded, has_value
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.events.order_hints import find_order_hint

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPELLINGS = ["orderId", "OrderID", "ORDER_ID", "order id", "Order ID", "order-id", "orderid", "Order_Id", "oRDER iD"]


def track(properties: object, **members: object) -> Event:
    raw = msgspec.json.encode({"type": "track", "event": "Order Completed", "properties": properties} | members)
    return Event(
        type=EventType.TRACK,
        message_id=MessageId("m1"),
        timestamp=NOW,
        received_at=NOW,
        wire=msgspec.json.decode(raw, type=WireEvent),
        raw=raw,
    )


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_found(spelling: str) -> None:
    members = exact_members(json.dumps({spelling: "1001", "x": 1}).encode(), PROPERTIES)
    assert members is not None
    assert bytes(members["order_id"]) == b'"1001"'
    assert bytes(members["x"]) == b"1"


@pytest.mark.parametrize("name", ["order_ids", "my_order_id", "order.id", "orderld", "order", "örder_id", "valued"])
def test_other_names_are_other_members(name: str) -> None:
    assert exact_members(json.dumps({name: "1001"}).encode(), PROPERTIES) is None


@pytest.mark.parametrize(
    ("properties", "order_id"),
    [
        pytest.param({"order_id": "exact", "orderId": "other"}, "exact", id="the exact spelling wins"),
        pytest.param({"orderId": "other", "order_id": "exact"}, "exact", id="wherever it stands"),
        pytest.param({"order_id": None, "orderId": "other"}, "other", id="null is no value"),
        pytest.param({"order_id": "", "orderId": "other"}, "other", id="empty text is no value"),
        pytest.param({"order_id": "  ", "orderId": 7}, "7", id="blank text is no value"),
        pytest.param({"order_id": "exact", "orderId": None}, "exact", id="another spelling without a value"),
        pytest.param({"orderId": "second", "OrderID": "first"}, "first", id="of others the first by code points"),
        pytest.param({"OrderID": None, "orderId": "second"}, "second", id="that has a value"),
    ],
)
def test_one_of_several_spellings_counts(properties: dict[str, object], order_id: str) -> None:
    for items in itertools.permutations(properties.items()):
        assert commerce_of(track(dict(items))).order_id == order_id


def test_numbers_keep_every_digit() -> None:
    text = exact_properties(b'{"Revenue":9.990,"orderId":1001,"deep":{"a":[1.10]}}')
    assert json.loads(text, parse_float=str) == {
        "Revenue": "9.990",
        "orderId": 1001,
        "deep": {"a": ["1.10"]},
        "revenue": "9.990",
        "order_id": 1001,
    }


@pytest.mark.parametrize(
    "text",
    [
        b'{"order_id":"1","revenue":9.990,"products":[{"price":1.0}]}',
        b'{"a": 1}',
        b"[]",
        b"null",
        b"",
        b'{"x":',
        b'{"orderId":null}',
    ],
)
def test_what_needs_no_exact_name_stays_byte_by_byte(text: bytes) -> None:
    assert exact_properties(text) == text


def test_products_are_read_in_every_spelling() -> None:
    text = exact_properties(b'{"Products":[{"Price":"2.50","QUANTITY":2},{"price":1},7]}')
    assert json.loads(text)["products"] == [
        {"Price": "2.50", "QUANTITY": 2, "price": "2.50", "quantity": 2},
        {"price": 1},
        7,
    ]


def test_the_lake_reads_the_same_members() -> None:
    properties = {"orderId": 1001.0, "Revenue": "9.90", "TOTAL": 12, "Currency": "USD", "Products": [{"productId": 7}]}
    assert commerce_of(track(properties)) == Commerce(
        order_id="1001", revenue=Decimal("9.90"), value=None, total=Decimal(12), currency="USD", product_ids=["7"]
    )
    assert commerce_of(track({"products": [{"ProductID": "a"}]})).product_ids == ["a"]


@pytest.mark.parametrize(
    "members",
    [
        {"properties": {"E-mail": "Ann@Example.com"}},
        {"properties": {"email": "", "Email": " ann@example.com"}},
        {"context": {"traits": {"EMAIL": "ann@example.com"}}},
        {"Email": "ann@example.com"},
        {"e_mail": "ann@example.com", "context": {"traits": None}},
        {"properties": {"mailing": 1}, "context": {"traits": []}, "E mail": "ann@example.com"},
    ],
)
def test_the_email_is_found_in_every_spelling(members: dict[str, object]) -> None:
    assert email_of(track(members.pop("properties", {}), **members)) == "ann@example.com"


@given(st.text(max_size=12))
def test_folding_is_idempotent(name: str) -> None:
    assert folded(folded(name)) == folded(name)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*SPELLINGS, "price"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*SPELLINGS, "order_id", "products", "Products", "Value", "a"]), values))
def test_exact_names_are_added_once_and_nothing_is_taken_away(properties: dict[str, object]) -> None:
    text = msgspec.json.encode(properties)
    exact = exact_properties(text)
    assert exact_properties(exact) == exact
    members = msgspec.json.decode(exact, type=dict[str, msgspec.Raw])
    assert properties.keys() <= members.keys()
    has_one = any(
        has_value(msgspec.Raw(msgspec.json.encode(properties.get(item)))) for item in [*SPELLINGS, "order_id"]
    )
    assert has_value(members.get("order_id")) == has_one
    commerce_of(track(properties))


@pytest.mark.parametrize(
    ("properties", "members", "path"),
    [
        pytest.param({"revenue": 9.99}, {}, "properties.revenue", id="revenue"),
        pytest.param({"Total": "9.99"}, {}, "properties.Total", id="an amount in another spelling"),
        pytest.param({"value": 0}, {}, "properties.value", id="value"),
        pytest.param({"orderNumber": 7}, {}, "properties.orderNumber", id="order number"),
        pytest.param({"order_no": 7}, {}, "properties.order_no", id="order no"),
        pytest.param({"Order Reference": "x"}, {}, "properties.Order Reference", id="order reference"),
        pytest.param({"transaction_id": "x"}, {}, "properties.transaction_id", id="transaction"),
        pytest.param({"checkoutId": "x"}, {}, "properties.checkoutId", id="checkout"),
        pytest.param({"cart_id": "x"}, {}, "properties.cart_id", id="cart"),
        pytest.param({"invoice_number": "x"}, {}, "properties.invoice_number", id="invoice"),
        pytest.param({"purchaseId": "x"}, {}, "properties.purchaseId", id="purchase"),
        pytest.param({"receipt_no": "x"}, {}, "properties.receipt_no", id="receipt"),
        pytest.param({"grand_total": 5}, {}, "properties.grand_total", id="grand total"),
        pytest.param({"order": {"id": 5}}, {}, "properties.order", id="an order as an object"),
        pytest.param({"data": {"orderId": 5}}, {}, "properties.data.orderId", id="deeper"),
        pytest.param({}, {"order_id": "1001"}, "order_id", id="beside the properties"),
        pytest.param({"a": 1}, {"revenue": 5}, "revenue", id="an amount beside the properties"),
        pytest.param({"class": "spin", "minutes": 45}, {}, None, id="a visit"),
        pytest.param({"orderly": 1, "border_id": 2, "total_minutes": 3}, {}, None, id="other words"),
        pytest.param({"revenue": None, "total": " "}, {}, None, id="without a value"),
        pytest.param({"note": "revenue", "text": '"order_id": 5'}, {}, None, id="only in texts"),
        pytest.param({}, {"context": {"order_id": 5, "traits": {"total": 5}}}, None, id="in the context"),
        pytest.param([{"revenue": 5}], {}, None, id="no object"),
    ],
)
def test_what_looks_like_an_order(properties: object, members: dict[str, object], path: str | None) -> None:
    assert find_order_hint(track(properties, **members)) == path
