"""One HTTP/1.1 connection of a client: a request at a time, and the response that belongs to it."""

import asyncio
import socket
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final, cast

import httptools
import msgspec

_HEAD_BYTES_MAX: Final = 64 * 1024
# Framing around the bytes of a body: a chunk of one byte costs six, and may have extensions.
_FRAMING_FACTOR: Final = 16
_NO_RESET: Final = struct.pack("ii", 0, 0)  # a `struct linger`: off
_CONTINUE: Final = 100
_SWITCHING_PROTOCOLS: Final = 101
_OK: Final = 200
_ENCODINGS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class HttpError(Exception):
    """A request that got no response.

    Attributes:
        may_be_sent: True if a byte of it may have left. False only if it was given no connection, so that surely
            nobody has received any of it.
    """

    may_be_sent = True


class HttpConnectError(HttpError):
    """No connection could be opened: the name is unknown, the port closed, the certificate wrong."""

    may_be_sent = False


class HttpTimeoutError(HttpError, TimeoutError):
    """The time of the request was over before its response began."""

    def __init__(self, message: str, *, may_be_sent: bool) -> None:
        super().__init__(message)
        self.may_be_sent = may_be_sent


class HttpConnectionLostError(HttpError):
    """The connection ended after the request was given to it and before its response was complete enough to be used.

    Attributes:
        is_stale: True if the connection had served a request before and nothing came: the server may have closed it
            while it was idle.
    """

    is_stale = False


class HttpInvalidResponseError(HttpError):
    """What came is not an HTTP response, or its head is too long."""


class HttpDeadline:
    """When a request must have left and its response begun, by two clocks.

    That of the event loop stops while a machine is suspended, and the other one can be set. A request that leaves later
    may be performed twice, because another machine has gone on with it.

    Args:
        seconds: From now on.

    Attributes:
        seconds: As given.
        loop_time: On the event loop's clock.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._loop = asyncio.get_running_loop()
        self.loop_time = self._loop.time() + seconds
        self._epoch_time = time.time() + seconds

    def seconds_left(self) -> float:
        """Return the seconds that are left; 0 or less if it is over by either clock."""
        return min(self.loop_time - self._loop.time(), self._epoch_time - time.time())


class HttpHeaders(Mapping[str, str]):
    """The headers of a response by name, without regard to case; of a repeated one the first.

    Args:
        pairs: Names and values as received.
    """

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._pairs = pairs

    @cached_property
    def _values(self) -> dict[str, str]:
        # Made when one is looked at: of most responses nobody does.
        return {_text(name).lower(): _text(value) for name, value in reversed(self._pairs)}

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A response of which at least the head has come.

    Attributes:
        body: What has come of it, without its compression.
        is_complete: False if the rest of the body was lost, is too long or is damaged.
    """

    status: int
    headers: HttpHeaders
    body: bytes
    is_complete: bool


