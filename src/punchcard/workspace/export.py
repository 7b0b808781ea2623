"""Exports the running configuration as a config file. Secrets are masked, and applying the file changes nothing."""

from collections.abc import Collection, Mapping

import msgspec
import tomli_w

from punchcard.destinations.catalog import CATALOG
from punchcard.profiles.rules import IdentityRules
from punchcard.tracking_plans.model import TrackingPlan
from punchcard.workspace.alert_settings import mask_channel
from punchcard.workspace.document import Catalog, ConfigurationPart, mask_secrets, mask_source, to_plain
from punchcard.workspace.model import (
    AlertChannel,
    AlertRule,
    Computation,
    Destination,
    DestinationFilter,
    PropertyControls,
    SchemaSwitches,
    Source,
    Transformation,
    Workspace,
)
from punchcard.workspace.plan_files import export_enforcement, export_tracking_plan
from punchcard.workspace.property_controls import control_values
from punchcard.workspace.source_types import DEFAULT_SOURCE_TYPE
from punchcard.workspace.variables import escape_variables

_HEADING = """\
# Written by `punchcard export`. Secrets are masked. `punchcard apply` keeps the stored secret for each mask; to change
# a secret, replace its mask by plain text or "${ENV_NAME}".
"""

_WRITE_KEYS_NOTE = """\
# Write keys are masked, too, and kept by `punchcard apply`. For another installation, include them with
# `punchcard export --write-keys`.
"""

_CAMEL = {
    "condition": "if",
    "new_event_name": "newEventName",
    "property_renames": "propertyRenames",
    "old_name": "oldName",
    "new_name": "newName",
    "property_value_transformations": "propertyValueTransformations",
    "fql_defined_properties": "fqlDefinedProperties",
    "property_name": "propertyName",
    "property_paths": "propertyPaths",
    "property_value": "propertyValue",
    "property_drops": "propertyDrops",
    "allow_properties": "allowProperties",
}
_APP_NOTE = "# Belongs to the App. If it stays in this file, the file manages it from then on.\n"


def export_part(part: ConfigurationPart, *, catalog: Catalog = CATALOG, includes_write_keys: bool = False) -> str:
    """Return one part as it is written in a config file, secrets masked.

    Args:
        includes_write_keys: False to mask write keys as well.
    """
    match part:
        case Workspace():
            return "\n".join(_workspace(part))
        case Source():
            shown = part if includes_write_keys else mask_source(part)
            return _source_block(shown)
        case Destination():
            return "\n".join(_destination(mask_secrets(part, catalog=catalog)))
        case Computation():
            return _computation(part)
        case Transformation():
            return _transformation(part)
        case AlertChannel():
            return _alert_channel(mask_channel(part))
        case TrackingPlan():
            return export_tracking_plan(part)
        case _:
            return _alert_rule(part)


def export(
    workspace: Workspace,
    *,
    managed: Collection[tuple[str, str]] = (),
    catalog: Catalog = CATALOG,
    includes_write_keys: bool = False,
) -> str:
    """Return the workspace as the text of a config file.

    Args:
        managed: Kind and slug of the parts that the config file manages.
        includes_write_keys: False to mask write keys as well.
    """
    heading = _HEADING if includes_write_keys else _HEADING + _WRITE_KEYS_NOTE
    blocks = [heading, *_workspace(workspace)]
    for source in workspace.sources:
        if not source.is_managed:
            text = export_part(source, catalog=catalog, includes_write_keys=includes_write_keys)
            blocks.append(_note("source", source.slug, managed) + text)
    for destination in workspace.destinations:
        if destination.is_managed:
            blocks.append(f"# Managed by the partner endpoint, not part of this file: {destination.slug}\n")
        else:
            blocks.append(_note("destination", destination.slug, managed) + export_part(destination, catalog=catalog))
    for computation in workspace.computations:
        blocks.append(_note(computation.kind, computation.key, managed) + export_part(computation, catalog=catalog))
    for transformation in workspace.transformations:
        blocks.append(
            _note("transformation", transformation.slug, managed) + export_part(transformation, catalog=catalog)
        )
    for channel in workspace.alert_channels:
        blocks.append(_note("alert_channel", channel.slug, managed) + export_part(channel, catalog=catalog))
    for rule in workspace.alert_rules:
        blocks.append(_note("alert_rule", rule.rule, managed) + export_part(rule, catalog=catalog))
    for plan in workspace.tracking_plans:
        blocks.append(_note("tracking_plan", plan.slug, managed) + export_part(plan, catalog=catalog))
    return "\n".join(blocks)


def _note(kind: str, slug: str, managed: Collection[tuple[str, str]]) -> str:
    """Return a comment on a part that belongs to the App, if the file manages others."""
    return _APP_NOTE if managed and (kind, slug) not in managed else ""


def _workspace(workspace: Workspace) -> list[str]:
    settings: dict[str, object] = {"name": workspace.name, "timezone": workspace.timezone}
    if workspace.day_borders != Workspace.day_borders:
        settings["day_borders"] = workspace.day_borders
    if workspace.webhook_allowed_networks:
        settings["webhookAllowedNetworks"] = list(workspace.webhook_allowed_networks)
    if workspace.point_cost:
        settings["pointCost"] = workspace.point_cost
    if workspace.currency != Workspace.currency:
        settings["currency"] = workspace.currency
    return [tomli_w.dumps({"workspace": _literal(settings)}), *_identity(workspace.identity)]


