"""Effect keys: always the same for the same event, different for different ones, and what Perkville can store."""

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.destinations.perkville.keys import DayKey, OrderKey, RefundKey, event_key, name_slug

KEY = re.compile(r"SEG(:[A-Za-z0-9_.-]+){3,5}")
# Both texts that stand as they are and texts made to be taken for something else.
parts = st.one_of(
    st.text(min_size=1, max_size=300).filter(lambda text: text.isprintable()),
    st.from_regex(r"[A-Za-z0-9_.:-]{1,120}", fullmatch=True),
    st.from_regex(r"sha-[0-9a-f]{24}", fullmatch=True),
)


def test_the_contracts_example() -> None:
    key = OrderKey("o283h08fh2390f923uofu23", "Order Completed").within("perkville")
    assert key == "SEG:perkville:ORDER:o283h08fh2390f923uofu23:order-completed"


def test_the_forms_of_the_design() -> None:
    assert RefundKey("1001", "r-1").within("pos") == "SEG:pos:REFUND:1001:r-1"
    assert event_key("pos", message_id="m1") == "SEG:pos:EVENT:m1"
    key = DayKey("123457", "ann@example.com", date(2026, 1, 31)).within("pos")
    assert re.fullmatch(r"SEG:pos:DAY:123457:[0-9a-f]{20}:2026-01-31", key)


@given(source=parts, order_id=parts, name=parts, refund_id=parts, perk=parts)
def test_every_key_is_safe_and_short(source: str, order_id: str, name: str, refund_id: str, perk: str) -> None:
    keys = [
        OrderKey(order_id, name).within(source),
        RefundKey(order_id, refund_id).within(source),
        event_key(source, message_id=order_id),
        DayKey(perk, name, date(2026, 12, 31)).within(source),
    ]
    for key in keys:
        assert len(key) <= 100
        assert KEY.fullmatch(key)
    assert len(set(keys)) == len(keys)


@given(first=st.tuples(parts, parts, parts), second=st.tuples(parts, parts, parts))
def test_different_refunds_have_different_keys(first: tuple[str, str, str], second: tuple[str, str, str]) -> None:
    keys = [RefundKey(order, refund).within(scope) for scope, order, refund in (first, second)]
    assert (keys[0] == keys[1]) == (first == second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(("a:b", "c"), ("a", "b:c"), id="a-part-cannot-run-into-the-next"),
        pytest.param(("A1", "c"), ("a1", "c"), id="case-is-kept"),
        pytest.param(("é", "c"), ("è", "c"), id="no-letter-is-dropped"),
        pytest.param(("x" * 90, "c"), ("x" * 89 + "y", "c"), id="nothing-is-cut-off"),
    ],
)
def test_orders_that_look_alike_stay_apart(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert RefundKey(*first).within("s") != RefundKey(*second).within("s")


def test_a_hash_is_no_literal() -> None:
    hashed = RefundKey("ü", "r").within("s").split(":")[3]
    assert hashed.startswith("sha-")
    assert RefundKey(hashed, "r").within("s") != RefundKey("ü", "r").within("s")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Order Completed", "order-completed"),
        ("order_completed", "order-completed"),
        (" Order  Completed ", "order-completed"),
        ("Checked-In", "checked-in"),
        ("5", "5"),
    ],
)
def test_names_that_differ_only_in_case_and_separators_are_one_action(name: str, slug: str) -> None:
    assert name_slug(name) == slug


def test_other_names_are_hashed_whole() -> None:
    slugs = {name_slug(name) for name in ("Größe", "Grüße", "A+", "A", "A*", "Заказ", "", "  ")}
    assert len(slugs) == 8
