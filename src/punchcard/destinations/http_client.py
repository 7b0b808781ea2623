"""An HTTP/1.1 client for one server that knows of each failed request whether any of it may have been sent.

That is what decides whether an award may be sent again, so no request is repeated here but a read. Redirects are not
followed, no cookies are kept, and proxies of the environment are not used. The conformance suite of this client is
`tests/contract/test_http_client.py`; decision 0023 says why it is our own.
"""

import asyncio
import os
import re
import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import aiohappyeyeballs
from yarl import URL

from punchcard.destinations.host_lookup import AddressInfo, HostLookup, Resolve, resolve
from punchcard.destinations.http_connection import (
    HttpConnectError,
    HttpConnection,
    HttpConnectionLostError,
    HttpDeadline,
    HttpError,
    HttpResponse,
    HttpTimeoutError,
)

__all__ = ["HttpClient", "HttpConnectError", "HttpDeadline", "HttpError", "HttpResponse", "HttpTimeoutError"]

# Below the five seconds after which many servers close an idle connection: a request must not meet its end.
_KEEP_ALIVE_SECONDS: Final = 4.0
# How long an address may leave a connection pending before the next one is tried beside it (RFC 8305).
_NEXT_ADDRESS_SECONDS: Final = 0.25
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)  # a `struct linger`: on, for no time
_TCP_USER_TIMEOUT: Final = getattr(socket, "TCP_USER_TIMEOUT", None)  # not on every system
_HEADERS: Final = {"Accept-Encoding": "gzip, deflate"}
_READS: Final = frozenset({"GET", "HEAD"})
_TARGET: Final = re.compile(r"/[!-~]*")
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


