"""The filter language: Segment's documented examples, what each construct means, and the message for each mistake."""

import json
from decimal import Decimal
from pathlib import Path as FilePath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from punchcard.events.model import Event
from punchcard.events.parse import read_request
from punchcard.filters.destination_filters import DestinationFilters, FilterDefinition, preview
from punchcard.filters.fql_lexer import ConditionError, tokens_of
from punchcard.filters.parser import parse
from punchcard.filters.printer import print_condition
from punchcard.filters.syntax import And, Call, Comparison, Condition, In, ListOf, Literal, Not, Or, Path
from punchcard.testing.clock import ManualClock

CASES = json.loads((FilePath(__file__).parent / "data" / "fql-cases.json").read_text())


def of_kind(*kinds: str) -> list[Any]:
    return [pytest.param(case, id=f"{case['id']} {case['fql'][:40]!r}") for case in CASES if case["kind"] in kinds]


def as_event(content: dict[str, Any]) -> Event:
    """The content as a valid event; what validity needs and it lacks is added beside what the case asks about."""
    body = {"type": "track", "event": "x", **content}
    if "userId" not in body and "anonymousId" not in body:
        body["anonymousId"] = "nobody"
    (item,) = read_request(
        json.dumps({"batch": [body]}).encode(), call="batch", received_at=ManualClock().now(), position=1
    )
    assert isinstance(item, Event), item
    return item


def drops(condition: str, content: dict[str, Any]) -> bool:
    """Whether a filter with this condition drops the event."""
    filters = DestinationFilters([FilterDefinition(title="t", condition=condition, actions=[{"type": "DROP"}])])
    apply = filters.apply(as_event(content))
    assert apply is None or "cannot be applied" not in apply.detail
    return apply is not None


def matches_payload(condition: str, payload: dict[str, Any]) -> bool:
    definition = FilterDefinition(title="t", condition=condition, actions=[{"type": "DROP"}])
    return preview(definition, json.dumps(payload).encode()) is None


@pytest.mark.parametrize("case", of_kind("lex"))
def test_every_text_of_segments_lexer_is_cut_or_refused_as_there(case: dict[str, Any]) -> None:
    if case["expected"] == "error":
        with pytest.raises(ConditionError):
            tokens_of(case["fql"])
    else:
        assert tokens_of(case["fql"])


@pytest.mark.parametrize("case", of_kind("evaluate"))
def test_every_documented_example_evaluates_as_documented(case: dict[str, Any]) -> None:
    assert matches_payload(case["fql"], case["event"]) is case["expected"]
    assert drops(case["fql"], case["event"]) is case["expected"]


@pytest.mark.parametrize("case", of_kind("real-world"))
def test_conditions_that_people_have_stored_are_read_and_written(case: dict[str, Any]) -> None:
    assert parse(print_condition(parse(case["fql"]))) == parse(case["fql"])
    assert drops(case["fql"], {}) in (True, False)


EVENT: dict[str, Any] = {
    "type": "track",
    "event": "Order Completed",
    "userId": "ann",
    "messageId": "m1",
    "timestamp": "2026-01-02T03:04:05.678Z",
    "properties": {
        "revenue": 100.5,
        "count": 3,
        "zero": 0,
        "one": 1,
        "text": "3",
        "yes": True,
        "no": False,
        "null": None,
        "empty": "",
        "list": ["a", 1, True, None],
        "object": {"a": {"b": 7}},
        "product 1": "x",
        "email": "Ann@Example.com",
        "umlaut": "ä",
    },
    "context": {"page": {"url": "https://shop.example.com/a/b"}},
    "channel": "server",
}
MEANINGS = [
    ("properties.revenue > 100", True),
    ("properties.revenue >= 100.5", True),
    ("properties.revenue < 100", False),
    ("100 < properties.revenue", True),
    ("properties.count = 3", True),
    ("properties.count = 3.0", True),
    ("properties.text = 3", False),
    ("properties.text = '3'", True),
    ("properties.text > 2", False),
    ("properties.yes = 1", False),
    ("properties.one = true", False),
    ("properties.yes\r\nand\r\n!properties.no\r\n", True),
    ("properties.yes", True),
    ("properties.no", False),
    ("properties.text", False),
    ("!properties.no", True),
    ("!properties.missing", True),
    ("!properties.text", True),  # only true is true, as in Segment's evaluator
    ("!!properties.yes", True),
    ("properties.missing = null", True),
    ("properties.null = null", True),
    ("properties.missing != null", False),
    ("properties.zero != null", True),
    ("properties.missing.deeper.still = null", True),
    ("properties.revenue.deeper = null", True),
    ("properties.object.a.b = 7", True),
    ("properties.object = properties.object", True),
    ("properties.object != null", True),
    ("properties.product\\ 1 = 'x'", True),
    ("'a' in properties.list", True),
    ("1 in properties.list", True),
    ("true in properties.list", True),
    ("null in properties.list", True),
    ("'1' in properties.list", False),
    ("'a' in properties.text", False),
    ("'a' in properties.missing", False),
    ("event in ['a', 'Order Completed']", True),
    ("properties.count in [1, 2, 3]", True),
    ("properties.count in ['3']", False),
    ("properties.missing in [null]", True),
    ("properties.text in [properties.text]", True),
    ("contains( properties.email, '@Example' )", True),
    ("contains( properties.count, '3' )", False),
    ("lowercase( properties.email ) = 'ann@example.com'", True),
    ("contains( lowercase( properties.email ), '@example' )", True),
    ("lowercase( properties.count ) = null", True),
    ("length( properties.umlaut ) = 2", True),
    ("length( properties.list ) = 4", True),
    ("length( properties.object ) = 1", False),
    ("length( properties.object ) = null", True),
    ("typeof( properties.list ) = 'list'", True),
    ("typeof( properties.yes ) = 'bool'", True),
    ("typeof( properties.revenue ) = 'number'", True),
    ("typeof( properties.missing ) = 'null'", True),
    ("match( event, 'Order *' )", True),
    ("match( event, '*Completed' )", True),
    ("match( event, '*der*' )", True),
    ("match( event, 'Order' )", False),
    ("match( event, '[A-Z]rder?Completed' )", True),
    ("match( event, '[^A-Z]*' )", False),
    ("match( event, '[' )", False),
    ("match( context.page.url, 'https://*/a/*' )", True),
    ("match( properties.count, '*' )", False),
    ("number( properties.text ) = 3", True),
    ("number( properties.email ) = null", True),
    ("string( properties.count ) = '3'", True),
    ("bool( properties.zero ) = false", True),
    ("bool( properties.text )", True),
    ("type = 'track'", True),
    ("messageId = 'm1'", True),
    ("userId = 'ann' and anonymousId = null", True),
    ("channel = 'server'", True),
    ("timestamp >= '2026-01-02T03:04:05.678Z' and timestamp < '2026-01-03'", True),
    ("event.deeper = null", True),
    ("all", True),
    ("false or true and false", False),
    ("!(true and false) and true", True),
    ("true AND NOT false OR false", True),
    ("event == 'Order Completed'", True),
]


