"""Restoring a version of the configuration, whole or one part of it, as an edit of the running one."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from punchcard.destinations.catalog import CATALOG
from punchcard.errors import ConfigurationError
from punchcard.workspace.document import Catalog, ConfigurationPart, secret_keys
from punchcard.workspace.editing import Edit, NotFoundError
from punchcard.workspace.model import AlertChannel, Destination, Source, Workspace
from punchcard.workspace.part_names import describe_part, name_parts
from punchcard.workspace.persistence import PartKey, parts_by_key, with_parts

CountQueued = Callable[[str], int]
"""Returns how many transactions of a destination are queued or parked."""


@dataclass(frozen=True, kw_only=True)
class Restore:
    """What to restore.

    Attributes:
        number: Number of the version.
        part: Kind and slug of the part to restore, None for the whole configuration.
        with_secrets: True to restore API keys, write keys and URLs of alert channels too. Otherwise the current ones
            stay, because those of the past may have been replaced for a reason.
        leave: Parts that stay as they are, such as those that the config file manages.
    """

    number: int
    part: PartKey | None = None
    with_secrets: bool = False
    leave: frozenset[PartKey] = frozenset()


def restore_edit(past: Workspace, restore: Restore, *, count_queued: CountQueued, catalog: Catalog = CATALOG) -> Edit:
    """Return the edit that restores a version.

    What the partner endpoint manages stays as it is: it is as its callers have sent it.

    Args:
        past: The configuration at the version.

    Raises:
        NotFoundError: (the edit) The part did not exist at the version.
        ConfigurationError: (the edit) It would remove a destination with queued transactions.
    """

    def change(workspace: Workspace) -> Workspace:
        current, old = parts_by_key(workspace), parts_by_key(past)
        if restore.part is None:
            keys: Collection[PartKey] = (current.keys() | old.keys()) - restore.leave
        else:
            keys = {restore.part}
            if restore.part not in old:
                name = describe_part(restore.part, current)
                raise NotFoundError(
                    f"Version {restore.number} has no {name}. It was added later; delete it to undo that."
                )
        final = replace_parts(
            current, {key: old.get(key) for key in keys}, with_secrets=restore.with_secrets, catalog=catalog
        )
        refuse_queued_removals(current, final, count_queued)
        return with_parts(final.values())

    return change


def undo_edit(before: Workspace, after: Workspace, keys: Collection[PartKey], *, count_queued: CountQueued) -> Edit:
    """Return the edit that takes back what a version has changed, secrets included.

    Args:
        before: The changed parts as they were before the version.
        after: The same as the version has left them.
        keys: The parts that it has changed.

    Raises:
        ConfigurationError: (the edit) One of them was changed again, code `configuration_changed`; or it would
            remove a destination with queued transactions.
    """

    def change(workspace: Workspace) -> Workspace:
        current, old, new = parts_by_key(workspace), parts_by_key(before), parts_by_key(after)
        for key in keys:
            if current.get(key) != new.get(key):
                name = describe_part(key, current, old, new)
                raise ConfigurationError(
                    f"{name[:1].upper()}{name[1:]} was changed again since. Restore a version instead.",
                    code="changed_since",
                )
        final = replace_parts(current, {key: old.get(key) for key in keys}, with_secrets=True)
        refuse_queued_removals(current, final, count_queued)
        return with_parts(final.values())

    return change


def replace_parts(
    current: Mapping[PartKey, ConfigurationPart],
    old: Mapping[PartKey, ConfigurationPart | None],
    *,
    with_secrets: bool,
    catalog: Catalog = CATALOG,
) -> dict[PartKey, ConfigurationPart]:
    """Return the current parts with old ones in their place; None removes a part."""
    final = dict(current)
    for key, part in old.items():
        existing = current.get(key)
        if any(isinstance(side, Source | Destination) and side.is_managed for side in (part, existing)):
            continue
        if part is None:
            final.pop(key, None)
        else:
            final[key] = part if with_secrets else _keep_secrets(part, existing, catalog)
    return final


def refuse_queued_removals(
    current: Mapping[PartKey, ConfigurationPart],
    final: Mapping[PartKey, ConfigurationPart],
    count_queued: CountQueued,
) -> None:
    """Refuse to remove destinations with a queue, as deleting them does.

    Raises:
        ConfigurationError: One of them has a queue.
    """
    names = name_parts(current)
    for key in sorted(current.keys() - final.keys()):
        if key[0] == "destination" and (number := count_queued(key[1])):
            raise ConfigurationError(
                f"{names[key]} did not exist then, and {number:,} of its transactions {'is' if number == 1 else 'are'} "
                "queued or parked, which would be lost. Restore single parts, or wait until they are completed.",
                code="in_use",
            )


def _keep_secrets(past: ConfigurationPart, current: ConfigurationPart | None, catalog: Catalog) -> ConfigurationPart:
    """Return the past part with the secrets of the current one; without a current one with its own."""
    if isinstance(past, Source) and isinstance(current, Source):
        return replace(past, write_keys=current.write_keys)
    if isinstance(past, AlertChannel) and isinstance(current, AlertChannel):
        return replace(past, url=current.url, secret=current.secret)
    if not isinstance(past, Destination) or not isinstance(current, Destination) or past.type != current.type:
        return past
    sections = {"settings": dict(past.settings), "options": dict(past.options)}
    stored = {"settings": current.settings, "options": current.options}
    for section, key in secret_keys(past, catalog=catalog) | secret_keys(current, catalog=catalog):
        sections[section].pop(key, None)
        if key in stored[section]:
            sections[section][key] = stored[section][key]
    return replace(past, settings=sections["settings"], options=sections["options"])
