"""JSON Schemas of tracking plans: checked when they are saved, compiled when they are used.

A schema that is accepted can be evaluated in time that is linear in the event: regular expressions are those of a
linear engine, and references are local, without cycles, and expand to a bounded size.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

import msgspec

if TYPE_CHECKING:
    from jsonschema_rs import Draft7Validator, ValidationError

SCHEMA_BYTES_MAX: Final = 128 * 1024
"""Size of the schema of one rule."""

DEPTH_MAX: Final = 32
"""Schemas inside schemas."""

EXPANDED_MAX: Final = 20_000
"""Schemas in a schema, each as often as references lead to it."""

DRAFT_7: Final = "http://json-schema.org/draft-07/schema#"
_DRAFT_7_NAMES: Final = frozenset({DRAFT_7, DRAFT_7.rstrip("#"), DRAFT_7.replace("http", "https", 1)})

SchemaPath = tuple[str | int, ...]
"""Path of a place in a schema, such as `("properties", "total", "type")`."""

JSON_TYPES: Final = ("string", "integer", "number", "boolean", "object", "array", "null")
"""Types of values."""

_SINGLE: Final = (
    "additionalItems",
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
)
_LISTS: Final = ("allOf", "anyOf", "items", "oneOf")
_MAPS: Final = ("definitions", "dependencies", "patternProperties", "properties")
_VALUES: Final = ("const", "default", "enum", "examples")
_CONTENT: Final = ("contentEncoding", "contentMediaType")
_LATER_KEYWORDS: Final[Mapping[str, str]] = {
    "dependentRequired": "Use dependencies.",
    "dependentSchemas": "Use dependencies.",
    "maxContains": "Use maxItems, or contains alone.",
    "minContains": "Use minItems, or contains alone.",
    "prefixItems": "Use a list of schemas in items.",
    "unevaluatedItems": "Use additionalItems.",
    "unevaluatedProperties": "Use additionalProperties.",
    "$dynamicRef": 'Use "$ref": "#/definitions/…".',
    "$recursiveRef": 'Use "$ref": "#/definitions/…".',
}
"""Keywords of later drafts that demand something, each with what draft 7 has in its place. It would ignore them."""

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")
"""An index in a reference. More digits than a schema has places for would not even become a number."""

_REGEX_HINT: Final = (
    "is not a regular expression that can be evaluated in linear time. Look-ahead, look-behind, back-references and "
    "very large repetitions are not supported. Use `not` or `enum` in their place"
)


class SchemaProblem(NamedTuple):
    """What is wrong with a schema, and where."""

    path: SchemaPath
    message: str


def subschemas(schema: Mapping[str, object], path: SchemaPath = ()) -> Iterator[tuple[SchemaPath, object]]:
    """Yield the schemas directly inside a schema, with their paths."""
    for key in _SINGLE:
        if isinstance(inner := schema.get(key), Mapping | bool):
            yield (*path, key), inner
    for key in _LISTS:
        if isinstance(entries := schema.get(key), list | tuple):
            for index, inner in enumerate(entries):
                yield (*path, key, index), inner
    for key in _MAPS:
        if isinstance(members := schema.get(key), Mapping):
            for name, inner in members.items():
                if isinstance(inner, Mapping | bool):
                    yield (*path, key, str(name)), inner


def resolve(root: Mapping[str, object], reference: object) -> object | None:
    """Return the schema that a local reference such as `#/definitions/address` leads to, None if there is none."""
    if reference == "#":
        return root
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    value: object = root
    for part in reference[2:].split("/"):
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list | tuple) and _INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def find_schema_problems(schema: object) -> list[SchemaProblem]:
    """Return what is wrong with a schema; an empty list if it can be used."""
    if not isinstance(schema, Mapping):
        return [SchemaProblem((), "Must be an object: a JSON Schema, draft 7.")]
    try:
        size = len(msgspec.json.encode(schema))
    except (TypeError, ValueError, RecursionError):
        return [SchemaProblem((), "Cannot be written as JSON.")]
    if size > SCHEMA_BYTES_MAX:
        return [SchemaProblem((), f"Has {size:,} bytes. A schema has at most {SCHEMA_BYTES_MAX:,}.")]
    problems = [*_structure_problems(schema)] or [*_reference_problems(schema)]
    return problems or _compile_problems(schema)


def compile_schema(schema: Mapping[str, object]) -> "Draft7Validator":
    """Return the compiled schema. It must be free of problems.

    Raises:
        jsonschema_rs.ValidationError: The schema cannot be compiled.
    """
    from jsonschema_rs import Draft7Validator, RegexOptions

    # `$id` and `$schema` only name the schema: without them, nothing can be looked up by a name.
    nameless = {key: value for key, value in schema.items() if key not in ("$id", "$schema")}
    return Draft7Validator(
        _without_content(nameless), pattern_options=RegexOptions(), validate_formats=True, offline=True
    )


def _without_content(schema: Mapping[str, object]) -> dict[str, object]:
    """Return a schema without keywords that only describe a value, and that the validator would enforce."""
    plain: dict[str, object] = {}
    for key, value in schema.items():
        if key in _VALUES:
            plain[key] = value
        elif key in _MAPS and isinstance(value, Mapping):
            plain[key] = {name: _inner_without_content(inner) for name, inner in value.items()}
        elif key not in _CONTENT:
            plain[key] = _inner_without_content(value)
    return plain


def _inner_without_content(value: object) -> object:
    if isinstance(value, Mapping):
        return _without_content(value)
    return [_inner_without_content(inner) for inner in value] if isinstance(value, list | tuple) else value


def _structure_problems(root: Mapping[str, object]) -> Iterator[SchemaProblem]:
    draft = root.get("$schema", DRAFT_7)
    if not isinstance(draft, str) or draft not in _DRAFT_7_NAMES:
        yield SchemaProblem(("$schema",), f'Must be "{DRAFT_7}" or left out. Other drafts are not supported.')
    pending: list[tuple[SchemaPath, object, int]] = [((), root, 0)]
    while pending:
        path, schema, depth = pending.pop()
        if isinstance(schema, bool):
            continue
        if not isinstance(schema, Mapping):
            yield SchemaProblem(path, "Must be a schema: an object, true or false.")
            continue
        if depth > DEPTH_MAX:
            yield SchemaProblem(path, f"Is nested too deeply. At most {DEPTH_MAX} schemas may be inside each other.")
            continue
        if path and "$id" in schema:
            yield SchemaProblem((*path, "$id"), 'Is not supported inside a schema. Use "$ref": "#/definitions/…".')
        for keyword in sorted(_LATER_KEYWORDS.keys() & schema.keys()):
            message = f"Is not a keyword of draft 7 and would have no effect. {_LATER_KEYWORDS[keyword]}"
            yield SchemaProblem((*path, keyword), message)
        pending += [(inner_path, inner, depth + 1) for inner_path, inner in subschemas(schema, path)]


def _reference_problems(root: Mapping[str, object]) -> Iterator[SchemaProblem]:
    has_problem = False
    for path, reference in _references(root):
        if isinstance(reference, str) and not reference.startswith("#"):
            message = f'"{reference}" is not inside this schema. References to other files and sites are not followed.'
        elif not isinstance(resolve(root, reference), Mapping | bool):
            message = f'"{reference}" does not lead to a schema. Use, for example, "#/definitions/address".'
        else:
            continue
        has_problem = True
        yield SchemaProblem(path, message)
    if not has_problem:
        yield from _expansion_problems(root)


def _references(root: Mapping[str, object]) -> Iterator[tuple[SchemaPath, object]]:
    pending: list[tuple[SchemaPath, object]] = [((), root)]
    visited: set[int] = set()
    while pending:
        path, schema = pending.pop()
        if not isinstance(schema, Mapping) or id(schema) in visited:
            continue
        visited.add(id(schema))
        pending += subschemas(schema, path)
        if "$ref" in schema:
            yield (*path, "$ref"), schema["$ref"]
            target = resolve(root, schema["$ref"])  # may be outside of what keywords lead to
            pending.append(((*path, "$ref"), target))


def _expansion_problems(root: Mapping[str, object]) -> Iterator[SchemaProblem]:
    sizes: dict[int, int] = {}
    open_schemas: set[int] = set()
    problems: list[SchemaProblem] = []

    def size_of(schema: object, path: SchemaPath) -> int:
        if not isinstance(schema, Mapping) or problems:
            return 1
        known = sizes.get(id(schema))
        if known is not None:
            return known
        if id(schema) in open_schemas:
            problems.append(SchemaProblem(path, "Leads back to itself. Circular references are not supported."))
            return 1
        if len(path) > 8 * DEPTH_MAX:
            problems.append(SchemaProblem(path, "References lead too deep."))
            return 1
        open_schemas.add(id(schema))
        if "$ref" in schema:  # in draft 7, a reference has no effect together with other keywords
            size = 1 + size_of(resolve(root, schema["$ref"]), (*path, "$ref"))
        else:
            size = 1 + sum(
                size_of(inner, inner_path)
                for inner_path, inner in subschemas(schema, path)
                if inner_path[len(path)] != "definitions"
            )
        open_schemas.discard(id(schema))
        sizes[id(schema)] = size
        return size

    total = size_of(root, ())
    for path, reference in _references(root):  # definitions that nothing uses must not be circular either
        size_of(resolve(root, reference), path)
    for path, message in problems:
        yield SchemaProblem(path[: path.index("$ref") + 1] if "$ref" in path else path, message)
    if not problems and total > EXPANDED_MAX:
        yield SchemaProblem((), f"References expand it to {total:,} schemas. At most {EXPANDED_MAX:,} are allowed.")


def _compile_problems(schema: Mapping[str, object]) -> list[SchemaProblem]:
    from jsonschema_rs import ValidationError

    try:
        compile_schema(schema)
    except ValidationError as error:
        path = tuple(error.instance_path)
        return [SchemaProblem(path, _compile_message(error, path))]
    except (ValueError, RecursionError) as error:
        return [SchemaProblem((), f"Is not a JSON Schema of draft 7: {error}.")]
    return []


def _compile_message(error: "ValidationError", path: Sequence[str | int]) -> str:
    is_pattern = bool(path) and (path[-1] == "pattern" or "patternProperties" in path[-2:])
    if is_pattern and "regex" in error.message:
        return f"{error.message.split(' is not a')[0]} {_REGEX_HINT}."
    if path and path[-1] == "type" and "anyOf" in error.message:
        return f"{error.message.split(' is not valid')[0]} is not a type. Types: {', '.join(JSON_TYPES)}."
    return f"{error.message[:300].rstrip('.')}."
