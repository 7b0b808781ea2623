"""The page of filters is held to its word: its conditions are read, its messages are those that are given."""

import json
import re
from pathlib import Path

import pytest

from punchcard.filters.actions import ActionError, read_actions
from punchcard.filters.fql_lexer import ConditionError
from punchcard.filters.functions import FUNCTIONS
from punchcard.filters.parser import CONDITION_BYTES_MAX, NESTING_MAX, parse

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "filters.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table that follows a line."""
    behind = PAGE.split(f"\n{heading}\n", 1)[1].lstrip().splitlines()
    start = next(number for number, line in enumerate(behind) if line.startswith("|"))
    cells = []
    for line in behind[start + 2 :]:
        if not line.startswith("|"):
            break
        cells.append([cell.strip() for cell in line.strip("|").split(" | ")])
    assert len(cells) > 2
    return cells


@pytest.mark.parametrize(
    "row", rows("The message names the position and shows the text at that position."), ids=lambda r: r[0]
)
def test_a_condition_that_is_refused_gets_the_message_on_the_page(row: list[str]) -> None:
    condition, message = row
    with pytest.raises(ConditionError) as refused:
        parse("" if condition == "nothing" else condition.strip("`"))
    assert refused.value.message == message


@pytest.mark.parametrize("row", rows("Actions that are refused:"), ids=lambda r: r[0])
def test_actions_that_are_refused_get_the_message_on_the_page(row: list[str]) -> None:
    actions, message = row
    with pytest.raises(ActionError) as refused:
        read_actions(json.loads(actions.strip("`")))
    assert refused.value.message == message


@pytest.mark.parametrize("row", rows("## Examples"), ids=lambda r: r[0])
def test_the_conditions_that_are_shown_are_read(row: list[str]) -> None:
    parse(row[1].strip("`"))


def test_all_functions_are_there_and_no_other() -> None:
    table = PAGE.split("| function | returns |", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"`(\w+)\( ", table)) == set(FUNCTIONS)


def test_the_limits_are_those_of_the_code() -> None:
    assert f"at most {CONDITION_BYTES_MAX // 1024} KB and {NESTING_MAX} levels" in " ".join(PAGE.split())
