"""The responses of a serving process that still waits for its storage: live, not ready, and 503 for all else."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import uvloop

from punchcard.errors import StorageError
from punchcard.ingest.http_responses import HttpResponse, document, make, unavailable
from punchcard.runtime.connections import limits_of
from punchcard.runtime.http_server import HttpServer
from punchcard.runtime.settings import Settings
from punchcard.runtime.tls import TlsFiles


class NotReadyServer:
    """Serves on the socket of a process until that can serve itself; connections of the meantime wait in its backlog.

    Its thread starts with the first failure, so that a start without one costs nothing.
    """

    def __init__(self, settings: Settings, listening: socket.socket, tls: TlsFiles | None) -> None:
        self._settings = settings
        self._listening = listening
        self._tls = tls
        self._error = StorageError()
        self._thread: threading.Thread | None = None
        self._begun = threading.Event()
        self._stop: Callable[[], object] = threading.Event().set

    def show(self, error: StorageError) -> None:
        """Respond with this error from now on."""
        self._error = error
        if self._thread is None:
            self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()), name="not-ready", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Leave the socket to the process."""
        if self._thread is not None:
            self._begun.wait()
            self._stop()
            self._thread.join()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        server = _QuietServer(
            self,
            limits=limits_of(self._settings),
            tls=None if self._tls is None else self._tls.context,
            on_ready=self._begun.set,
            on_stop=self._begun.set,
        )
        self._stop = lambda: loop.call_soon_threadsafe(server.stop)
        try:
            await server.serve(sockets=[self._listening.dup()])  # uvicorn closes what it is given
        finally:
            self._begun.set()

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        """Respond to a request, as an ASGI app."""
        if scope["type"] != "http":
            return
        _, start, body = self._response(scope["path"])
        await send(start)
        await send(body)

    def _response(self, path: str) -> HttpResponse:
        error = self._error
        if path == "/health/live":
            return document({"status": "live"})
        if path == "/health/ready":
            content = {"status": "not ready", "reason": error.code, "message": error.message}
            return make(503, msgspec.json.encode(content), (b"content-type", b"application/json"))
        return unavailable("Punchcard is starting and waits for its storage. Send the request again.", error.code)


class _QuietServer(HttpServer):
    """Leaves signals to the process: until that works it has nothing to finish, and a signal ends it at once."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none; they belong to the main thread."""
        yield