@pytest.mark.parametrize(("condition", "expected"), MEANINGS)
def test_what_a_condition_means(condition: str, expected: bool) -> None:
    assert drops(condition, EVENT) is expected
    assert matches_payload(condition, EVENT) is expected
    assert parse(print_condition(parse(condition))) == parse(condition)


GLOBS = [
    ("", "", True),
    ("", "*", True),
    ("a", "", False),
    ("abc", "a*c", True),
    ("abcabc", "a*bc", True),
    ("abc", "a**c", True),
    ("a/b\nc", "a*c", True),
    ("ac", "a?c", False),
    ("äöü", "???", True),
    ("a*c", "a\\*c", True),
    ("abc", "a\\*c", False),
    ("a]c", "a[]]c", False),
    ("a]c", "a[\\]]c", True),
    ("a-c", "a[-x]c", False),
    ("a-c", "a[\\-x]c", True),
    ("abc", "a[]c", False),
    ("abc", "a[^z-a]c", True),
    ("aXc", "a[^a-z]c", True),
    ("abc", "a[z-a]c", False),
    ("abc", "abc\\", False),
    ("a.c", "a.c", True),
    ("abc", "a.c", False),
    ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "*a*a*a*a*a*a*a*a*a*a*a*a*c", False),
]


@pytest.mark.parametrize(("text", "glob", "expected"), GLOBS)
def test_a_glob_is_about_the_whole_text(text: str, glob: str, expected: bool) -> None:
    assert drops("match( properties.text, properties.glob )", {"properties": {"text": text, "glob": glob}}) is expected
    if "'" not in glob:
        assert drops(f"match( properties.text, '{glob}' )", {"properties": {"text": text}}) is expected


# Shown in docs/reference/filters.md too; a test holds the page against it.
@pytest.mark.parametrize(
    "condition", ["(" * 60 + "a" + ")" * 60, "!" * 60 + "a", "[" * 60 + "]" * 60, "a = '" + "x" * 6_000 + "'"]
)
def test_a_condition_of_no_sane_size_is_refused(condition: str) -> None:
    with pytest.raises(ConditionError):
        parse(condition)


