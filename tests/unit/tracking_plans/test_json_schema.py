"""Schemas are refused when they are saved, each problem with its place."""

from typing import Any

import pytest

from punchcard.tracking_plans.json_schema import compile_schema, find_schema_problems


def doubled(depth: int) -> dict[str, Any]:
    """A schema of a few lines that references expand to 2 ** depth."""
    definitions: dict[str, Any] = {
        f"d{level}": {"allOf": [{"$ref": f"#/definitions/d{level + 1}"}] * 2} for level in range(depth)
    }
    definitions[f"d{depth}"] = {"type": "string"}
    return {"$ref": "#/definitions/d0", "definitions": definitions}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "path", "part"),
    [
        (3, (), "Must be an object"),
        ({"type": "strin"}, ("type",), '"strin" is not a type'),
        ({"properties": {"a": {"type": "strin"}}}, ("properties", "a", "type"), "string, integer"),
        ({"properties": {"a": 3}}, ("properties", "a"), "boolean"),
        ({"required": "a"}, ("required",), "array"),
        ({"minimum": "x"}, ("minimum",), "number"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, ("$schema",), "draft-07"),
        ({"$schema": []}, ("$schema",), "draft-07"),
        ({"$schema": {}}, ("$schema",), "draft-07"),
        ({"properties": {"a": {"$id": "x"}}}, ("properties", "a", "$id"), "not supported"),
        ({"$ref": "https://example.com/a.json"}, ("$ref",), "not followed"),
        ({"$ref": "file:///etc/passwd"}, ("$ref",), "not followed"),
        ({"properties": {"a": {"$ref": "a.json"}}}, ("properties", "a", "$ref"), "not followed"),
        ({"$ref": "#/definitions/a"}, ("$ref",), "does not lead to a schema"),
        ({"allOf": [{}, {"$ref": "#/allOf/2"}]}, ("allOf", 1, "$ref"), "does not lead to a schema"),
        ({"allOf": [{}, {"$ref": "#/allOf/" + "9" * 5_000}]}, ("allOf", 1, "$ref"), "does not lead to a schema"),
        ({"$ref": "#"}, ("$ref",), "Circular"),
        ({"properties": {"a": {"$ref": "#"}}}, ("properties", "a", "$ref"), "Circular"),
        (
            {"definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"items": {"$ref": "#/definitions/a"}}}},
            ("definitions", "b", "items", "$ref"),
            "Circular",
        ),
        (doubled(30), (), "expand it to"),
        (nested(40), ("not",) * 33, "nested too deeply"),
        ({"properties": {"a": {"pattern": "[a"}}}, ("properties", "a", "pattern"), "regular expression"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, ("properties", "a", "pattern"), "linear time"),
        ({"properties": {"a": {"pattern": r"(a)\1"}}}, ("properties", "a", "pattern"), "linear time"),
        ({"pattern": "(a{1,1000}){1,1000}"}, ("pattern",), "linear time"),
        ({"patternProperties": {"(?!a)": {}}}, ("patternProperties", "(?!a)"), "linear time"),
        ({"description": "x" * 200_000}, (), "at most 131,072"),
        ({"prefixItems": [{"type": "string"}]}, ("prefixItems",), "list of schemas in items"),
        ({"dependentRequired": {"a": ["b"]}}, ("dependentRequired",), "Use dependencies"),
        ({"dependentSchemas": {"a": {}}}, ("dependentSchemas",), "Use dependencies"),
        ({"properties": {"a": {"minContains": 2}}}, ("properties", "a", "minContains"), "would have no effect"),
        ({"items": {"unevaluatedItems": False}}, ("items", "unevaluatedItems"), "Use additionalItems"),
        ({"allOf": [{"unevaluatedProperties": False}]}, ("allOf", 0, "unevaluatedProperties"), "Use additionalProp"),
        ({"$dynamicRef": "#a"}, ("$dynamicRef",), "$ref"),
    ],
)
def test_unusable_schema_is_refused_with_its_place(schema: Any, path: tuple[str, ...], part: str) -> None:
    problems = find_schema_problems(schema)
    assert [problem.path for problem in problems] == [path]
    assert part in problems[0].message
    assert problems[0].message.endswith(".")


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://example.com/x.json"},
        {"properties": {"$id": {"type": "string"}, "$ref": {"type": "string"}}},
        {"definitions": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/definitions/a"}}},
        {"definitions": {"a/b": {}}, "items": {"$ref": "#/definitions/a~1b"}},
        doubled(10),
        nested(30),
        {"pattern": "^(a+)+$"},
        {"enum": [{"$ref": "https://example.com/"}]},
        {"$defs": {"a": {}}, "properties": {"prefixItems": {"$ref": "#/$defs/a"}}, "$comment": "a", "deprecated": True},
    ],
)
def test_usable_schema_is_accepted(schema: dict[str, Any]) -> None:
    assert find_schema_problems(schema) == []
    compile_schema(schema)


def test_expression_that_explodes_elsewhere_is_evaluated_in_linear_time() -> None:
    # An engine that tries all ways to match would take years.
    assert not compile_schema({"pattern": "^(a+)+$"}).is_valid("a" * 20_000 + "!")


def test_keywords_that_only_describe_a_value_are_not_enforced() -> None:
    content = {"contentEncoding": "base64", "contentMediaType": "application/json"}
    schema = {
        **content,
        "properties": {"a": content, "contentEncoding": {"type": "integer"}, "b": {"enum": [content]}},
        "allOf": [{"items": [content]}],
    }
    assert find_schema_problems(schema) == []
    compiled = compile_schema(schema)
    for value in ("ß", ["ß"], {"a": "ß"}, {"b": content}):
        assert compiled.is_valid(value)
    assert not compiled.is_valid({"contentEncoding": "ß"})
    assert not compiled.is_valid({"b": {}})
