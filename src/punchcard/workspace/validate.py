"""Validation of a configuration, the same for file, App and API."""

import re
import zoneinfo
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.network import read_networks
from punchcard.errors import ConfigurationError
from punchcard.filters.actions import ActionError, read_actions
from punchcard.filters.argument_checks import find_argument_problems
from punchcard.filters.destination_filters import (
    FILTERS_MAX,
    TITLE_CHARACTERS_MAX,
    FilterDefinition,
    check_filter,
)
from punchcard.filters.fql_lexer import ConditionError
from punchcard.filters.parser import parse
from punchcard.workspace.alert_settings import channel_problems, rule_problems
from punchcard.workspace.blank import is_blank
from punchcard.workspace.computations import OWN_SOURCES, computation_problems
from punchcard.workspace.control_characters import control_character_problems
from punchcard.workspace.document import Catalog, find_load_problem, secret_keys
from punchcard.workspace.identity_settings import identity_problems
from punchcard.workspace.keyring import is_masked
from punchcard.workspace.model import Destination, DestinationFilter, Label, Source, Workspace
from punchcard.workspace.point_costs import point_cost_problems
from punchcard.workspace.problems import KeyPath, Problem, raise_problems
from punchcard.workspace.property_controls import control_problems
from punchcard.workspace.source_types import SOURCE_TYPES
from punchcard.workspace.tracking_plans import enforcement_problems, tracking_plan_problems
from punchcard.workspace.transformation_settings import switch_problems, transformation_problems

DAY_BORDERS = ("timezone", "utc")
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_NAME_CHARACTERS_MAX = 200
_LABELS_MAX = 100
_LABEL_CHARACTERS_MAX = 100
# Write keys are sent as user name of HTTP Basic, which a colon would end.
_WRITE_KEY = re.compile(r"[!-9;-~]{1,128}")


def validate(workspace: Workspace, *, catalog: Catalog = CATALOG) -> None:
    """Refuse a workspace that must not be saved.

    Raises:
        ConfigurationError: The workspace is invalid; one line per problem.
    """
    raise_problems(list(find_problems(workspace, catalog=catalog)))


def find_problems(workspace: Workspace, *, catalog: Catalog = CATALOG, allow_masks: bool = False) -> Iterator[Problem]:
    """Yield the problems of the workspace.

    Args:
        allow_masks: True if a mask may stand for the stored secret, which is not known here.
    """
    reported: set[KeyPath] = set()
    for problem in _problems_of_parts(workspace, catalog, allow_masks=allow_masks):
        reported.add(problem.path)
        yield problem
    yield from (problem for problem in control_character_problems(workspace) if problem.path not in reported)


def _problems_of_parts(workspace: Workspace, catalog: Catalog, *, allow_masks: bool) -> Iterator[Problem]:
    yield from _name_problems(("workspace", "name"), workspace.name)
    yield from _timezone_problems(workspace.timezone)
    if workspace.day_borders not in DAY_BORDERS:
        expected = " or ".join(f'"{known}"' for known in DAY_BORDERS)
        message = f'"{workspace.day_borders}" is not known. Use {expected}.'
        yield Problem(path=("workspace", "day_borders"), message=message)
    yield from _network_problems(workspace.webhook_allowed_networks)
    yield from point_cost_problems(workspace.point_cost, workspace.currency)
    yield from identity_problems(workspace.identity)
    yield from _label_problems(("workspace",), workspace.labels)
    yield from _source_problems(workspace)
    yield from _destination_problems(workspace, catalog, allow_masks=allow_masks)
    yield from computation_problems(workspace)
    yield from transformation_problems(workspace)
    yield from channel_problems(workspace.alert_channels, allow_masks=allow_masks)
    yield from rule_problems(workspace.alert_rules)
    plan_slugs = [plan.slug for plan in workspace.tracking_plans]
    plan_paths = entry_paths("tracking_plans", plan_slugs)
    for path, plan in zip(plan_paths, workspace.tracking_plans, strict=True):
        yield from _slug_problems(path, plan.slug, plan_slugs)
        yield from _name_problems((*path, "name"), plan.name)
    yield from tracking_plan_problems(workspace, paths=plan_paths)


def _source_problems(workspace: Workspace) -> Iterator[Problem]:
    slugs = [source.slug for source in workspace.sources]
    write_key_uses = Counter(key for source in workspace.sources for key in set(source.write_keys))
    for path, source in zip(entry_paths("sources", slugs), workspace.sources, strict=True):
        yield from _slug_problems(path, source.slug, slugs)
        yield from _name_problems((*path, "name"), source.name)
        yield from _write_key_problems(path, source, write_key_uses)
        yield from _label_problems(path, source.labels)
        if source.type not in SOURCE_TYPES:
            known = ", ".join(sorted(SOURCE_TYPES))
            yield Problem(path=(*path, "type"), message=f'There is no source of type "{source.type}". Types: {known}.')
        yield from enforcement_problems(path, source, sources=set(slugs))
        yield from switch_problems((*path, "switched_off"), source.switched_off)
        yield from control_problems((*path, "controls"), source.controls)