# Segment documents `and`, `or` and `!`; what `!a = b` means, it does not say.
OTHER_LANGUAGES = [
    ("not a", "!properties.vip"),
    ("not a = 1", "!( properties.n = 1 )"),
    ("not (a = 1)", "!( properties.n = 1 )"),
    ("not(a = 1)", "!( properties.n = 1 )"),
    ("Not a", "!properties.vip"),
    ("NOT(a)", "!properties.vip"),
    ("!not a", "!properties.vip"),
    ("a and not b", "!properties.vip"),
    ("a = 1 or not b = 2", "!( properties.n = 1 )"),
    ("(not a)", "!properties.vip"),
    ("!a = b", "put it in parentheses"),
    ("!a != 1", "put it in parentheses"),
    ("!a > 1", "put it in parentheses"),
    ("!a in ['x']", "put it in parentheses"),
    ("!!a = 1", "put it in parentheses"),
    ("!(a) = 1", "put it in parentheses"),
    ("NOT a = 1", "put it in parentheses"),
    ("!length( a ) = 1", "put it in parentheses"),
    ("a and !b = 1", "put it in parentheses"),
    ("a not in ['x']", "!( type in ["),
    ("(a not in ['x'])", "!( type in ["),
    ("a is null", "there is no `is`"),
    ("a like 'x'", "match( properties.name"),
    ("a LIKE 'x'", "match( properties.name"),
    ("a contains 'x'", "contains( properties.name"),
    ("a = 1 And b = 2", "write `and`"),
    ("a = 1 Or b = 2", "write `or`"),
    ("a = 1 AND(b = 2)", "with a blank on both sides"),
    ("a = 1 && b = 2", "write `and`"),
    ("a = 1 || b = 2", "write `or`"),
    ("a <> 1", "write `!=`"),
    ("a === 1", "write `=`"),
    ("a !== 1", "write `!=`"),
    ("a => 1", "write `>=`"),
]


@pytest.mark.parametrize(("condition", "hint"), OTHER_LANGUAGES)
def test_what_another_language_would_write_is_refused_with_what_to_write(condition: str, hint: str) -> None:
    with pytest.raises(ConditionError) as refused:
        parse(condition)
    assert hint in refused.value.message


@pytest.mark.parametrize(
    ("condition", "printed"),
    [
        ("not = 1", "not = 1"),
        ("not.a", "not.a"),
        ("!not", "!not"),
        ("not in ['a']", "not in ['a']"),
        ("'a' in not", "'a' in not"),
        ("is and like", "is and like"),
        ("NOT a and b = 1", "!a and b = 1"),
        ("NOT (a = 1)", "!(a = 1)"),
        ("!( a = 1 )", "!(a = 1)"),
    ],
)
def test_members_may_be_named_like_words_of_another_language(condition: str, printed: str) -> None:
    assert print_condition(parse(condition)) == printed


names = st.text("abcxyz_-09 .$ä", min_size=1, max_size=5)
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: Path(tuple(parts)))
texts = st.text(max_size=6).filter(lambda text: not ("'" in text and '"' in text))
literals = (
    texts | st.none() | st.booleans() | st.decimals(-9999, 9999, places=2).map(lambda item: Decimal(f"{item:f}"))
).map(Literal)
values = st.recursive(
    paths | literals,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: ListOf(tuple(items)))
        | st.tuples(st.sampled_from(["contains", "match"]), inner, inner).map(lambda item: Call(item[0], item[1:]))
        | st.tuples(st.sampled_from(["length", "lowercase", "typeof", "number"]), inner).map(
            lambda item: Call(item[0], item[1:])
        )
    ),
    max_leaves=4,
)
simple = (
    st.builds(Comparison, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), values, values)
    | st.builds(In, values, paths)
    | paths
)
conditions = st.recursive(
    simple,
    lambda inner: (
        st.builds(Not, inner)
        | st.lists(inner, min_size=2, max_size=3).map(lambda items: And(tuple(items)))
        | st.lists(inner, min_size=2, max_size=3).map(lambda items: Or(tuple(items)))
    ),
    max_leaves=5,
)
any_text = st.text(max_size=40) | st.text("ab ()[]!=<>'\".,\\019 andor", max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(condition=conditions)
def test_what_is_written_is_read_as_the_same(condition: Condition) -> None:
    assert parse(print_condition(condition)) == condition


@settings(max_examples=300, deadline=None)
@given(condition=conditions, properties=st.dictionaries(names, json_values, max_size=3), other=json_values)
def test_any_condition_is_true_or_false_of_any_event(condition: Condition, properties: object, other: object) -> None:
    content = {"properties": properties, "context": {"a": other}, "x": other}
    text = print_condition(condition)
    assert drops(text, content) is matches_payload(
        text, {"anonymousId": "nobody", "event": "x", "type": "track", **content}
    ) or (
        # Times and ids that an event gets are not in a payload.
        any(word in text for word in ("timestamp", "receivedAt", "messageId"))
    )


@settings(max_examples=500, deadline=None)
@given(text=any_text)
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        condition = parse(text)
    except ConditionError as error:
        position = error.position
    else:
        assert parse(print_condition(condition)) == condition
        return
    assert 0 <= position <= len(text)


@pytest.mark.soak
@settings(max_examples=50_000, deadline=None)
@given(
    text=any_text, condition=conditions, properties=st.dictionaries(names, json_values, max_size=3), other=json_values
)
def test_parser_and_evaluator_stand_a_long_fuzz(
    text: str, condition: Condition, properties: object, other: object
) -> None:
    test_any_text_is_read_or_refused_with_a_place.hypothesis.inner_test(text)
    test_what_is_written_is_read_as_the_same.hypothesis.inner_test(condition)
    test_any_condition_is_true_or_false_of_any_event.hypothesis.inner_test(condition, properties, other)
