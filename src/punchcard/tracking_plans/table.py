"""A tracking plan as a table with a row for each property, as people edit it, and back.

What a schema says besides types, allowed values, patterns and descriptions stays in it when rows are changed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from punchcard.tracking_plans.json_schema import DRAFT_7
from punchcard.tracking_plans.model import RuleType, TrackingPlanRule

DATE_TIME: Final = "date-time"
"""A type of the table: a text in ISO-8601."""

_TRAITS: Final = (RuleType.IDENTIFY, RuleType.GROUP)
_ROWS_DEPTH_MAX: Final = 10


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A property of an event, or the event itself.

    Attributes:
        event_type: A `RuleType`.
        event: Name of the event.
        version: Version of the event.
        path: Path below `properties` or `traits`, such as `products[].price`; "" for the event itself.
        types: JSON types, or `date-time`; empty for any.
        required: Whether the property must be there.
        allowed: Allowed values as texts; empty for any.
        pattern: Regular expression that texts must match; "" for any.
        description: For people.
        has_other_items: True if a list with properties of its items may also have items that are not objects.
        has_more: True if the schema says more about the property than the table shows.
    """

    event_type: str
    event: str = ""
    version: int = 1
    path: str = ""
    types: tuple[str, ...] = ()
    required: bool = False
    allowed: tuple[str, ...] = ()
    pattern: str = ""
    description: str = ""
    has_other_items: bool = False
    has_more: bool = False


_ESCAPED: Final = re.compile(r"[.\\\[\]]")
_SHOWN_KEYS: Final = frozenset(
    {"type", "enum", "pattern", "description", "properties", "required", "items", "id", "$id", "title"}
)


def to_rows(rule: TrackingPlanRule) -> list[TableRow]:
    """Return the rows of a rule: the event itself first, then its properties in the order of the schema."""
    description = rule.json_schema.get("description")
    rows = [
        TableRow(
            event_type=rule.type,
            event=rule.key,
            version=rule.version,
            description=description if isinstance(description, str) else "",
        )
    ]
    section = section_schema(rule.json_schema, section_of(rule.type))
    rows += _property_rows(rule, section, "", 1)
    return rows


def to_rules(rows: Iterable[TableRow]) -> list[TrackingPlanRule]:
    """Return the rules that rows describe, from scratch."""
    grouped: dict[tuple[str, str, int], list[TableRow]] = {}
    for row in rows:
        grouped.setdefault((row.event_type, row.event, row.version), []).append(row)
    return [
        TrackingPlanRule(type=type_, key=event, version=version, json_schema=build_schema(event_rows, {}))
        for (type_, event, version), event_rows in grouped.items()
    ]


def build_schema(rows: Sequence[TableRow], current: Mapping[str, object]) -> dict[str, object]:
    """Return the schema of an event that has the properties of its rows.

    Args:
        rows: Rows of one event.
        current: Its schema until now, of which everything stays that the table does not show.
    """
    schema: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(current)) or {"$schema": DRAFT_7, "type": "object"}
    event = next((row for row in rows if not row.path), None)
    if event is not None:
        _set_text(schema, "description", event.description)
    section = section_of(rows[0].event_type if rows else RuleType.TRACK)
    before = section_schema(schema, section)
    root: dict[str, Any] = {key: value for key, value in before.items() if key not in ("properties", "required")}
    root.setdefault("type", "object")
    root["properties"] = {}
    for row in sorted((row for row in rows if row.path), key=lambda row: row.path.count(".")):
        _add_property(root, before, row)
    _drop_empty(root)
    members = dict(schema.get("properties") or {})
    members[section] = root
    schema["properties"] = members
    required = [name for name in schema.get("required") or [] if name != section]
    if root.get("required"):
        required.append(section)
    schema.pop("required", None)
    if required:
        schema["required"] = required
    return schema


def section_of(rule_type: str) -> str:
    """Return where events of a rule have what it plans."""
    return "traits" if rule_type in _TRAITS else "properties"


