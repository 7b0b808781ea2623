from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.events.commerce import NOTHING, Commerce, commerce_of
from punchcard.events.model import Event, EventType, WireEvent

NOW = datetime(2026, 1, 1, tzinfo=UTC)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def event(properties: bytes, kind: EventType = EventType.TRACK) -> Event:
    wire = WireEvent(properties=msgspec.Raw(properties))
    return Event(type=kind, message_id="m", timestamp=NOW, received_at=NOW, wire=wire, raw=b"{}")


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        pytest.param(b'{"order_id":"o1","revenue":9.99}', {"order_id": "o1", "revenue": Decimal("9.99")}, id="order"),
        pytest.param(b'{"order_id":"1001.0"}', {"order_id": "1001"}, id="the text of a float"),
        pytest.param(b'{"orderId":"1001.0"}', {"order_id": "1001"}, id="the text of a float in another spelling"),
        pytest.param(b'{"order_id":1001.0,"currency":"1.0"}', {"order_id": "1001", "currency": "1.0"}, id="a float"),
        pytest.param(b'{"order_id":"1001.10"}', {"order_id": "1001.10"}, id="no float of a whole number"),
        pytest.param(b'{"order_id":1001,"total":"12.50"}', {"order_id": "1001", "total": Decimal("12.5")}, id="texts"),
        pytest.param(b'{"value":true,"revenue":"NaN","total":"a"}', {}, id="no numbers"),
        pytest.param(b'{"revenue":1e40}', {}, id="too large"),
        pytest.param(b'{"revenue":0.1234567891234}', {"revenue": Decimal("0.123456789")}, id="nine places"),
        pytest.param(b'{"currency":"USD"}', {"currency": "USD"}, id="currency"),
        pytest.param(
            b'{"products":[{"product_id":"a"},{"product_id":7},{"sku":"x"},3]}', {"product_ids": ["a", "7"]}, id="list"
        ),
        pytest.param(b'{"product_id":"a"}', {"product_ids": ["a"]}, id="one product"),
        pytest.param(b'{"products":"a"}', {}, id="products that are none"),
        pytest.param(b"[]", {}, id="no object"),
        pytest.param(b"null", {}, id="null"),
    ],
)
def test_what_questions_are_about_is_read_from_the_properties(properties, expected):
    assert commerce_of(event(properties)) == NOTHING._replace(**expected)


def test_only_track_calls_are_read():
    assert commerce_of(event(b'{"order_id":"o1"}', EventType.PAGE)) == NOTHING


@given(st.dictionaries(st.sampled_from((*Commerce._fields, "products", "product_id")), anything))
def test_no_json_ever_raises(properties):
    commerce_of(event(msgspec.json.encode(properties)))
