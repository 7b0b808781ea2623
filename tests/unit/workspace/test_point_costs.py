"""What a point costs: read, validated, and shown as money."""

from decimal import Decimal

import pytest

from punchcard.errors import ConfigurationError
from punchcard.workspace.export import export
from punchcard.workspace.file import read_content
from punchcard.workspace.point_costs import point_cost_problems, read_point_cost


@pytest.mark.parametrize(
    ("amount", "points", "text"),
    [
        ("0.01", "1234.5", "12.34 USD"),  # half to even
        ("0.01", "-250", "-2.50 USD"),
        ("1", "1000000", "1,000,000.00 USD"),
        ("0.000000001", "1", "0.00 USD"),
    ],
)
def test_points_are_shown_as_money(amount: str, points: str, text: str) -> None:
    cost = read_point_cost(amount, "USD")
    assert cost is not None
    assert cost.text(Decimal(points)) == text


@pytest.mark.parametrize("amount", ["0", "-1", "x", "NaN", "Infinity", "1e7", "0.0000000001"])
def test_an_amount_that_is_none_is_refused(amount: str) -> None:
    assert [problem.path for problem in point_cost_problems(amount, "USD")] == [("workspace", "pointCost")]
    assert read_point_cost(amount, "USD") is None


@pytest.mark.parametrize("currency", ["usd", "US", "", "DOLLAR"])
def test_a_currency_is_a_code(currency: str) -> None:
    assert [problem.path for problem in point_cost_problems("", currency)] == [("workspace", "currency")]
    assert read_point_cost("0.01", currency) is None


def test_a_file_sets_it_and_an_export_keeps_it() -> None:
    text = '[workspace]\nname = "Acme"\npointCost = "0.0125"\ncurrency = "EUR"\n'
    workspace = read_content(text.encode(), "punchcard.toml", environment={})
    assert (workspace.point_cost, workspace.currency) == ("0.0125", "EUR")
    assert read_content(export(workspace).encode(), "punchcard.toml", environment={}) == workspace
    with pytest.raises(ConfigurationError, match=r"workspace\.pointCost"):
        read_content(text.replace("0.0125", "free").encode(), "punchcard.toml", environment={})


def test_without_a_cost_there_is_no_money() -> None:
    assert read_point_cost("", "USD") is None
