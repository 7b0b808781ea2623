"""Wire App and Public API to this process's storage. Imported once requests are accepted, because Litestar is large."""

from litestar.types import ASGIApp

from punchcard.api.app import build_api
from punchcard.api.profile_app import build_profile_app
from punchcard.app.app import build_app
from punchcard.app.hosts import AllowedHosts
from punchcard.clock import SystemClock
from punchcard.log.group_commit import GroupCommit
from punchcard.log.port import EventLog
from punchcard.operations.dependencies import Dependencies
from punchcard.operations.live import LiveEvents
from punchcard.operations.running_configuration import RunningConfiguration
from punchcard.runtime.assembly import open_lake
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.traces.browse import EventBrowser
from punchcard.traces.tail import Tail
from punchcard.traces.trace import TraceReader
from punchcard.workspace.keyring import Keyring
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
) -> tuple[ASGIApp, ASGIApp, ASGIApp]:
    """Build App, Public API and Profile API on what the serving process has open."""
    lake = open_lake(settings, store)

    browser = EventBrowser(log=log, lake=lake, store=store)
    dependencies = Dependencies(
        store=store,
        lake=lake,
        traces=TraceReader(
            log=log,
            lake=lake,
            store=store,
            rules=lambda: watch.newest().identity,
            types=lambda: watch.newest().destination_types,
        ),
        browser=browser,
        live=LiveEvents(tail=Tail(log=log, store=store), browser=browser),
        clock=SystemClock(),
        configuration=RunningConfiguration(store, keyring, watch, lake=lake, clock=SystemClock()),
        commit=commit,
        config_file=config_file,
        public_url=settings.public_url,
        retention_days=settings.retention_days(),
        oidc=settings.identity_provider(),
    )
    hosts = AllowedHosts.read(settings.allowed_hosts, listening=settings.host, public_url=settings.public_url)
    return (
        build_app(dependencies, hosts=hosts),
        build_api(dependencies),
        build_profile_app(dependencies, processes=settings.processes),
    )
