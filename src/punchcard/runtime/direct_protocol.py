"""Tracking calls without an ASGI task each: most requests go from the parser straight into the group commit.

A request takes this way if it is complete within the bytes of one read, is the only one in progress on its connection,
and is accepted as it is (`DirectCalls.submit`). Every other request, and thus every rejection, takes the way of
`LimitedProtocol`, from its beginning. The limits of `LimitedProtocol` hold for both.
"""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from punchcard.ingest import http_responses
from punchcard.ingest.http_responses import HttpResponse
from punchcard.runtime.connections import Connections
from punchcard.runtime.http_protocol import CLOSE, LimitedProtocol, wire_bytes

_SUCCESS: Final = wire_bytes(http_responses.SUCCESS)
_log = structlog.get_logger("punchcard.serve")


class DirectCalls(Protocol):
    """The calls that need no ASGI task."""

    @property
    def direct_calls(self) -> Mapping[bytes, str]:
        """Name of each call by the target of its request line."""

    def submit(self, call: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> "asyncio.Future[int] | None":
        """Begin to make a request durable; None, and nothing has happened, if its response needs the ASGI app."""

    def response_to(self, call: str, durable: "asyncio.Future[int]") -> HttpResponse:
        """Return the response to a request that is durable now, or has failed."""


class _DirectCycle:
    """A request in progress, as `LimitedProtocol` and uvicorn see it."""

    __slots__ = ("disconnected", "keep_alive", "more_body", "response_complete", "response_started")

    def __init__(self) -> None:
        self.disconnected = False
        self.keep_alive = True
        self.more_body = False
        self.response_started = False
        self.response_complete = False

    @property
    def message_event(self) -> "_DirectCycle":
        """The event for which an application would wait; here nobody does."""
        return self

    def set(self) -> None:
        """Wake the application."""


class DirectProtocol(LimitedProtocol):
    """A connection that takes tracking calls without an ASGI task.

    Args:
        direct: The calls.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        *,
        connections: Connections,
        address: str,
        accepted: socket.socket,
        direct: DirectCalls,
    ) -> None:
        super().__init__(config, server_state, connections=connections, address=address, accepted=accepted)
        self._direct = direct
        self._call = ""
        self._parts: list[bytes] | None = None  # of the body of a request that may take the direct way

    def on_message_begin(self) -> None:
        """Handle the beginning of a request line."""
        # As the methods that this one replaces, without the scope, which only the ASGI app needs.
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._begin_message()

    def _parse(self, data: bytes) -> None:
        try:
            super()._parse(data)
        finally:
            if self._parts is not None:  # the rest of the request comes later, or is damaged
                self._start_ordinary(b"".join(self._parts))

    def _start_request(self) -> None:
        call = self._direct.direct_calls.get(self.url)
        if (
            call is None
            or self.expect_100_continue
            or self.pipeline
            or self._is_responding()
            or self.flow.write_paused
            or self.transport.is_closing()
            or self.parser.get_method() != b"POST"
            or self.parser.get_http_version() != "1.1"
            or not self.parser.should_keep_alive()
        ):
            self._start_ordinary(b"")
            return
        self._call = call
        self._parts = []

    def on_body(self, body: bytes) -> None:
        """Handle a part of the body."""
        if self._parts is None:
            super().on_body(body)
            return
        self._has_progressed = True
        self._body_bytes += len(body)
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Handle a complete request."""
        if self._parts is not None:
            body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            durable = self._submit(body)
            if durable is None:
                self._start_ordinary(body)
            else:
                self._parts = None
                cycle = self.cycle = _DirectCycle()  # type: ignore[assignment]
                durable.add_done_callback(partial(self._respond, cycle, self._call))
        super().on_message_complete()

    def _submit(self, body: bytes) -> "asyncio.Future[int] | None":
        try:
            return self._direct.submit(self._call, self.headers, body)
        except Exception:  # noqa: BLE001  # the parser would take it for a malformed request; the ASGI app responds 500
            _log.exception("direct_request_failed")
            return None

    def _start_ordinary(self, body: bytes) -> None:
        """Begin the ASGI task of a request; its headers, and this part of the body, were parsed."""
        self._parts = None
        headers, url, expects = self.headers, self.url, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)  # makes the scope, and forgets what was parsed
        self.scope["headers"] = self.headers = headers
        self.url, self.expect_100_continue = url, expects
        super()._start_request()
        if body:
            HttpToolsProtocol.on_body(self, body)  # it is counted already

    def _respond(self, cycle: _DirectCycle, call: str, durable: "asyncio.Future[int]") -> None:
        response = self._direct.response_to(call, durable)
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        if not self.transport.is_closing():
            if response is http_responses.SUCCESS and cycle.keep_alive:
                self.transport.write(_SUCCESS)
            else:
                self.transport.write(wire_bytes(response, *(() if cycle.keep_alive else (CLOSE,))))
            if not cycle.keep_alive:
                self.transport.close()
        self.on_response_complete()