def _identity(rules: IdentityRules) -> list[str]:
    standard = vars(IdentityRules())
    values = {key: value for key, value in vars(rules).items() if value != standard[key]}
    return [tomli_w.dumps({"identity": _literal(values)})] if values else []


def _source_block(source: Source) -> str:
    # Inline tables come first: after the header of a table, they would belong to that table.
    inline = _switched_off(source.switched_off) + _controls(source.controls)
    block = "[[sources]]\n" + tomli_w.dumps(_source(source)) + inline
    enforcement = export_enforcement(source.enforcement)
    return f"{block}\n{tomli_w.dumps({'sources': {'enforcement': enforcement}})}" if enforcement else block


def _source(source: Source) -> dict[str, object]:
    keys: dict[str, object] = (
        {"write_key": source.write_keys[0]} if len(source.write_keys) == 1 else {"write_keys": list(source.write_keys)}
    )
    type_ = {} if source.type == DEFAULT_SOURCE_TYPE else {"type": source.type}
    return _literal({"slug": source.slug, "name": source.name, **type_, **keys, "enabled": source.enabled})


def _controls(controls: PropertyControls) -> str:
    values = control_values(controls)
    return f"controls = {_inline(_literal_value(values))}\n" if values else ""


def _switched_off(switches: SchemaSwitches) -> str:
    values = {key: value for key, value in msgspec.to_builtins(switches).items() if value}
    return f"switched_off = {_inline(_literal_value(values))}\n" if values else ""


def _destination(destination: Destination) -> list[str]:
    sources: dict[str, object] = (
        {"source": destination.sources[0]} if len(destination.sources) == 1 else {"sources": list(destination.sources)}
    )
    name = {"name": destination.name} if destination.name else {}
    head = {"slug": destination.slug, "type": destination.type, **name, **sources, "enabled": destination.enabled}
    if destination.consent:
        head["consent"] = list(destination.consent)
    blocks = ["[[destinations]]\n" + tomli_w.dumps(_literal(head)) + _controls(destination.controls)]
    for section, values in (("settings", destination.settings), ("options", destination.options)):
        if values:
            blocks.append(tomli_w.dumps({"destinations": {section: _literal(values)}}))
    blocks += [_filter(destination_filter) for destination_filter in destination.filters]
    return blocks


def _computation(computation: Computation) -> str:
    standard = to_plain(Computation(kind=computation.kind, key="", name="", definition=""))
    values = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in to_plain(computation).items()
        if key != "kind" and (value != standard[key] or key in ("key", "name", "definition"))
    }
    return f"[[{computation.kind}s]]\n" + tomli_w.dumps(_literal(values))


def _transformation(transformation: Transformation) -> str:
    standard = to_plain(Transformation(slug="", name="", source="", condition=""))
    values = {
        _CAMEL.get(key, key): value
        for key, value in to_plain(transformation).items()
        if value != standard[key] or key == "condition"
    }
    keys = ("propertyRenames", "propertyValueTransformations", "fqlDefinedProperties")
    tables = {key: values.pop(key) for key in keys if key in values}
    lines = [f"{key} = {_inline(_camel_keys(_literal_value(value)))}\n" for key, value in tables.items()]
    return "[[transformations]]\n" + tomli_w.dumps(_literal(values)) + "".join(lines)


def _camel_keys(value: object) -> object:
    if isinstance(value, Mapping):
        return {_CAMEL.get(key, key): _camel_keys(item) for key, item in value.items()}
    return [_camel_keys(item) for item in value] if isinstance(value, list) else value


def _alert_channel(channel: AlertChannel) -> str:
    standard = to_plain(AlertChannel(slug="", name="", url=""))
    values = {
        key: value
        for key, value in to_plain(channel).items()
        if key != "slug" and (value != standard[key] or key in ("name", "url", "severity"))
    }
    return "[[alert_channels]]\n" + tomli_w.dumps(_literal(values))


def _alert_rule(rule: AlertRule) -> str:
    values = {key: value for key, value in to_plain(rule).items() if value not in (None, "")}
    return "[[alert_rules]]\n" + tomli_w.dumps(_literal(values))


def _filter(destination_filter: DestinationFilter) -> str:
    description = {"description": destination_filter.description} if destination_filter.description else {}
    head = _literal(
        {
            "title": destination_filter.title,
            "if": destination_filter.condition,
            **description,
            "enabled": destination_filter.enabled,
        }
    )
    actions = _inline(_literal_value(list(destination_filter.actions)))
    return f"[[destinations.filters]]\n{tomli_w.dumps(head)}actions = {actions}\n"


def _inline(value: object) -> str:
    # Actions are written inline: tomli-w would write long ones as separate tables at the root.
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").removesuffix("\n")


def _key(key: str) -> str:
    return tomli_w.dumps({key: 0}).removesuffix(" = 0\n")


def _literal(values: Mapping[str, object]) -> dict[str, object]:
    # TOML has no null. The Public API takes it, for a key to remove.
    return {key: _literal_value(value) for key, value in values.items() if value is not None}


def _literal_value(value: object) -> object:
    if isinstance(value, str):
        return escape_variables(value)
    if isinstance(value, Mapping):
        return _literal(value)
    if isinstance(value, list | tuple):
        return [_literal_value(item) for item in value if item is not None]
    return value
