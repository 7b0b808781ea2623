"""Values in conditions: numbers in all their forms, `!` of other values than booleans, versions; as Segment does."""

import json
from pathlib import Path
from typing import Any

import pytest

from punchcard.events.parse import read_request
from punchcard.filters.actions import share_of
from punchcard.filters.destination_filters import DestinationFilters, FilterDefinition, preview
from punchcard.testing.clock import ManualClock

VERDICTS = json.loads((Path(__file__).parent / "data" / "tsub-verdicts.json").read_text())["cases"]


def matches(condition: str, payload: str) -> bool:
    """The verdict of the preview, which that of routing must be too."""
    definition = FilterDefinition(title="t", condition=condition, actions=[{"type": "DROP"}])
    result = preview(definition, payload.encode()) is None
    body = f'{{"batch":[{{"type":"track","event":"x","userId":"u",{payload.lstrip("{")}]}}'
    (event,) = read_request(body.encode(), call="batch", received_at=ManualClock().now(), position=1)
    assert (DestinationFilters([definition]).apply(event) is not None) is result  # type: ignore[arg-type]
    return result


@pytest.mark.parametrize("case", VERDICTS, ids=[f"{number}" for number in range(len(VERDICTS))])
def test_verdicts_are_those_of_segments_evaluator(case: dict[str, Any]) -> None:
    definition = FilterDefinition(title="t", condition=case["fql"], actions=[{"type": "DROP"}])
    assert (preview(definition, json.dumps(case["event"]).encode()) is None) is case["expected"], case


SAME = [
    ("1", "1.0"),
    ("0", "-0.0"),
    ("[1]", "[1.0]"),
    ("[[1, 2]]", "[[1.0, 2.0]]"),
    ('{"a": 1}', '{"a": 1.0}'),
    ('{"a": {"b": [1, "x"]}}', '{"a": {"b": [1.0, "x"]}}'),
    ("[1e2]", "[100]"),
    ("[10000000000000000000000]", "[1e22]"),
    ("[0.5]", "[5e-1]"),
]
DIFFERENT = [
    ("[1]", '["1"]'),
    ("[1]", "[true]"),
    ("[0]", "[false]"),
    ("[0]", "[null]"),
    ("[1]", "[1, 1]"),
    ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}'),
    ('{"a": 1}', '{"a": 1, "b": null}'),
    ('{"a": 1}', "[1]"),
    ("[]", "{}"),
]


@pytest.mark.parametrize(
    ("left", "right", "expected"), [(*pair, True) for pair in SAME] + [(*pair, False) for pair in DIFFERENT]
)
def test_a_number_is_the_same_in_any_form_and_at_any_depth(left: str, right: str, *, expected: bool) -> None:
    payload = f'{{"p": {left}, "q": {right}, "list": ["x", {right}]}}'
    assert matches("p = q", payload) is expected
    assert matches("q != p", payload) is not expected
    assert matches("p in list", payload) is expected
    assert matches("p in ['x', q]", payload) is expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1", "1"),
        ("1.0", "1"),
        ("-1.0", "-1"),
        ("-0.0", "0"),
        ("1e2", "100"),
        ("1.5", "1.5"),
        ("1.50", "1.5"),
        ("0.00001", "0.00001"),
        ("1e-7", "1e-7"),
        ("1.5e-7", "1.5e-7"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("1000000000000000000000", "1e+21"),
        ("-1000000000000000000000", "-1e+21"),
        ("999999999999999999999", "999999999999999999999"),
        ("1.5e300", "1.5e+300"),
        ("true", "true"),
        ("null", ""),
        ("[1.0, 2.5]", "[1,2.5]"),
        ('{"a": 1.0}', '{"a":1}'),
        ("[1e21]", "[1e+21]"),
        ("[1500000000000000000000]", "[1.5e+21]"),
    ],
)
def test_a_value_as_text(value: str, text: str) -> None:
    quote = '"' if "'" in text else "'"
    assert matches(f"string( p ) = {quote}{text}{quote}", f'{{"p": {value}}}')


def test_one_customer_is_sampled_the_same_however_the_number_is_written() -> None:
    assert share_of(7) == share_of(7.0)
    assert share_of([7]) == share_of([7.0])
    assert share_of(7) != share_of("7")
    assert share_of(0.5) != share_of(5)


@pytest.mark.parametrize("value", ["false", '"yes"', '"true"', '""', "0", "1", "null", "[]", "[true]", "{}", None])
def test_whoever_is_no_vip_is_dropped_by_not_vip(value: str | None) -> None:
    payload = '{"x": 1}' if value is None else f'{{"vip": {value}}}'
    assert matches("!vip", payload)
    assert not matches("!!vip", payload)
    assert matches("!(vip) and !(vip or vip)", payload)


def test_a_vip_is_let_through() -> None:
    assert not matches("!vip", '{"vip": true}')
    assert matches("!!vip", '{"vip": true}')


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("!lowercase( text )", False),
        ("!lowercase( empty )", True),
        ("!lowercase( number )", True),
        ("!length( text )", False),
        ("!length( empty )", True),
        ("!length( missing )", True),
        ("!number( text )", True),
        ("!typeof( missing )", False),
        ("!contains( text, 'b' )", False),
        ("!match( text, 'x*' )", True),
        ("!bool( text )", False),
        ("!semver( text, '=', '1' )", True),
        ("lowercase( text ) and number = 1", True),
        ("lowercase( empty ) or number = 2", False),
        ("lowercase( text )", False),
        ("!true", False),
        ("!false", True),
        ("!null", True),
    ],
)
def test_not_of_a_function(condition: str, expected: bool) -> None:
    assert matches(condition, '{"text": "Ab", "empty": "", "number": 1}') is expected


@pytest.mark.parametrize(
    ("version", "operator", "other", "expected"),
    [
        ("1.2.3", "=", "1.2.3", True),
        ("1.2", "=", "1.2.0", True),
        ("2", "=", "2.0.0", True),
        ("1.10.0", ">", "1.9.9", True),
        ("1.2.3", "<", "1.2.4", True),
        ("1.2.3", "<=", "1.2.3", True),
        ("1.2.3", ">=", "1.2.4", False),
        ("1.2.3", "!=", "1.2.4", True),
        ("1.2.3-beta", "=", "1.2.3", True),
        (" 1 . 2 ", "=", "1.2", True),
        ("v1.2.3", "=", "1.2.3", False),
        ("v1.2.3", "!=", "1.2.3", False),
        ("1.2.3.4", "=", "1.2.3", False),
        ("1..3", "<", "9", False),
        ("", "<", "9", False),
        ("1.2.3", "==", "1.2.3", False),
        ("1.2.3", "like", "1.2.3", False),
        ("9" * 400, ">", "1", True),
    ],
)
def test_versions_are_compared_part_by_part(version: str, operator: str, other: str, *, expected: bool) -> None:
    payload = json.dumps({"context": {"app": {"version": version}}, "sign": operator})
    assert matches(f"semver( context.app.version, '{operator}', '{other}' )", payload) is expected
    assert matches(f"semver( context.app.version, sign, '{other}' )", payload) is expected


@pytest.mark.parametrize("value", ["1", "1.2", "true", "null", "[]", '["1.2"]', "{}"])
def test_what_is_no_text_is_no_version(value: str) -> None:
    assert not matches(
        "semver( p, '=', p ) or semver( '1', '!=', p ) or semver( p, '!=', missing )", f'{{"p": {value}}}'
    )
