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
    ],
)
def test_what_is_read_is_printed_so_that_it_is_read_the_same(text):
    definition = parse_audience(text)
    assert parse_audience(to_text(definition)) == definition


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("", 0, "a definition is expected"),
        ("event('A').count()", 18, "an audience is a condition"),
        ("event('A').coutn() >= 1", 11, "did you mean `count`?"),
        ("event('A').count() >= 'x'", 19, "`count` is a number"),
        ("event('A').sum(property('x')).contains('y')", 30, "`sum` is a number"),
        ("events('A').count() >= 1", 0, "did you mean `event`?"),
        ("property('x') = 1", 0, "stands inside `.where( … )`"),
        ("event('A').where( property('x') > 'y' ).count() >= 1", 32, "compare numbers"),
        ("event('A').count() >= 1 AND", 27, "is expected"),
        ("event('A", 6, "closing '"),
        ("event('A').within(3 weeks).count() = 1", 20, "7 days"),
        ("event('A').between(10 days, 7 days).count() = 1", 11, "the nearer border comes first"),
        ("event('A').within(parent: 1 day).count() = 1", 18, "`parent:` stands in the where of another event"),
        ("event('A').sum(property('products.$.price')) > 1", 15, "left of a comparison"),
        ("event('A').where( property('a') = property('b.$') ).count() > 1", 34, "left of a comparison"),
        ("event('A').where( property('a.$.b.$') = 1 ).count() > 1", 27, "any entry of one list"),
        ("trait('x').before_date('soon')", 11, "a date is expected"),
        ("entity('x') = 1", 0, "linked entities"),
        ("trait('x') = 1 trait('y') = 1", 15, "`AND`, `OR`"),
        ("(" * 40 + "trait('x') = 1" + ")" * 40, 20, "nested more than"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text, position, said):
    with pytest.raises(DefinitionError) as caught:
        parse_audience(text)
    assert said in caught.value.message
    assert caught.value.position == position


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
