import pytest

from punchcard.app.audience_lines import Line, Lines, TraitCondition
from punchcard.app.audience_parser import parse_lines
from punchcard.app.audience_printer import print_definition
from punchcard.computations.parser import parse_audience, parse_trait
from punchcard.errors import ConfigurationError


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (Lines(), ""),
        (Lines(lines=[Line(event="A")]), "event('A').count() >= 1"),
        (
            Lines(lines=[Line(event="A", counted="=", times="3", span="within", window="30")]),
            "event('A').within(30 days).count() = 3",
        ),
        (
            Lines(
                lines=[
                    Line(
                        kind="did_not",
                        event="A",
                        span="within",
                        window="12",
                        unit="hour",
                        conditions=[TraitCondition(path="sku", value="x")],
                    )
                ]
            ),
            "NOT ( event('A').where( property('sku') = 'x' ).within(12 hours).count() >= 1 )",
        ),
        (
            Lines(
                lines=[
                    Line(event="A"),
                    Line(kind="trait", conditions=[TraitCondition(path="vip", operator="=", value="true")]),
                ],
                joined="or",
            ),
            "event('A').count() >= 1 OR trait('vip') = true",
        ),
        (
            Lines(lines=[Line(kind="trait", conditions=[TraitCondition(path="spend", operator=">", value="9.99")])]),
            "trait('spend') > 9.99",
        ),
        (
            Lines(
                lines=[Line(kind="trait", conditions=[TraitCondition(path="name", operator="contains", value="an")])]
            ),
            "trait('name').contains('an')",
        ),
        (
            Lines(lines=[Line(kind="trait", conditions=[TraitCondition(path="email", operator="exists")])]),
            "trait('email').exists()",
        ),
        (
            Lines(lines=[Line(kind="trait", conditions=[TraitCondition(path="address.city", value="Austin")])]),
            "trait('address.city') = 'Austin'",
        ),
        (
            Lines(
                lines=[
                    Line(
                        kind="trait", conditions=[TraitCondition(path="orders.$.sku", operator="one_of", value="a, b")]
                    )
                ]
            ),
            "trait('orders.$.sku').one_of('a', 'b')",
        ),
        (
            Lines(
                lines=[
                    Line(
                        kind="trait",
                        conditions=[TraitCondition(path="seen", operator="before_date", value="2026-01-31")],
                    )
                ]
            ),
            "trait('seen').before_date('2026-01-31')",
        ),
    ],
)
def test_lines_say_a_definition_and_a_definition_says_the_lines(lines, text):
    assert print_definition(lines, kind="audience") == text
    if text:
        parse_audience(text)
        assert print_definition(parse_lines(text, kind="audience"), kind="audience") == text


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (Lines(lines=[Line(event="A")]), "event('A').count()"),
        (
            Lines(lines=[Line(event="A", span="within", window="90")], reducer="sum", of="revenue"),
            "event('A').within(90 days).sum(property('revenue'))",
        ),
        (
            Lines(lines=[Line(event="A")], reducer="unique_count", of="sku"),
            "event('A').unique(property('sku')).count()",
        ),
        (Lines(lines=[Line(event="A")], reducer="sum"), ""),
    ],
)
def test_a_computed_trait_is_shown_in_one_line(lines, text):
    assert print_definition(lines, kind="computed_trait") == text
    if text:
        parse_trait(text)
        assert print_definition(parse_lines(text, kind="computed_trait"), kind="computed_trait") == text


MESSAGES = [
    ("event('A').sum(property('revenue')) >= 99.5", Line(event="A", measure="sum", of="revenue", times="99.5")),
    ("event('A').avg(property('a.b')) < 3", Line(event="A", measure="avg", of="a.b", counted="<", times="3")),
    ("event('A').min(property('x')) <= 0", Line(event="A", measure="min", of="x", counted="<=", times="0")),
    ("event('A').max(property('x')) > -3", Line(event="A", measure="max", of="x", counted=">", times="-3")),
    ("event('A').count() = 0", Line(event="A", counted="=", times="0")),
    (
        "event('A').between(7 days, 10 days).count() >= 1",
        Line(event="A", span="between", begin="7", window="10"),
    ),
    (
        "event('A').where( property('sku') = 'x' AND property('n') > 2 AND property('z').absent() ).count() >= 1",
        Line(
            event="A",
            conditions=(
                TraitCondition(path="sku", value="x"),
                TraitCondition(path="n", operator=">", value="2"),
                TraitCondition(path="z", operator="absent"),
            ),
        ),
    ),
    (
        "event('A').where( event('B').within(parent: 1 day).count() >= 1 ).count() >= 1",
        Line(event="A", then="did", then_event="B", then_window="1"),
    ),
    (
        "event('A').where( property('n') = 1 AND NOT ( event('B').within(parent: 2 hours).count() >= 1 ) )"
        ".within(7 days).count() >= 2",
        Line(
            event="A",
            times="2",
            span="within",
            window="7",
            conditions=(TraitCondition(path="n", value="1"),),
            then="did_not",
            then_event="B",
            then_window="2",
            then_unit="hour",
        ),
    ),
    (
        "NOT ( event('A').where( event('B').count() >= 1 ).count() >= 1 )",
        Line(kind="did_not", event="A", then="did", then_event="B"),
    ),
    (
        "event('A').where( event('B').where( property('sku') = property(parent: 'sku') AND property('n') > 2"
        " AND property('till') != property(parent: 'shop') ).within(parent: 3 days).count() >= 1 ).count() >= 1",
        Line(
            event="A",
            then="did",
            then_event="B",
            then_window="3",
            then_conditions=(
                TraitCondition(path="sku", operator="same"),
                TraitCondition(path="n", operator=">", value="2"),
                TraitCondition(path="till", operator="other", value="shop"),
            ),
        ),
    ),
    (
        "event('A').where( NOT ( event('B').where( property('sku').exists() ).count() >= 1 ) ).count() >= 1",
        Line(
            event="A", then="did_not", then_event="B", then_conditions=(TraitCondition(path="sku", operator="exists"),)
        ),
    ),
    ("event('A').sources('pos').count() >= 1", Line(event="A", source="pos")),
    ("trait('regulars') = true", Line(kind="in", conditions=(TraitCondition(path="regulars"),))),
    ("NOT ( trait('regulars') = true )", Line(kind="not_in", conditions=(TraitCondition(path="regulars"),))),
    ("trait('zip') = '0123'", Line(kind="trait", conditions=(TraitCondition(path="zip", value="0123"),))),
    (
        "trait('plan').one_of('gold', 'silver', 3)",
        Line(kind="trait", conditions=(TraitCondition(path="plan", operator="one_of", value="gold, silver, 3"),)),
    ),
    (
        "trait('born').before_date('2001-01-31')",
        Line(kind="trait", conditions=(TraitCondition(path="born", operator="before_date", value="2001-01-31"),)),
    ),
    (
        "trait('renewal').within_next(7 days)",
        Line(kind="trait", conditions=(TraitCondition(path="renewal", operator="within_next", value="7"),)),
    ),
    (
        "trait('email').ends_with('@example.com')",
        Line(kind="trait", conditions=(TraitCondition(path="email", operator="ends_with", value="@example.com"),)),
    ),
]


