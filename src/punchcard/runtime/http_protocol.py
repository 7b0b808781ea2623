"""uvicorn's HTTP protocol with limits on bytes, time, and the requests that one client may have in progress.

uvicorn alone accepts headers without end, waits for them for ever, and loses the body of a request that offers an
upgrade.
"""

import asyncio
import math
import socket
from contextlib import suppress
from typing import Any, Final

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from punchcard.ingest import http_responses
from punchcard.ingest.http_responses import HttpResponse
from punchcard.runtime.connections import Activity, Connections, Reason

# Requests that a client may send before their responses; further ones get no response.
_PIPELINED_MAX: Final = 100
# The rest of a body after an early response is read and discarded, so that the client can read the response.
_UNREAD_BYTES_MAX: Final = 8 * 1024 * 1024
_UNREAD_SECONDS: Final = 2.0
# The Tracking API itself responds to a late body within a quarter more than the time; this is for the others.
_BODY_TIME_FACTOR: Final = 1.5
_HOP_BY_HOP: Final = (b"connection", b"upgrade", b"http2-settings")

# Looking up a member of an enumeration is slow, and these are used for every request.
_IDLE: Final = Activity.IDLE
_HEAD: Final = Activity.HEAD
_BODY: Final = Activity.BODY

CLOSE: Final = (b"connection", b"close")
"""The header of the last response on a connection."""


def wire_bytes(response: HttpResponse, *headers: tuple[bytes, bytes]) -> bytes:
    """Return a response with more headers as it is sent."""
    status, start, body = response
    head = b"".join(b"%s: %s\r\n" % header for header in (*start["headers"], *headers))
    return bytes(STATUS_LINE[status] + head + b"\r\n" + body["body"])


def _refusal(status: int, message: str, *headers: tuple[bytes, bytes], code: str) -> bytes:
    return wire_bytes(http_responses.fault(status, message, CLOSE, *headers, code=code))


_RESPONSES: Final = {
    Reason.MALFORMED: _refusal(400, "This is not an HTTP request.", code="invalid_request"),
    Reason.URI_TOO_LONG: _refusal(414, "The URL is too long.", code="uri_too_long"),
    Reason.HEADERS_TOO_LARGE: _refusal(431, "The headers are too large.", code="headers_too_large"),
    Reason.SLOW_HEAD: _refusal(408, "The request did not arrive in time.", code="request_timeout"),
    Reason.SLOW_BODY: _refusal(408, "The body did not arrive in time.", code="request_timeout"),
}
OVERLOADED: Final = _refusal(
    503,
    "There are too many connections; send again later.",
    (b"retry-after", http_responses.RETRY_AFTER_SECONDS),
    http_responses.EXPOSE_RETRY_AFTER,
    code="overloaded",
)
"""The response to requests for which there is no capacity."""


