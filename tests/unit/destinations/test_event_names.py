"""Maps of event names that will surprise are named; ordinary ones are left in peace."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.event_names import find_map_warnings, folded_event_name, mapped_names, near_names


@pytest.mark.parametrize(
    "names",
    [
        ["Order Completed"],
        ["Order Completed", "Order Refunded", "Checked In"],
        ["Checked In", "Checked Out", "Class Booked", "Product Reviewed"],
        ["Order Refunded", "Refund Requested"],
        ["!", "?", "Ордер оплачен", "Größe"],
        [],
    ],
    ids=len,
)
def test_an_ordinary_map_has_no_warning(names: list[str]) -> None:
    assert find_map_warnings(names) == []


@pytest.mark.parametrize(
    ("names", "words"),
    [
        pytest.param(["Order Updated", "Order Cancelled", "Order Completed"], "of 50 earns 150", id="the issue's"),
        pytest.param(["Order Completed", "Order Paid"], "of 50 earns 100", id="completed and paid"),
        pytest.param(["Checkout Started", "Order Completed"], "several moments", id="checkout and order"),
        pytest.param(["Payment Info Entered", "Purchase Completed"], "several moments", id="payment and purchase"),
        pytest.param(["orderCreated", "orderFulfilled"], "several moments", id="camel case"),
        pytest.param(["order_placed", "ORDERS SHIPPED"], "several moments", id="other spellings and plurals"),
        pytest.param(["Transaction Created", "Invoice Paid"], "several moments", id="transaction and invoice"),
        pytest.param(["Order Completed", "Purchased"], "several moments", id="participle"),
        pytest.param(["Order Cancelled"], '"Order Cancelled" awards points', id="cancelled"),
        pytest.param(["order_canceled"], "awards points", id="canceled"),
        pytest.param(["Order Returned"], "awards points", id="returned"),
        pytest.param(["Payment Failed"], "awards points", id="failed"),
        pytest.param(["Checked In", "checked in"], "differ only in", id="case"),
        pytest.param(["Checked In", "Checked  In"], "differ only in", id="blanks within"),
        pytest.param(["Checked In", "CheckedIn"], "differ only in", id="no blank"),
        pytest.param(["Checked In", "checked_in"], "differ only in", id="underscore"),
        pytest.param(["Checked In", "Checked-In"], "differ only in", id="hyphen"),
        pytest.param(["Café", unicodedata.normalize("NFD", "Café")], "differ only in", id="Unicode form"),
        pytest.param(["Checked In", "Ｃhecked In"], "differ only in", id="full width"),
        pytest.param(["straße", "STRASSE"], "differ only in", id="case folding"),
        pytest.param(["Checked In ", "Sauna"], "begins or ends with a blank", id="a blank at the end"),
        pytest.param([" Checked In"], "begins or ends with a blank", id="a blank at the beginning"),
    ],
)
def test_a_map_that_will_surprise_is_named(names: list[str], words: str) -> None:
    warnings = find_map_warnings(names)
    assert any(words in warning.message for warning in warnings), warnings
    assert all(set(warning.names) <= set(names) for warning in warnings)


def test_spellings_of_one_order_event_are_no_cycle() -> None:
    (warning,) = find_map_warnings(["Order Completed", "order completed"])
    assert "differ only in" in warning.message


def test_a_long_map_is_named_in_short() -> None:
    (warning,) = find_map_warnings([f"Order Step {letter}" for letter in "abcdefgh"])
    assert "and 3 more" in warning.message
    assert "of 50 earns 400" in warning.message


def test_near_names_are_those_that_were_received_and_are_not_mapped() -> None:
    counts = {"order completed": 2, "Order_Completed": 9, "Order Completed": 1, "Other": 5}
    assert near_names(["Order Completed", "Sauna"], counts) == {
        "Order Completed": ["Order_Completed", "order completed"],
        "Sauna": [],
    }


@given(st.text(max_size=30))
def test_folding_is_idempotent_and_ignores_the_form(name: str) -> None:
    folded = folded_event_name(name)
    assert folded_event_name(folded) == folded
    assert folded_event_name(unicodedata.normalize("NFD", name)) == folded


@given(st.lists(st.text(max_size=30), max_size=6, unique=True))
def test_any_map_can_be_looked_at(names: list[str]) -> None:
    find_map_warnings(names)


def test_the_names_of_a_destination_are_those_of_its_map() -> None:
    definition = CATALOG["perkville"].definition
    assert mapped_names(definition, {"eventToPerkMap": {"Checked In": "1"}, "apiKey": "k"}) == ["Checked In"]
    assert mapped_names(definition, {"eventToPerkMap": None}) == []
