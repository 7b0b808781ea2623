"""An ASGI app on its own socket, in a thread: for tests that call it like any client."""

import asyncio
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import uvicorn

from punchcard.log.group_commit import GroupCommit
from punchcard.log.port import EventLog

_START_SECONDS = 120


class ListeningApp:
    """A running app, with its group commit; as a context manager it is stopped at the end.

    Args:
        log: The log to which the group commit appends.
        build: Builds the app, in the loop that serves it.
    """

    def __init__(self, log: EventLog, build: Callable[[GroupCommit], Any]) -> None:
        self._log = log
        self._build = build
        self._ready = threading.Event()
        self._server: _Server | None = None
        self._socket = socket.socket()
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as uvloop does in the product
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="listening-app")
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise TimeoutError("The app did not start.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the app after the responses in progress."""
        if self._server is not None:
            self._server.stop()
        self._thread.join(_START_SECONDS)
        self._socket.close()
        if self._thread.is_alive():
            raise TimeoutError("The app did not stop.")

    async def _serve(self) -> None:
        commit = GroupCommit(self._log, records_max=64, bytes_max=1 << 20, queue_bytes_max=1 << 24)
        config = uvicorn.Config(
            self._build(commit),
            http="httptools",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
        self._server = _Server(config, self._ready)
        await self._server.serve(sockets=[self._socket])
        await asyncio.to_thread(commit.stop)


class _Server(uvicorn.Server):
    """Signals when it listens, and stops at once: uvicorn looks and waits in tenths of seconds, once for each test."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Stop after the responses in progress; called from another thread."""
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets=sockets)
        self._ready.set()

    async def main_loop(self) -> None:
        """Serve until `stop` is called."""
        await self.on_tick(0)  # sets the default headers
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop to listen, and wait for the connections if there are any."""
        await asyncio.sleep(0)  # a connection that its client has closed is removed in the loop's next round
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for listener in self.servers:
            listener.close()
            await listener.wait_closed()
