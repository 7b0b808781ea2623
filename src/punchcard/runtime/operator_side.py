"""App, Public API and Profile API of a serving process, each imported and built when it is first needed.

Litestar and the pages take half a second of processor time and 40 MB. A process that only takes events never pays for
them, and the Tracking API never waits for them.
"""

import threading
from typing import TYPE_CHECKING

from punchcard.clock import SystemClock
from punchcard.log.group_commit import GroupCommit
from punchcard.log.port import EventLog
from punchcard.runtime.assembly import open_lake
from punchcard.runtime.lazy_app import AsgiApp, LazyApp
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.snapshot import SnapshotWatch

if TYPE_CHECKING:
    from punchcard.operations.dependencies import Dependencies


class OperatorSide:
    """The ASGI apps for operators and their programs, on what the serving process has open.

    Attributes:
        app: The App: every path that no other app handles.
        public_api: The Public API.
        profile_api: The Profile API.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        keyring: Keyring,
        watch: SnapshotWatch,
        log: EventLog,
        commit: GroupCommit,
        config_file: str,
    ) -> None:
        self._settings = settings
        self._store = store
        self._keyring = keyring
        self._watch = watch
        self._log = log
        self._commit = commit
        self._config_file = config_file
        self._opened: Dependencies | None = None
        self._opening = threading.Lock()
        self.app = LazyApp(self._build_app)
        self.public_api = LazyApp(self._build_public_api)
        self.profile_api = LazyApp(self._build_profile_api)

    def _build_app(self) -> AsgiApp:
        from punchcard.app.app import build_app
        from punchcard.app.hosts import AllowedHosts

        settings = self._settings
        hosts = AllowedHosts.read(settings.allowed_hosts, listening=settings.host, public_url=settings.public_url)
        return build_app(self._dependencies(), hosts=hosts)

    def _build_public_api(self) -> AsgiApp:
        from punchcard.api.app import build_api

        return build_api(self._dependencies())

    def _build_profile_api(self) -> AsgiApp:
        from punchcard.api.profile_app import build_profile_app

        return build_profile_app(self._dependencies(), processes=self._settings.processes)

    def _dependencies(self) -> "Dependencies":
        """Return the services that all of them read and write through."""
        with self._opening:
            if self._opened is None:
                self._opened = self._open_dependencies()
            return self._opened

    def _open_dependencies(self) -> "Dependencies":
        from punchcard.operations.dependencies import Dependencies
        from punchcard.operations.live import LiveEvents
        from punchcard.operations.running_configuration import RunningConfiguration
        from punchcard.traces.browse import EventBrowser
        from punchcard.traces.trace import TraceReader

        settings, store, watch, log = self._settings, self._store, self._watch, self._log
        lake = open_lake(settings, store)
        browser = EventBrowser(log=log, lake=lake, store=store, current=watch.current)
        return Dependencies(
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
            live=LiveEvents(tail=browser.tail, browser=browser),
            clock=SystemClock(),
            configuration=RunningConfiguration(store, self._keyring, watch, lake=lake, clock=SystemClock()),
            commit=self._commit,
            config_file=self._config_file,
            public_url=settings.public_url,
            retention_days=settings.retention_days(),
            oidc=settings.identity_provider(),
        )
