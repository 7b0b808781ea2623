"""Making a workspace the running one, with a look at what in it may be a mistake."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from punchcard.clock import SystemClock
from punchcard.lake.reader import LakeReader
from punchcard.operations.unknown_names import find_unknown_names
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.traces.filter_reach import tell_reach
from punchcard.workspace import persistence
from punchcard.workspace.apply import apply, preview
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Workspace
from punchcard.workspace.plan import Change
from punchcard.workspace.renames import refuse_renames
from punchcard.workspace.telemetry import WorkspaceTelemetry


@dataclass(frozen=True, kw_only=True)
class SaveWarnings:
    """What whoever saves a workspace should know, as sentences.

    Attributes:
        filters: Of filters that would have dropped events which earn points.
        definitions: Of audiences and computed traits that ask for what nobody has.
    """

    filters: Sequence[str]
    definitions: Sequence[str]

    def all(self) -> list[str]:
        """All of them."""
        return [*self.filters, *self.definitions]


def find_save_warnings(before: Workspace, after: Workspace, *, store: Store, lake: LakeReader) -> SaveWarnings:
    """What is new in `after` and may be a mistake."""
    now = SystemClock().now()
    # What is switched on and unchanged needs no look, and the lake none if nothing is new.
    return SaveWarnings(
        filters=tell_reach(before, after, lake=lake, now=now),
        definitions=find_unknown_names(before, after, store=store, lake=lake, now=now),
    )


def apply_with_warnings(
    store: Store, wanted: Workspace, *, settings: Settings, keyring: Keyring, actor: str, dry_run: bool = False
) -> tuple[Sequence[Change], SaveWarnings]:
    """Apply a workspace, or only say what that would change.

    Args:
        actor: Who does it, for the audit log.

    Returns:
        The changes, and what in them may be a mistake.

    Raises:
        ConfigurationError: the workspace is not valid.
        StorageError: the store is away.
    """
    with store.reading() as work:
        before = persistence.read(work).workspace
    if dry_run:
        changes = preview(store, wanted, keyring=keyring)
    else:
        changes = apply(store, wanted, clock=SystemClock(), keyring=keyring, actor=actor)
    lake = LakeReader(settings.lake_location())
    return changes, find_save_warnings(before, wanted, store=store, lake=lake)


def refuse_unconfirmed(store: Store, wanted: Workspace, derived_keys: Collection[str]) -> None:
    """Refuse what only a person can confirm: that an audience or computed trait is renamed without its key.

    Raises:
        ConfigurationError: a line for each, with what to write.
        StorageError: the store is away.
    """
    with store.reading() as work:
        before = persistence.read(work).workspace
    refuse_renames(before, wanted, derived_keys=derived_keys)


def apply_and_log(store: Store, wanted: Workspace, *, settings: Settings, keyring: Keyring) -> Sequence[Change]:
    """The same for who reads the log: each sentence is a line of it.

    Raises:
        ConfigurationError: the workspace is not valid.
        StorageError: the store is away.
    """
    changes, warnings = apply_with_warnings(store, wanted, settings=settings, keyring=keyring, actor="config file")
    telemetry = WorkspaceTelemetry()
    for warning in warnings.filters:
        telemetry.dropping_filter_saved(warning=warning)
    for warning in warnings.definitions:
        telemetry.definition_warned(warning=warning)
    return changes
