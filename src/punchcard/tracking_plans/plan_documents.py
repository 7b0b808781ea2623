"""Reads the rules of a tracking plan from JSON and CSV: Segment's export, its Public API, JSON Schemas, tables."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from punchcard.errors import ConfigurationError
from punchcard.events.json_problems import describe_json_problem
from punchcard.tracking_plans.json_schema import DRAFT_7
from punchcard.tracking_plans.model import NAMED_TYPES, RuleType, TrackingPlanRule
from punchcard.tracking_plans.table import TableRow, to_rules

DOCUMENT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Size of a document that is read."""

_VERSION_DIGITS_MAX: Final = 9
_VERSION_SHOWN_MAX: Final = 100

_HEADINGS: Final[Mapping[str, str]] = {
    "event": "event",
    "event name": "event",
    "name": "event",
    "type": "event_type",
    "event type": "event_type",
    "call": "event_type",
    "property": "path",
    "property name": "path",
    "trait": "path",
    "path": "path",
    "data type": "types",
    "property type": "types",
    "types": "types",
    "required": "required",
    "status": "required",
    "allowed values": "allowed",
    "permitted values": "allowed",
    "enum": "allowed",
    "pattern": "pattern",
    "description": "description",
    "event description": "event_description",
    "property description": "description",
    "version": "version",
}
_TRUE: Final = frozenset({"true", "yes", "y", "1", "x", "required"})
_CONFIG_API_SECTIONS: Final = {
    "identify_traits": (RuleType.IDENTIFY, "traits"),
    "group_traits": (RuleType.GROUP, "traits"),
}
_CONFIG_API_SCHEMAS: Final = {
    "global": RuleType.COMMON,
    "identify": RuleType.IDENTIFY,
    "group": RuleType.GROUP,
}

_NO_RULES: Final = frozenset({"$schema", "$id", "type", "title", "description", "labels"})
"""Members of a schema that allow everything."""


class PlanFormatError(ConfigurationError):
    """The document does not have the form of a tracking plan."""

    code = "invalid_tracking_plan"


def read_rules(content: bytes, *, name: str = "") -> list[TrackingPlanRule]:
    """Return the rules in a JSON document.

    Accepted are a rule of Segment's Public API, a list of them, an object with `rules`, responses of that API
    (`{"data": …}`), a tracking plan of Segment's Config API (`rules.events`), and a JSON Schema. The rules are not
    validated here.

    Args:
        name: Name of the event if the document is a JSON Schema without a title.

    Raises:
        PlanFormatError: It has another form.
    """
    if len(content) > DOCUMENT_BYTES_MAX:
        raise PlanFormatError(f"The document is larger than {DOCUMENT_BYTES_MAX:,} bytes.")
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise PlanFormatError(f"This is not JSON: {describe_json_problem(content, error)}.") from error
    return _rules_of(document, name)


def read_file(content: bytes, *, file_name: str) -> list[TrackingPlanRule]:
    """Return the rules in a file: a table if its name ends with `.csv`, else JSON.

    Raises:
        PlanFormatError: It has another form.
    """
    if file_name.lower().endswith(".csv"):
        return read_csv(content)
    return read_rules(content, name=file_name.removesuffix(".json").removesuffix(".schema"))


def read_plan_name(content: bytes) -> str:
    """Return the name that a JSON document gives its tracking plan, "" for none."""
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return ""
    for key in ("data", "trackingPlan", "tracking_plan"):
        if isinstance(document, Mapping) and isinstance(inner := document.get(key), Mapping):
            document = inner
    name = document.get("name") if isinstance(document, Mapping) else None
    return name if isinstance(name, str) else ""