def _destination_problems(workspace: Workspace, catalog: Catalog, *, allow_masks: bool) -> Iterator[Problem]:
    known_sources = {source.slug for source in workspace.sources}
    slugs = [destination.slug for destination in workspace.destinations]
    for path, destination in zip(entry_paths("destinations", slugs), workspace.destinations, strict=True):
        yield from _slug_problems(path, destination.slug, slugs)
        if destination.name:
            yield from _name_problems((*path, "name"), destination.name)
        yield from _connection_problems(path, destination, known_sources)
        yield from _consent_problems(path, destination.consent)
        masked = _masked_paths(path, destination, catalog) if allow_masks else frozenset()
        yield from (
            settings_problem
            for settings_problem in _settings_problems(path, destination, catalog)
            if settings_problem.path not in masked
        )
        yield from _filter_problems(path, destination.filters)
        yield from control_problems((*path, "controls"), destination.controls)


def entry_paths(kind: str, slugs: Sequence[object]) -> list[KeyPath]:
    """Return the paths of a list's entries: by slug if it is unique, else by index."""
    return [
        (kind, slug) if isinstance(slug, str) and slug and slugs.count(slug) == 1 else (kind, index)
        for index, slug in enumerate(slugs)
    ]


def _name_problems(path: KeyPath, name: str) -> Iterator[Problem]:
    if is_blank(name):
        yield Problem(path=path, message="Must not be empty.")
    elif len(name) > _NAME_CHARACTERS_MAX:
        yield Problem(path=path, message=f"Has {len(name)} characters. At most {_NAME_CHARACTERS_MAX} are allowed.")


def _timezone_problems(timezone: str) -> Iterator[Problem]:
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        yield Problem(
            path=("workspace", "timezone"),
            message=f'"{timezone}" is not a time zone. Use an IANA name such as "America/Los_Angeles".',
        )


def _network_problems(networks: Sequence[str]) -> Iterator[Problem]:
    for index, text in enumerate(networks):
        try:
            read_networks([text])
        except ValueError as error:
            yield Problem(
                path=("workspace", "webhookAllowedNetworks", index),
                message=f"Is not a network such as 10.0.0.0/8: {error}.",
            )


def _slug_problems(path: KeyPath, slug: str, slugs: Sequence[str]) -> Iterator[Problem]:
    if not SLUG.fullmatch(slug):
        yield Problem(
            path=(*path, "slug"),
            message=f'"{slug}" is not a slug. Use at most 64 lower-case letters, digits and hyphens, no hyphen first.',
        )
    elif slugs.count(slug) > 1:
        yield Problem(path=(*path, "slug"), message=f'"{slug}" is used more than once.')
    elif path[0] == "sources" and slug.startswith(OWN_SOURCES):
        message = f'Slugs that begin with "{OWN_SOURCES}" are reserved for audiences and computed traits.'
        yield Problem(path=(*path, "slug"), message=message)


def _write_key_problems(path: KeyPath, source: Source, uses: Counter[str]) -> Iterator[Problem]:
    path = (*path, "write_keys")
    if not source.write_keys:
        yield Problem(path=path, message="Add at least one write key.")
    for key, count in Counter(source.write_keys).items():
        if is_masked(key):
            continue  # it is the mask of a stored write key, which is put in its place when the file is applied
        if not _WRITE_KEY.fullmatch(key):
            yield Problem(
                path=path, message="A write key has 1 to 128 printable ASCII characters without spaces and colons."
            )
        elif uses[key] > 1:
            yield Problem(path=path, message=f'"{key}" is also the write key of another source.')
        elif count > 1:
            yield Problem(path=path, message=f'"{key}" is listed twice.')


def _label_problems(path: KeyPath, labels: Sequence[Label]) -> Iterator[Problem]:
    if len(labels) > _LABELS_MAX:
        yield Problem(path=(*path, "labels"), message=f"Has {len(labels)} labels. At most {_LABELS_MAX} are allowed.")
    for index, label in enumerate(labels):
        yield from label_problems((*path, "labels", index), label)


def label_problems(path: KeyPath, label: Label) -> Iterator[Problem]:
    """Yield the problems of a label.

    Args:
        path: Of the label.
    """
    for name, text in (("key", label.key), ("value", label.value)):
        if is_blank(text) or len(text) > _LABEL_CHARACTERS_MAX or "/" in text or not text.isprintable():
            message = f"Must have 1 to {_LABEL_CHARACTERS_MAX} printable characters and no slash."
            yield Problem(path=(*path, name), message=message)
    if len(label.description) > _NAME_CHARACTERS_MAX:
        message = f"Has {len(label.description)} characters. At most {_NAME_CHARACTERS_MAX} are allowed."
        yield Problem(path=(*path, "description"), message=message)


