"""The form of the Event Tester: an event by its name, with the properties that such events usually have."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from punchcard.operations.source_schema import plain_text
from punchcard.store.source_schema.reading import ListedProperty

PROPERTY_PREFIX: Final = "property:"
"""Begins the name of a property's field; its path follows."""

_FIELDS_MAX: Final = 12
_USUAL_SHARE: Final = 0.2  # of the sampled events: a property that fewer have is not asked for
_CONTAINERS: Final = {"object", "array"}
_EMAIL: Final = "email"
_EXAMPLE_EMAIL: Final = "example@example.com"
_ID: Final = re.compile(r"(?:[_.-]|^)id$|[a-z]I[dD]$", re.ASCII)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class PropertyField:
    """A property in the form.

    Attributes:
        path: Path below `properties`.
        type: Its most frequent type that is neither an object nor a list.
        value: What is filled in.
        suggestions: Frequent values, as a person types them.
    """

    path: str
    type: str
    value: str
    suggestions: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class TesterForm:
    """What the form shows.

    Attributes:
        left_out: Paths of lists among the usual properties: they are written as JSON.
    """

    name: str
    user_id: str
    fields: Sequence[PropertyField]
    left_out: Sequence[str] = ()


def usual_form(
    name: str, properties: Sequence[ListedProperty], *, defaults: Mapping[str, str], new_id: int
) -> TesterForm:
    """Return the form for an event, filled in with the most frequent values.

    Args:
        properties: Properties of such events, most frequent first.
        defaults: Values of properties that are offered in any case.
        new_id: Number that makes ids: the id of a received order would be a duplicate, or a conflict.
    """
    most = max((known.count for known in properties), default=0)
    usual = [known for known in properties if known.count >= _USUAL_SHARE * most and "\\" not in known.path]
    fields = [
        _field(known, defaults, new_id)
        for known in usual
        if "[" not in known.path and not _CONTAINERS & set(known.types)
    ][:_FIELDS_MAX]
    shown = {field.path for field in fields}
    fields += [
        PropertyField(path=path, type="string", value=value, suggestions=())
        for path, value in defaults.items()
        if path not in shown
    ]
    lists = [known.path for known in usual if "array" in known.types and "[" not in known.path]
    return TesterForm(name=name, user_id="test-user", fields=fields, left_out=lists)


def compose_event(form: Mapping[str, Sequence[str]]) -> str:
    """Return the JSON text of the event in the submitted form. Empty fields are left out."""
    properties: dict[str, Any] = {}
    for field, values in form.items():
        if field.startswith(PROPERTY_PREFIX) and (text := values[-1].strip()):
            type_ = (form.get(f"type:{field.removeprefix(PROPERTY_PREFIX)}") or [""])[-1]
            _put(properties, field.removeprefix(PROPERTY_PREFIX), _value(text, type_))
    for path, text in zip(form.get("new_path", ()), form.get("new_value", ()), strict=False):
        if path.strip() and text.strip():
            _put(properties, path.strip(), _value(text.strip(), ""))
    event = {
        "type": "track",
        "event": (form.get("event_name") or [""])[-1].strip(),
        "userId": (form.get("user_id") or [""])[-1].strip(),
        "properties": properties,
    }
    return json.dumps({key: value for key, value in event.items() if value != ""}, indent=2, ensure_ascii=False)


def _field(known: ListedProperty, defaults: Mapping[str, str], new_id: int) -> PropertyField:
    types = [type_ for type_ in known.types if type_ != "null"]
    suggestions = [plain_text(value.value) for value in known.frequent]
    type_ = types[0] if types else "string"
    value = defaults.get(known.path) or (suggestions[0] if suggestions else "")
    if _ID.search(known.path):
        value, suggestions = (str(new_id) if type_ == "integer" else f"test-{new_id}"), []
    elif not value and _EMAIL in known.personal:
        value = _EXAMPLE_EMAIL
    return PropertyField(path=known.path, type=type_, value=value, suggestions=suggestions)


def _value(text: str, type_: str) -> object:
    """Return what was typed as a value of JSON. A text property stays a text, whatever it looks like."""
    if type_ == "string":
        return text
    if text in ("true", "false"):
        return text == "true"
    return json.loads(text) if _NUMBER.fullmatch(text) else text


def _put(members: dict[str, Any], path: str, value: object) -> None:
    """Put a value at a path such as `address.city`; if a part of it is not an object, the path counts as one name."""
    *parents, leaf = path.split(".")
    place = members
    for name in parents:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            members[path] = value
            return
        place = inner
    place[leaf] = value