def read_csv(content: bytes) -> list[TrackingPlanRule]:
    """Return the rules in a table with a row for each property.

    Columns are found by their headings: Event, Type, Property, Data Type, Required, Allowed Values, Pattern,
    Description, Version. A row without a property describes the event itself, and a row without an event belongs to the
    event above it.

    Raises:
        PlanFormatError: The table has no such columns, or a row cannot be read.
    """
    try:
        text = content.decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text), strict=True))
    except (UnicodeError, csv.Error) as error:
        raise PlanFormatError(f"This is not a CSV file in UTF-8: {error}.") from error
    if not lines:
        raise PlanFormatError("The file is empty.")
    columns = _columns(lines[0])
    rows: list[TableRow] = []
    event, event_type, version = "", RuleType.TRACK.value, 1
    for number, line in enumerate(lines[1:], start=2):
        cells = {key: line[index].strip() for key, index in columns.items() if index < len(line)}
        if any(cell.strip() for cell in line[len(lines[0]) :]):
            raise PlanFormatError(
                f"Line {number} has more cells than the first line has columns. Put a value with commas in quotes."
            )
        if not any(cells.values()):
            continue
        if cells.get("event") or cells.get("event_type"):
            event = cells.get("event", "")
            event_type = _rule_type(cells.get("event_type", ""), event)
            event = event if event_type in NAMED_TYPES else ""
            version = _version(cells.get("version", ""), number)
        rows.append(_csv_row(cells, event=event, event_type=event_type, version=version))
    return to_rules(rows)


def _columns(headings: Sequence[str]) -> dict[str, int]:
    columns: dict[str, int] = {}
    names = [heading.strip().lower().replace("_", " ") for heading in headings]
    for index, heading in enumerate(names):
        key = _HEADINGS.get(heading)
        if heading == "type" and "property" in names and not {"data type", "property type", "types"} & set(names):
            key = "types" if names.index("property") < index else key  # "Event, Property, Type": of the property
        if heading == "name" and {"event", "event name"} & set(names):
            key = "path"
        if key is not None:
            columns.setdefault(key, index)
    if "event" not in columns and "event_type" not in columns:
        raise PlanFormatError("The first line must name the columns, such as Event,Property,Type,Required,Description.")
    return columns


def _csv_row(cells: Mapping[str, str], *, event: str, event_type: str, version: int) -> TableRow:
    allowed = cells.get("allowed", "")
    path = cells.get("path", "")
    description = cells.get("description", "") or ("" if path else cells.get("event_description", ""))
    return TableRow(
        event_type=event_type,
        event=event,
        version=version,
        path=path,
        types=tuple(
            part.strip().lower() for part in cells.get("types", "").replace("|", ",").split(",") if part.strip()
        ),
        required=cells.get("required", "").lower() in _TRUE,
        allowed=tuple(part.strip() for part in allowed.split("|") if part.strip()),
        pattern=cells.get("pattern", ""),
        description=description,
    )


def _rule_type(text: str, event: str) -> str:
    if not text:
        return event.upper() if event.upper() in (RuleType.IDENTIFY, RuleType.GROUP) else RuleType.TRACK.value
    return text.upper()


def _version(text: str, line: int) -> int:
    if not text:
        return 1
    if not text.isascii() or not text.isdigit() or len(text) > _VERSION_DIGITS_MAX:
        raise PlanFormatError(f'Line {line}: the version "{text[:_VERSION_SHOWN_MAX]}" is not a whole number.')
    return int(text)


def _rules_of(document: object, name: str) -> list[TrackingPlanRule]:
    if isinstance(document, list):
        return [_rule(item, f"rule {index + 1}") for index, item in enumerate(document)]
    if not isinstance(document, Mapping):
        raise PlanFormatError("This is neither a tracking plan nor a JSON Schema: it must be an object or a list.")
    for key in ("data", "trackingPlan", "tracking_plan"):
        if isinstance(inner := document.get(key), Mapping) and "properties" not in document:
            return _rules_of({**document, **inner, key: None}, name)
    rules = document.get("rules")
    if isinstance(rules, list):
        return _rules_of(rules, name)
    if isinstance(rules, Mapping):
        return _config_api_rules(rules)
    if "jsonSchema" in document:
        return [_rule(document, "the rule")]
    if "$schema" in document or "properties" in document or "type" in document:
        title = document.get("title")
        key = title if isinstance(title, str) and title else name
        return [TrackingPlanRule(type=RuleType.TRACK.value, key=key, json_schema=_event_schema(document))]
    raise PlanFormatError('This is neither a tracking plan ("rules") nor a JSON Schema ("properties").')


