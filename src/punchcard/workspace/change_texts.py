"""Changes of the configuration in words, one sentence for each value, with masked secrets."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import SettingField
from punchcard.tracking_plans.model import TrackingPlan
from punchcard.workspace.document import Catalog, ConfigurationPart, secret_keys
from punchcard.workspace.keyring import is_masked
from punchcard.workspace.model import (
    Computation,
    Destination,
    DestinationFilter,
    PropertyControls,
    Source,
    Transformation,
    Workspace,
)
from punchcard.workspace.part_names import name_parts
from punchcard.workspace.persistence import PartKey, parts_by_key
from punchcard.workspace.plan import Change, ChangeKind, ValueChange, plan
from punchcard.workspace.problems import KeyPath, render_path

_VALUE_CHARACTERS_MAX: Final = 200
_KINDS: Final = {
    "workspace": "Workspace",
    "source": "Source",
    "destination": "Destination",
    "audience": "Audience",
    "computed_trait": "Computed trait",
    "alert_channel": "Alert channel",
    "alert_rule": "Alert rule",
    "tracking_plan": "Tracking plan",
    "transformation": "Transformation",
}
_DONE: Final = {ChangeKind.ADD: "added", ChangeKind.CHANGE: "changed", ChangeKind.REMOVE: "removed"}
_FIELDS: Final = {
    "enabled": "Status",
    "write_keys": "Write keys",
    "day_borders": "Day borders",
    "webhook_allowed_networks": "Allowed networks of webhooks",
    "timezone": "Time zone",
    "point_cost": "Cost per point",
    "url": "URL",
    "when_removed": "When removed",
    "switched_off": "Switched off",
    "condition": "Conditions",
    "drop": "Drop matching events",
    "new_event_name": "New event name",
    "property_renames": "Renamed properties",
    "property_value_transformations": "Values",
    "fql_defined_properties": "Properties defined in FQL",
    "property_drops": "Removed properties",
    "allow_properties": "Kept properties",
    "enforcement": "Enforcement of the tracking plan",
    "unplanned_events": "unplanned events",
    "forward_violations_to": "violations are forwarded to",
    "unplanned": "unplanned properties",
    "violations": "violating values",
    "common": "values violating the rule of all events",
}
"""Names of values, where they are not the key itself with blanks; also of the keys below `enforcement`."""
_REFERENCES: Final[Mapping[KeyPath, str]] = {
    ("sources",): "source",
    ("source",): "source",
    ("destinations",): "destination",
    ("destination",): "destination",
    ("enforcement", "forward_violations_to"): "source",
}
"""Values that are slugs of other parts, by what kind these are."""
_CONTROLLED: Final = {"drop": "dropped", "mask": "masked", "hash": "hashed"}
_ALLOWED: Final = "allowed"


@dataclass(frozen=True, kw_only=True)
class PartChange:
    """The change of one part in words.

    Attributes:
        name: What people call it, such as `Loyalty`.
        sentences: What has changed, at least one.
    """

    kind: ChangeKind
    part: str
    slug: str
    name: str
    sentences: tuple[str, ...]

    @property
    def key(self) -> PartKey:
        """Kind and slug of the part."""
        return self.part, self.slug


def describe_changes(before: Workspace, after: Workspace, *, catalog: Catalog = CATALOG) -> Sequence[PartChange]:
    """Return what turns `before` into `after`, in words.

    A sentence is such as `Map entry “Checked In” of Loyalty: reward 12 → 15`.
    """
    old, new = parts_by_key(before), parts_by_key(after)
    names = name_parts({**old, **new}, catalog=catalog)
    described = []
    for change in plan(before, after, catalog=catalog):
        key = (change.part, change.slug)
        sentences = tuple(_sentences(change, names, old.get(key), new.get(key), catalog))
        described.append(
            PartChange(kind=change.kind, part=change.part, slug=change.slug, name=names[key], sentences=sentences)
        )
    return described


def _sentences(
    change: Change,
    names: Mapping[PartKey, str],
    before: ConfigurationPart | None,
    after: ConfigurationPart | None,
    catalog: Catalog,
) -> Iterator[str]:
    name = names[change.part, change.slug]
    if change.kind is not ChangeKind.CHANGE:
        part = before if after is None else after
        yield f"{_KINDS[change.part]} {name} {_DONE[change.kind]}" + _summary(part, names, catalog)
        return
    rest = [value for value in change.values if value.path[0] not in ("filters", "controls")]
    for value in rest:
        if isinstance(after, TrackingPlan) and value.path[0] == "rules":
            done = "added" if value.before is None else "removed" if value.after is None else "changed"
            yield f"Rule “{value.path[1]}” of tracking plan {name}: {done}"
            continue
        yield _value_sentence(_with_names(value, names), change.part, name, after, catalog)
    if isinstance(before, Source | Destination) and isinstance(after, Source | Destination):
        yield from _control_sentences(before.controls, after.controls, f"{change.part} {name}")
    if isinstance(before, Destination) and isinstance(after, Destination):
        yield from _filter_sentences(before, after, name)


def _summary(part: ConfigurationPart | None, names: Mapping[PartKey, str], catalog: Catalog) -> str:
    """Return what is worth knowing of a part that was added or removed, as the end of a sentence."""
    if isinstance(part, Destination):
        field = _map_field(part, catalog)
        event_map = part.settings.get(field.key) if field else None
        facts = [f"sources: {_listed('source', part.sources, names)}"]
        if isinstance(event_map, Mapping):
            facts.append(_counted(len(event_map), "map entry", "map entries"))
        if part.filters:
            facts.append(_counted(len(part.filters), "filter", "filters"))
        return f" ({'; '.join(facts)})"
    if isinstance(part, Computation):
        return f": {_text(part.definition)}"
    if isinstance(part, TrackingPlan):
        sources = f"sources: {_listed('source', part.sources, names)}"
        return f" ({_counted(len(part.rules), 'rule', 'rules')}; {sources})"
    if isinstance(part, Transformation):
        return f": {_text(part.condition)}"
    return ""


def _listed(kind: str, slugs: Sequence[str], names: Mapping[PartKey, str]) -> str:
    return ", ".join(names.get((kind, slug), slug) for slug in slugs) or "none"


def _counted(number: int, singular: str, plural: str) -> str:
    return f"{number} {singular if number == 1 else plural}"


def _with_names(value: ValueChange, names: Mapping[PartKey, str]) -> ValueChange:
    """Return the change with the names of sources and destinations that a part refers to by their slugs."""
    kind = _REFERENCES.get(value.path)
    if kind is None:
        return value

    def named(side: object) -> object:
        if isinstance(side, str):
            return names.get((kind, side), side)
        return [named(item) for item in side] if isinstance(side, list | tuple) else side

    return replace(value, before=named(value.before), after=named(value.after))


def _value_sentence(value: ValueChange, kind: str, name: str, part: ConfigurationPart | None, catalog: Catalog) -> str:
    owner = "the workspace" if kind == "workspace" else name
    prefix = "" if kind in ("workspace", "destination") else f"{_KINDS[kind].lower()} "
    label, unit = _label(value.path, part, catalog)
    return f"{label} of {prefix}{owner}: {_change_text(value, unit, is_secret=_is_secret(value, part, catalog))}"


def _label(path: KeyPath, part: ConfigurationPart | None, catalog: Catalog) -> tuple[str, str]:
    """Return the name of a value, and what precedes it, such as `reward `."""
    section, keys = str(path[0]), path[1:]
    if isinstance(part, Destination) and section in ("settings", "options") and keys:
        field = _field(part, section, str(keys[0]), catalog)
        if field is not None and len(keys) > 1:
            entry = f"“{keys[1]}”"
            is_map = field.is_event_map
            return (f"Map entry {entry}", f"{field.value_label} ") if is_map else (f"{field.label} {entry}", "")
        return (str(keys[0]) if field is None else field.label), ""
    label = _FIELDS.get(section, section.replace("_", " ").capitalize())
    if section == "enforcement":
        return f"{label}, {' '.join(_FIELDS.get(str(key), str(key)) for key in keys)}", ""
    return (f"{label} {render_path(keys)}" if keys else label), ""


def _change_text(value: ValueChange, unit: str, *, is_secret: bool) -> str:
    before, after = _in_words(value.path, value.before), _in_words(value.path, value.after)
    if before in (True, False) and after in (True, False) and value.path == ("enabled",):
        return "enabled" if after else "disabled"
    if is_secret and before is not None and after is not None:
        shown = f"{_text(before)} → {_text(after)}"
        return f"changed ({shown})" if before != after else f"changed (both end with {_text(after)})"
    if before is None:
        return f"{unit}{_text(after)} added"
    if after is None:
        return f"{unit}{_text(before)} removed"
    return f"{unit}{_text(before)} → {_text(after)}"


def _in_words(path: KeyPath, value: object) -> object:
    """Return a value with internal names as people know it."""
    if isinstance(value, list | tuple) and path[0] == "property_renames":
        return [f"{rename['old_name']} → {rename['new_name']}" for rename in value]
    if isinstance(value, list | tuple) and path[0] == "property_value_transformations":
        return [f"{name} = {_text(item['property_value'])}" for item in value for name in item["property_paths"]]
    if isinstance(value, list | tuple) and path[0] == "fql_defined_properties":
        return [f"{item['property_name']} = {item['fql']}" for item in value]
    if isinstance(value, str) and path[0] == "enforcement" and path[-1] != "forward_violations_to":
        return value.replace("_", " ").lower()
    return value


def _is_secret(value: ValueChange, part: ConfigurationPart | None, catalog: Catalog) -> bool:
    if isinstance(part, Destination):
        return (str(value.path[0]), str(value.path[-1])) in secret_keys(part, catalog=catalog)
    return any(isinstance(side, str) and is_masked(side) for side in (value.before, value.after))


def _control_sentences(before: PropertyControls, after: PropertyControls, owner: str) -> Iterator[str]:
    """Return what has changed of the controls of a source or destination."""
    old, new = _actions_by_path(before), _actions_by_path(after)
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path):
            yield f"Control of {path} at {owner}: {old.get(path, _ALLOWED)} → {new.get(path, _ALLOWED)}"


def _actions_by_path(controls: PropertyControls) -> dict[str, str]:
    return {path: done for kind, done in _CONTROLLED.items() for path in getattr(controls, kind)}


def _filter_sentences(before: Destination, after: Destination, name: str) -> Iterator[str]:
    """Return what has changed of a destination's filters, matched by their ids."""
    old = {_filter_key(item): item for item in before.filters}
    new = {_filter_key(item): item for item in after.filters}
    for key, item in old.items():
        if key not in new:
            yield f"Filter “{item.title}” of {name} removed: {_text(item.condition)}"
    for key, item in new.items():
        subject = f"Filter “{item.title}” of {name}"
        existing = old.get(key)
        if existing is None:
            yield f"{subject} added: {_text(item.condition)}, {_actions(item)}"
            continue
        if existing.title != item.title:
            yield f"{subject}: title {_text(existing.title)} → {_text(item.title)}"
        if existing.condition != item.condition:
            yield f"{subject}: condition {_text(existing.condition)} → {_text(item.condition)}"
        if existing.enabled != item.enabled:
            yield f"{subject}: {'enabled' if item.enabled else 'disabled'}"
        if existing.description != item.description:
            yield f"{subject}: description {_text(existing.description)} → {_text(item.description)}"
        if _actions(existing) != _actions(item):
            yield f"{subject}: {_actions(existing)} → {_actions(item)}"
    common = [key for key in old if key in new]
    if common != [key for key in new if key in old]:
        order = ", ".join(f"“{item.title}”" for item in after.filters)
        yield f"Order of the filters of {name}: {order}"


def _filter_key(item: DestinationFilter) -> str:
    return item.id or item.title


def _actions(item: DestinationFilter) -> str:
    return "actions " + _text(json.dumps([dict(action) for action in item.actions], ensure_ascii=False, default=str))


def _text(value: object) -> str:
    """Return a value as a sentence has it, cut if it is long."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, list | tuple):
        text = ", ".join(map(_text, value)) or "none"
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split()) or "(none)"
    return text if len(text) <= _VALUE_CHARACTERS_MAX else text[: _VALUE_CHARACTERS_MAX - 1] + "…"


def _map_field(part: Destination, catalog: Catalog) -> SettingField | None:
    partner = catalog.get(part.type)
    return None if partner is None else partner.definition.event_map


def _field(part: Destination, section: str, key: str, catalog: Catalog) -> SettingField | None:
    partner = catalog.get(part.type)
    if partner is None:
        return None
    fields = partner.definition.settings if section == "settings" else partner.definition.options
    return next((field for field in fields if field.key == key), None)