class HttpConnection(asyncio.Protocol):
    """A connection. It is used by one request at a time, and for nothing else once anything about it is odd."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._result: asyncio.Future[HttpResponse] | None = None
        self._is_usable = False
        self._requests = 0
        self._begin_response("", 0)

    # --- what the client calls ---

    @property
    def is_usable(self) -> bool:
        """Whether another request may be sent."""
        return self._is_usable and self._transport is not None and not self._transport.is_closing()

    async def exchange(
        self, request: bytes, *, method: str, body_bytes_max: int, deadline: HttpDeadline
    ) -> HttpResponse:
        """Send a request and return its response.

        Args:
            deadline: A body that is not complete by then is left out.

        Raises:
            HttpError: there is none. The connection is closed.
        """
        if self._transport is None or not self.is_usable:
            raise HttpConnectionLostError("the connection was closed at once")
        if deadline.seconds_left() <= 0:
            self.abort()  # the other end may have given it up meanwhile
            raise HttpTimeoutError("this process stood still before it could send", may_be_sent=False)
        loop = asyncio.get_running_loop()
        self._begin_response(method, body_bytes_max)
        self._requests += 1
        result: asyncio.Future[HttpResponse] = loop.create_future()
        self._result = result
        self._transport.write(request)
        timer = loop.call_at(deadline.loop_time, self._time_out)
        try:
            return await result
        finally:
            timer.cancel()
            if not result.done() or result.cancelled():
                self.abort()  # what comes from now on must not be taken for the response to another request
            self._result = None

    def abort(self) -> None:
        """Close the connection at once. If a request is under way, it is reset: nothing of it is sent any more."""
        self._close(is_reset=self._result is not None or not self._is_usable)

    def _close(self, *, is_reset: bool) -> None:
        self._is_usable = False
        if self._transport is not None and not self._transport.is_closing():
            if not is_reset:  # what would be an error in the logs of the other end
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_RESET)
            # Not `close`, which waits for what may never be accepted: bytes in the buffer, the other end of TLS.
            self._transport.abort()

    # --- what the transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands, TLS included."""
        self._transport = cast(asyncio.Transport, transport)
        self._is_usable = True

    def data_received(self, data: bytes) -> None:
        """Read a piece of the response."""
        if self._result is None or self._result.done():
            self.abort()  # nobody has requested that
            return
        self._raw_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._finish(is_complete=True, is_reusable=False)
        except httptools.HttpParserError as error:
            self._end(HttpInvalidResponseError(f"the response is not valid HTTP: {error}"))
        else:
            self._limit()

    def eof_received(self) -> bool:
        """Nothing more comes: a body without a length is complete now."""
        if self._is_until_end():
            self._finish(is_complete=True, is_reusable=False)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by whichever end."""
        self._is_usable = False
        if self._result is not None and not self._result.done():
            lost = HttpConnectionLostError(f"the connection was closed{f': {exc}' if exc else ''}")
            lost.is_stale = self._requests > 1 and not self._raw_bytes
            if exc is None and self._is_until_end():
                self._finish(is_complete=True, is_reusable=False)
            else:
                self._end(lost)
        self._transport = None

    # --- what the parser calls ---

    def on_message_begin(self) -> None:
        """Another response begins."""
        self._is_excess = self._is_over

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; not those behind a body."""
        if not self._has_head:
            self._headers.append((name, value))
            if name.lower() == b"content-encoding":
                self._encoding = value

    def on_headers_complete(self) -> None:
        """The head is complete: from now on there is a status, whatever becomes of the body."""
        status = self._parser.get_status_code()
        if _CONTINUE <= status < _OK and status != _SWITCHING_PROTOCOLS:
            return
        self._status = status
        self._has_head = True
        if self._method == "HEAD":
            # A length there is that of the body which a GET would get; the parser waits for it.
            self._finish(is_complete=True, is_reusable=False)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, up to the limit."""
        if not self._is_over and self._has_head:
            self._parts.append(body)
            self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        """The response is complete, unless it only announces another one."""
        if self._has_head:
            is_reusable = self._parser.should_keep_alive() and self._status != _SWITCHING_PROTOCOLS
            self._finish(is_complete=self._body_bytes <= self._body_bytes_max, is_reusable=is_reusable)
        else:
            self._headers.clear()
            self._encoding = b""

    # --- the response ---

    def _begin_response(self, method: str, body_bytes_max: int) -> None:
        self._method = method
        self._body_bytes_max = body_bytes_max
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._encoding = b""
        self._parts: list[bytes] = []
        self._body_bytes = 0
        self._raw_bytes = 0
        self._has_head = False
        self._is_over = False
        self._is_excess = False

    def _limit(self) -> None:
        if self._is_excess:
            self.abort()  # a second response to one request
        elif self._is_over:
            return
        elif not self._has_head:
            if self._raw_bytes > _HEAD_BYTES_MAX:
                self._end(HttpInvalidResponseError(f"the head of the response has more than {_HEAD_BYTES_MAX} bytes"))
        elif (
            self._body_bytes > self._body_bytes_max
            or self._raw_bytes > self._body_bytes_max * _FRAMING_FACTOR + _HEAD_BYTES_MAX
        ):
            self._finish(is_complete=False, is_reusable=False)

    def _is_until_end(self) -> bool:
        """Whether only the end of the connection says where the body ends."""
        if not self._has_head or self._is_over:
            return False
        names = {name.lower() for name, _ in self._headers}
        return b"content-length" not in names and b"transfer-encoding" not in names

    def _time_out(self) -> None:
        self._end(HttpTimeoutError("no response in time", may_be_sent=True))

    def _end(self, error: HttpError) -> None:
        """End the request without the rest of its response."""
        if self._has_head:
            self._finish(is_complete=False, is_reusable=False)
        elif self._result is not None and not self._result.done():
            self._is_over = True
            self._result.set_exception(error)
        self.abort()

    def _finish(self, *, is_complete: bool, is_reusable: bool) -> None:
        if self._is_over:
            return
        self._is_over = True
        if not is_reusable:
            self._close(is_reset=not is_complete)
        if self._result is None or self._result.done():
            return
        body = b"".join(self._parts)[: self._body_bytes_max]
        if self._encoding and body:
            body, is_decoded = _decoded(body, _text(self._encoding).strip().lower(), self._body_bytes_max)
            is_complete = is_complete and is_decoded
        self._result.set_result(
            HttpResponse(status=self._status, headers=HttpHeaders(self._headers), body=body, is_complete=is_complete)
        )


def _decoded(body: bytes, encoding: str, bytes_max: int) -> tuple[bytes, bool]:
    """Return the body without its compression, and whether that is all of it."""
    if encoding == "identity":
        return body, True
    window = _ENCODINGS.get(encoding)
    if window is None:
        return b"", False
    if encoding == "deflate" and body[0] & 0x0F != zlib.DEFLATED:
        window = -zlib.MAX_WBITS  # what some servers call deflate
    decoder = zlib.decompressobj(window)
    try:
        decoded = decoder.decompress(body, bytes_max)
    except zlib.error:
        return b"", False
    return decoded, decoder.eof and not decoder.unused_data


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