def section_schema(schema: Mapping[str, object], section: str) -> Mapping[str, object]:
    """Return the schema of `properties` or `traits` in the schema of an event, empty if there is none."""
    properties = schema.get("properties")
    inner = properties.get(section) if isinstance(properties, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _property_rows(rule: TrackingPlanRule, schema: Mapping[str, object], prefix: str, depth: int) -> Iterator[TableRow]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or depth > _ROWS_DEPTH_MAX:
        return
    listed = schema.get("required")
    required = listed if isinstance(listed, list | tuple) else ()
    for name, inner in properties.items():
        path = prefix + _ESCAPED.sub(r"\\\g<0>", name)
        plain = inner if isinstance(inner, Mapping) else {}
        types = plain.get("type")
        names = (types,) if isinstance(types, str) else tuple(types) if isinstance(types, list | tuple) else ()
        if plain.get("format") == DATE_TIME and "string" in names:
            names = tuple(DATE_TIME if type_ == "string" else type_ for type_ in names)
        allowed = plain.get("enum")
        pattern, description = plain.get("pattern"), plain.get("description")
        more = plain.keys() - _SHOWN_KEYS - ({"format"} if DATE_TIME in names else set())
        yield TableRow(
            event_type=rule.type,
            event=rule.key,
            version=rule.version,
            path=path,
            types=names,
            required=name in required,
            allowed=tuple(map(_as_text, allowed)) if isinstance(allowed, list | tuple) else (),
            pattern=pattern if isinstance(pattern, str) else "",
            description=description if isinstance(description, str) else "",
            has_more=bool(more) or not isinstance(inner, Mapping),
        )
        yield from _property_rows(rule, plain, f"{path}.", depth + 1)
        if isinstance(items := plain.get("items"), Mapping):
            yield from _property_rows(rule, items, f"{path}[].", depth + 1)


class _Part(NamedTuple):
    """A name of a path."""

    name: str
    is_list: bool  # whether the rest of the path is about the items of the list with this name


def _split(path: str) -> tuple[list[_Part], str]:
    """Return the names that lead to a property, and its own."""
    parts: list[_Part] = []
    part, is_escaped, brackets = "", False, 0
    for letter in path:
        if is_escaped:
            part += letter
            is_escaped, brackets = False, 0
        elif letter == "\\":
            is_escaped = True
        elif letter == ".":
            is_list = brackets == 2
            parts.append(_Part(part[:-2] if is_list else part, is_list))
            part, brackets = "", 0
        else:
            part += letter
            brackets = {"[": 1, "]": 2 * (brackets == 1)}.get(letter, 0)
    return parts, part


def _add_property(root: dict[str, Any], before: Mapping[str, object], row: TableRow) -> None:
    """Add the property of a row, with the objects and lists that it is in."""
    node, old = root, before
    parts, name = _split(row.path)
    for part, is_list in parts:
        properties = node.setdefault("properties", {})
        old = _old_member(old, part)
        if not isinstance(properties.get(part), dict):
            properties[part] = {"type": "array" if is_list else "object"}
        node = properties[part]
        if is_list:
            old = _old_items(old)
            if not isinstance(node.get("items"), dict):
                node["items"] = {**_without_members(old), "type": "object"}
            node = node["items"]
    old = _old_member(old, name)
    schema = _without_members(old)
    types = tuple("string" if type_ == DATE_TIME else type_ for type_ in row.types if type_ != "any")
    schema.pop("type", None)
    if types:
        schema["type"] = types[0] if len(types) == 1 else list(types)
    if DATE_TIME in row.types:
        schema["format"] = DATE_TIME
    elif schema.get("format") == DATE_TIME:
        del schema["format"]
    schema.pop("enum", None)
    if row.allowed:
        schema["enum"] = [_from_text(text, types) for text in row.allowed]
    _set_text(schema, "pattern", row.pattern)
    _set_text(schema, "description", row.description)
    if isinstance(items := old.get("items"), Mapping):
        inner = {"items": items["items"]} if "items" in items else {}  # of lists in a list, which have no rows
        schema["items"] = {**_without_members(items), **inner}
    elif "items" in old:
        schema["items"] = old["items"]
    elif row.has_other_items:
        schema["items"] = {}
    node.setdefault("properties", {})[name] = schema
    if row.required:
        node.setdefault("required", []).append(name)


def _without_members(schema: Mapping[str, object]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in ("properties", "required", "items")}


def _old_member(schema: Mapping[str, object], name: str) -> Mapping[str, object]:
    properties = schema.get("properties")
    inner = properties.get(name) if isinstance(properties, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _old_items(schema: Mapping[str, object]) -> Mapping[str, object]:
    items = schema.get("items")
    return items if isinstance(items, Mapping) else {}


def _drop_empty(root: dict[str, Any]) -> None:
    if not root["properties"]:
        del root["properties"]


def _set_text(schema: dict[str, Any], key: str, text: str) -> None:
    if text:
        schema[key] = text
    else:
        schema.pop(key, None)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _from_text(text: str, types: Sequence[str]) -> object:
    """Return an allowed value that a person has typed: a number if the property may be one, else the text."""
    if types and "string" in types:
        return text
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return text if isinstance(value, dict | list) else value
