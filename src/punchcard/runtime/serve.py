"""The serving process: Tracking API on the hot path, Public API and pages beside it, one uvicorn server."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import structlog
import uvicorn
import uvloop

from punchcard.clock import SystemClock
from punchcard.errors import PunchcardError, StorageError
from punchcard.ingest.app import TrackingApp, handles
from punchcard.ingest.forwarded_app import ForwardedApp
from punchcard.ingest.forwarding import handles_forwarded
from punchcard.ingest.rejections import Rejections
from punchcard.log.group_commit import GroupCommit
from punchcard.runtime.assemble import open_keyring, open_log, open_store
from punchcard.runtime.gauges import read_gauges
from punchcard.runtime.metrics import render_metrics
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.store.operators import count_operators
from punchcard.store.positions import ROUTING, position_of
from punchcard.store.tokens import ensure_admin_token
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.snapshot import SnapshotWatch

Scope = Any  # ASGI's own dictionaries
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_BACKLOG = 2048
# How long the event loop may keep the interpreter from the thread that commits. Python's own 5 ms are longer than a
# commit takes: on a busy machine that thread, back from its sync, would keep its whole group waiting.
_THREAD_SWITCH_SECONDS = 0.0005
_CLOSE_CONNECTIONS_SECONDS = 3


def _nothing() -> None:
    """For who need not be told."""


class Serving:
    """Everything of the serving process, opened and closed as one.

    Args:
        config_file: The file that the configuration is kept in and applied from again, "" if none is.

    Raises:
        PunchcardError: on entering, if the port is taken or a part cannot be opened.
    """

    def __init__(self, settings: Settings, *, config_file: str = "") -> None:
        self.settings = settings
        self.config_file = config_file
        self._open = ExitStack()

    def __enter__(self) -> "Serving":
        settings = self.settings
        try:
            self._socket = self._open.enter_context(_listen(settings.host, settings.port))
            self.store: Store = open_store(settings)
            self._open.callback(self.store.close)
            self.keyring: Keyring = open_keyring(settings)
            self.watch = SnapshotWatch(
                self.store, self.keyring, clock=SystemClock(), interval_seconds=settings.config_poll_seconds
            )
            self.watch.current()
            self.log = self._open.enter_context(open_log(settings))
            self._continue_log()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _continue_log(self) -> None:
        # Before the first request: a record at a position that was routed already would be acknowledged and never read.
        with self.store.reading() as view:
            routed = position_of(view, ROUTING)
        last = self.log.last_position()
        if last < routed:
            structlog.get_logger("punchcard.serve").error("log_lost", last_position=last, continues_behind=routed)
            self.log.continue_behind(routed)

    @property
    def url(self) -> str:
        """Where this process listens."""
        host, port = self._socket.getsockname()[:2]
        return f"http://{host}:{port}"

    def first_token(self) -> str | None:
        """A first token of the Public API, if there is none yet; None if there is.

        Raises:
            StorageError: it cannot be written.
        """
        return ensure_admin_token(self.store, self.settings.admin_token_path(), clock=SystemClock())

    def has_owner(self) -> bool:
        """Whether anybody can sign in to the App yet.

        Raises:
            StorageError: the store is away.
        """
        with self.store.reading() as work:
            return count_operators(work) > 0

    def run(self, *, on_ready: Callable[[], None] = _nothing, on_stop: Callable[[], None] = _nothing) -> None:
        """Serve until SIGTERM or SIGINT.

        Args:
            on_ready: Called once requests are taken.
            on_stop: Called when the signal comes, before the requests under way are answered. It must not wait.
        """
        sys.setswitchinterval(_THREAD_SWITCH_SECONDS)
        uvloop.run(self._serve(on_ready, on_stop))

    async def _serve(self, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        settings = self.settings
        commit = GroupCommit(
            self.log,
            records_max=settings.group_commit_records_max,
            bytes_max=settings.group_commit_bytes_max,
            queue_bytes_max=settings.ingest_queue_bytes_max,
        )
        rejections = Rejections(self.store, source_of=self._source_of, clock=SystemClock())
        tracking = TrackingApp(
            commit,
            keys=lambda key: key in self.watch.current().by_write_key,
            clock=SystemClock(),
            body_seconds=settings.request_body_seconds,
            rejections=rejections,
        )
        forwarded = ForwardedApp(
            commit,
            watch=self.watch,
            store=self.store,
            keyring=self.keyring,
            clock=SystemClock(),
            body_seconds=settings.request_body_seconds,
            rejections=rejections,
        )
        app = _Dispatch(tracking, forwarded, self, commit)
        server = _Server(
            uvicorn.Config(
                app,
                http="httptools",
                loop="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                date_header=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=_CLOSE_CONNECTIONS_SECONDS,
            ),
            on_ready,
            on_stop,
        )
        try:
            await server.serve(sockets=[self._socket])
        finally:
            await rejections.close()
            await asyncio.to_thread(commit.stop)

    def _source_of(self, write_key: str) -> str | None:
        """The slug of the source with this write key."""
        route = self.watch.current().by_write_key.get(write_key)
        return None if route is None else route.source.slug


class _Server(uvicorn.Server):
    """Tells when it listens, and stops on a signal without passing the signal on to itself afterwards."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets=sockets)
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT; the caller still has things to close, so the signal goes no further."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        yield

    def _stop(self, number: int) -> None:
        self._on_stop()
        self.handle_exit(number, None)


