"""Warnings about likely mistakes in a changed configuration."""

from collections.abc import Sequence
from dataclasses import dataclass

from punchcard.clock import Clock
from punchcard.lake.reader import LakeReader
from punchcard.operations.moved_accounts import warn_of_moved_accounts
from punchcard.operations.unknown_names import find_unknown_names
from punchcard.store.engine import Store
from punchcard.traces.filter_reach import tell_reach
from punchcard.workspace.model import Workspace
from punchcard.workspace.part_names import name_destinations
from punchcard.workspace.property_controls import find_control_warnings


@dataclass(frozen=True, kw_only=True)
class SaveWarnings:
    """Warnings about likely mistakes, as sentences.

    Attributes:
        filters: Filters that would have dropped events which earn points.
        definitions: Audiences and computed traits that use unknown names.
        controls: Controls of properties that awards, identity, audiences or filters use.
        unused: Destinations that get nothing from anywhere.
        moved: Destinations that name another account than the one that queued awards are for.
    """

    filters: Sequence[str]
    definitions: Sequence[str]
    controls: Sequence[str] = ()
    unused: Sequence[str] = ()
    moved: Sequence[str] = ()

    def all(self) -> list[str]:
        """Return all warnings."""
        return [*self.filters, *self.definitions, *self.controls, *self.unused, *self.moved]


def find_save_warnings(
    before: Workspace, after: Workspace, *, store: Store, lake: LakeReader, clock: Clock
) -> SaveWarnings:
    """Return warnings about new and changed filters and definitions. The lake is read only if there are any."""
    now, names = clock.now(), name_destinations(after.destinations)
    return SaveWarnings(
        filters=tell_reach(before, after, lake=lake, now=now),
        definitions=find_unknown_names(before, after, store=store, lake=lake, now=now),
        controls=find_control_warnings(before, after),
        unused=[
            f"{names[slug]}: It has no source, and no audience or trait is synced to it, so it gets nothing."
            for slug in sorted(_unused(after) - _unused(before))
        ],
        moved=warn_of_moved_accounts(before, after, store=store, names=names),
    )


def _unused(workspace: Workspace) -> set[str]:
    synced = {slug for computation in workspace.computations for slug in computation.destinations}
    return {destination.slug for destination in workspace.destinations if not destination.sources} - synced
