"""Every condition that can be saved compiles: odd names work, and what is too large is refused with its limit."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from punchcard.errors import ConfigurationError
from punchcard.events.model import Event
from punchcard.events.parse import read_request
from punchcard.filters.actions import ACTIONS_MAX
from punchcard.filters.destination_filters import DestinationFilters, FilterDefinition, check_filter, preview
from punchcard.filters.parser import parse
from punchcard.filters.printer import print_condition
from punchcard.filters.syntax import PATH_PARTS_MAX
from punchcard.testing.clock import ManualClock

DROP: dict[str, Any] = {"type": "DROP"}
NAMES = {
    "double quote": 'a"b',
    "only a quote": '"',
    "backslash": "a\\b",
    "backslash at the end": "a\\",
    "newline": "a\nb",
    "carriage return": "a\rb",
    "tab": "a\tb",
    "null character": "a\x00b",
    "escape": "a\x1bb",
    "delete": "a\x7fb",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "single quote": "it's",
    "triple quotes": "'''\"\"\"",
    "brace": "{a}",
    "percent": "%s",
    "dot": "a.b",
    "umlaut": "größe",
    "emoji": "\N{DOUGHNUT}",
    "word of Python": "None",
    "name of the generated code": "event",
    "field of the generated type": "f0",
}


def condition_on(*names: str, test: str = "{} = 'x'") -> str:
    return test.format(".".join("".join(f"\\{character}" for character in name) for name in names))


def filters_of(condition: str, *actions: dict[str, Any]) -> DestinationFilters:
    return DestinationFilters([FilterDefinition(title="t", condition=condition, actions=actions or [DROP])])


def event_of(content: dict[str, Any]) -> Event:
    body = {"type": "track", "event": "Checked In", "userId": "ann", **content}
    (item,) = read_request(
        json.dumps({"batch": [body]}).encode(), call="batch", received_at=ManualClock().now(), position=1
    )
    assert isinstance(item, Event), item
    return item


def problem_of(definition: FilterDefinition) -> str:
    try:
        check_filter(definition)
    except ConfigurationError as refused:
        return refused.message
    return ""


@pytest.mark.parametrize("test", ["{} = 'x'", "match( {}, 'x' )", "{} in ['x']", "lowercase( {} ) = 'x'"])
@pytest.mark.parametrize("place", ["properties", "deep", "root", "traits"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_any_name_works_at_any_place(name: str, place: str, test: str) -> None:
    path = {"properties": ["properties", name], "deep": ["context", name, "in", name], "traits": ["traits", name]}
    parts = path.get(place, [name, "in"])
    content: Any = "x"
    for part in reversed(parts):
        content = {part: content}
    condition = condition_on(*parts, test=test)
    assert parse(print_condition(parse(condition))) == parse(condition)
    filters = filters_of(condition)
    if parts != ["event", "in"]:  # an event's name has nothing inside
        assert filters.apply(event_of(content)) is not None
    assert filters.apply(event_of({"properties": {"y": 1}})) is None
    definition = FilterDefinition(title="t", condition=condition, actions=[DROP])
    assert preview(definition, json.dumps(content).encode()) is None
    assert preview(definition, b'{"a":1}') == b'{"a":1}'


def test_an_odd_name_does_not_hide_its_neighbours() -> None:
    condition = " and ".join([condition_on("properties", 'a"b'), "properties.plain.deep = 1", "properties.other = 2"])
    filters = filters_of(condition)
    assert filters.apply(event_of({"properties": {'a"b': "x", "plain": {"deep": 1}, "other": 2}})) is not None
    assert filters.apply(event_of({"properties": {'a"b': "x", "plain": {"deep": 2}, "other": 2}})) is None


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_any_name_works_in_the_path_of_an_action(name: str) -> None:
    by = {"type": "SAMPLE", "percent": 0, "path": f"properties.{name}"}
    assert filters_of("all", by).apply(event_of({"properties": {name: 1}})) is not None
    taking = {"type": "DROP_PROPERTIES", "fields": {"properties": [name], name: ["a"]}}
    left = filters_of("all", taking).apply(event_of({"properties": {name: 1, "email": "ann@example.com"}}))
    assert left is not None
    assert left.event is not None
    assert json.loads(left.event.raw)["properties"] == {"email": "ann@example.com"}


LARGE = {
    "deepest parentheses": "(" * 50 + "a = 1" + ")" * 50,
    "longest chain of negations": "!" * 50 + "a",
    "negated groups": "!(" * 25 + "a.b.c = 1" + ")" * 25,
    "nested calls": "lowercase( " * 50 + "a" + " )" * 50 + " = 'x'",
    "nested lists": "a in " + "[" * 50 + "]" * 50,
    "longest path": ".".join(["a"] * PATH_PARTS_MAX) + " = 1",
    "longest path of a property": "properties." + ".".join(["a"] * (PATH_PARTS_MAX - 1)) + " = 1",
    "long path deep inside": "(" * 49 + f"match( {'.'.join(['a'] * 100)}, '[a-z]?*b*c' ) and a > 5" + ")" * 49,
    "alternatives": " or ".join(["a=1"] * 700),
    "many paths": " and ".join(f"p.x{number}" for number in range(450)),
    "alternating groups": "".join("(a and (b or " for _ in range(24)) + "c" + "))" * 24,
    "many stars": "match( a, '" + "*a" * 2_000 + "' )",
    "many classes": "match( a, '" + "[^a]*" * 900 + "' )",
    "long number": "a = " + "9" * 4_500,
    "long fraction": "a > 0." + "0" * 4_500 + "1",
    "long list": f"a in [{','.join(['1'] * 2_000)}]",
}


@pytest.mark.parametrize("condition", LARGE.values(), ids=LARGE)
def test_what_is_within_the_limits_compiles_and_runs(condition: str) -> None:
    filters = filters_of(condition, DROP, {"type": "SAMPLE", "percent": 0.5, "path": "properties.a"})
    given = event_of({"a": "abc" * 500, "properties": {"a": {"a": {"a": 1}}}})
    filters.apply(given)
    filters.explain(given)
    preview(FilterDefinition(title="t", condition=condition, actions=[DROP]), b'{"a":{"a":1}}')


def test_a_deep_path_reads_what_lies_there() -> None:
    parts = ["properties", *(f"p{number}" for number in range(PATH_PARTS_MAX - 1))]
    content: Any = "x"
    for part in reversed(parts):
        content = {part: content}
    filters = filters_of(condition_on(*parts))
    assert filters.apply(event_of(content)) is not None
    content["properties"]["p0"]["p1"] = 7
    assert filters.apply(event_of(content)) is None


TOO_LARGE = {
    "path": (".".join(["a"] * 101) + " = 1", "a path has at most 100 parts, this one has 101"),
    "very long path": ("properties." + ".".join(["a"] * 399), "a path has at most 100 parts, this one has 400"),
    "parentheses": ("(" * 51 + "a" + ")" * 51, "nested more than 50 levels deep"),
    "negations": ("!" * 51 + "a", "nested more than 50 levels deep"),
    "calls": ("lowercase( " * 51 + "a" + " )" * 51, "nested more than 50 levels deep"),
    "lists": ("a in " + "[" * 51 + "]" * 51, "nested more than 50 levels deep"),
    "text": ("a = '" + "x" * 6_000 + "'", "at most 5,120 bytes"),
    "half a character": ("a = '\ud800'", "half a surrogate pair"),
}


@pytest.mark.parametrize(("condition", "message"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_what_is_beyond_the_limits_is_refused_with_the_limit(condition: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        check_filter(FilterDefinition(title="t", condition=condition, actions=[DROP]))
    refused.value.message.encode()  # can be sent to its author


LARGE_ACTIONS = {
    "sample path": ([{"type": "SAMPLE", "percent": 0.5, "path": ".".join(["a"] * 101)}], "at most 100 parts"),
    "very long path": ([{"type": "SAMPLE", "percent": 0.5, "path": "." * 100_000}], "at most 100 parts"),
    "path of fields": ([{"type": "DROP_PROPERTIES", "fields": {".".join(["a"] * 101): ["b"]}}], "at most 100 parts"),
    "allowed path": ([{"type": "ALLOW_PROPERTIES", "fields": {".".join(["a"] * 101): ["b"]}}], "at most 100 parts"),
    "number": ([DROP] * (ACTIONS_MAX + 1), "at most 50 actions"),
    "no object": (["DROP"], "must be an action"),
}


@pytest.mark.parametrize(("actions", "message"), LARGE_ACTIONS.values(), ids=LARGE_ACTIONS)
def test_actions_beyond_the_limits_are_refused_with_the_limit(actions: list[Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_filter(FilterDefinition(title="t", condition="all", actions=actions))


def test_the_message_about_an_odd_character_is_one_line() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse("a = 1\n@\u2028\x00")
    assert refused.value.message.startswith('at character 7, "@\\u2028\\x00": `@` has no meaning here')
    with pytest.raises(ConfigurationError, match=r"`\\x00` has no meaning here"):
        parse("a \x00")


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6), min_size=1, max_size=40),
    st.sampled_from(["{} = 'x'", "!{}", "match( {}, '*x*' )", "{} > 5", "properties.a in {}", "!(!{} or {} != 'x')"]),
)
@settings(max_examples=150, deadline=None)
def test_whatever_parses_compiles(names: list[str], test: str) -> None:
    written = ".".join("".join(f"\\{character}" for character in name) for name in names)
    condition = test.replace("{}", written)
    parse(condition)
    check_filter(FilterDefinition(title="t", condition=condition, actions=[DROP]))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
@settings(max_examples=150, deadline=None)
def test_actions_of_any_shape_are_taken_or_refused(value: Any) -> None:
    for action in (
        value,
        {"type": value},
        {"type": "SAMPLE", "percent": value},
        {"type": "SAMPLE", "percent": 0.5, "path": value},
        {"type": "DROP_PROPERTIES", "fields": value},
        {"type": "DROP_PROPERTIES", "fields": {"a": value}},
    ):
        problem = problem_of(FilterDefinition(title="t", condition="all", actions=[action]))
        assert "cannot be compiled" not in problem
