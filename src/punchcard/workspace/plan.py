"""The difference between two workspaces, by part and key, with masked secrets."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from punchcard.destinations.catalog import CATALOG
from punchcard.tracking_plans.model import Action, TrackingPlan, rule_name
from punchcard.workspace.alert_settings import mask_channel
from punchcard.workspace.document import Catalog, mask_secrets, mask_source, to_plain
from punchcard.workspace.model import Workspace
from punchcard.workspace.problems import KeyPath, render_path

_ABSENT = "(none)"
_GENERATED_FIELDS = ("id", "source", "created_at", "updated_at")  # of a filter


class ChangeKind(StrEnum):
    """Kinds of changes of a part."""

    ADD = "add"
    CHANGE = "change"  # some of its values differ
    REMOVE = "remove"


@dataclass(frozen=True, kw_only=True)
class ValueChange:
    """A value before and after the change, with masked secrets; None if it is absent.

    A changed secret may have the same mask on both sides.
    """

    path: KeyPath
    before: object
    after: object


@dataclass(frozen=True, kw_only=True)
class Change:
    """Change of one part of the workspace.

    Attributes:
        part: `workspace`, `source`, `destination`, `audience`, `computed_trait`, `transformation`, `alert_channel`,
            `alert_rule` or `tracking_plan`.
        slug: Slug or key of the part; empty for the workspace's own fields.
        values: Values that differ, in order of their paths.
    """

    kind: ChangeKind
    part: str
    slug: str
    values: tuple[ValueChange, ...]


def plan(current: Workspace, desired: Workspace, *, catalog: Catalog = CATALOG) -> list[Change]:
    """Return the changes that turn `current` into `desired`. The order of parts is ignored."""
    before, after = _sides(current, catalog), _sides(desired, catalog)
    changes = (_change(key, before.get(key), after.get(key)) for key in sorted(before.keys() | after.keys()))
    return [change for change in changes if change is not None]


def render(changes: Sequence[Change]) -> str:
    """Return the changes as text, with one value per line and counts at the end."""
    if not changes:
        return "No changes"
    lines: list[str] = []
    for change in changes:
        sign = {ChangeKind.ADD: "+", ChangeKind.CHANGE: "~", ChangeKind.REMOVE: "-"}[change.kind]
        lines.append(f"{sign} {change.part} {change.slug}".rstrip())
        lines += [f"    {render_path(value.path)}: {_render_value(value, change.kind)}" for value in change.values]
    counts = [sum(change.kind is kind for change in changes) for kind in ChangeKind]
    lines.append("{} to add, {} to change, {} to remove".format(*counts))
    return "\n".join(lines)


@dataclass(frozen=True)
class _Side:
    values: Mapping[KeyPath, object]
    shown: Mapping[KeyPath, object]  # the same with secrets masked


_EMPTY = _Side({}, {})
_WORKSPACE_FIELDS = ("name", "timezone", "day_borders", "webhook_allowed_networks", "point_cost", "currency")
_PART_KINDS = (
    "workspace",
    "source",
    "destination",
    "audience",
    "computed_trait",
    "alert_channel",
    "alert_rule",
    "tracking_plan",
    "transformation",
)


def _sides(workspace: Workspace, catalog: Catalog) -> Mapping[tuple[int, str], _Side]:
    workspace_fields: dict[KeyPath, object] = {(key,): getattr(workspace, key) for key in _WORKSPACE_FIELDS}
    workspace_fields.update(_leaves(("identity",), vars(workspace.identity)))
    if workspace.labels:
        workspace_fields["labels",] = [asdict(label) for label in workspace.labels]
    sides = {(0, ""): _Side(workspace_fields, workspace_fields)}
    for source in workspace.sources:
        values = dict(_values(to_plain(source)))
        sides[1, source.slug] = _Side(values, dict(_values(to_plain(mask_source(source)))))
    for destination in workspace.destinations:
        masked = mask_secrets(destination, catalog=catalog)
        sides[2, destination.slug] = _Side(dict(_values(to_plain(destination))), dict(_values(to_plain(masked))))
    for computation in workspace.computations:
        values = dict(_values(to_plain(computation)))
        sides[_PART_KINDS.index(computation.kind), computation.key] = _Side(values, values)
    for transformation in workspace.transformations:
        values = dict(_values(to_plain(transformation)))
        sides[_PART_KINDS.index("transformation"), transformation.slug] = _Side(values, values)
    for channel in workspace.alert_channels:
        values = dict(_values(to_plain(channel)))
        sides[5, channel.slug] = _Side(values, dict(_values(to_plain(mask_channel(channel)))))
    for rule in workspace.alert_rules:
        values = {path: value for path, value in _values(to_plain(rule)) if value is not None}
        sides[6, rule.rule] = _Side(values, values)
    for tracking_plan in workspace.tracking_plans:
        values = dict(_plan_values(tracking_plan))
        sides[_PART_KINDS.index("tracking_plan"), tracking_plan.slug] = _Side(values, values)
    return sides


def _plan_values(tracking_plan: TrackingPlan) -> Iterator[tuple[KeyPath, object]]:
    plain = to_plain(tracking_plan)
    plain.pop("created_at")
    plain.pop("rules")
    yield from _values(plain)
    for rule in tracking_plan.rules:
        yield ("rules", rule_name(rule)), rule.json_schema


def _values(values: Mapping[str, object]) -> Iterator[tuple[KeyPath, object]]:
    for key, value in values.items():
        if key not in ("slug", "is_managed", "kind", "key", "rule"):
            yield from _leaves((key,), value)


def _leaves(path: KeyPath, value: object) -> Iterator[tuple[KeyPath, object]]:
    if isinstance(value, Mapping) and (value or len(path) == 1):
        for key, item in value.items():
            yield from _leaves((*path, key), item)
    elif path[0] == "filters" and isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves((*path, index), item)
    elif (
        value == ""
        or (path[0] in ("labels", "switched_off", "controls") and not value)
        or (path[0] == "enforcement" and value == Action.ALLOW)
    ):
        return  # an empty value is the same as none
    elif path[0] == "filters" and path[-1] in _GENERATED_FIELDS:
        return
    else:
        yield path, value


def _change(key: tuple[int, str], before: _Side | None, after: _Side | None) -> Change | None:
    kind = ChangeKind.ADD if before is None else ChangeKind.REMOVE if after is None else ChangeKind.CHANGE
    old, new = before or _EMPTY, after or _EMPTY
    values = tuple(
        ValueChange(path=path, before=old.shown.get(path), after=new.shown.get(path))
        for path in dict.fromkeys([*old.values, *new.values])
        if old.values.get(path) != new.values.get(path)
    )
    changed_paths = {value.path for value in values}
    values = tuple(value for value in values if not _is_empty_map_beside_entries(value, changed_paths))
    if not values and kind is ChangeKind.CHANGE:
        return None
    return Change(kind=kind, part=_PART_KINDS[key[0]], slug=key[1], values=values)


def _is_empty_map_beside_entries(value: ValueChange, changed_paths: Collection[KeyPath]) -> bool:
    """Return whether a value is a map without entries, of which entries are added or removed in the same change."""
    depth = len(value.path)
    is_empty_map = any(isinstance(side, Mapping) for side in (value.before, value.after))
    return is_empty_map and any(path[:depth] == value.path for path in changed_paths if len(path) > depth)


def _render_value(value: ValueChange, kind: ChangeKind) -> str:
    before, after = _render_json(value.before), _render_json(value.after)
    if kind is ChangeKind.ADD:
        return after
    if kind is ChangeKind.REMOVE:
        return before
    return f"{before} → {after}" + (" (changed secret)" if before == after else "")


def _render_json(value: object) -> str:
    return _ABSENT if value is None else json.dumps(value, ensure_ascii=False)
