"""A TCP proxy for tests, between a client and a server: requests pass at once, their responses late."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK_BYTES = 65_536


class SlowProxy:
    """Forwards connections on a port of the loopback to another port.

    Attributes:
        delays: The least and the greatest delay of a response in seconds; may be changed at any time.

    Args:
        server_port: Of the server.
    """

    def __init__(self, server_port: int) -> None:
        self.delays = 0.0, 0.0
        self._server_port = server_port
        self._random = random.Random(1)
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._thread = threading.Thread(target=self._accept, name="slow-proxy", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address for clients that speak HTTP."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def stop(self) -> None:
        """End the proxy with all connections."""
        self._stopping.set()
        for each in self._sockets:
            with suppress(OSError):  # not connected any more
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # stopped
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                client.close()
                continue
            self._sockets += [client, server]
            is_requested = threading.Event()
            for forward in (self._forward_requests, self._forward_responses):
                threading.Thread(target=forward, args=(client, server, is_requested), daemon=True).start()

    def _forward_requests(self, client: socket.socket, server: socket.socket, is_requested: threading.Event) -> None:
        with _closing_end(server):
            while chunk := client.recv(_CHUNK_BYTES):
                is_requested.set()
                server.sendall(chunk)

    def _forward_responses(self, client: socket.socket, server: socket.socket, is_requested: threading.Event) -> None:
        with _closing_end(client):
            while chunk := server.recv(_CHUNK_BYTES):
                if is_requested.is_set():  # the first part of a response: the others follow as they come
                    is_requested.clear()
                    self._stopping.wait(self._random.uniform(*self.delays))
                client.sendall(chunk)


@contextmanager
def _closing_end(target: socket.socket) -> Iterator[None]:
    """Tell one side that the other one has ended, however it did."""
    with suppress(OSError):
        yield
    with suppress(OSError):  # not connected any more
        target.shutdown(socket.SHUT_WR)


@contextmanager
def slow_proxy(server_port: int) -> Iterator[SlowProxy]:
    """Run a proxy for the length of the block."""
    proxy = SlowProxy(server_port)
    try:
        yield proxy
    finally:
        proxy.stop()
