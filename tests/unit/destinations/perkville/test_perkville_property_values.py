"""Perkville's user property holds no list: a list is sent as text."""

import pytest

from punchcard.destinations.perkville.property_values import property_value


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        pytest.param(["Shoes", "Hats"], "Shoes, Hats", id="texts"),
        pytest.param([1, 2.5, True, False], "1, 2.5, true, false", id="numbers and booleans"),
        pytest.param(["a", None, "b"], "a, b", id="null is left out"),
        pytest.param([], "", id="empty"),
        pytest.param(["Zürich"], "Zürich", id="one"),
        pytest.param([["a"], {"b": 1}], '["a"], {"b": 1}', id="nested"),
        pytest.param("a, b", "a, b", id="text"),
        pytest.param(3, 3, id="number"),
        pytest.param(True, True, id="boolean"),
        pytest.param(None, None, id="null"),
    ],
)
def test_what_a_user_property_holds_of_a_value(value: object, sent: object) -> None:
    assert property_value(value) == sent