class _Dispatch:
    """Sends a request to the app of its path. The hot path is asked first and costs one comparison."""

    def __init__(self, tracking: TrackingApp, forwarded: ForwardedApp, serving: Serving, commit: GroupCommit) -> None:
        self._tracking = tracking
        self._forwarded = forwarded
        self._serving = serving
        self._commit = commit
        self._built: tuple[AsgiApp, AsgiApp, AsgiApp] | None = None
        self._operator_side_lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if handles(path):
            await self._tracking(scope, receive, send)
        elif path.startswith("/api/") or path == "/api":
            _, api, _ = await asyncio.to_thread(self._operator_side)
            await api(scope, receive, send)
        elif path.startswith("/v1/spaces/"):
            _, _, profiles = await asyncio.to_thread(self._operator_side)
            await profiles(scope, receive, send)
        elif handles_forwarded(path):
            await self._forwarded(scope, receive, send)
        elif path == "/health/live":
            await _answer(send, 200, b'{"status":"live"}')
        elif path == "/health/ready":
            await self._ready(send)
        elif path == "/metrics":
            self._tracking.publish_counts()
            body = await asyncio.to_thread(
                render_metrics, lambda: read_gauges(self._serving.store, self._serving.watch)
            )
            await _answer(send, 200, body, content_type=b"text/plain; version=0.0.4; charset=utf-8")
        else:
            app, _, _ = await asyncio.to_thread(self._operator_side)
            await app(scope, receive, send)

    async def _ready(self, send: Send) -> None:
        try:
            await asyncio.to_thread(self._serving.store.ping)
        except StorageError as error:
            await _answer(send, 503, b'{"status":"not ready","reason":"' + error.code.encode() + b'"}')
        else:
            await _answer(send, 200, b'{"status":"ready"}')

    def _operator_side(self) -> tuple[AsgiApp, AsgiApp, AsgiApp]:
        # Litestar takes half a second and 40 MB to import: paid by the first call, not by every start.
        with self._operator_side_lock:
            if self._built is None:
                from punchcard.runtime.operator_side import build_operator_side

                self._built = build_operator_side(
                    self._serving.settings,
                    store=self._serving.store,
                    keyring=self._serving.keyring,
                    watch=self._serving.watch,
                    log=self._serving.log,
                    commit=self._commit,
                    config_file=self._serving.config_file,
                )
            return self._built


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise PunchcardError(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; choose another with --port",
            code="address_unavailable",
        ) from error
    listening.set_inheritable(False)
    return listening


async def _answer(send: Send, status: int, body: bytes, content_type: bytes = b"application/json") -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
