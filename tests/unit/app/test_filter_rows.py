"""Filter conditions as lines of the builder, and what lines cannot say."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from punchcard.app.filter_rows import OPERATORS, BuilderRow, parse_rows
from punchcard.filters.parser import parse


@pytest.mark.parametrize(
    ("text", "joined", "rows"),
    [
        ("", "and", [("event", "=", "")]),
        ('event = "Order Completed"', "and", [("event", "=", "Order Completed")]),
        (
            'type = "track" and properties.revenue > 100',
            "and",
            [("type", "=", "track"), ("properties.revenue", ">", "100")],
        ),
        ('event = "A" or event = "B"', "or", [("event", "=", "A"), ("event", "=", "B")]),
        ('contains(properties.email, "@x")', "and", [("properties.email", "contains", "@x")]),
        ('!contains(properties.email, "@x")', "and", [("properties.email", "!contains", "@x")]),
        ('match(event, "Order*")', "and", [("event", "match", "Order*")]),
        ("properties.test = null", "and", [("properties.test", "!exists", "")]),
        ("properties.test != null", "and", [("properties.test", "exists", "")]),
        ("properties.vip = true", "and", [("properties.vip", "=", "true")]),
    ],
    ids=["nothing", "one", "and", "or", "contains", "not contains", "match", "missing", "there", "truth value"],
)
def test_a_condition_becomes_lines(text: str, joined: str, rows: list[tuple[str, str, str]]) -> None:
    parsed = parse_rows(text)
    assert parsed is not None
    assert parsed.joined == joined
    assert [(row.path, row.operator, row.value) for row in parsed.rows] == rows


@pytest.mark.parametrize(
    "text",
    [
        "event = ",
        "all",
        '(event = "A" or event = "B") and type = "track"',
        'properties.code = "100"',
        'properties.flag = "true"',
        "length(event) > 3",
        'event in ["A", "B"]',
        "100 < properties.revenue",
    ],
    ids=["unreadable", "all", "nested", "text like a number", "text like a truth value", "function", "list", "turned"],
)
def test_what_lines_cannot_say_stays_text(text: str) -> None:
    assert parse_rows(text) is None


def composed(row: BuilderRow) -> str:
    """The text that the page's script makes of a line."""
    quoted = f"'{row.value}'" if '"' in row.value else f'"{row.value}"'
    match row.operator:
        case "exists":
            return f"{row.path} != null"
        case "!exists":
            return f"{row.path} = null"
        case "contains" | "match":
            return f"{row.operator}({row.path}, {quoted})"
        case "!contains":
            return f"!contains({row.path}, {quoted})"
        case _:
            return f"{row.path} {row.operator} {quoted}"


@given(
    operator=st.sampled_from(list(OPERATORS)),
    value=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20),
)
def test_what_the_builder_composes_is_read_back_as_the_same_line(operator: str, value: str) -> None:
    assume("'" not in value or '"' not in value)  # such a text cannot be written at all
    row = BuilderRow(path="properties.name", operator=operator, value="" if "exists" in operator else value)
    text = composed(row)
    parse(text)
    parsed = parse_rows(text)
    if parsed is None:
        assert value.strip("-").replace(".", "").isdigit() or value in ("true", "false", "null")
    else:
        assert list(parsed.rows) == [row]