def _rule(item: object, place: str) -> TrackingPlanRule:
    if not isinstance(item, Mapping):
        raise PlanFormatError(f"{place.capitalize()} must be an object with type, key and jsonSchema.")
    type_, key, version = item.get("type"), item.get("key"), item.get("version", 1)
    schema = item.get("jsonSchema")
    if not isinstance(type_, str) or not isinstance(schema, Mapping):
        raise PlanFormatError(f'{place.capitalize()} must have the members "type" and "jsonSchema".')
    if isinstance(version, bool) or not isinstance(version, int | float) or version != int(version):
        raise PlanFormatError(f"{place.capitalize()} has a version that is not a whole number.")
    is_named = type_.upper() in NAMED_TYPES
    return TrackingPlanRule(
        type=type_.upper(),
        key=key if is_named and isinstance(key, str) else "",
        version=int(version),
        json_schema=schema,
    )


def _config_api_rules(rules: Mapping[str, object]) -> list[TrackingPlanRule]:
    """Return the rules in the form of Segment's Config API: `{"events": [{"name", "version", "rules": {…}}], …}`."""
    read: list[TrackingPlanRule] = []
    events = rules.get("events")
    for index, event in enumerate(events if isinstance(events, list) else []):
        if not isinstance(event, Mapping) or not isinstance(event.get("name"), str):
            raise PlanFormatError(f"Event {index + 1} has no name.")
        schema = event.get("rules")
        version = event.get("version", 1)
        schema = dict(schema) if isinstance(schema, Mapping) else {"type": "object"}
        if isinstance(description := event.get("description"), str) and description:
            schema.setdefault("description", description)
        number = version if isinstance(version, int) and not isinstance(version, bool) else 1
        read.append(
            TrackingPlanRule(type=RuleType.TRACK.value, key=str(event["name"]), version=number, json_schema=schema)
        )
    for key, rule_type in _CONFIG_API_SCHEMAS.items():
        schema = rules.get(key)
        if isinstance(schema, Mapping) and "rules" in schema:  # as of an event
            schema = schema["rules"]
        if schema and not isinstance(schema, Mapping):
            raise PlanFormatError(f'"{key}" must be a JSON Schema.')
        if isinstance(schema, Mapping) and not schema.keys() <= _NO_RULES and schema.get("properties") != {}:
            read.append(TrackingPlanRule(type=rule_type.value, json_schema=schema))
    for key, (rule_type, section) in _CONFIG_API_SECTIONS.items():
        traits = rules.get(key)
        if isinstance(traits, list) and traits and not any(rule.type == rule_type for rule in read):
            members = {
                str(trait["name"]): {name: trait[name] for name in ("type", "description") if trait.get(name)}
                for trait in traits
                if isinstance(trait, Mapping) and trait.get("name")
            }
            schema = {"type": "object", "properties": {section: {"type": "object", "properties": members}}}
            read.append(TrackingPlanRule(type=rule_type.value, json_schema=schema))
    if not read:
        raise PlanFormatError("The tracking plan has no rules.")
    return read


def _event_schema(schema: Mapping[str, object]) -> Mapping[str, object]:
    """Return the schema of an event: one of its properties alone is put inside."""
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and {"properties", "traits", "context"} & properties.keys():
        return schema
    inner = {key: value for key, value in schema.items() if key not in ("$schema", "$id", "definitions")}
    outer: dict[str, object] = {"$schema": DRAFT_7, "type": "object", "properties": {"properties": inner}}
    if "definitions" in schema:
        outer["definitions"] = schema["definitions"]
    if inner.get("required"):
        outer["required"] = ["properties"]
    return outer
