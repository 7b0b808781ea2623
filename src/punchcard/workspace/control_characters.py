"""Control characters in the texts of a configuration, which reach events, keys, headers, pages and the database."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Final

from punchcard.workspace.model import Workspace
from punchcard.workspace.problems import KeyPath, Problem

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_BUT_LINES: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_WITH_LINES: Final = frozenset({"description", "fql", "options", "property_value", "settings"})
"""Texts that may have several lines and tabs, and values of destinations, which check their own lines."""

_COMPARED: Final = frozenset(
    {
        "actions",
        "allow_properties",
        "blocked",
        "condition",
        "controls",
        "definition",
        "old_name",
        "property_drops",
        "rules",
        "switched_off",
    }
)
"""What is only compared with events, in which senders may have used any character."""

_CHECKED_ELSEWHERE: Final = frozenset({"write_keys"})
_OF_WORKSPACE: Final = frozenset(
    {"currency", "day_borders", "labels", "name", "point_cost", "timezone", "webhook_allowed_networks"}
)
_KEYS: Final[Mapping[str, str]] = {
    "new_event_name": "newEventName",
    "property_renames": "propertyRenames",
    "new_name": "newName",
    "property_value_transformations": "propertyValueTransformations",
    "property_paths": "propertyPaths",
    "property_value": "propertyValue",
    "fql_defined_properties": "fqlDefinedProperties",
    "property_name": "propertyName",
}
"""Keys of files and the API that are not named as the field."""


def control_character_problems(workspace: Workspace) -> Iterator[Problem]:
    """Yield a problem for each text with a control character that Punchcard would write or show."""
    for name in (field.name for field in fields(workspace)):
        value = getattr(workspace, name)
        if name == "computations":
            for kind in ("audience", "computed_trait"):
                yield from _problems((f"{kind}s",), "", [part for part in value if part.kind == kind])
        else:
            yield from _problems(("workspace", name) if name in _OF_WORKSPACE else (name,), name, value)


def _problems(path: KeyPath, name: str, value: object) -> Iterator[Problem]:
    if isinstance(value, str):
        if match := (_CONTROL_BUT_LINES if name in _WITH_LINES else _CONTROL).search(value):
            place = f"U+{ord(match[0]):04X} at character {match.start() + 1}"
            yield Problem(path=path, message=f"Must not contain control characters. It has {place}.")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _problems(path, name, key)
            yield from _problems((*path, str(key)), name, item)
    elif isinstance(value, Sequence):
        slugs = [getattr(item, "slug", "") for item in value]
        for index, (slug, item) in enumerate(zip(slugs, value, strict=True)):
            yield from _problems((*path, slug if slug and slugs.count(slug) == 1 else index), name, item)
    elif is_dataclass(value):
        for field in fields(value):
            if field.name not in _COMPARED | _CHECKED_ELSEWHERE:
                inner = (*path, _KEYS.get(field.name, field.name))
                yield from _problems(inner, field.name, getattr(value, field.name))