class LimitedProtocol(HttpToolsProtocol):
    """A connection within the limits of its table.

    Args:
        accepted: The accepted socket, which must be closed explicitly until there is a transport.

    Attributes:
        since: Time of the event loop at which the current activity began.
        deadline: Time at which the current activity has taken too long.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        *,
        connections: Connections,
        address: str,
        accepted: socket.socket,
    ) -> None:
        super().__init__(config, server_state, {}, _loop=asyncio.get_running_loop())
        self.address = address
        self.since = self.loop.time()
        self.deadline = self.since + connections.limits.head_seconds
        self._table = connections
        self._limits = connections.limits
        self._accepted: socket.socket | None = accepted
        self._has_sent = False
        self._message = _IDLE  # state of the parser: IDLE between messages, HEAD or BODY
        self._timed = _IDLE  # the activity that `deadline` belongs to
        self._reason: Reason | None = None  # the limit for which we stopped the parser
        self._is_refusing = False  # input is discarded, and the connection closes after the last response
        self._is_lingering = False  # everything is written, and the client has time to read it
        self._is_upgrade = False
        self._has_progressed = False
        self._received_bytes = 0  # bytes being parsed
        self._bytes_without_progress = 0
        self._body_bytes = 0
        self._unread_bytes = 0
        self._earlier_cycle: Any = None  # cycle of the request before the newest
        connections.add(self)

    # --- connection ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Start the connection."""
        super().connection_made(transport)
        self._accepted = None

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection."""
        super().connection_lost(exc)
        self._table.remove(self)

    def abandon(self) -> None:
        """Remove the connection, because the handshake failed and there will be no transport."""
        self._table.remove(self)

    def activity(self) -> Activity:
        """Return what the connection is doing."""
        if self._is_refusing or (self.transport is not None and self.transport.is_closing()):
            return Activity.BUSY  # it ends by itself
        if self._message is not _IDLE:
            return self._message
        if self._is_responding():
            return Activity.BUSY
        return _IDLE if self._has_sent else Activity.SILENT

    def expire(self, now: float) -> None:
        """Handle a client that takes too long, or does not close its connection."""
        if self.transport is None:
            self._count(Reason.SLOW_HANDSHAKE)
            self._drop_socket()
        elif self.flow.write_paused:
            self._count(Reason.SLOW_READER)
            self.transport.abort()
        elif self._is_refusing or self.transport.is_closing():
            self.transport.abort()
        elif self.flow.read_paused:
            self.deadline = now + self._limits.head_seconds  # we do not read: the client is not slow
        elif self._message is _BODY:
            self._refuse(Reason.SLOW_BODY)
        elif self._message is _HEAD:
            self._refuse(Reason.SLOW_HEAD)
        else:
            if self.cycle is None:  # no request was received yet
                self._count(Reason.SLOW_HEAD)
            self.deadline = now + _UNREAD_SECONDS
            self.transport.close()

    def close_for(self, reason: Reason) -> None:
        """Close the connection because there are too many, with 503 if a request is in progress."""
        self._table.telemetry.connections_exhausted(reason, open_connections=len(self._table))
        self.deadline = self.loop.time() + _UNREAD_SECONDS
        if self.transport is None:
            self._drop_socket()
        elif self._message is _IDLE:
            self.transport.close()
        elif self._begin_refusal():
            self.transport.write(OVERLOADED)
            self.transport.close()

    def pause_writing(self) -> None:
        """Handle a client that reads its response more slowly than it is written."""
        super().pause_writing()
        self.deadline = self.loop.time() + self._limits.body_seconds

    def resume_writing(self) -> None:
        """Handle a client that has read the waiting data."""
        super().resume_writing()
        if self.transport.is_closing():
            return
        if self._message is _IDLE and self._is_responding():
            self.deadline = math.inf
        else:
            self.deadline = self.loop.time() + self._limits.body_seconds

    def _drop_socket(self) -> None:
        if self._accepted is not None:
            with suppress(OSError):  # the client has closed it already
                self._accepted.shutdown(socket.SHUT_RDWR)  # ends the handshake, which closes it

    # --- input ---

    def data_received(self, data: bytes) -> None:
        """Parse data within the limits."""
        if self._is_refusing:
            self._discard(len(data))
            return
        self._has_sent = True
        self._has_progressed = False
        self._received_bytes = len(data)
        try:
            self._parse(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(self._reason or Reason.MALFORMED)
            return
        if self._has_progressed:
            self._bytes_without_progress = len(data) if self._message is _HEAD else 0
        else:
            # An endless URL, header, trailer or chunk extension, or empty lines: no step of a request is complete.
            self._bytes_without_progress += len(data)
            if self._message is _HEAD and len(self.url) > self._limits.line_bytes_max:
                self._refuse(Reason.URI_TOO_LONG)
                return
            if self._bytes_without_progress > self._limits.line_bytes_max + self._limits.headers_bytes_max:
                self._refuse(Reason.HEADERS_TOO_LARGE)
                return
        if self._message is not self._timed:
            self._begin_timing()
        if self._message is _BODY:
            self._watch_body()

    def _parse(self, data: bytes) -> None:
        """Call the `on_…` methods below for the next part of the input."""
        self.parser.feed_data(data)

    def _begin_timing(self) -> None:
        self._timed = self._message
        self.since = self.loop.time()
        if self._message is _HEAD:
            self.deadline = self.since + self._limits.head_seconds
        else:
            self.deadline = self.since + self._limits.body_seconds * _BODY_TIME_FACTOR

    def _watch_body(self) -> None:
        if self._is_responding():
            self._table.hold_body(self, self._body_bytes)
        elif self._body_bytes > _UNREAD_BYTES_MAX:
            self._count(Reason.UNREAD_BODY)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Handle the beginning of a request line."""
        super().on_message_begin()
        self._begin_message()

    def _begin_message(self) -> None:
        self._message = _HEAD
        self._is_upgrade = False
        self._body_bytes = 0

    def on_headers_complete(self) -> None:
        """Start the application."""
        self._has_progressed = True
        limits = self._limits
        if len(self.url) > limits.line_bytes_max:
            self._stop_parsing(Reason.URI_TOO_LONG)
        if len(self.headers) > limits.headers_max:
            self._stop_parsing(Reason.HEADERS_TOO_LARGE)
        # Most heads need no check: the data received since their beginning is smaller than the limit.
        if self._bytes_without_progress + self._received_bytes > limits.headers_bytes_max and (
            sum(len(name) + len(value) for name, value in self.headers) > limits.headers_bytes_max
        ):
            self._stop_parsing(Reason.HEADERS_TOO_LARGE)
        if self.parser.should_upgrade():
            self._is_upgrade = True
            return
        if len(self.pipeline) >= _PIPELINED_MAX:
            self._stop_parsing(Reason.TOO_MANY_PIPELINED)
        self._message = _BODY
        self._start_request()

    def _start_request(self) -> None:
        """Pass a request with complete headers to the application."""
        earlier_cycle = self.cycle
        super().on_headers_complete()
        self._earlier_cycle = earlier_cycle

    def on_body(self, body: bytes) -> None:
        """Handle a part of the body."""
        self._has_progressed = True
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Handle a complete request."""
        if self._is_upgrade:
            return
        self._has_progressed = True
        self._message = _IDLE
        if self._timed is _BODY:
            self._table.release_body(self)
        self._timed = _IDLE
        if not self.flow.write_paused:
            has_response = self.cycle.response_complete
            self.deadline = self.loop.time() + self._limits.keep_alive_seconds if has_response else math.inf
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Handle a complete response: start the next one, or wait for the next request.

        As uvicorn's method, but the table's single timer replaces a timer per response.
        """
        self.server_state.total_requests += 1
        self.since = self.loop.time()
        if self._message is _BODY and self.cycle.response_complete:
            self._table.release_body(self)
            if self.expect_100_continue and not self._body_bytes:
                self.transport.close()  # the client has not got "100 Continue", and may send another request
        if self._is_refusing and not self._is_responding():
            self.transport.close()
        if self.transport.is_closing():
            self.deadline = self.since + self._limits.body_seconds
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._message is _IDLE:
            self.deadline = self.since + self._limits.keep_alive_seconds

    def _stop_parsing(self, reason: Reason) -> None:
        self._reason = reason
        raise ValueError(reason)  # the parser converts it into its own error, which `data_received` handles

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Treat a request that offers another protocol as one that does not: a server may decline (RFC 9110, 7.8)."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(Reason.MALFORMED)
            return
        version = self.parser.get_http_version().encode()
        lines = [method + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name not in _HOP_BY_HOP]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    # --- end ---

    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _count(self, reason: Reason) -> None:
        self._table.telemetry.request_refused(reason)

    def _refuse(self, reason: Reason) -> None:
        """Respond to a request that exceeds a limit after the responses to earlier ones, and close."""
        self._count(reason)
        if self._begin_refusal():
            self.transport.write(_RESPONSES.get(reason, _RESPONSES[Reason.MALFORMED]))
            self._close_after_read()

    def _begin_refusal(self) -> bool:
        """Discard further input; True if the refusal may be written now, False if earlier responses come first."""
        self._is_refusing = True
        self._table.release_body(self)
        if not self._is_responding():
            if self._message is _BODY:  # the response was sent before the body was complete
                self.transport.close()
                return False
            return True
        cycle = self.cycle
        if self._message is not _BODY:
            # The newest request is complete: it gets its response, and the connection ends after it.
            cycle.keep_alive = False
            self.deadline = math.inf
            return False
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()  # it has not started, and others come first
            self.cycle = self._earlier_cycle
            self.deadline = math.inf
            return False
        cycle.disconnected = True
        cycle.message_event.set()
        if cycle.response_started:
            self.transport.close()
            return False
        return True

    def _close_after_read(self) -> None:
        # A connection that is closed with unread bytes is reset, and the response may be lost in transit.
        self._is_lingering = True
        self.deadline = self.loop.time() + _UNREAD_SECONDS
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _discard(self, size_bytes: int) -> None:
        self._unread_bytes += size_bytes
        if self._unread_bytes <= _UNREAD_BYTES_MAX:
            return
        if self._is_lingering:
            self.transport.abort()
        else:
            self.flow.pause_reading()
