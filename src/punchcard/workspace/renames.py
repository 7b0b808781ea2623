"""Audiences and computed traits that a config file renames without meaning to: another name gives another key."""

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
"""The code of the error for a rename that nobody has confirmed."""

_KINDS: Final = {"audience": "audience", "computed_trait": "computed trait"}
_SIMILARITY_MIN: Final = 0.6  # as difflib takes words for close


@dataclass(frozen=True, kw_only=True)
class SuspectedRename:
    """One that goes while another like it comes, whose key is made of its name.

    Attributes:
        old: As it is now.
        new: As the file has it.
    """

    old: Computation
    new: Computation

    def __str__(self) -> str:
        old, new = self.old, self.new
        destinations = " and ".join(old.destinations)
        keeps = f", and {destinations} keeps its last values under {old.key}" if destinations else ""
        again = ""
        if "track" in new.send and new.kind == "audience" and new.destinations:
            again = " Everybody in it enters again, which may earn points again."
        return (
            f'{_KINDS[old.kind]} "{old.name}" seems to be renamed to "{new.name}". Its key is made of its name, so '
            f"this removes {old.key} and adds {new.key}{keeps}.{again} To go on with the same one, give it "
            f'key = "{old.key}"; to make a new one, give it key = "{new.key}"'
        )


def find_renames(before: Workspace, after: Workspace, *, derived_keys: Collection[str]) -> list[SuspectedRename]:
    """The renames that `after` seems to hold.

    Args:
        derived_keys: Keys in `after` that are made of names: who gives a key means it.
    """
    keys = {computation.key for computation in after.computations}
    known = {computation.key for computation in before.computations}
    gone = [computation for computation in before.computations if computation.key not in keys]
    renames = []
    for new in after.computations:
        if new.key in known or new.key not in derived_keys:
            continue
        alike = max(((_similarity(old, new), old) for old in gone), key=lambda pair: pair[0], default=None)
        if alike is not None and alike[0] >= _SIMILARITY_MIN:
            gone.remove(alike[1])
            renames.append(SuspectedRename(old=alike[1], new=new))
    return renames


def refuse_renames(before: Workspace, after: Workspace, *, derived_keys: Collection[str]) -> None:
    """Refuse a workspace that seems to rename a computation without a key.

    Raises:
        ConfigurationError: code `rename_unconfirmed`, a line for each.
    """
    renames = find_renames(before, after, derived_keys=derived_keys)
    if renames:
        raise ConfigurationError("\n".join(map(str, renames)), code=UNCONFIRMED)


def describe_removals(before: Workspace, after: Workspace) -> Iterator[str]:
    """What happens to the values of each computation that goes."""
    keys = {computation.key for computation in after.computations}
    for one in before.computations:
        if one.key in keys:
            continue
        kept = f"{one.key}: its last values stay on profiles as custom traits"
        destinations = " and ".join(one.destinations)
        if not destinations:
            yield kept
        elif one.kind == "audience" and one.when_removed == "false":
            yield f"{kept}; {destinations} is told false for everybody in it"
        else:
            also = ', unless it has when_removed = "false" before it is removed' if one.kind == "audience" else ""
            yield f"{kept}; {destinations} keeps what it was told{also}"


def _similarity(old: Computation, new: Computation) -> float:
    """From 0 to 1; 1 for the same definition."""
    if old.kind != new.kind:
        return 0
    pairs = ((_normalize(old), _normalize(new)), (old.name.lower(), new.name.lower()))
    return max(SequenceMatcher(None, *pair).ratio() for pair in pairs)


def _normalize(one: Computation) -> str:
    try:
        return to_text(read_definition(one))
    except DefinitionError:
        return one.definition
