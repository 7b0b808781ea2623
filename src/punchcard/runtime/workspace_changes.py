"""Apply a workspace, with warnings about possible mistakes in it."""

from collections.abc import Collection, Sequence

from punchcard.clock import SystemClock
from punchcard.errors import ConfigurationError
from punchcard.operations.save_warnings import SaveWarnings, find_save_warnings
from punchcard.runtime.assembly import open_lake
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.store.workspace.config_file_status import (
    ConfigFileProblem,
    clear_config_file_problem,
    read_config_file_problem,
    write_config_file_problem,
)
from punchcard.workspace import persistence
from punchcard.workspace.apply import apply, preview
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Workspace
from punchcard.workspace.ownership import merge_file
from punchcard.workspace.plan import Change
from punchcard.workspace.renames import refuse_renames
from punchcard.workspace.telemetry import WorkspaceTelemetry


def apply_with_warnings(
    store: Store, workspace: Workspace, *, settings: Settings, keyring: Keyring, actor: str, dry_run: bool = False
) -> tuple[Sequence[Change], SaveWarnings]:
    """Apply the workspace that a config file describes, or only return what that would change.

    Args:
        actor: The actor for the audit log.

    Returns:
        The changes, and warnings about them.

    Raises:
        ConfigurationError: The workspace is invalid.
        StorageError: The store is not available.
    """
    with store.reading() as work:
        stored = persistence.read(work)
    before, after = stored.workspace, merge_file(workspace, stored.workspace, stored.managed_by_file)
    if dry_run:
        changes = preview(store, workspace, keyring=keyring, from_file=True)
    else:
        changes = apply(store, workspace, clock=SystemClock(), keyring=keyring, actor=actor, from_file=True)
    lake = open_lake(settings, store)
    return changes, find_save_warnings(before, after, store=store, lake=lake, clock=SystemClock())


def refuse_unconfirmed(store: Store, workspace: Workspace, derived_keys: Collection[str]) -> None:
    """Refuse what only a person can confirm: that an audience or computed trait is renamed without its key.

    Raises:
        ConfigurationError: One line for each, with the text to write.
        StorageError: The store is not available.
    """
    with store.reading() as work:
        stored = persistence.read(work)
    after = merge_file(workspace, stored.workspace, stored.managed_by_file)
    refuse_renames(stored.workspace, after, derived_keys=derived_keys)


def report_config_file(store: Store, path: str, error: ConfigurationError | None) -> None:
    """Record why the config file was not applied, for the alert about it; None if it was applied.

    Raises:
        StorageError: The store is not available.
    """
    with store.reading() as work:
        known = read_config_file_problem(work)
    if error is None and known is None:
        return
    with store.unit_of_work() as work:
        if error is None:
            clear_config_file_problem(work)
            return
        problem = ConfigFileProblem(path=path, code=error.code, detail=error.message, since=SystemClock().now())
        write_config_file_problem(work, problem)


def apply_and_log(store: Store, workspace: Workspace, *, settings: Settings, keyring: Keyring) -> Sequence[Change]:
    """Apply a workspace and log its warnings.

    Raises:
        ConfigurationError: The workspace is invalid.
        StorageError: The store is not available.
    """
    changes, warnings = apply_with_warnings(store, workspace, settings=settings, keyring=keyring, actor="config file")
    telemetry = WorkspaceTelemetry()
    for warning in warnings.filters:
        telemetry.dropping_filter_saved(warning=warning)
    for warning in warnings.definitions:
        telemetry.definition_warned(warning=warning)
    for warning in (*warnings.controls, *warnings.unused, *warnings.moved):
        telemetry.configuration_warned(warning=warning)
    return changes
