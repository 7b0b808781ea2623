"""Reads a TOML config file into a workspace, reporting all problems at once."""

import codecs
from collections.abc import Mapping
from pathlib import Path

from punchcard.computations.keys import key_of
from punchcard.destinations.catalog import CATALOG
from punchcard.errors import ConfigurationError
from punchcard.profiles.rules import IdentityRules
from punchcard.workspace.document import Catalog
from punchcard.workspace.editing import suggest_slug
from punchcard.workspace.file_problems import FileProblems
from punchcard.workspace.model import (
    AlertChannel,
    AlertRule,
    Computation,
    Destination,
    DestinationFilter,
    FqlDefinedProperty,
    PropertyControls,
    PropertyRename,
    PropertyValue,
    SchemaSwitches,
    Source,
    Transformation,
    Workspace,
)
from punchcard.workspace.plan_files import read_enforcement, read_plan_folders, read_tracking_plan
from punchcard.workspace.problems import Problem
from punchcard.workspace.property_controls import CONTROL_KINDS
from punchcard.workspace.source_types import DEFAULT_SOURCE_TYPE
from punchcard.workspace.tables import TableReader
from punchcard.workspace.toml_text import TomlError, parse_toml
from punchcard.workspace.validate import find_problems

FILE_BYTES_MAX = 4 * 1024 * 1024


def read_file(path: Path, environment: Mapping[str, str], *, catalog: Catalog = CATALOG) -> Workspace:
    """Return the workspace that a config file describes. Masked secrets stay masked until it is applied.

    Args:
        path: UTF-8 TOML file with `[workspace]`, `[[sources]]`, `[[destinations]]` and more.
        environment: Values for `${ENV_NAME}` in texts.
        catalog: Partners by destination type.

    Raises:
        ConfigurationError: The file cannot be read or is not valid; one line per problem, each with file, line and
            key path.
    """
    return read_content(read_bytes(path), str(path), environment=environment, catalog=catalog)


