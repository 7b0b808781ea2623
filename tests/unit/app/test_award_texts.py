"""Awards in words: titles, points, and their nouns."""

from decimal import Decimal

import pytest

from punchcard.app.award_texts import award_text, point_text
from punchcard.destinations.port import MappingChoice

CHECKED_IN = MappingChoice(value="123457", title="Checked In", points=Decimal(10))
SPENT = MappingChoice(value="123458", title="Free Shake", points=Decimal(-50))
UNPRICED = MappingChoice(value="123459", title="Visit", points=None)
UNTITLED = MappingChoice(value="123460", title="", points=Decimal(1))


@pytest.mark.parametrize(
    ("quantity", "choice", "text"),
    [
        ("1", CHECKED_IN, "Checked In · 10 points"),
        (Decimal("2.50"), CHECKED_IN, "Checked In · 25 points"),
        ("-1", CHECKED_IN, "Checked In · -10 points"),
        ("-1", SPENT, "Free Shake · -50 points"),  # the quantity has the sign
        (None, CHECKED_IN, "Checked In"),
        ("1", UNPRICED, "Visit"),
        ("3", UNPRICED, "Visit · 3 ×"),
        ("1", UNTITLED, "123457 · 1 point"),
        ("1234.5", None, "123457 · 1,234.5 ×"),
        ("1", None, "123457"),
    ],
)
def test_an_award_is_named_by_title_and_points(
    quantity: Decimal | str | None, choice: MappingChoice | None, text: str
) -> None:
    award = award_text("123457", quantity, choice)
    assert str(award) == text
    assert award.item == "123457"
    assert award.is_titled == bool(choice and choice.title)


@pytest.mark.parametrize(
    ("points", "text"),
    [("1", "1 point"), ("-1", "-1 point"), ("1.00", "1 point"), ("0", "0 points"), ("24.95", "24.95 points")],
)
def test_one_point_is_singular(points: str, text: str) -> None:
    assert point_text(Decimal(points)) == text
