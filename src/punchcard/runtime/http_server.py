"""An HTTP server with limits: uvicorn's, with our own accept loop.

The loop counts connections from the moment they are accepted, including TLS handshakes, and survives a shortage of
descriptors; asyncio's own servers do neither.
"""

import asyncio
import errno
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import uvicorn

from punchcard.runtime.connections import Connections, HttpLimits, Reason
from punchcard.runtime.direct_protocol import DirectCalls, DirectProtocol
from punchcard.runtime.http_protocol import OVERLOADED, LimitedProtocol

_BACKLOG: Final = 2048
_ACCEPTED_PER_ROUND: Final = 64  # then other tasks of the loop run
_SHORTAGE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_SHORTAGE_PAUSE_SECONDS: Final = 0.1
_CLOSE_CONNECTIONS_SECONDS: Final = 3
_TLS_SHUTDOWN_SECONDS: Final = 2.0  # a client that does not confirm the end of TLS is closed without it


class HttpServer(uvicorn.Server):
    """Serves an ASGI app until SIGTERM or SIGINT, on sockets that are already bound.

    Args:
        app: The ASGI app.
        tls: Returns the TLS context of the next connection; None serves plain HTTP.
        forwarded_by: Addresses and networks from which `X-Forwarded-For` and `X-Forwarded-Proto` are trusted.
        direct: Calls that need not reach the app.
        on_ready: Called once requests are accepted.
        on_stop: Called on the signal, before the responses in progress are complete. It must not wait.
    """

    def __init__(
        self,
        app: Any,
        *,
        limits: HttpLimits,
        tls: Callable[[], ssl.SSLContext] | None = None,
        forwarded_by: str = "",
        direct: DirectCalls | None = None,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
    ) -> None:
        config = uvicorn.Config(
            app,
            http=LimitedProtocol,
            ws="none",
            loop="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=_CLOSE_CONNECTIONS_SECONDS,
            forwarded_allow_ips=forwarded_by,
        )
        super().__init__(config)
        self.connections = Connections(limits)
        self._tls = tls
        self._direct = direct
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._stopping = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await self.lifespan.startup()
        listeners = [_Listener(listening, self) for listening in sockets or []]
        for listener in listeners:
            listener.start()
        self.servers = listeners  # type: ignore[assignment]  # uvicorn only closes them and waits for them
        self.started = True
        self._on_ready()

    async def main_loop(self) -> None:
        """Wait until the server is to stop. Ours sends no dates, so nothing has to be done ten times a second."""
        await self.on_tick(0)
        await self._stopping.wait()

    def stop(self) -> None:
        """Stop as after a signal; to be called on the event loop."""
        self.should_exit = True
        self._stopping.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and close connections after their responses."""
        await super().shutdown(sockets)
        self.connections.stop()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT; the signal is not passed on, because the caller still has to close resources."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        yield

    def _stop(self, number: int) -> None:
        self._on_stop()
        self.handle_exit(number, None)
        self._stopping.set()

    def count_connection(self, accepted: socket.socket, address: str) -> LimitedProtocol:
        """Return the protocol of an accepted connection, which is counted from now on."""
        config, state, connections = self.config, self.server_state, self.connections
        if self._direct is None:
            return LimitedProtocol(config, state, connections=connections, address=address, accepted=accepted)
        return DirectProtocol(
            config, state, connections=connections, address=address, accepted=accepted, direct=self._direct
        )

    async def connect(self, accepted: socket.socket, protocol: LimitedProtocol) -> None:
        """Connect the protocol; return once it is connected or the handshake has failed."""
        context = None if self._tls is None else self._tls()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                accepted,
                ssl=context,
                ssl_handshake_timeout=None if context is None else self.connections.limits.head_seconds,
                ssl_shutdown_timeout=None if context is None else _TLS_SHUTDOWN_SECONDS,
            )
        except (OSError, TimeoutError) as error:  # SSLError is an OSError
            self.connections.telemetry.handshake_failed(error=str(error))
            protocol.abandon()

    def reject(self, accepted: socket.socket, reason: Reason) -> None:
        """Reject a connection for which there is no capacity: respond if that is free, and close."""
        self.connections.telemetry.connections_exhausted(reason, open_connections=len(self.connections))
        if self._tls is None:
            with suppress(OSError):
                accepted.send(OVERLOADED)
        accepted.close()


class _Listener:
    """Accepts the connections of one socket."""

    def __init__(self, listening: socket.socket, server: HttpServer) -> None:
        self._listening = listening
        self._server = server
        self._connecting: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._resuming: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._listening.setblocking(False)
        self._listening.listen(_BACKLOG)
        self._loop.add_reader(self._listening, self._accept_all)

    def close(self) -> None:
        if self._resuming is not None:
            self._resuming.cancel()
        self._loop.remove_reader(self._listening)
        for task in self._connecting:
            task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._connecting, return_exceptions=True)

    def _accept_all(self) -> None:
        for _ in range(_ACCEPTED_PER_ROUND):
            try:
                accepted, peer = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _SHORTAGE:
                    self._pause(error)
                    return
                continue  # this client has disconnected already
            self._begin(accepted, str(peer[0]) if isinstance(peer, tuple) else "")

    def _begin(self, accepted: socket.socket, address: str) -> None:
        accepted.setblocking(False)
        reason = self._server.connections.admit(address)
        if reason is not None:
            self._server.reject(accepted, reason)
            return
        with suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        protocol = self._server.count_connection(accepted, address)
        task = self._loop.create_task(self._server.connect(accepted, protocol))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _pause(self, error: OSError) -> None:
        # The connection stays in the backlog, and the event loop would report it continuously.
        self._server.connections.telemetry.accept_failed(error=error.strerror or str(error))
        self._server.connections.make_room()
        self._loop.remove_reader(self._listening)
        self._resuming = self._loop.call_later(_SHORTAGE_PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        self._resuming = None
        self._loop.add_reader(self._listening, self._accept_all)
