"""Detects audiences and computed traits that a config file may rename by accident: the derived key changes as well."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from punchcard.computations.errors import DefinitionError
from punchcard.computations.printer import to_text
from punchcard.errors import ConfigurationError
from punchcard.workspace.computations import read_definition
from punchcard.workspace.model import Computation, Workspace

UNCONFIRMED: Final = "rename_unconfirmed"
"""Code of the error for an unconfirmed rename."""

_KINDS: Final = {"audience": "audience", "computed_trait": "computed trait"}
_SIMILARITY_MIN: Final = 0.6  # difflib's default for close matches


@dataclass(frozen=True, kw_only=True)
class SuspectedRename:
    """A removed computation and a similar new one with a derived key.

    Attributes:
        old: The removed computation.
        new: The computation in the file.
    """

    old: Computation
    new: Computation

    def __str__(self) -> str:
        old, new = self.old, self.new
        destinations = " and ".join(old.destinations)
        kept_values = f", and {destinations} keeps the last values of {old.key}" if destinations else ""
        reentry = ""
        if "track" in new.send and new.kind == "audience" and new.destinations:
            reentry = " All members enter the audience again, which may earn points again."
        return (
            f'The {_KINDS[old.kind]} "{old.name}" seems to be renamed to "{new.name}". Its key is derived from its '
            f"name, so this removes {old.key} and adds {new.key}{kept_values}.{reentry} To keep it, set "
            f'key = "{old.key}". To create a new one, set key = "{new.key}".'
        )


def find_renames(before: Workspace, after: Workspace, *, derived_keys: Collection[str]) -> list[SuspectedRename]:
    """Return the suspected renames between two workspaces.

    Args:
        derived_keys: Keys in `after` that are derived from names. An explicit key is never suspected.
    """
    keys = {computation.key for computation in after.computations}
    known = {computation.key for computation in before.computations}
    removed = [computation for computation in before.computations if computation.key not in keys]
    renames = []
    for new in after.computations:
        if new.key in known or new.key not in derived_keys:
            continue
        best_match = max(((_similarity(old, new), old) for old in removed), key=lambda pair: pair[0], default=None)
        if best_match is not None and best_match[0] >= _SIMILARITY_MIN:
            removed.remove(best_match[1])
            renames.append(SuspectedRename(old=best_match[1], new=new))
    return renames


def refuse_renames(before: Workspace, after: Workspace, *, derived_keys: Collection[str]) -> None:
    """Raise an error if a workspace seems to rename computations by accident.

    Raises:
        ConfigurationError: Code `rename_unconfirmed`, one line for each rename.
    """
    renames = find_renames(before, after, derived_keys=derived_keys)
    if renames:
        raise ConfigurationError("\n".join(map(str, renames)), code=UNCONFIRMED)


def describe_removals(before: Workspace, after: Workspace) -> Iterator[str]:
    """Yield a sentence about the values of each computation that is removed."""
    keys = {computation.key for computation in after.computations}
    for computation in before.computations:
        if computation.key in keys:
            continue
        sentence = f"{computation.key}: The last values stay on profiles as custom traits"
        destinations = " and ".join(computation.destinations)
        if not destinations:
            yield f"{sentence}."
        elif computation.kind == "audience" and computation.when_removed == "false":
            yield f"{sentence}, and {destinations} receives false for every member."
        else:
            hint = ' Set when_removed = "false" before removing it to send false instead.'
            yield f"{sentence}, and {destinations} keeps them.{hint if computation.kind == 'audience' else ''}"


def _similarity(old: Computation, new: Computation) -> float:
    """Return the similarity from 0 to 1; 1 for the same definition."""
    if old.kind != new.kind:
        return 0
    pairs = ((_normalize(old), _normalize(new)), (old.name.lower(), new.name.lower()))
    return max(SequenceMatcher(None, *pair).ratio() for pair in pairs)


def _normalize(computation: Computation) -> str:
    try:
        return to_text(read_definition(computation))
    except DefinitionError:
        return computation.definition
