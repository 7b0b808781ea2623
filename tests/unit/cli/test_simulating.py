"""What `punchcard simulate` says of its options."""

from decimal import Decimal

import pytest

from punchcard.cli.simulating import unknown_value_warnings
from punchcard.destinations.port import MappingChoice

PERKS = [
    MappingChoice(value="123456", title="Purchase", points=Decimal(1)),
    MappingChoice(value="123457", title="Visit", points=None),
]


@pytest.mark.parametrize(
    ("maps", "choices", "expected"),
    [
        (["A=123456", "B=", "C=123457"], PERKS, []),
        (["A=9"], [], []),  # the partner could not be asked
        (
            ["A=123456", "x = y=9"],
            PERKS,
            ["--map x = y=9: Loyalty does not have 9, so its points are not known. It has 123456, 123457."],
        ),
    ],
    ids=["known", "not-asked", "unknown"],
)
def test_value_that_the_partner_does_not_have_is_named(
    maps: list[str], choices: list[MappingChoice], expected: list[str]
) -> None:
    assert unknown_value_warnings(maps, choices, partner="Loyalty") == expected
