"""A TCP proxy for tests, before a server on a Unix socket: it resets connections that are idle, as some networks do."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 65_536
_LOOK_SECONDS: Final = 0.05
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: what is closed is reset


class ImpatientProxy:
    """Forwards connections on a port of the loopback to a Unix socket.

    Attributes:
        idle_seconds: After so many seconds without a byte, a connection is reset on both sides; may be changed.
        resets: How many connections were reset.

    Args:
        server: The socket of the server.
    """

    def __init__(self, server: Path) -> None:
        self.idle_seconds = float("inf")
        self.resets = 0
        self._server = server
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._used_at: dict[tuple[socket.socket, socket.socket], float] = {}
        for run in (self._accept, self._reset_idle):
            threading.Thread(target=run, name="impatient-proxy", daemon=True).start()

    def stop(self) -> None:
        """End the proxy with all connections."""
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for pair in self._pairs(idle_since=float("inf")):
            self._reset(pair)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # stopped
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._server))
            except OSError:
                server.close()
                client.close()
                continue
            pair = client, server
            with self._lock:
                self._used_at[pair] = time.monotonic()
            for source, target in (pair, (server, client)):
                threading.Thread(target=self._forward, args=(source, target, pair), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        with suppress(OSError):
            while chunk := source.recv(_CHUNK_BYTES):
                with self._lock:
                    self._used_at[pair] = time.monotonic()
                target.sendall(chunk)
        with suppress(OSError):  # not connected any more
            target.shutdown(socket.SHUT_WR)

    def _reset_idle(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            for pair in self._pairs(idle_since=time.monotonic() - self.idle_seconds):
                self._reset(pair)
                self.resets += 1

    def _pairs(self, *, idle_since: float) -> list[tuple[socket.socket, socket.socket]]:
        """Take the connections that were not used since."""
        with self._lock:
            idle = [pair for pair, used_at in self._used_at.items() if used_at < idle_since]
            for pair in idle:
                del self._used_at[pair]
        return idle

    def _reset(self, pair: tuple[socket.socket, socket.socket]) -> None:
        for each in pair:
            with suppress(OSError):  # closed by the other thread
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            with suppress(OSError):
                each.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
            each.close()


@contextmanager
def impatient_proxy(server: Path) -> Iterator[ImpatientProxy]:
    """Run a proxy for the length of the block."""
    proxy = ImpatientProxy(server)
    try:
        yield proxy
    finally:
        proxy.stop()