def read_bytes(path: Path) -> bytes:
    """Return the content of a config file.

    Raises:
        ConfigurationError: The file cannot be read or is too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: The file cannot be read: {error.strerror or error}.") from error
    if len(content) > FILE_BYTES_MAX:
        raise ConfigurationError(f"{path}: The file is larger than {FILE_BYTES_MAX} bytes.")
    return content.removeprefix(codecs.BOM_UTF8)  # editors on Windows write it


def read_content(content: bytes, name: str, *, environment: Mapping[str, str], catalog: Catalog = CATALOG) -> Workspace:
    """Return the workspace that the content of a config file describes; `name` is the file's name in errors.

    Raises:
        ConfigurationError: As `read_file`.
    """
    try:
        text = content.decode()
        document = parse_toml(text)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name}: The file is not UTF-8 text: {error}.") from error
    except TomlError as error:
        raise ConfigurationError(f"{name}: The file is not valid TOML: {error}.") from error
    if not document:
        # A file that is being written may be empty for a moment; it must not remove the whole configuration.
        raise ConfigurationError(f"{name}: The file is empty.")
    problems: list[Problem] = []
    reader = TableReader((), document, environment=environment, problems=problems)
    workspace = _read(reader, Path(name).parent)
    semantic_problems = find_problems(workspace, catalog=catalog, allow_masks=True)
    file_problems = FileProblems(name, text, document, workspace)
    located_problems = file_problems.merge(problems, semantic_problems)
    if located_problems:
        lines = [file_problems.line(problem) for problem in located_problems]
        raise ConfigurationError("\n".join(dict.fromkeys(lines)), problems=tuple(located_problems))
    return workspace


def read_referenced(content: bytes, path: Path) -> bytes:
    """Return the content of all files that a config file refers to, to see whether anything has changed."""
    try:
        document = parse_toml(content.decode())
    except (UnicodeDecodeError, TomlError):
        return b""  # its errors are reported when it is read
    return read_plan_folders(document, path.parent)


def derived_keys(content: bytes, *, environment: Mapping[str, str]) -> frozenset[str]:
    """Return the keys of audiences and computed traits that are derived from their names.

    Args:
        content: Content of a valid config file.
    """
    document = TableReader((), parse_toml(content.decode()), environment=environment, problems=[])
    tables = (table for kind in ("audiences", "computed_traits") for table in document.tables(kind))
    return frozenset(key_of(table.text("name")) for table in tables if not table.has("key"))


def _read(root: TableReader, folder: Path) -> Workspace:
    root.only(
        "workspace",
        "identity",
        "sources",
        "destinations",
        "audiences",
        "computed_traits",
        "transformations",
        "alert_channels",
        "alert_rules",
        "tracking_plans",
    )
    about = root.table("workspace")
    about.only("name", "timezone", "day_borders", "webhookAllowedNetworks", "pointCost", "currency")
    standard = Workspace()
    return Workspace(
        name=about.text("name", default=standard.name),
        timezone=about.text("timezone", default=standard.timezone),
        day_borders=about.text("day_borders", default=standard.day_borders),
        webhook_allowed_networks=(about.texts("webhookAllowedNetworks") if about.has("webhookAllowedNetworks") else ()),
        point_cost=about.text("pointCost", default=standard.point_cost),
        currency=about.text("currency", default=standard.currency),
        identity=_identity(root.table("identity")),
        sources=tuple(_source(table) for table in root.tables("sources")),
        destinations=tuple(_destination(table) for table in root.tables("destinations")),
        computations=tuple(
            _computation(table, kind)
            for kind, key in (("audience", "audiences"), ("computed_trait", "computed_traits"))
            for table in root.tables(key)
        ),
        transformations=tuple(
            _transformation(table, number) for number, table in enumerate(root.tables("transformations"), start=1)
        ),
        alert_channels=tuple(_alert_channel(table) for table in root.tables("alert_channels")),
        alert_rules=tuple(_alert_rule(table) for table in root.tables("alert_rules")),
        tracking_plans=tuple(
            read_tracking_plan(slug, plans.table(slug), folder)
            for plans in (root.table("tracking_plans"),)
            for slug in plans.names()
        ),
    )


def _identity(table: TableReader) -> IdentityRules:
    table.only("priority", "limits", "limit", "periods", "blocked", "properties")
    standard = IdentityRules()
    limits, periods, properties = table.table("limits"), table.table("periods"), table.table("properties")
    return IdentityRules(
        priority=table.texts("priority") if table.has("priority") else standard.priority,
        limits={**standard.limits, **{type_: limits.number(type_, default=1) for type_ in limits.names()}},
        limit=table.number("limit", default=standard.limit),
        periods={type_: periods.text(type_) for type_ in periods.names()},
        blocked=table.texts("blocked") if table.has("blocked") else standard.blocked,
        properties={type_: properties.text(type_) for type_ in properties.names()},
    )


def _source(table: TableReader) -> Source:
    table.only("slug", "name", "type", "write_key", "write_keys", "enabled", "enforcement", "switched_off", "controls")
    slug = table.text("slug")
    return Source(
        slug=slug,
        name=table.text("name", default=slug or "nameless"),
        write_keys=_one_or_many(table, "write_key", "write_keys"),
        type=table.text("type", default=DEFAULT_SOURCE_TYPE),
        enabled=table.flag("enabled", default=True),
        enforcement=read_enforcement(table.table("enforcement")),
        switched_off=_switched_off(table.table("switched_off")),
        controls=_controls(table.table("controls")),
    )


def _controls(table: TableReader) -> PropertyControls:
    table.only("drop", "mask", "hash")
    return PropertyControls(**{kind: table.texts(kind) for kind in CONTROL_KINDS if table.has(kind)})


def _switched_off(table: TableReader) -> SchemaSwitches:
    table.only("events", "calls", "properties", "traits")
    properties, traits = table.table("properties"), table.table("traits")
    return SchemaSwitches(
        events=table.texts("events") if table.has("events") else (),
        calls=table.texts("calls") if table.has("calls") else (),
        properties={name: properties.texts(name) for name in properties.names()},
        traits={name: traits.texts(name) for name in traits.names()},
    )


def _destination(table: TableReader) -> Destination:
    table.only(
        "slug", "type", "name", "source", "sources", "enabled", "consent", "settings", "options", "filters", "controls"
    )
    return Destination(
        slug=table.text("slug"),
        type=table.text("type"),
        name=table.text("name", default=""),
        sources=_one_or_many(table, "source", "sources"),
        enabled=table.flag("enabled", default=True),
        consent=table.texts("consent") if table.has("consent") else (),
        settings=table.table("settings").free(),
        options=table.table("options").free(),
        filters=tuple(_filter(inner) for inner in table.tables("filters")),
        controls=_controls(table.table("controls")),
    )


def _filter(table: TableReader) -> DestinationFilter:
    table.only("title", "if", "description", "enabled", "actions")
    return DestinationFilter(
        title=table.text("title"),
        condition=table.text("if"),
        description=table.text("description", default=""),
        enabled=table.flag("enabled", default=True),
        actions=tuple(action.free() for action in table.tables("actions")),
    )


def _computation(table: TableReader, kind: str) -> Computation:
    table.only(
        "name",
        "key",
        "definition",
        "description",
        "enabled",
        "destinations",
        "send",
        "sync",
        "include_anonymous",
        "include_history",
        "when_removed",
    )
    name = table.text("name")
    standard = Computation(kind=kind, key="", name="", definition="")
    return Computation(
        kind=kind,
        key=table.text("key", default=key_of(name)),
        name=name,
        definition=table.text("definition"),
        description=table.text("description", default=""),
        enabled=table.flag("enabled", default=True),
        destinations=table.texts("destinations") if table.has("destinations") else (),
        send=table.texts("send") if table.has("send") else standard.send,
        sync=table.text("sync", default=standard.sync),
        include_anonymous=table.flag("include_anonymous", default=False),
        include_history=table.flag("include_history", default=True),
        when_removed=table.text("when_removed", default=standard.when_removed),
    )


def _transformation(table: TableReader, number: int) -> Transformation:
    """Return the transformation that a table of a config file describes.

    Args:
        number: Its place in the file: transformations without `order` are applied in the order of the file.
    """
    table.only(
        "slug",
        "name",
        "source",
        "destination",
        "if",
        "enabled",
        "order",
        "drop",
        "newEventName",
        "propertyRenames",
        "propertyValueTransformations",
        "fqlDefinedProperties",
        "propertyDrops",
        "allowProperties",
    )
    name = table.text("name")
    return Transformation(
        slug=table.text("slug", default=suggest_slug(name)),
        name=name,
        source=table.text("source"),
        condition=table.text("if"),
        destination=table.text("destination", default=""),
        enabled=table.flag("enabled", default=True),
        order=table.number("order", default=number),
        drop=table.flag("drop", default=False),
        new_event_name=table.text("newEventName", default=""),
        property_renames=tuple(_property_rename(inner) for inner in table.tables("propertyRenames")),
        property_value_transformations=tuple(
            _property_value(inner) for inner in table.tables("propertyValueTransformations")
        ),
        fql_defined_properties=tuple(_fql_property(inner) for inner in table.tables("fqlDefinedProperties")),
        property_drops=table.texts("propertyDrops") if table.has("propertyDrops") else (),
        allow_properties=table.texts("allowProperties") if table.has("allowProperties") else (),
    )


def _property_rename(table: TableReader) -> PropertyRename:
    table.only("oldName", "newName")
    return PropertyRename(old_name=table.text("oldName"), new_name=table.text("newName"))


def _fql_property(table: TableReader) -> FqlDefinedProperty:
    table.only("propertyName", "fql")
    return FqlDefinedProperty(property_name=table.text("propertyName"), fql=table.text("fql"))


def _property_value(table: TableReader) -> PropertyValue:
    table.only("propertyPaths", "propertyValue")
    value = table.free().get("propertyValue")
    if not isinstance(value, str | int | float | bool):
        table.note(("propertyValue",), "Must be text, a number, true or false.")
        value = ""
    return PropertyValue(property_paths=table.texts("propertyPaths"), property_value=value)


def _alert_channel(table: TableReader) -> AlertChannel:
    table.only("name", "url", "severity", "quiet_hours", "secret", "enabled")
    name = table.text("name")
    return AlertChannel(
        slug=suggest_slug(name),
        name=name,
        url=table.text("url"),
        severity=table.text("severity", default=AlertChannel.severity),
        quiet_hours=table.text("quiet_hours", default=""),
        secret=table.text("secret", default=""),
        enabled=table.flag("enabled", default=True),
    )


def _alert_rule(table: TableReader) -> AlertRule:
    table.only("rule", "enabled", "severity", "threshold")
    return AlertRule(
        rule=table.text("rule"),
        enabled=table.flag("enabled", default=True),
        severity=table.text("severity", default=""),
        threshold=table.decimal("threshold") if table.has("threshold") else None,
    )


def _one_or_many(table: TableReader, single_key: str, list_key: str) -> tuple[str, ...]:
    if table.has(single_key) and table.has(list_key):
        table.note((list_key,), f'Set either "{single_key}" or "{list_key}", not both.')
        return ()
    if table.has(list_key):
        return table.texts(list_key)
    if table.has(single_key):
        return (table.text(single_key),)
    table.note((list_key,), f'Is missing. Set "{single_key}" or "{list_key}".')
    return ()
