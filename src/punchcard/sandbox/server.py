"""The sandbox as a running server: one process, one thread, stopped by SIGTERM or SIGINT."""

import contextlib
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from punchcard.clock import SystemClock
from punchcard.errors import ConfigurationError
from punchcard.sandbox.database import DEVELOPMENT_TOKEN, open_database
from punchcard.sandbox.front import RESET_EXTENSION, Front

GRACE_SECONDS = 2
"""How long a request in progress may take to finish when the sandbox stops."""

KEEP_ALIVE_SECONDS = 75
"""As long as usual edges; a shorter time would close connections that clients are about to use."""

BACKLOG = 1024


def serve_sandbox(
    *, data: Path, host: str = "127.0.0.1", port: int = 9100, on_ready: Callable[[int], None] | None = None
) -> None:
    """Serve the sandbox until SIGTERM or SIGINT, then return.

    Args:
        data: The folder of its state; created if it is missing.
        host: The address to listen on.
        port: The port to listen on; 0 selects a free one.
        on_ready: Called with the port once requests are accepted.

    Raises:
        ConfigurationError: The folder cannot be used, or the address is not available.
    """
    clock = SystemClock()
    with contextlib.closing(open_database(data, clock)) as database, _listen(host, port) as listener:
        config = uvicorn.Config(
            Front(database, clock),
            http=ResettableProtocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        _Server(config, on_ready=on_ready).run(sockets=[listener])


def ready_line(host: str, port: int) -> str:
    """Return the line that says where the sandbox takes requests, and with which key."""
    return f"Sandbox Perkville ready at http://{host}:{port} (API key: {DEVELOPMENT_TOKEN})"


class ResettableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a function to reset the connection, like a broken network."""

    def on_message_begin(self) -> None:
        """Offer the function to the application of each request."""
        super().on_message_begin()
        self.scope["extensions"] = {RESET_EXTENSION: {"reset": self._reset}}

    def _reset(self) -> None:
        peer = self.transport.get_extra_info("socket")
        # Lingering for 0 seconds drops unsent data and sends RST instead of FIN.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class _Server(uvicorn.Server):
    """uvicorn's server, which reports when it is ready and exits without an error status on a signal."""

    def __init__(self, config: uvicorn.Config, *, on_ready: Callable[[int], None] | None) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_ready is not None and sockets:
            self._on_ready(sockets[0].getsockname()[1])

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn raises the signal again after a clean stop, and the process would seem to have been killed.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        originals = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in originals.items():
                signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
        )
    except (OSError, OverflowError) as exc:
        errno = exc.errno if isinstance(exc, OSError) and exc.errno else 0
        cause = os.strerror(errno) if errno > 0 else str(exc)  # the names of hosts have negative ones
        message = f"The sandbox cannot listen on {host}:{port}: {cause}. Choose another --port."
        raise ConfigurationError(message) from exc
