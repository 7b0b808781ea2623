"""Names that people cannot see."""

import pytest

from punchcard.workspace.blank import is_blank


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\x00", "\u200b", "\u00a0", " \x00 "], ids=ascii)
def test_what_shows_nothing_is_blank(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", " a", "\x00a", "é", "日本", "🙂", "."])
def test_what_shows_something_is_not_blank(text: str) -> None:
    assert not is_blank(text)
