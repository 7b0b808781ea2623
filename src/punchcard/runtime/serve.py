"""The serving process: Tracking API on the hot path, Public API and pages beside it, in one uvicorn server."""

import asyncio
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import uvloop

from punchcard.clock import SystemClock
from punchcard.errors import ConfigurationError, LakeError, PunchcardError, StorageError
from punchcard.ingest.app import TrackingApp, handles, without_doubled_slashes
from punchcard.ingest.browser_library import BrowserLibraryApp, handles_library
from punchcard.ingest.forwarding import handles_forwarded
from punchcard.ingest.rejections import Rejections
from punchcard.lake.object_store_errors import OBJECT_STORE_UNAVAILABLE
from punchcard.lake.urls import is_on_s3
from punchcard.log.group_commit import GroupCommit
from punchcard.log.opening import is_shared
from punchcard.runtime.assembly import open_guarded_log, open_keyring, open_lake, open_store
from punchcard.runtime.connections import limits_of
from punchcard.runtime.garbage_collection import collect_often
from punchcard.runtime.guard_thread import run_guard
from punchcard.runtime.http_server import HttpServer
from punchcard.runtime.lazy_app import AsgiApp, LazyApp
from punchcard.runtime.listening import bind_sockets
from punchcard.runtime.metrics import Gauge, render_metrics
from punchcard.runtime.not_ready_server import NotReadyServer
from punchcard.runtime.operator_side import OperatorSide
from punchcard.runtime.readiness import Readiness
from punchcard.runtime.settings import Settings
from punchcard.runtime.stop_deadline import end_in_time, refuse_cancelled
from punchcard.runtime.storage_wait import StorageWait
from punchcard.runtime.tls import open_tls
from punchcard.store.access.operators import count_operators
from punchcard.store.access.token_store import ensure_admin_token
from punchcard.store.engine import Store
from punchcard.workspace.keyring import WRONG_SECRET_KEY, Keyring
from punchcard.workspace.snapshot import SnapshotWatch

if TYPE_CHECKING:
    from punchcard.runtime.alerting import AlertLoop

Scope = Any  # ASGI's own dictionaries
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

# How long the event loop may keep the interpreter from the thread that commits. Python's default of 5 ms is longer than
# a commit takes: on a busy machine that thread, back from its sync, would delay its whole group.
_THREAD_SWITCH_SECONDS = 0.0005
_PUBLISH_SECONDS = 1.0
# App and APIs that nobody has called by then are loaded, so that the first page of a process that runs for long is as
# fast as the others. Loaded at once, they would take the processor from the first events.


def _ignore() -> None:
    """No-op callback."""


