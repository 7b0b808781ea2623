"""Making a workspace the running one, with a look at what its new filters would have done."""

from collections.abc import Sequence

from punchcard.clock import SystemClock
from punchcard.lake.reader import LakeReader
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.traces.filter_reach import tell_reach
from punchcard.workspace import stored
from punchcard.workspace.apply import apply, preview
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Workspace
from punchcard.workspace.plan import Change
from punchcard.workspace.telemetry import WorkspaceTelemetry


def apply_with_warnings(
    store: Store, wanted: Workspace, *, settings: Settings, keyring: Keyring, actor: str, dry_run: bool = False
) -> tuple[Sequence[Change], Sequence[str]]:
    """Apply a workspace, or only say what that would change.

    Args:
        actor: Who does it, for the audit log.

    Returns:
        The changes, and a sentence for each filter that would have dropped events which earn points.

    Raises:
        ConfigurationError: the workspace is not valid.
        StorageError: the store is away.
    """
    with store.reading() as work:
        before = stored.read(work).workspace
    if dry_run:
        changes = preview(store, wanted, keyring=keyring)
    else:
        changes = apply(store, wanted, clock=SystemClock(), keyring=keyring, actor=actor)
    # What is switched on and unchanged needs no look, and the lake none if no filter is new.
    lake = LakeReader(settings.lake_location())
    return changes, tell_reach(before, wanted, lake=lake, now=SystemClock().now())


def apply_and_log(store: Store, wanted: Workspace, *, settings: Settings, keyring: Keyring) -> Sequence[Change]:
    """The same for who reads the log: each sentence is a line of it.

    Raises:
        ConfigurationError: the workspace is not valid.
        StorageError: the store is away.
    """
    changes, warnings = apply_with_warnings(store, wanted, settings=settings, keyring=keyring, actor="config file")
    for warning in warnings:
        WorkspaceTelemetry().filter_saved_that_drops(warning=warning)
    return changes