@pytest.mark.parametrize(("text", "line"), MESSAGES, ids=[text for text, _ in MESSAGES])
def test_a_line_says_all_that_segments_builder_does(text, line):
    assert print_definition(Lines(lines=(line,)), kind="audience") == text
    parsed = parse_lines(text, kind="audience", audiences=["regulars"])
    assert parsed is not None
    assert list(parsed.lines) == [line]


def test_a_computed_trait_is_described_for_a_funnel_too():
    text = "event('A').where( property('n') > 1 AND event('B').count() >= 1 ).within(9 days).max(property('revenue'))"
    lines = parse_lines(text, kind="computed_trait")
    assert lines is not None
    assert print_definition(lines, kind="computed_trait") == text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (Line(event="A", times="often"), "count must be a whole number"),
        (Line(event="A", times="9" * 5000), "count must be a whole number"),
        (Line(event="A", measure="sum", of="x", times="much"), "amount must be a number"),
        (Line(event="A", span="within", window="x"), "time must be a whole number"),
        (Line(event="A", span="between", begin="9", window="3"), "Enter the smaller number first"),
        (
            Line(kind="trait", conditions=(TraitCondition(path="a", operator="within_last", value="x"),)),
            "number of days must be a whole number",
        ),
    ],
    ids=["times", "long number", "amount", "window", "between", "days"],
)
def test_a_number_that_is_none_is_named(line, message):
    with pytest.raises(ConfigurationError, match=message):
        print_definition(Lines(lines=(line,)), kind="audience")


@pytest.mark.parametrize(
    "line",
    [
        Line(event="A", measure="sum", times="5"),
        Line(kind="in"),
        Line(kind="trait", conditions=(TraitCondition(path="a"),)),
        Line(then="did", then_event="B"),
    ],
    ids=["no property", "no audience", "no value", "no event"],
)
def test_a_line_that_is_not_finished_says_nothing(line):
    assert print_definition(Lines(lines=(line,)), kind="audience") == ""


@pytest.mark.parametrize(
    "text",
    [
        "event('A').where( event('B').where( property('x') > property(parent: 'x') ).count() >= 1 ).count() >= 1",
        "event('A').where( event('B').where( property(parent: 'x') = 1 ).count() >= 1 ).count() >= 1",
        "event('A').where( event('B').where( event('C').count() >= 1 ).count() >= 1 ).count() >= 1",
        "event('A').where( event('B').count() >= 2 ).count() >= 1",
        "event('A').where( event('B').count() >= 1 AND property('x') = 1 ).count() >= 1",
        "event('A').where( event('B').count() >= 1 AND event('C').count() >= 1 ).count() >= 1",
        "event('A').where( property('a') = 1 OR property('b') = 2 ).count() >= 1",
        "event('A').where( context('page.url').contains('x') ).count() >= 1",
        "event('A').between(7 hours, 10 days).count() >= 1",
        "event('A').expires_after(30 minutes).count() >= 1",
        "event('A').sources('a', 'b').count() >= 1",
        "event('A').sources({exclude: 'a'}).count() >= 1",
        "event('A').first(property('x')) = 'a'",
        "event('A').max(property('x') as string) = 'a'",
        "NOT ( event('A').count() >= 2 )",
        "NOT ( trait('regulars') = false )",
        "NOT ( trait('vip') = true )",
        "( trait('a') = 1 OR trait('b') = 2 ) AND trait('c') = 3",
        "trait('a') = trait('b')",
        "trait('a').contains('x', 'y')",
        "trait('a').one_of('x, y')",
        "event('A').coun",
    ],
)
def test_what_lines_cannot_say_whole_stays_text(text):
    assert parse_lines(text, kind="audience", audiences=["regulars"]) is None
