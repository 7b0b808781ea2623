"""Wires the Public API to this process's storage. Imported by its first request only: Litestar is large."""

from collections.abc import Callable, Sequence

from litestar import Litestar

from punchcard.api.app import build_api
from punchcard.api.parts import ApiParts
from punchcard.clock import SystemClock
from punchcard.lake.reader import LakeReader
from punchcard.log.group_commit import GroupCommit
from punchcard.log.port import EventLog
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.traces.filter_reach import tell_reach
from punchcard.traces.story import Stories
from punchcard.workspace import stored
from punchcard.workspace.apply import edit
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Workspace
from punchcard.workspace.snapshot import SnapshotWatch


def build_public_api(
    settings: Settings, *, store: Store, keyring: Keyring, watch: SnapshotWatch, log: EventLog, commit: GroupCommit
) -> Litestar:
    """The Public API on what the serving process has open."""
    lake = LakeReader(settings.lake_location())

    def edit_now(change: Callable[[Workspace], Workspace], actor: str) -> Sequence[str]:
        before = stored.load(store, keyring).workspace
        edit(store, change, clock=SystemClock(), keyring=keyring, actor=actor)
        watch.refresh()
        return tell_reach(before, stored.load(store, keyring).workspace, lake=lake, now=SystemClock().now())

    return build_api(
        ApiParts(
            store=store,
            stories=Stories(log=log, lake=lake, store=store),
            clock=SystemClock(),
            current=watch.newest,
            workspace=lambda: stored.load(store, keyring).workspace,
            edit_as=edit_now,
            append=commit.submit,
        )
    )
