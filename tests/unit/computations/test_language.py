import pytest

from punchcard.computations.errors import DefinitionError
from punchcard.computations.keys import key_of
from punchcard.computations.parser import parse_audience, parse_trait
from punchcard.computations.printer import to_text


@pytest.mark.parametrize(
    "text",
    [
        "event('Order Completed').where( property('revenue') >= 50 ).within(30 days).count() >= 2",
        "event('Cart Viewed').where( NOT ( event('Order Completed').within(parent: 1 day).count() >= 1 ) )"
        ".within(7 days).count() >= 1",
        "event('Bought').where( event('Returned').where( property('sku') = property(parent: 'sku') ).count() >= 1 )"
        ".count() >= 1",
        "NOT ( trait('vip') = 'true' ) AND trait('email').exists()",
        "trait('a') = 1 AND ( trait('b') = 2 OR trait('c') = 3 )",
        "event('A').between(7 days, 10 days).sources({exclude: 'pos'}).unique(property('sku')).count() = 3",
        "event('A').expires_after(30 minutes).count() >= 1",
        "event('A').max(property('name') as string).starts_with('it\\'s')",
        "trait('seen').within_last(7 days) OR trait('seen').before_date('2026-01-31')",
        "event('A').where( property('a\\\\.b').one_of('x', 'y') ).count() < 3",
        "event('A').where( NOT ( property('products.$.sku') = 'tea' ) AND property('tags.$').exists() ).count() < 3",
        "trait('address.city') = 'Austin' AND trait('orders.$.sku').one_of('a', 'b') AND trait('a\\\\.b').exists()",
        "event('A').where( event('B').between(parent: 1 day, 3 days).unique(property('x.$')).exists() ).count() = 1",
        "trait('seen').within_last(12 hours) OR trait('seen').before_last(45 minutes)",
    ],
)
def test_printed_definition_is_parsed_as_the_same_definition(text):
    definition = parse_audience(text)
    assert parse_audience(to_text(definition)) == definition


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("", 0, "a definition is expected"),
        ("event('A').count()", 18, "an audience is a condition"),
        ("event('A').coutn() >= 1", 11, "did you mean `count`?"),
        ("event('A').count() >= 'x'", 19, "`count` is a number"),
        ("event('A').sum(property('x')).contains('y')", 30, "`sum` is a number"),
        ("events('A').count() >= 1", 0, "did you mean `event`?"),
        ("property('x') = 1", 0, "use it inside `.where( … )`"),
        ("event('A').where( property('x') > 'y' ).count() >= 1", 32, "compare numbers"),
        ("event('A').count() >= 1 AND", 27, "is expected"),
        ("event('A", 6, "closing '"),
        ("event('A').within(3 fortnights).count() = 1", 20, "7 days"),
        ("event('A').within(1 month).count() = 1", 20, "a month has no fixed length: write days, such as 30 days"),
        ("event('A').within(2 years).count() = 1", 20, "365 days"),
        ("trait('x').within_last(1 quarter)", 25, "90 days"),
        ("event('A').between(10 days, 7 days).count() = 1", 11, "the shorter duration comes first"),
        (
            "event('A').within(parent: 1 day).count() = 1",
            18,
            "`parent:` is only allowed inside `where` of another event",
        ),
        (
            "event('A').where( property('a') = property('b.$') ).count() > 1",
            34,
            "on the left side of a comparison in where",
        ),
        ("event('A').where( property('a.$.b.$') = 1 ).count() > 1", 27, "any entry of one list"),
        ("trait('x').before_date('soon')", 11, "a date is expected"),
        ("trait('x').before_date('2026-02-30')", 11, "a date is expected"),
        ("trait('x').before_date('2026-01-31T25:00:00Z')", 11, "a date is expected"),
        ("trait('x').after_date(7)", 11, "a date is expected"),
        ("trait('x') = 2026-01-31", 13, ".before_date(…)"),
        ("trait('x').within_last(7)", 24, "a number and a unit"),
        ("trait('x') = 1 and trait('y') = 1", 15, "write `AND` in capital letters"),
        ("( trait('x') = 1 Or trait('y') = 1 )", 17, "write `OR` in capital letters"),
        ("event('A').where( property('x') = 1 and property('y') = 1 ).count() = 1", 36, "write `AND`"),
        ("not trait('x') = 1", 0, "write `NOT` in capital letters"),
        ("trait('x') = 1 && trait('y') = 1", 15, "write `AND`"),
        ("trait('x') = 1 || trait('y') = 1", 15, "write `OR`"),
        ("!trait('x') = 1", 0, "write `NOT"),
        ("event(‘A’).count() = 1", 6, "straight quotes"),
        ("trait('x') = 1 /* why", 15, "this comment needs its closing */"),
        ("trait('x') = 1 // why", 15, "write comments as /* … */"),
        ("trait('') = 1", 6, "the name of a trait is expected"),
        ("trait('a..b') = 1", 6, "the name of a trait is expected"),
        ("trait('$.b') = 1", 6, "any entry of one list"),
        ("trait('a') = trait('b.$')", 13, "on the left side of a comparison in where"),
        ("event('A').where( property('a.*') = 1 ).count() = 1", 27, "any entry of a list is `$`"),
        ("event('A').count( ) = '\x00'", 23, "this character is not allowed"),
        ("event('A').sum(property('x') as string) > 1", 32, "`as number` is expected"),
        ("event('A').unique(property('x') as number).exists()", 32, "`as` needs sum(…), avg(…), min(…)"),
        ("event('A').max(property('x') as array) > 1", 32, "`as number` or `as string` is expected"),
        ("event('A').mode(property('x') as list).exists()", 33, "`as string` or `as number` or `as array`"),
        ("event('A').where( event('B').mode(property('x')).exists() ).count() = 1", 11, "takes no mode(…)"),
        ("event('A').between(parent: 1 day, 2 days).count() = 1", 19, "`parent:` is only allowed inside `where`"),
        ("ALL NOT event('A').count() >= 1", 0, "accounts are not supported"),
        ("entity('x') = 1", 0, "linked entities"),
        ("trait('x') = 1 trait('y') = 1", 15, "`AND`, `OR`"),
        pytest.param(f"event('A').count() = {'9' * 5000}", 21, "at most 15 digits", id="digits"),
        pytest.param(f"event('A').count() = {'0' * 5000}", 21, "at most 15 digits", id="zeros"),
        pytest.param(f"event('A').within({'9' * 5000} days).count() = 1", 18, "at most 15 digits", id="digits of days"),
        pytest.param(f"event('A').mode(property('x'), {'9' * 5000}).exists()", 31, "15 digits", id="digits of times"),
        ("(" * 40 + "trait('x') = 1" + ")" * 40, 20, "nested more than"),
    ],
)
def test_invalid_definition_is_refused_with_its_position(text, position, problem):
    with pytest.raises(DefinitionError) as caught:
        parse_audience(text)
    assert problem in caught.value.message
    assert caught.value.position == position


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("trait('x') == 5", "trait('x') = 5"),
        ("NOT trait('x') = 1", "NOT ( trait('x') = 1 )"),
        ("NOT NOT trait('x') = 1", "NOT ( NOT ( trait('x') = 1 ) )"),
        ("NOT trait('x') = 1 AND trait('y') = 2", "NOT ( trait('x') = 1 ) AND trait('y') = 2"),
        ("NOT (trait('x')) = (1)", "NOT ( trait('x') = 1 )"),
        ("( event('A').count() ) >= 1", "event('A').count() >= 1"),
        ("(trait('x')).exists() OR (((trait('y')))) != 2", "trait('x').exists() OR trait('y') != 2"),
        ("trait('x').before_date(2026-01-31)", "trait('x').before_date('2026-01-31')"),
        ("trait('x').after_date(2023-12-07T18:50:00Z)", "trait('x').after_date('2023-12-07T18:50:00Z')"),
        (
            "trait('x').after_date(2023-12-07T18:50:00.25-08:00)",
            "trait('x').after_date('2023-12-07T18:50:00.25-08:00')",
        ),
        ("trait('x').before_date( 2023-12-07 18:50 )", "trait('x').before_date('2023-12-07 18:50')"),
        ("trait('x').before_date(literal('2026-01-31'))", "trait('x').before_date('2026-01-31')"),
        ("trait('x').within_last(2 weeks)", "trait('x').within_last(14 days)"),
        ("trait('x').within_last(12 HOURS)", "trait('x').within_last(12 hours)"),
        ("trait('x').after_next(90 minutes)", "trait('x').after_next(90 minutes)"),
        ("event('A').within(3 weeks).count() = 1", "event('A').within(21 days).count() = 1"),
        ("event('A').max(property('x') as number) > 1", "event('A').max(property('x')) > 1"),
        ("event('A').sum(property('x') as number) > 1", "event('A').sum(property('x')) > 1"),
        ("event('A').avg(property('x.$.y') as number) > 1", "event('A').avg(property('x.$.y')) > 1"),
        ("event('A').mode(property('x') as string).exists()", "event('A').mode(property('x')).exists()"),
        ("event('A').mode(property('x') as number, 3).exists()", "event('A').mode(property('x'), 3).exists()"),
        ("event('A').mode(property('x') as array, 3).exists()", "event('A').mode(property('x'), 3).exists()"),
        ("event('A').where({property('x') > 100}).count() = 1", "event('A').where( property('x') > 100 ).count() = 1"),
        ("-- who bought\nevent('A') /* all\nof it */ .count()\n\t>= 1 -- once", "event('A').count() >= 1"),
        ("\u00a0trait('x')\r\n= 1 ", "trait('x') = 1"),
        ("trait('it''s')".replace("''", "\\'") + " = '-- no comment'", "trait('it\\'s') = '-- no comment'"),
        ("trait('x').equals(literal(100))", "trait('x') = 100"),
        ("trait('x').greater_than(1) AND trait('x').at_most(9)", "trait('x') > 1 AND trait('x') <= 9"),
    ],
)
def test_what_means_the_same_is_the_same_definition(text, same):
    assert to_text(parse_audience(text)) == same
    assert parse_audience(same) == parse_audience(text)


@pytest.mark.parametrize(
    "text",
    [
        "event('A').unique(property('products.$.category'))",
        "event('A').unique(property('tags.$')).count()",
        "event('A').sum(property('products.$.price'))",
        "event('A').mode(property('products.$.category') as array, 3)",
        "event('A').last(context('screens.$.name'))",
        "event('A').within(30 days).where( property('products.$.sku') = 'a' ).max(property('products.$.price'))",
    ],
)
def test_a_computed_trait_reduces_the_entries_of_a_list(text):
    definition = parse_trait(text)
    assert parse_trait(to_text(definition)) == definition


def test_a_trait_is_no_condition():
    with pytest.raises(DefinitionError, match="not a condition"):
        parse_trait("event('A').count() >= 1")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Order Completed Last 30days", "order_completed_last_30days"),
        ("Lifetime Spend", "lifetime_spend"),
        ("  50% off — fans! ", "50_off_fans"),
        ("ü", ""),
    ],
)
def test_a_key_is_the_name_in_snake_case(name, key):
    assert key_of(name) == key
