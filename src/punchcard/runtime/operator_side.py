"""Wires App and Public API to this process's storage. Imported once requests are taken: Litestar is large."""

from collections.abc import Callable, Sequence

from litestar import Litestar
from litestar.types import ASGIApp

from punchcard.api.app import build_api
from punchcard.api.profile_app import build_profile_app
from punchcard.app.app import build_app
from punchcard.app.hosts import AllowedHosts
from punchcard.clock import SystemClock
from punchcard.lake.reader import LakeReader
from punchcard.log.group_commit import GroupCommit
from punchcard.log.port import EventLog
from punchcard.operations.dependencies import Dependencies
from punchcard.operations.live import LiveEvents
from punchcard.runtime.applying import find_save_warnings
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.traces.browse import EventBrowser
from punchcard.traces.tail import Tail
from punchcard.traces.trace import TraceReader
from punchcard.workspace import persistence
from punchcard.workspace.apply import edit
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Workspace
from punchcard.workspace.snapshot import SnapshotWatch


def build_operator_side(
    settings: Settings,
    *,
    store: Store,
    keyring: Keyring,
    watch: SnapshotWatch,
    log: EventLog,
    commit: GroupCommit,
    config_file: str,
) -> tuple[ASGIApp, Litestar, ASGIApp]:
    """App, Public API and Profile API, on what the serving process has open."""
    lake = LakeReader(settings.lake_location())

    def edit_now(change: Callable[[Workspace], Workspace], actor: str) -> Sequence[str]:
        before = persistence.load(store, keyring).workspace
        edit(store, change, clock=SystemClock(), keyring=keyring, actor=actor)
        watch.refresh()
        after = persistence.load(store, keyring).workspace
        return find_save_warnings(before, after, store=store, lake=lake).all()

    browser = EventBrowser(log=log, lake=lake, store=store)
    dependencies = Dependencies(
        store=store,
        traces=TraceReader(log=log, lake=lake, store=store, rules=lambda: watch.newest().identity),
        browser=browser,
        live=LiveEvents(tail=Tail(log=log, store=store), browser=browser),
        clock=SystemClock(),
        current=watch.newest,
        workspace=lambda: persistence.load(store, keyring).workspace,
        edit_as=edit_now,
        append=commit.submit,
        config_file=config_file,
        public_url=settings.public_url,
    )
    hosts = AllowedHosts.read(settings.allowed_hosts, listening=settings.host, public_url=settings.public_url)
    return build_app(dependencies, hosts=hosts), build_api(dependencies), build_profile_app(dependencies)
