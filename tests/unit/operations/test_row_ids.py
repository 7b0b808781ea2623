import pytest

from punchcard.operations.row_ids import is_row_id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", True),
        ("9" * 18, True),
        ("9" * 19, False),
        ("", False),
        ("-1", False),
        ("1.0", False),
        (" 1", False),
        ("٣", False),
        ("²", False),
    ],
)
def test_only_what_the_database_can_hold_is_an_id(text: str, expected: bool) -> None:
    assert is_row_id(text) is expected
