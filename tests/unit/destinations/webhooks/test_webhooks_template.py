"""Templates: values keep their type and digits, what is missing is left out, and no event makes them fail."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.destinations.webhooks.template import Template, TemplateError
from punchcard.events.faults import UNREADABLE

EVENT = (
    b'{"event":"Order Completed","userId":"u1","properties":{"revenue":9.990,"count":12345678901234567890,'
    b'"nothing":null,"flag":true,"tags":["a","b"],"products":[{"sku":"S1"}]}}'
)


@pytest.mark.parametrize(
    ("template", "body"),
    [
        ('{"@path":"$"}', json.dumps(json.loads(EVENT), separators=(",", ":")).replace("9.99", "9.990")),
        ('{"a":{"@path":"$.event"}}', '{"a":"Order Completed"}'),
        ('{"a":{"@path":"event"}}', '{"a":"Order Completed"}'),
        ('{"a":{"@path":"$.properties.revenue"}}', '{"a":9.990}'),
        ('{"a":{"@path":"$.properties.count"}}', '{"a":12345678901234567890}'),
        ('{"a":{"@path":"$.properties.products[0].sku"}}', '{"a":"S1"}'),
        ('{"a":{"@path":"$.properties.products[1].sku"},"b":1}', '{"b":1}'),
        ('{"a":{"@path":"$.properties.nothing"}}', '{"a":null}'),
        ('{"a":{"@path":"$.properties.missing.deeper"},"b":[{"@path":"$.missing"}]}', '{"b":[null]}'),
        (
            '{"a":{"@template":"{{event}} of {{ $.userId }}: {{properties.revenue}} {{missing}}!"}}',
            '{"a":"Order Completed of u1: 9.990 !"}',
        ),
        ('{"a":{"@template":"{{properties.flag}} {{properties.tags}}"}}', '{"a":"true [\\"a\\",\\"b\\"]"}'),
        ('{"a":{"@template":"{{ {{event}} {{"}}', '{"a":"{{ Order Completed {{"}'),
        ('{"a":{"@literal":{"@path":"$.event"}}}', '{"a":{"@path":"$.event"}}'),
        ('{"a":1.50,"b":[true,null,"{{event}}"]}', '{"a":1.50,"b":[true,null,"{{event}}"]}'),
        ('{"@path":"$.missing"}', "null"),
        ("[]", "[]"),
    ],
)
def test_a_template_makes_the_body(template: str, body: str) -> None:
    assert Template(template).apply(EVENT).decode() == body


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{", "is not JSON"),
        ('{"@path":"$.a","b":1}', "must stand alone"),
        ('{"@liquid":"x"}', "is not known"),
        ('{"@path":5}', "must be text"),
        ('{"@path":"$..a"}', "is not a path"),
        ('{"@path":""}', "is not a path"),
        ('{"@template":"{{}}"}', "is not a path"),
        ("[" * 40 + "]" * 40, "nested deeper"),
        (f'"{"x" * 20_001}"', "at most 20000"),
        ("[" * 9_000 + "]" * 9_000, "is not JSON|nested deeper"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_when_it_is_saved(template: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        Template(template)


_TEMPLATE = Template(
    '{"a":{"@path":"$.x.y[0]"},"b":{"@template":"{{x}} {{x.y}}"},"c":[{"@path":"$"}],"d":{"@path":"$[3]"}}'
)
_NAMES = st.sampled_from(["x", "y", "z"])
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_NESTED = st.one_of(_LEAVES, st.lists(_LEAVES, max_size=3), st.dictionaries(_NAMES, _LEAVES, max_size=3))
_VALUES = st.one_of(_NESTED, st.lists(_NESTED, max_size=3), st.dictionaries(_NAMES, _NESTED, max_size=3))


@given(_VALUES)
def test_any_json_becomes_json(value: object) -> None:
    try:
        body = _TEMPLATE.apply(json.dumps(value).encode())
    except UNREADABLE:
        return
    json.loads(body)
