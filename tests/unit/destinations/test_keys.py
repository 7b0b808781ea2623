"""Own keys are distinguished from other keys, and split into their parts unless those are hashed."""

from datetime import date

import pytest

from punchcard.destinations.keys import event_key, is_own_key, read_key
from punchcard.destinations.perkville.keys import DayKey, OrderKey, RefundKey, read_key_content
from punchcard.destinations.reconciling import KeyContent

LONG = "s" * 120


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (OrderKey("1", "Order Completed").within("perkville"), True),
        (event_key("website", message_id="m 1"), True),
        (event_key(LONG, message_id="m1"), True),
        (OrderKey("1", "Order Completed").within("other"), False),
        ("SEG:perkville", False),
        ("SEG:perkville:ORDER:", False),
        ("seg:perkville:ORDER:1:x", False),
        ("FRONTDESK:perkville:ORDER:1", False),
        ("", False),
    ],
)
def test_a_key_of_ours_has_our_form_and_one_of_our_scopes(key: str, *, expected: bool) -> None:
    assert is_own_key(key, ["perkville", "website", LONG]) is expected


def test_hashed_parts_are_unknown() -> None:
    parts = read_key(event_key("website", message_id="a b"))
    assert parts is not None
    assert (parts.scope, parts.kind, list(parts.parts)) == ("website", "EVENT", [None])


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (
            OrderKey("1001", "Order Completed").within("perkville"),
            KeyContent(order_id="1001", event_name="Order Completed"),
        ),
        (OrderKey("1001", "Not Mapped").within("perkville"), KeyContent(order_id="1001")),
        (OrderKey("10 01", "Order Completed").within("perkville"), KeyContent(event_name="Order Completed")),
        (RefundKey("1001", "r1").within("perkville"), KeyContent(order_id="1001", is_refund=True, refund_id="r1")),
        (event_key("website", message_id="m1"), KeyContent(source="website", message_id="m1")),
        ("not a key", KeyContent()),
    ],
)
def test_a_key_says_what_its_effect_was(key: str, expected: KeyContent) -> None:
    assert read_key_content(key, event_names=["Checked In", "Order Completed"]) == expected


def test_a_key_of_a_day_says_nothing_of_its_event() -> None:
    key = DayKey("123457", "ann@example.com", date(2026, 1, 31)).within("perkville")
    assert read_key_content(key, event_names=["Checked In"]) == KeyContent()
