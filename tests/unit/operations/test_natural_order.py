"""Lists are sorted as people read their names."""

from punchcard.operations.natural_order import natural_key


def test_numbers_are_sorted_by_their_value_and_texts_regardless_of_case() -> None:
    names = [
        "level 10",
        "Level 2",
        "Level 02",
        "level",
        "2 visits",
        "100 visits",
        "Level 10 b",
        "Äpfel",
        "Level 2 a",
        "",
        "²",
    ]
    assert sorted(names, key=natural_key) == [
        "",
        "2 visits",
        "100 visits",
        "level",
        "Level 02",
        "Level 2",
        "Level 2 a",
        "level 10",
        "Level 10 b",
        "²",
        "Äpfel",
    ]


def test_a_number_may_have_any_length() -> None:
    assert sorted(["9" * 5_000, "1" + "0" * 5_000], key=natural_key)[0] == "9" * 5_000
