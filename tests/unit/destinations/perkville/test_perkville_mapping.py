"""The points rules, as a table: what an event earns, and why another earns nothing."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from punchcard.destinations.perkville.definition import TRANSACTION, USER_PROPERTY
from punchcard.destinations.perkville.fields import is_email
from punchcard.destinations.perkville.keys import OrderKey
from punchcard.destinations.perkville.mapping import plan, remap, snake_case
from punchcard.destinations.perkville.settings import read_settings
from punchcard.destinations.port import Intent, OnRepeat
from punchcard.errors import RefusedError
from punchcard.events.model import Event, EventType, MessageId, WireEvent

LOS_ANGELES = ZoneInfo("America/Los_Angeles")
SETTINGS = read_settings(
    {
        "apiKey": "k",
        "businessId": "41",
        "locationId": "7",
        "eventToPerkMap": {
            "Order Completed": "123456",
            "Order Refunded": "123458",
            "Refund Requested": "123457",
            "Checked In": "123457",
        },
    },
    {"oncePerDay": ["Checked In"]},
)


def event(body: Mapping[str, Any] | bytes, *, at: datetime = datetime(2026, 1, 31, 7, 30, tzinfo=UTC)) -> Event:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    wire = msgspec.json.decode(raw, type=WireEvent)
    return Event(
        type=EventType(wire.type or "track"),
        message_id=MessageId(wire.message_id or "m1"),
        timestamp=at,
        received_at=at,
        wire=wire,
        raw=raw,
    )


def planned(track_call: Event) -> Intent:
    return plan(track_call, SETTINGS, source="website", destination="perkville", timezone=LOS_ANGELES)


def order(properties: Mapping[str, Any], *, name: str = "Order Completed", **members: Any) -> Event:
    given_ = {"order_id": "o1", "email": "ann@example.com", **properties}
    return event(
        {"type": "track", "event": name, "properties": {k: v for k, v in given_.items() if v is not ...}} | members
    )


def refusal(track_call: Event) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        planned(track_call)
    return caught.value


def test_the_pages_own_example() -> None:
    intent = planned(
        event(
            b'{"type":"track","event":"Order Completed","properties":{"order_id":"o283h08fh2390f923uofu23",'
            b'"revenue":9.99,"email":"example@example.com"}}'
        )
    )
    assert intent == Intent(
        kind=TRANSACTION,
        effect_key=intent.effect_key,
        customer="example@example.com",
        email="example@example.com",
        event_name="Order Completed",
        item="123456",
        quantity=Decimal("9.99"),
        order_id="o283h08fh2390f923uofu23",
        scoped_key=OrderKey("o283h08fh2390f923uofu23", "Order Completed"),
    )
    assert intent.effect_key == "SEG:perkville:ORDER:o283h08fh2390f923uofu23:order-completed"


@pytest.mark.parametrize(
    ("amounts", "quantity"),
    [
        pytest.param(b'"revenue":9.99,"value":1,"total":2', "9.99", id="revenue-first"),
        pytest.param(b'"value":1,"total":2', "1", id="then-value"),
        pytest.param(b'"total":2', "2", id="then-total"),
        pytest.param(b'"revenue":null,"total":2', "2", id="null-is-absent"),
        pytest.param(b'"revenue":"","total":2', "2", id="empty-text-is-absent"),
        pytest.param(b'"revenue":"  ","total":2', "2", id="blank-text-is-absent"),
        pytest.param(b'"revenue":"9.99"', "9.99", id="text"),
        pytest.param(b'"revenue":" 9.99 "', "9.99", id="text-with-blanks"),
        pytest.param(b'"revenue":".5"', "0.5", id="text-without-leading-zero"),
        pytest.param(b'"revenue":1e3', "1000", id="exponent"),
        pytest.param(b'"revenue":"1e3"', "1000", id="text-with-exponent"),
        pytest.param(b'"revenue":50.00', "50", id="no-needless-zeros"),
        pytest.param(b'"revenue":0.30000000000000004', "0.3", id="a-floats-dust-is-gone"),
        pytest.param(b'"revenue":19.995', "20", id="half-a-cent-is-rounded-up"),
        pytest.param(b'"revenue":19.994', "19.99", id="less-is-rounded-down"),
        pytest.param(b'"revenue":0.005', "0.01", id="half-a-cent-is-a-cent"),
        pytest.param(b'"revenue":999999999999.99', "999999999999.99", id="largest"),
        pytest.param(b'"revenue":1,"revenue":2', "2", id="the-last-of-two-keys"),
    ],
)
def test_an_order_awards_its_first_amount(amounts: bytes, quantity: str) -> None:
    intent = planned(
        event(
            b'{"type":"track","event":"Order Completed","properties":{"order_id":"o1","email":"ann@example.com",'
            + amounts
            + b"}}"
        )
    )
    assert intent.quantity is not None
    assert str(intent.quantity) == quantity


@pytest.mark.parametrize(
    ("amounts", "code", "words"),
    [
        pytest.param(b'"x":1', "missing_amount", "o1", id="none"),
        pytest.param(b'"revenue":null,"value":null', "missing_amount", "o1", id="only-nulls"),
        pytest.param(b'"revenue":"free","total":2', "invalid_amount", '"free"', id="words"),
        pytest.param(b'"revenue":true', "invalid_amount", "revenue is true", id="true"),
        pytest.param(b'"revenue":{}', "invalid_amount", "an object", id="object"),
        pytest.param(b'"revenue":[1]', "invalid_amount", "a list", id="list"),
        pytest.param(b'"revenue":-5', "invalid_amount", "negative", id="negative"),
        pytest.param(b'"revenue":"-5"', "invalid_amount", "negative", id="negative-text"),
        pytest.param(b'"revenue":"1,000.00"', "invalid_amount", "1,000.00", id="thousands-separator"),
        pytest.param(b'"revenue":"9,99"', "invalid_amount", "9,99", id="decimal-comma"),
        pytest.param(b'"revenue":"$9.99"', "invalid_amount", "$9.99", id="currency"),
        pytest.param(b'"revenue":"NaN"', "invalid_amount", "NaN", id="nan"),
        pytest.param(b'"revenue":"Infinity"', "invalid_amount", "Infinity", id="infinity"),
        pytest.param(b'"revenue":"1_000"', "invalid_amount", "1_000", id="underscore"),
        pytest.param('"revenue":"٩"'.encode(), "invalid_amount", "٩", id="digits-of-another-script"),
        pytest.param(b'"revenue":1e300', "invalid_amount", "larger", id="huge"),
        pytest.param(b'"revenue":1e999999999999999999999', "unreadable_value", "revenue", id="beyond-decimals"),
        pytest.param(b'"revenue":' + b"9" * 5000, "unreadable_value", "revenue", id="five-thousand-digits"),
        pytest.param(b'"revenue":0', "zero_amount", "zero", id="zero"),
        pytest.param(b'"revenue":"0.00"', "zero_amount", "zero", id="zero-text"),
        pytest.param(b'"revenue":-0.0', "zero_amount", "zero", id="minus-zero"),
        pytest.param(b'"revenue":0.004', "zero_amount", "0.004", id="less-than-half-a-cent"),
    ],
)
def test_an_amount_that_cannot_be_counted_is_refused(amounts: bytes, code: str, words: str) -> None:
    error = refusal(
        event(
            b'{"type":"track","event":"Order Completed","properties":{"order_id":"o1","email":"ann@example.com",'
            + amounts
            + b"}}"
        )
    )
    assert error.code == code
    assert words in error.message


@pytest.mark.parametrize(
    ("order_id", "read"),
    [
        pytest.param("o1", "o1", id="text"),
        pytest.param(" o1 ", "o1", id="trimmed"),
        pytest.param(1001, "1001", id="number"),
        pytest.param(1001.0, "1001", id="whole-float"),
        pytest.param(msgspec.Raw(b"1.001e3"), "1001", id="whole-number-with-exponent"),
        pytest.param("", None, id="empty-is-absent"),
        pytest.param("  ", None, id="blank-is-absent"),
        pytest.param(None, None, id="null-is-absent"),
        pytest.param(..., None, id="absent"),
    ],
)
def test_an_order_id_makes_a_spend_and_anything_without_is_one_unit(order_id: object, read: str | None) -> None:
    intent = planned(order({"order_id": order_id, "revenue": 9.99}))
    assert intent.order_id == read
    assert intent.quantity == (Decimal(1) if read is None else Decimal("9.99"))
    assert intent.effect_key == (
        "SEG:website:EVENT:m1" if read is None else f"SEG:perkville:ORDER:{read}:order-completed"
    )


@pytest.mark.parametrize("order_id", [1.5, True, [], {}, "a\x00b", "x" * 256, msgspec.Raw(b"1e400")])
def test_an_order_id_that_is_none_is_refused(order_id: object) -> None:
    assert refusal(order({"order_id": order_id, "revenue": 1})).code == "invalid_order_id"


@pytest.mark.parametrize(
    ("members", "email"),
    [
        pytest.param({"email": "a@x.co", "properties": {"email": "b@x.co"}}, "a@x.co", id="event-first"),
        pytest.param(
            {"properties": {"email": "b@x.co"}, "context": {"traits": {"email": "c@x.co"}}},
            "b@x.co",
            id="then-properties",
        ),
        pytest.param({"context": {"traits": {"email": "c@x.co"}}}, "c@x.co", id="then-context-traits"),
        pytest.param(
            {"email": "", "properties": {"email": None}, "context": {"traits": {"email": "c@x.co"}}},
            "c@x.co",
            id="empty-is-absent",
        ),
        pytest.param({"email": " A.b+C@X.co "}, "A.b+C@X.co", id="trimmed-case-kept"),
        pytest.param({"email": "ann@bücher.example"}, "ann@bücher.example", id="other-scripts"),
    ],
)
def test_the_email_is_the_first_of_three_places(members: Mapping[str, Any], email: str) -> None:
    intent = planned(event({"type": "track", "event": "Refund Requested", **members}))
    assert intent.email == email
    assert intent.customer == email.lower()


@pytest.mark.parametrize(
    ("members", "code"),
    [
        pytest.param({}, "missing_email", id="nowhere"),
        pytest.param({"properties": None, "context": {"traits": None}}, "missing_email", id="nulls"),
        pytest.param({"properties": [1], "context": "x"}, "missing_email", id="no-objects"),
        pytest.param({"traits": {"email": "a@x.co"}}, "missing_email", id="traits-of-a-track-are-no-place"),
        pytest.param({"email": "ann", "properties": {"email": "a@x.co"}}, "invalid_email", id="does-not-fall-through"),
        pytest.param({"email": 5}, "invalid_email", id="number"),
        pytest.param({"email": ["a@x.co"]}, "invalid_email", id="list"),
    ],
)
def test_without_a_usable_email_nobody_is_awarded(members: Mapping[str, Any], code: str) -> None:
    assert refusal(event({"type": "track", "event": "Checked In", **members})).code == code


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        ("ann@example.com", True),
        ("o'hara+x@sub.example.co.uk", True),
        ("ann@example", False),
        ("ann@@example.com", False),
        ("a b@example.com", False),
        ("ann@example..com", False),
        ("ann@-example.com", False),
        ("ann@example.com.", False),
        ("@example.com", False),
        ("ann@", False),
        ("Ann <ann@example.com>", False),
        ("ann\u200b@example.com", False),
        ("a" * 65 + "@example.com", False),
        ("a@" + ".".join(["b" * 63] * 4) + ".com", False),
    ],
)
def test_an_email_address(text: str, usable: bool) -> None:
    assert is_email(text) is usable


@pytest.mark.parametrize(
    ("properties", "quantity", "key"),
    [
        pytest.param({"total": 9.99}, "-9.99", "SEG:perkville:REFUND:o1:m1", id="amount"),
        pytest.param({"total": "9.99", "refund_id": "r7"}, "-9.99", "SEG:perkville:REFUND:o1:r7", id="refund-id"),
        pytest.param({"total": 1, "refund_id": 7}, "-1", "SEG:perkville:REFUND:o1:7", id="refund-id-number"),
        pytest.param({"total": 1, "refund_id": ""}, "-1", "SEG:perkville:REFUND:o1:m1", id="refund-id-empty"),
        pytest.param({}, None, "SEG:perkville:REFUND:o1:m1", id="the-ledger-knows-the-amount"),
    ],
)
def test_a_refund_removes_points(properties: Mapping[str, Any], quantity: str | None, key: str) -> None:
    intent = planned(order(properties, name="Order Refunded"))
    assert intent.is_refund
    assert intent.item == "123458"
    assert intent.order_id == "o1"
    assert intent.quantity == (None if quantity is None else Decimal(quantity))
    assert intent.effect_key == key


def test_a_refund_in_any_case_removes_points() -> None:
    lower = read_settings(
        {"apiKey": "k", "businessId": "41", "locationId": "7", "eventToPerkMap": {"order REFUNDED": "1"}}, {}
    )
    track_call = order({"total": 5}, name="order REFUNDED")
    assert plan(track_call, lower, source="s", destination="d", timezone=LOS_ANGELES).quantity == Decimal(-5)


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        pytest.param({"total": 0}, "zero_amount", id="zero"),
        pytest.param({"total": 5, "refund_id": []}, "invalid_refund_id", id="refund-id"),
    ],
)
def test_a_refund_that_cannot_be_counted_is_refused(properties: Mapping[str, Any], code: str) -> None:
    assert refusal(order(properties, name="Order Refunded")).code == code


def test_a_refund_without_an_order_is_an_award_of_one() -> None:
    intent = planned(order({"order_id": ..., "total": 5}, name="Refund Requested"))
    assert intent.quantity == Decimal(1)
    assert not intent.is_refund


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({"type": "track", "event": "Checked Out"}, '"Checked Out"', id="other-name"),
        pytest.param({"type": "track", "event": "checked in "}, '"Checked In" is', id="nearly-the-name"),
        pytest.param({"type": "track", "event": ""}, '""', id="empty"),
        pytest.param({"type": "track"}, "no event name", id="none"),
        pytest.param({"type": "track", "event": "a\x00b"}, "\\x00", id="control-character"),
    ],
)
def test_an_event_that_is_not_mapped_is_an_error_with_its_name(body: Mapping[str, Any], words: str) -> None:
    error = refusal(event({**body, "properties": {"email": "no address"}}))
    assert error.code == "not_allowlisted"
    assert words in error.message
    assert "\x00" not in error.message


@pytest.mark.parametrize(
    ("at", "day"),
    [
        pytest.param(datetime(2026, 1, 31, 7, 59, tzinfo=UTC), "2026-01-30", id="before-local-midnight"),
        pytest.param(datetime(2026, 1, 31, 8, 0, tzinfo=UTC), "2026-01-31", id="after-local-midnight"),
    ],
)
def test_once_a_day_the_local_date_is_in_the_key(at: datetime, day: str) -> None:
    body = {"type": "track", "event": "Checked In", "email": "Ann@example.com"}
    intent = planned(event(body, at=at))
    assert intent.effect_key.startswith("SEG:perkville:DAY:123457:")
    assert intent.effect_key.endswith(f":{day}")
    assert (intent.on_repeat, intent.repeat_reason) == (OnRepeat.DUPLICATE, "once_per_day")
    other_case = planned(event({**body, "email": "ann@EXAMPLE.com", "messageId": "m2"}, at=at))
    assert other_case.effect_key == intent.effect_key


def test_once_a_day_needs_a_day() -> None:
    track_call = event({"type": "track", "event": "Checked In", "email": "a@x.co"}, at=datetime(1, 1, 1, tzinfo=UTC))
    assert refusal(track_call).code == "invalid_timestamp"


def computed(key: str, value: object, *, kind: str = "audience", **members: Any) -> Event:
    personas = {"computation_class": kind, "computation_key": key}
    return event(
        {
            "type": "identify",
            "traits": {"email": "ann@example.com", key: value},
            "context": {"personas": personas},
            **members,
        }
    )


@pytest.mark.parametrize(
    ("track_call", "attributes"),
    [
        pytest.param(
            computed("order_completed_last_30days", True), {"order_completed_last_30days": True}, id="audience-entered"
        ),
        pytest.param(computed("vip", False), {"vip": False}, id="audience-left"),
        pytest.param(computed("Lifetime Spend", 12.5, kind="trait"), {"lifetime_spend": 12.5}, id="trait-number"),
        pytest.param(computed("favourite", "yoga", kind="trait"), {"favourite": "yoga"}, id="trait-text"),
        pytest.param(computed("clubs", ["a", "b"], kind="trait"), {"clubs": "a, b"}, id="trait-list"),
        pytest.param(computed("spend", None, kind="trait"), {"spend": None}, id="trait-cleared"),
    ],
)
def test_a_computed_trait_or_audience_is_a_user_property(track_call: Event, attributes: Mapping[str, object]) -> None:
    intent = planned(track_call)
    assert intent.kind is USER_PROPERTY
    assert intent.attributes == attributes
    assert intent.effect_key == "SEG:website:EVENT:m1"
    assert (intent.item, intent.quantity, intent.email) == (None, None, "ann@example.com")


@pytest.mark.parametrize(
    ("track_call", "code"),
    [
        pytest.param(
            event({"type": "identify", "traits": {"email": "a@x.co", "plan": "pro"}}),
            "no_computed_trait",
            id="ordinary",
        ),
        pytest.param(computed("vip", True, traits={"email": "a@x.co"}), "no_computed_trait", id="value-missing"),
        pytest.param(computed("vip", "yes"), "invalid_trait", id="audience-is-no-boolean"),
        pytest.param(computed("vip", {"a": 1}, kind="trait"), "invalid_trait", id="object"),
        pytest.param(computed("!!", 1, kind="trait"), "invalid_trait", id="no-letter"),
        pytest.param(computed("vip", True, traits={"vip": True}), "missing_email", id="no-email"),
    ],
)
def test_any_other_identify_is_refused(track_call: Event, code: str) -> None:
    assert refusal(track_call).code == code


@pytest.mark.parametrize("kind", ["page", "screen", "group", "alias"])
def test_other_calls_are_not_taken(kind: str) -> None:
    assert refusal(event({"type": kind})).code == "unsupported_event_type"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Order Completed Last 30days", "order_completed_last_30days"),
        ("lifetimeSpend", "lifetime_spend"),
        ("HTTPServer errors", "http_server_errors"),
        ("  big--spender! ", "big_spender"),
        ("vip", "vip"),
    ],
)
def test_snake_case(name: str, key: str) -> None:
    assert snake_case(name) == key


@given(st.text(max_size=60))
def test_snake_case_is_idempotent(name: str) -> None:
    assert snake_case(snake_case(name)) == snake_case(name)


def test_remap_follows_the_map() -> None:
    assert remap("Checked In", SETTINGS) == "123457"
    assert remap("Checked Out", SETTINGS) is None


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["ann@example.com", " Ann@Example.com ", "9.99", "1e3", "-1", "0", "o1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
interesting = st.sampled_from(
    [
        *("email", "order_id", "refund_id", "revenue", "value", "total", "traits", "personas", "computation_key"),
        *("vip", "orderId", "Order ID", "REVENUE", "E-mail", "products", "Products", "price", "Quantity", "cart_id"),
    ]
)
objects = st.dictionaries(interesting, json_values | st.dictionaries(interesting, json_values, max_size=4), max_size=7)


@settings(max_examples=400, deadline=None)
@given(
    kind=st.sampled_from(list(EventType)),
    name=st.sampled_from([*SETTINGS.event_to_perk_map, None, "Other"]),
    email=json_values,
    properties=objects | json_values,
    traits=objects | json_values,
    context=objects | json_values,
    source=st.text(min_size=1, max_size=80),
)
def test_any_json_ends_as_an_intent_or_a_refusal_and_always_the_same(
    kind: EventType,
    name: str | None,
    email: object,
    properties: object,
    traits: object,
    context: object,
    source: str,
) -> None:
    track_call = event(
        {
            "type": kind.value,
            "event": name,
            "email": email,
            "properties": properties,
            "traits": traits,
            "context": context,
        }
    )

    def outcome() -> Intent | tuple[str, str]:
        try:
            return plan(track_call, SETTINGS, source="website", destination=source, timezone=LOS_ANGELES)
        except RefusedError as error:
            return error.code, error.message

    first = outcome()
    assert outcome() == first
    if isinstance(first, Intent):
        assert len(first.effect_key) <= 100
        assert first.effect_key.isascii()
        assert first.customer == first.email.lower()
        assert len(first.customer) <= 320
        if first.quantity is not None:
            assert first.quantity
            assert first.quantity.as_tuple().exponent in (0, -1, -2)
            assert first.is_refund == (first.quantity < 0)


@pytest.mark.parametrize(
    "properties",
    [
        pytest.param(b'{"order_id":"\\ud800"}', id="lone-surrogate"),
        pytest.param(b'{"order_id":' + b"[" * 3000 + b"]" * 3000 + b"}", id="deep-nesting"),
    ],
)
def test_what_cannot_be_read_is_refused(properties: bytes) -> None:
    track_call = event({"type": "track", "event": "Checked In", "email": "a@x.co"})
    track_call.wire.properties = msgspec.Raw(properties)
    assert refusal(track_call).code == "unreadable_value"
