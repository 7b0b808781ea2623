"""Who owns each part of the configuration: the config file what it names, App and Public API the rest."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from punchcard.destinations.catalog import CATALOG
from punchcard.errors import PunchcardError
from punchcard.workspace.document import Catalog
from punchcard.workspace.export import export_part
from punchcard.workspace.model import Workspace
from punchcard.workspace.part_names import describe_part
from punchcard.workspace.persistence import PartKey, parts_by_key
from punchcard.workspace.plan import Change, plan

MANAGED_BY_FILE: Final = "managed_by_file"
"""The code of the error for a change of what the config file manages."""

_OWN_FIELDS: Final = ("workspace", "")


class ManagedByFileError(PunchcardError):
    """The config file manages this part of the configuration.

    The context has `toml`: the parts as the file would have to describe them, without those to be removed there.
    """

    code = MANAGED_BY_FILE


def named_parts(described: Workspace) -> frozenset[PartKey]:
    """Return the parts that a config file names.

    A file without `[workspace]` and `[identity]`, or with defaults only, does not name the workspace's own fields.

    Args:
        described: The workspace as the file describes it.
    """
    parts = parts_by_key(described)
    return frozenset(key for key, part in parts.items() if key != _OWN_FIELDS or part != Workspace())


def merge_file(described: Workspace, current: Workspace, managed: Collection[PartKey]) -> Workspace:
    """Return the workspace that a config file leads to: what it names, and what belongs to the App.

    Args:
        described: The workspace as the file describes it.
        managed: Parts that the file has named before. What it no longer names of them is removed.
    """
    named = named_parts(described)
    others = parts_by_key(current).keys() - named - set(managed)
    return replace(
        described if _OWN_FIELDS in named else current,
        labels=current.labels,
        sources=(
            *described.sources,
            *(source for source in current.sources if ("source", source.slug) in others),
        ),
        destinations=(
            *described.destinations,
            *(destination for destination in current.destinations if ("destination", destination.slug) in others),
        ),
        computations=(
            *described.computations,
            *(computation for computation in current.computations if (computation.kind, computation.key) in others),
        ),
        transformations=(
            *described.transformations,
            *(part for part in current.transformations if ("transformation", part.slug) in others),
        ),
        alert_channels=(
            *described.alert_channels,
            *(channel for channel in current.alert_channels if ("alert_channel", channel.slug) in others),
        ),
        alert_rules=(
            *described.alert_rules,
            *(rule for rule in current.alert_rules if ("alert_rule", rule.rule) in others),
        ),
        tracking_plans=(
            *described.tracking_plans,
            *(plan for plan in current.tracking_plans if ("tracking_plan", plan.slug) in others),
        ),
    )


def find_managed(changes: Sequence[Change], managed: Collection[PartKey]) -> Sequence[PartKey]:
    """Return the changed parts that the config file manages. Labels are not in the file, so they may change."""
    return [
        (change.part, change.slug)
        for change in changes
        if (change.part, change.slug) in managed and not all(value.path[0] == "labels" for value in change.values)
    ]


def refuse_managed(
    current: Workspace, final: Workspace, managed: Collection[PartKey], *, catalog: Catalog = CATALOG
) -> None:
    """Refuse to turn `current` into `final` if that changes parts that the config file manages.

    Raises:
        ManagedByFileError: The file manages one of the parts or several.
    """
    keys = find_managed(plan(current, final, catalog=catalog), managed)
    if not keys:
        return
    parts = parts_by_key(final)
    names = [describe_part(key, parts_by_key(current), parts) for key in keys]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    raise ManagedByFileError(
        f"The config file manages {listed}. Change {'it' if len(names) == 1 else 'them'} in the file.",
        toml="\n".join(export_part(parts[key], catalog=catalog) for key in keys if key in parts),
    )