class HttpClient:
    """Sends requests to one server over connections that are kept for a while.

    Args:
        url: Scheme, host and port of the server.
        headers: Of every request.
        body_headers: Of every request with a body.
        connections_max: Connections at most; further requests wait.
        open_socket: Makes the socket to an address, or raises an OSError to refuse it.
        resolve: Finds the addresses of the host.
        tls: For `https`; by default certificates are verified by the system's authorities.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body_headers: Mapping[str, str] | None = None,
        connections_max: int,
        open_socket: Callable[[AddressInfo], socket.socket] | None = None,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parsed = URL(url)
        self._host = parsed.raw_host or ""
        self._port = parsed.port or 0
        self._tls = (tls or _tls_context()) if parsed.scheme == "https" else None
        # Of a name that is given twice, in whatever case, the last one.
        fixed = {name.lower(): (name, value) for name, value in {**_HEADERS, **headers}.items()}
        self._fixed = f"Host: {parsed.host_port_subcomponent}\r\n" + _fields(dict(fixed.values()))
        self._body_fixed = _fields(body_headers or {})
        self._open_socket = open_socket
        self._lookup = HostLookup(self._host, self._port, resolve)
        self._slots = asyncio.Semaphore(connections_max)
        self._idle: list[tuple[HttpConnection, float]] = []  # the newest last
        self._open: set[HttpConnection] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def request(
        self,
        method: str,
        target: str,
        *,
        seconds: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        body_bytes_max: int,
    ) -> HttpResponse:
        """Send a request and return its response, whatever its status is.

        Args:
            target: From the first slash on, with the query, percent-encoded.
            seconds: For everything: a free connection, the name, TCP, TLS, and the response.
            body_bytes_max: A longer body of the response is left incomplete.

        Raises:
            HttpError: there is no response.
            ValueError: target or headers cannot be sent; nothing was.
        """
        request = self._encode(method, target, headers, body)
        deadline = HttpDeadline(seconds)
        await self._take_slot(deadline)
        try:
            try:
                return await self._exchange(request, method, body_bytes_max, deadline, is_new=False)
            except HttpConnectionLostError as error:
                if not error.is_stale or method not in _READS:
                    raise
            return await self._exchange(request, method, body_bytes_max, deadline, is_new=True)
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Close all connections."""
        self._is_closed = True
        self._lookup.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._idle.clear()
        for connection in list(self._open):
            connection.abort()
        self._open.clear()
        await asyncio.sleep(0)  # for the transports to release their sockets

    def _encode(self, method: str, target: str, headers: Mapping[str, str] | None, body: bytes | None) -> bytes:
        if not _TARGET.fullmatch(target):
            raise ValueError(f"{target[:100]!r} is not a request target")
        # A length even of nothing: some servers wait for one.
        length = f"Content-Length: {len(body or b'')}\r\n" if body is not None or method not in _READS else ""
        fixed = self._fixed if body is None else self._fixed + self._body_fixed
        head = f"{method} {target} HTTP/1.1\r\n{fixed}{_fields(headers) if headers else ''}{length}\r\n"
        return head.encode("latin-1") + (body or b"")

    async def _take_slot(self, deadline: HttpDeadline) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout_at(deadline.loop_time):
                await self._slots.acquire()
        except TimeoutError as error:
            raise HttpTimeoutError("no free connection in time", may_be_sent=False) from error

    async def _exchange(
        self, request: bytes, method: str, body_bytes_max: int, deadline: HttpDeadline, *, is_new: bool
    ) -> HttpResponse:
        connection = None if is_new else self._take_idle()
        if connection is None:
            connection = await self._connect(deadline)
        try:
            response = await connection.exchange(
                request, method=method, body_bytes_max=body_bytes_max, deadline=deadline
            )
        finally:
            self._put_back(connection)
        return response

    def _take_idle(self) -> HttpConnection | None:
        """Return a connection that was used before, None if there is none."""
        oldest = asyncio.get_running_loop().time() - _KEEP_ALIVE_SECONDS
        while self._idle:
            connection, since = self._idle.pop()
            if connection.is_usable and since > oldest:
                return connection
            self._drop(connection)
        return None

    def _put_back(self, connection: HttpConnection) -> None:
        if self._is_closed or not connection.is_usable:
            self._drop(connection)
            return
        loop = asyncio.get_running_loop()
        self._idle.append((connection, loop.time()))
        if self._sweeping is None:
            self._sweeping = loop.call_later(_KEEP_ALIVE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close the connections that were idle for too long."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - _KEEP_ALIVE_SECONDS
        usable = [(connection, since) for connection, since in self._idle if connection.is_usable and since > oldest]
        usable_connections = {connection for connection, _ in usable}
        for connection, _ in self._idle:
            if connection not in usable_connections:
                self._drop(connection)
        self._idle = usable
        self._sweeping = loop.call_later(_KEEP_ALIVE_SECONDS, self._sweep) if usable else None

    def _drop(self, connection: HttpConnection) -> None:
        self._open.discard(connection)
        connection.abort()

    async def _connect(self, deadline: HttpDeadline) -> HttpConnection:
        """Open a connection, TLS included.

        Raises:
            HttpConnectError: it cannot be opened.
            HttpTimeoutError: not in time. Nothing was sent in either case.
        """
        try:
            async with asyncio.timeout_at(deadline.loop_time):
                connection = await self._open_connection(deadline.seconds)
        except TimeoutError as error:
            raise HttpTimeoutError(f"no connection to {self._host} in time", may_be_sent=False) from error
        except (OSError, ssl.SSLError, ValueError) as error:  # a ValueError is that of a name that cannot be one
            errno = error.errno or 0 if isinstance(error, OSError) else 0
            cause = os.strerror(errno) if errno > 0 and not isinstance(error, ssl.SSLError) else error
            raise HttpConnectError(f"{self._host}:{self._port}: {cause}") from error
        self._open.add(connection)
        return connection

    async def _open_connection(self, seconds: float) -> HttpConnection:
        loop = asyncio.get_running_loop()
        addresses: Any = await self._lookup.addresses()
        sock = await aiohappyeyeballs.start_connection(
            addresses,
            happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS,
            interleave=1,
            loop=loop,
            socket_factory=self._open_socket,
        )
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _forget_unsent(sock, seconds)
            _, connection = await loop.create_connection(
                HttpConnection,
                sock=sock,
                ssl=self._tls,
                server_hostname=self._host.rstrip(".") if self._tls is not None else None,
            )
        except BaseException:
            sock.close()
            raise
        return connection


def _forget_unsent(sock: socket.socket, seconds: float) -> None:
    """Make the system discard what it could not send when the connection is closed, and after these seconds.

    Otherwise it sends it again and again for minutes, also when this process has ended or is frozen. A network that
    comes back would deliver a request that was given up: an award that was read back as absent, and sent again.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    if _TCP_USER_TIMEOUT is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, max(1, int(seconds * 1_000)))


def _fields(headers: Mapping[str, str]) -> str:
    for name, value in headers.items():
        if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            # The value is not shown: it may be a secret.
            raise ValueError(f"the header {name[:100]!r} cannot be sent")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


@cache
def _tls_context() -> ssl.SSLContext:
    # Once: reading all certificates of the system takes as long as a hundred requests.
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