def _connection_problems(path: KeyPath, destination: Destination, sources: set[str]) -> Iterator[Problem]:
    for source, count in Counter(destination.sources).items():
        if source not in sources:
            listed = ", ".join(sorted(sources)) or "none"
            yield Problem(path=(*path, "sources"), message=f'There is no source "{source}". Sources: {listed}.')
        elif count > 1:
            yield Problem(path=(*path, "sources"), message=f'Source "{source}" is listed twice.')


def _consent_problems(path: KeyPath, consent: Sequence[str]) -> Iterator[Problem]:
    for category, count in Counter(consent).items():
        if is_blank(category) or len(category) > _NAME_CHARACTERS_MAX:
            message = f"A consent category has 1 to {_NAME_CHARACTERS_MAX} characters."
            yield Problem(path=(*path, "consent"), message=message)
        elif count > 1:
            yield Problem(path=(*path, "consent"), message=f'"{category}" is listed twice.')


def _settings_problems(path: KeyPath, destination: Destination, catalog: Catalog) -> Iterator[Problem]:
    partner = catalog.get(destination.type)
    if partner is None:
        if (problem := find_load_problem(catalog, destination.type)) is not None:
            message = f'The package of "{destination.type}" could not be loaded ({problem}).'
            yield Problem(path=(*path, "type"), message=message)
            return
        known = ", ".join(sorted(catalog)) or "none"
        yield Problem(
            path=(*path, "type"), message=f'There is no destination of type "{destination.type}". Types: {known}.'
        )
        return
    try:
        partner.read_settings(destination.settings, destination.options)
    except ConfigurationError as error:
        yield from partner_problems(path, error)
    except Exception as error:  # noqa: BLE001  # stored settings may have any shape, and a partner's code may not expect it
        yield Problem(path=path, message=f"These settings cannot be read: {type(error).__name__}: {error}.")


def _masked_paths(path: KeyPath, destination: Destination, catalog: Catalog) -> frozenset[KeyPath]:
    sections = {"settings": destination.settings, "options": destination.options}
    masked: set[KeyPath] = set()
    for section, key in secret_keys(destination, catalog=catalog):
        value = sections[section].get(key)
        items = value.items() if isinstance(value, Mapping) else [(None, value)]
        for name, item in items:
            if isinstance(item, str) and is_masked(item):
                masked.add((*path, section, key) if name is None else (*path, section, key, str(name)))
    return frozenset(masked)


def partner_problems(path: KeyPath, error: ConfigurationError) -> Iterator[Problem]:
    """Yield the problems of settings that a partner has refused.

    A partner reports one problem per line, with a key path that begins with `settings` or `options`.

    Args:
        path: Of the destination.
    """
    for line in error.message.splitlines():
        key_path, colon, message = line.partition(": ")
        section, _, key = key_path.partition(".")
        if colon and section in ("settings", "options") and key:
            yield Problem(path=(*path, section, *key.split(".", 1)), message=message)
        else:
            yield Problem(path=path, message=line)


def _filter_problems(path: KeyPath, filters: Sequence[DestinationFilter]) -> Iterator[Problem]:
    path = (*path, "filters")
    if len(filters) > FILTERS_MAX:
        yield Problem(path=path, message=f"Has {len(filters)} filters. At most {FILTERS_MAX} are allowed.")
    for index, destination_filter in enumerate(filters):
        yield from _single_filter_problems((*path, index), destination_filter)


def _single_filter_problems(path: KeyPath, destination_filter: DestinationFilter) -> Iterable[Problem]:
    if destination_filter.title and is_blank(destination_filter.title):
        yield Problem(path=(*path, "title"), message="Has no character that can be read.")
    elif not 1 <= len(destination_filter.title) <= TITLE_CHARACTERS_MAX:
        yield Problem(
            path=(*path, "title"),
            message=f"Must have 1 to {TITLE_CHARACTERS_MAX} characters, has {len(destination_filter.title)}.",
        )
    # Disabled filters are validated too, so that enabling one cannot fail.
    problems: list[Problem] = []
    try:
        condition = parse(destination_filter.condition)
    except ConditionError as error:
        problems.append(Problem(path=(*path, "if"), message=error.message))
    else:
        argument_problems = find_argument_problems(condition)
        problems += [Problem(path=(*path, "if"), message=message) for message in argument_problems]
    try:
        read_actions(destination_filter.actions)
    except ActionError as error:
        problems.append(Problem(path=(*path, "actions", *error.path), message=error.message))
    if not problems:
        # Compile the filter as routing does: a valid filter that does not compile would stop its destination.
        try:
            check_filter(
                FilterDefinition(
                    title=destination_filter.title,
                    condition=destination_filter.condition,
                    actions=destination_filter.actions,
                )
            )
        except ConfigurationError as error:
            problems.append(Problem(path=(*path, "if"), message=error.message))
    yield from problems
