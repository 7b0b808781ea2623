"""Tracking plans in the config file: written out, or as a folder with a JSON file for each rule."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import tomli_w

from punchcard.errors import ConfigurationError
from punchcard.tracking_plans.model import (
    Action,
    CallEnforcement,
    Enforcement,
    PlanType,
    RuleType,
    TrackingPlan,
    TrackingPlanRule,
)
from punchcard.tracking_plans.plan_documents import PlanFormatError, read_rules
from punchcard.workspace.tables import TableReader
from punchcard.workspace.tracking_plans import sort_rules
from punchcard.workspace.variables import escape_variables

_FOLDER_FILES_MAX: Final = 4_000
_FOLDER_BYTES_MAX: Final = 16 * 1024 * 1024


def read_tracking_plan(slug: str, table: TableReader, folder: Path) -> TrackingPlan:
    """Return a plan of the config file.

    Args:
        table: `[tracking_plans.SLUG]`.
        folder: Folder of the config file, from which the plan's own folder is found.
    """
    table.only("name", "description", "type", "sources", "folder", "rules")
    rules = [_rule(inner) for inner in table.tables("rules")]
    if table.has("folder"):
        rules += _folder_rules(table, folder / table.text("folder"))
    return TrackingPlan(
        slug=slug,
        name=table.text("name", default=slug),
        description=table.text("description", default=""),
        type=table.text("type", default=PlanType.LIVE.value),
        sources=table.texts("sources") if table.has("sources") else (),
        rules=sort_rules(rules),
    )


def read_enforcement(table: TableReader) -> Enforcement:
    """Return what is done with violations, as a source in the config file states it."""
    table.only("unplanned_events", "forward_violations_to", "track", "identify", "group")
    return Enforcement(
        unplanned_events=table.text("unplanned_events", default=Action.ALLOW.value),
        forward_violations_to=table.text("forward_violations_to", default=""),
        track=_call(table.table("track")),
        identify=_call(table.table("identify")),
        group=_call(table.table("group")),
    )


def read_plan_folders(document: Mapping[str, object], folder: Path) -> bytes:
    """Return the content of all files of all folders that plans name, to see whether anything has changed.

    Never raises: what cannot be read is reported when the plan is read.
    """
    plans = document.get("tracking_plans")
    content: list[bytes] = []
    for plan in plans.values() if isinstance(plans, Mapping) else ():
        named = plan.get("folder") if isinstance(plan, Mapping) else None
        if isinstance(named, str):
            try:
                content += (part for path in _files(folder / named) for part in (str(path).encode(), path.read_bytes()))
            except (OSError, ConfigurationError) as error:
                content.append(str(error).encode())
    return b"\0".join(content)


def export_tracking_plan(plan: TrackingPlan) -> str:
    """Return a plan as it is written in a config file."""
    head: dict[str, object] = {"name": escape_variables(plan.name)}
    if plan.description:
        head["description"] = escape_variables(plan.description)
    if plan.type != PlanType.LIVE:
        head["type"] = plan.type
    if plan.sources:
        head["sources"] = list(plan.sources)
    blocks = [f"[tracking_plans.{plan.slug}]\n{tomli_w.dumps(head)}"]
    for rule in plan.rules:
        values: dict[str, object] = {"type": rule.type}
        if rule.key:
            values["key"] = escape_variables(rule.key)
        if rule.version != 1:
            values["version"] = rule.version
        values["jsonSchema"] = escape_variables(msgspec.json.encode(rule.json_schema).decode())
        blocks.append(f"[[tracking_plans.{plan.slug}.rules]]\n{tomli_w.dumps(values)}")
    return "\n".join(blocks)


def export_enforcement(enforcement: Enforcement) -> dict[str, object]:
    """Return the values of an enforcement that differ from the defaults."""
    standard = to_plain_enforcement(Enforcement())
    values: dict[str, object] = {}
    for key, value in to_plain_enforcement(enforcement).items():
        if isinstance(value, dict):
            inner = {name: action for name, action in value.items() if action != Action.ALLOW}
            if inner:
                values[key] = inner
        elif value != standard[key]:
            values[key] = value
    return values


def to_plain_enforcement(enforcement: Enforcement) -> dict[str, object]:
    """Return an enforcement as data that JSON can express."""
    return msgspec.to_builtins(enforcement)  # type: ignore[no-any-return]


def _call(table: TableReader) -> CallEnforcement:
    table.only("unplanned", "violations", "common")
    return CallEnforcement(
        unplanned=table.text("unplanned", default=Action.ALLOW.value),
        violations=table.text("violations", default=Action.ALLOW.value),
        common=table.text("common", default=Action.ALLOW.value),
    )


def _rule(table: TableReader) -> TrackingPlanRule:
    table.only("type", "key", "version", "jsonSchema")
    return TrackingPlanRule(
        type=table.text("type", default=RuleType.TRACK.value),
        key=table.text("key", default=""),
        version=table.number("version", default=1),
        json_schema=table.json_object("jsonSchema", of="a schema"),
    )


def _folder_rules(table: TableReader, folder: Path) -> list[TrackingPlanRule]:
    rules: list[TrackingPlanRule] = []
    try:
        files = _files(folder)
    except (OSError, ConfigurationError) as error:
        table.note(("folder",), f"{folder} cannot be read: {error}.")
        return []
    for path in files:
        try:
            rules += read_rules(path.read_bytes(), name=path.stem)
        except (OSError, PlanFormatError) as error:
            table.note(("folder",), f"{path.name}: {error}")
    return rules


def _files(folder: Path) -> list[Path]:
    """Return the JSON files of a folder.

    Raises:
        OSError: It cannot be read.
        ConfigurationError: There are too many.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix == ".json" and path.is_file())
    if len(files) > _FOLDER_FILES_MAX or sum(path.stat().st_size for path in files) > _FOLDER_BYTES_MAX:
        raise ConfigurationError(f"it has more than {_FOLDER_FILES_MAX:,} files or 16 MB")
    return files
