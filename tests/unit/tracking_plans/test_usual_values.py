"""What the decoder of usual values accepts is valid."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.tracking_plans.usual_values import compile_usual

TEXT = st.sampled_from(["", "a", "ab", "🙂", "é", "a\\u0062"])
NUMBERS = st.integers(-4, 4) | st.sampled_from([0.5, 1.0, -2.5, 2**53, 1e300])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b c", "é"]), inner, max_size=3),
    max_leaves=6,
)
LEAVES = st.one_of(
    st.just({}),
    st.just({"enum": ["a", "ab"], "type": "string"}),
    st.just({"const": "a"}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number", "string", ["string", "null"], ["number", "string"], "boolean"])},
        optional={"title": st.just("T")},
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number", ["number", "null"]])},
        optional={"minimum": st.integers(-2, 2), "exclusiveMaximum": st.integers(-2, 3)},
    ),
    st.fixed_dictionaries(
        {"type": st.just("string")}, optional={"minLength": st.integers(0, 2), "maxLength": st.integers(0, 2)}
    ),
)


def _composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    members = st.dictionaries(st.sampled_from(["a", "b c", "é"]), inner, max_size=3)
    return st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner}, optional={"minItems": st.just(1), "maxItems": st.just(2)}
        ),
        st.fixed_dictionaries(
            {"properties": members},
            optional={
                "type": st.sampled_from(["object", ["object", "null"]]),
                "required": st.lists(st.sampled_from(["a", "d"]), max_size=2, unique=True),
                "additionalProperties": st.booleans(),
            },
        ),
    )


@given(schema=st.recursive(LEAVES, _composed, max_leaves=5), samples=st.lists(VALUES, min_size=1, max_size=8))
def test_what_is_accepted_is_valid(schema: dict[str, Any], samples: list[Any]) -> None:
    is_accepted = compile_usual(schema)
    assert is_accepted is not None
    reference = jsonschema.Draft7Validator(schema)
    for sample in samples:
        text = json.dumps(sample)
        assert not is_accepted(text.encode()) or reference.is_valid(json.loads(text)), text


@pytest.mark.parametrize(
    "text",
    [
        '{"sku": "a", "price": 1, "tags": []}',
        '{"sku": "a", "price": 0.5, "kind": "gift"}',
        '{"tags": ["x"], "price": 10, "sku": ""}',
    ],
)
def test_usual_values_are_accepted(text: str) -> None:
    is_accepted = compile_usual(
        {
            "type": "object",
            "properties": {
                "sku": {"type": "string", "description": "Its number"},
                "price": {"type": "number", "minimum": 0},
                "kind": {"enum": ["gift", "sale"]},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["sku"],
            "additionalProperties": False,
        }
    )
    assert is_accepted is not None
    assert is_accepted(text.encode())


@pytest.mark.parametrize("text", ['{"a": 1, "a": "x"}', '{"a": "x", "a": 1, "b": 2}', '{"\\u0062": 1}', "[]", "null"])
def test_what_is_not_valid_is_refused(text: str) -> None:
    is_accepted = compile_usual({"properties": {"a": {"type": "integer"}}, "additionalProperties": False})
    assert is_accepted is not None
    assert not is_accepted(text.encode())


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^a"},
        {"type": "string", "format": "email"},
        {"enum": [1, "a"]},
        {"enum": ["a"], "minLength": 2},
        {"type": "number", "multipleOf": 2},
        {"type": "number", "maximum": 2**60},
        {"type": "array", "uniqueItems": True},
        {"anyOf": [{"type": "string"}]},
        {"not": {}},
        {"properties": {"a": False}},
        {"properties": {'"': {"type": "string"}}},
        {"additionalProperties": {"type": "string"}, "properties": {}},
        {"minimum": 3},
        {"type": "number", "maximum": 3, "exclusiveMaximum": 3},
    ],
)
def test_involved_schemas_are_left_to_the_validator(schema: dict[str, Any]) -> None:
    assert compile_usual(schema) is None
