"""Rows of an event map that cannot be saved."""

import pytest

from punchcard.app.pages.event_map import find_row_errors


@pytest.mark.parametrize(
    ("rows", "errors"),
    [
        ([], []),
        ([("Checked In", "1"), ("Order Completed", "1")], ["", ""]),
        ([("", "1")], ["Enter an event name."]),
        ([("Checked In", "")], ["Choose a perk for this event."]),
        (
            [("Checked In", "1"), ("Checked In", "2"), ("checked in", "2")],
            ["", "“Checked In” is mapped twice. Remove one of the lines.", ""],
        ),
        ([("", "1"), ("", "2")], ["Enter an event name.", "Enter an event name."]),
    ],
)
def test_a_row_says_what_it_lacks(rows: list[tuple[str, str]], errors: list[str]) -> None:
    assert find_row_errors(rows, label="perk") == errors