class Serving:
    """The serving process, opened and closed as a whole. It waits for storage on other machines, and says so.

    Args:
        config_file: The file from which the configuration is applied, "" if there is none.
        listening: A bound socket; None binds one.
        is_first: False for a further process of the same port, which leaves alerts to the first one, and loads App and
            Public API only when their first request comes.

    Raises:
        PunchcardError: On entering, if the port is in use or something cannot be opened.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        config_file: str = "",
        listening: socket.socket | None = None,
        is_first: bool = True,
    ) -> None:
        self.settings = settings
        self.config_file = config_file
        self._listening = listening
        self._is_first = is_first
        self._open = ExitStack()
        self._alerts: AlertLoop | None = None
        self._elsewhere: str | None = None  # what was found last

    def __enter__(self) -> "Serving":
        settings = self.settings
        waiting = ExitStack()
        try:
            self._tls = open_tls(settings, clock=SystemClock())
            self._socket = self._open.enter_context(
                self._listening or bind_sockets(settings.host, settings.port, count=1)[0]
            )
            not_ready = waiting.enter_context(closing(NotReadyServer(settings, self._socket, self._tls)))
            wait = StorageWait(settings, process="serve", on_wait=not_ready.show)
            self.store: Store = wait.open(lambda: open_store(settings))
            self._open.callback(self.store.close)
            self.keyring: Keyring = open_keyring(settings)
            self.watch = SnapshotWatch(
                self.store, self.keyring, clock=SystemClock(), interval_seconds=settings.config_poll_seconds
            )
            self._lake = open_lake(settings, self.store)
            self._read_configuration()
            self.log, self.guard = wait.open(
                lambda: self._open.enter_context(open_guarded_log(settings, self.store, current=self.watch.current))
            )
            self._open.enter_context(run_guard(self.guard))
            waiting.close()
        except BaseException:
            waiting.close()
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _read_configuration(self) -> None:
        try:
            self.watch.current()
        except ConfigurationError as error:
            if error.code == WRONG_SECRET_KEY:
                raise  # otherwise new secrets would be stored with another key
            # Events are accepted anyway, so that none is lost until the configuration is corrected.
            structlog.get_logger("punchcard.serve").error("configuration_unusable", detail=error.message)

    @property
    def url(self) -> str:
        """The URL at which this process listens."""
        host, port = self._socket.getsockname()[:2]
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def first_token(self) -> str | None:
        """Create a first token of the Public API, if there is none yet; None if there is.

        Raises:
            StorageError: The token cannot be written.
        """
        return ensure_admin_token(self.store, self.settings.admin_token_path(), clock=SystemClock())

    def has_owner(self) -> bool:
        """Return whether anybody can sign in to the App yet.

        Raises:
            StorageError: The store is not available.
        """
        with self.store.reading() as work:
            return count_operators(work) > 0

    def run(self, *, on_ready: Callable[[], None] = _ignore, on_stop: Callable[[], None] = _ignore) -> None:
        """Serve until SIGTERM or SIGINT.

        Args:
            on_ready: Called once requests are accepted.
            on_stop: Called on the signal, before the responses in progress are complete. It must not wait.
        """
        sys.setswitchinterval(_THREAD_SWITCH_SECONDS)

        def stop() -> None:
            end_in_time(self.settings.shutdown_seconds, process="serve")
            on_stop()

        try:
            uvloop.run(self._serve(on_ready, stop))
        finally:
            if self._alerts is not None:
                self._alerts.stop()

    async def _serve(self, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        settings = self.settings.share_of_process()
        commit = GroupCommit(
            self.log,
            records_max=settings.group_commit_records_max,
            bytes_max=settings.group_commit_bytes_max,
            queue_bytes_max=settings.ingest_queue_bytes_max,
        )
        rejections = Rejections(self.store, source_of=self._source_of, clock=SystemClock())
        tracking = TrackingApp(
            commit,
            keys=self.watch.has_write_key,
            clock=SystemClock(),
            body_seconds=settings.request_body_seconds,
            public_url=settings.public_url,
            rejections=rejections,
        )
        operator_side = self._make_operator_side(commit)
        library = BrowserLibraryApp(keys=self.watch.has_write_key)
        forwarded = LazyApp(lambda: self._build_forwarded(commit, rejections))
        app = _Dispatch(tracking, forwarded, library, self, operator_side, commit=commit)

        def ready() -> None:
            on_ready()
            threading.Thread(target=self._begin, name="serve-beginning", daemon=True).start()

        server = HttpServer(
            refuse_cancelled(app),
            limits=limits_of(settings),
            tls=None if self._tls is None else self._tls.context,
            forwarded_by=settings.trusted_proxies,
            direct=tracking,
            on_ready=ready,
            on_stop=on_stop,
        )
        publishing = asyncio.create_task(_publish_counts(tracking))
        try:
            await server.serve(sockets=[self._socket])
        finally:
            publishing.cancel()
            await rejections.close()
            await asyncio.to_thread(commit.stop)

    def _build_forwarded(self, commit: GroupCommit, rejections: Rejections) -> AsgiApp:
        from punchcard.ingest.forwarded_app import ForwardedApp  # few sources are behind Segment's cloud

        return ForwardedApp(
            commit,
            watch=self.watch,
            store=self.store,
            keyring=self.keyring,
            clock=SystemClock(),
            body_seconds=self.settings.request_body_seconds,
            rejections=rejections,
        )

    def _make_operator_side(self, commit: GroupCommit) -> OperatorSide:
        return OperatorSide(
            self.settings,
            store=self.store,
            keyring=self.keyring,
            watch=self.watch,
            log=self.log,
            commit=commit,
            config_file=self.config_file,
        )

    def lake_elsewhere(self) -> str:
        """Return why this machine cannot show the events of the lake: the worker writes another one. "" if it can.

        Raises:
            StorageError: The store is not available.
        """
        # Readiness must not wait for an object store that is slow or away.
        is_known = is_on_s3(self.settings.lake_location()) and self._elsewhere is not None
        if is_known or not is_shared(self.settings.event_log_url()):
            return self._elsewhere or ""
        self._elsewhere = ""
        try:
            self._lake.refuse_other_lake()
        except LakeError as error:
            self._elsewhere = "" if error.code == OBJECT_STORE_UNAVAILABLE else error.message
        return self._elsewhere

    def _begin(self) -> None:
        """Begin what can wait until the port is served."""
        collect_often()
        if not self._is_first:
            return
        self._report_lake()
        self._start_alerts()

    def _report_lake(self) -> None:
        try:
            elsewhere = self.lake_elsewhere()
        except StorageError:
            return  # readiness reports it
        if elsewhere:
            structlog.get_logger("punchcard.serve").warning("lake_not_shared", detail=elsewhere)

    def _start_alerts(self) -> None:
        # Its imports take a while: not before the Tracking API is ready.
        from punchcard.runtime.alerting import AlertLoop
        from punchcard.runtime.heartbeats import SERVE

        self._alerts = AlertLoop(
            self.settings, self.store, current=self.watch.current, clock=SystemClock(), process=SERVE
        )
        self._alerts.start()

    def _source_of(self, write_key: str) -> str | None:
        """Return the slug of the source with this write key."""
        route = self.watch.current().by_write_key.get(write_key)
        return None if route is None else route.source.slug


class _Dispatch:
    """Dispatches a request to the app of its path. The hot path is checked first and costs one comparison."""

    def __init__(
        self,
        tracking: TrackingApp,
        forwarded: LazyApp,
        library: BrowserLibraryApp,
        serving: Serving,
        operator_side: OperatorSide,
        *,
        commit: GroupCommit,
    ) -> None:
        self._readiness = Readiness(
            store=serving.store,
            log=serving.log,
            guard=serving.guard,
            watch=serving.watch,
            commit=commit,
            lake_elsewhere=serving.lake_elsewhere,
        )
        self._watchers = ThreadPoolExecutor(2, thread_name_prefix="health")
        self._tracking = tracking
        self._library = library
        self._forwarded = forwarded
        self._serving = serving
        self._operator_side = operator_side

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if path.startswith("//"):
            path = self._without_doubled_slashes(scope)
        if handles(path):
            await self._tracking(scope, receive, send)
        elif path.startswith("/api/") or path == "/api":
            await self._operator_side.public_api(scope, receive, send)
        elif path.startswith("/v1/spaces/"):
            await self._operator_side.profile_api(scope, receive, send)
        elif handles_forwarded(path):
            await self._forwarded(scope, receive, send)
        elif handles_library(path):
            await self._library(scope, receive, send)
        elif path == "/health/live":
            await _respond(send, 200, b'{"status":"live"}')
        elif path == "/health/ready":
            await self._ready(send)
        elif path == "/metrics":
            self._tracking.publish_counts()
            body = await self._in_thread(lambda: render_metrics(self._read_gauges))
            await _respond(send, 200, body, content_type=b"text/plain; version=0.0.4; charset=utf-8")
        else:
            await self._operator_side.app(scope, receive, send)

    def _read_gauges(self) -> Sequence[Gauge]:
        from punchcard.runtime.gauges import read_gauges  # most processes are not watched

        return read_gauges(self._serving.store, self._serving.watch, self._serving.log)

    def _without_doubled_slashes(self, scope: Scope) -> str:
        """Return the path of the request; double slashes of a sender's library are removed."""
        path = without_doubled_slashes(scope["path"])
        if handles(path) or handles_forwarded(path) or handles_library(path):
            scope["path"] = path
        return str(scope["path"])

    async def _in_thread(self, function: Callable[[], bytes]) -> bytes:
        """Run a function where no page is waited for: pages wait for a lake that does not answer."""
        return await asyncio.get_running_loop().run_in_executor(self._watchers, function)

    async def _ready(self, send: Send) -> None:
        try:
            body = await self._in_thread(lambda: msgspec.json.encode(self._readiness.read()))
            await _respond(send, 200, body)
        except PunchcardError as error:
            content = {"status": "not ready", "reason": error.code, "message": error.message}
            await _respond(send, 503, msgspec.json.encode(content))


async def _publish_counts(tracking: TrackingApp) -> None:
    """Publish the counts of requests, so that the process that is asked for metrics sees those of the others."""
    while True:
        await asyncio.sleep(_PUBLISH_SECONDS)
        tracking.publish_counts()


async def _respond(send: Send, status: int, body: bytes, content_type: bytes = b"application/json") -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
