import pytest

from punchcard.app.audience_lines import Line, Lines, lines_of, text_of
from punchcard.computations.parser import parse_audience, parse_trait


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (Lines(), ""),
        (Lines(lines=[Line(event="A")]), "event('A').count() >= 1"),
        (
            Lines(lines=[Line(event="A", counted="=", times="3", window="30")]),
            "event('A').within(30 days).count() = 3",
        ),
        (
            Lines(lines=[Line(kind="did_not", event="A", window="12", unit="hour", path="sku", value="x")]),
            "NOT ( event('A').where( property('sku') = 'x' ).within(12 hours).count() >= 1 )",
        ),
        (
            Lines(lines=[Line(event="A"), Line(kind="trait", path="vip", operator="=", value="true")], joined="or"),
            "event('A').count() >= 1 OR trait('vip') = true",
        ),
        (Lines(lines=[Line(kind="trait", path="spend", operator=">", value="9.99")]), "trait('spend') > 9.99"),
        (
            Lines(lines=[Line(kind="trait", path="name", operator="contains", value="an")]),
            "trait('name').contains('an')",
        ),
        (Lines(lines=[Line(kind="trait", path="email", operator="exists")]), "trait('email').exists()"),
    ],
)
def test_lines_say_a_definition_and_a_definition_says_the_lines(lines, text):
    assert text_of(lines, kind="audience") == text
    if text:
        parse_audience(text)
        assert text_of(lines_of(text, kind="audience"), kind="audience") == text


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (Lines(lines=[Line(event="A")]), "event('A').count()"),
        (
            Lines(lines=[Line(event="A", window="90")], reducer="sum", of="revenue"),
            "event('A').within(90 days).sum(property('revenue'))",
        ),
        (
            Lines(lines=[Line(event="A")], reducer="unique_count", of="sku"),
            "event('A').unique(property('sku')).count()",
        ),
        (Lines(lines=[Line(event="A")], reducer="sum"), ""),
    ],
)
def test_a_computed_trait_is_said_in_one_line(lines, text):
    assert text_of(lines, kind="computed_trait") == text
    if text:
        parse_trait(text)
        assert text_of(lines_of(text, kind="computed_trait"), kind="computed_trait") == text


@pytest.mark.parametrize(
    "text",
    [
        "event('A').where( event('B').count() >= 1 ).count() >= 1",
        "event('A').between(7 days, 10 days).count() >= 1",
        "( trait('a') = 1 OR trait('b') = 2 ) AND trait('c') = 3",
        "event('A').sum(property('x')) > 3",
        "trait('zip') = '0123'",
        "event('A').coun",
    ],
)
def test_what_lines_cannot_show_stays_text(text):
    assert lines_of(text, kind="audience") is None or text_of(lines_of(text, kind="audience"), kind="audience") == text
