"""The entry of the sandbox: reads a request, applies the faults, and dispatches it."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from punchcard.clock import Clock
from punchcard.errors import StorageError
from punchcard.sandbox import api, control_api
from punchcard.sandbox.api import PerkvilleApi
from punchcard.sandbox.control_api import ControlApi
from punchcard.sandbox.database import Database
from punchcard.sandbox.error_bodies import edge_block, throttled, unavailable
from punchcard.sandbox.faults import Fault, FaultInjector, Faults
from punchcard.sandbox.pages.site import Site
from punchcard.sandbox.web import Request, SandboxResponse

RESET_EXTENSION = "punchcard.reset"
"""Key of the server's function that resets the connection; see `server.ResettableProtocol`."""

READ_BYTES_MAX = 1_048_576
"""Maximum bytes read of a body; the API itself refuses bodies that are too large for it."""

# The types of ASGI; messages are dictionaries of anything.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Front:
    """The ASGI application."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._injector = FaultInjector(clock)
        self._api = PerkvilleApi(database, clock, faults=lambda: self._injector.faults)
        self._control_api = ControlApi(database, clock, self._injector)
        self._site = Site(database, clock, self._injector)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request, or reset its connection."""
        request = await _read(scope, receive)
        if request is None:
            return  # the client has disconnected
        response = await self._respond(request)
        if response is None:
            scope["extensions"][RESET_EXTENSION]["reset"]()
            await receive()  # returns once the connection is closed, so that the server sends no response
            return
        await _write(response, send)

    async def _respond(self, request: Request) -> SandboxResponse | None:
        if request.path.startswith(api.PREFIX):
            response = await self._respond_with_faults(request)
            self._injector.counts["requests"] += 1
            self._injector.counts["no_response" if response is None else f"status_{response.status}"] += 1
            return response
        try:
            if request.path.startswith(control_api.PREFIX):
                return await self._control_api.response(request)
            return self._site.response(request)
        except StorageError as exc:
            return SandboxResponse(503, exc.message.encode(), "text/plain; charset=utf-8")

    async def _respond_with_faults(self, request: Request) -> SandboxResponse | None:
        """Return the response of the API under the enabled faults, None for no response."""
        faults = self._injector.faults
        if not request.headers.get("user-agent"):
            return edge_block()
        if faults.latency_ms:
            await asyncio.sleep(faults.latency_ms / 1000)
        if wait_seconds := self._injector.seconds_to_wait():
            return throttled(wait_seconds if faults.retry_after is None else faults.retry_after)
        fault = self._injector.next_fault(is_write=request.is_write)
        if fault is Fault.RESET:
            return None
        if fault is Fault.ERROR:
            return unavailable(faults.status or 503, retry_after_seconds=faults.retry_after, html=faults.html)
        response = self._perform(request)
        if fault is Fault.RESPONSE_LOST:
            return _lost_response(faults)
        return response

    def _perform(self, request: Request) -> SandboxResponse:
        try:
            return self._api.response(request)
        except StorageError:
            return unavailable(503)


def _lost_response(faults: Faults) -> SandboxResponse | None:
    return None if faults.reset else unavailable(504, html=faults.html)


async def _read(scope: Scope, receive: Receive) -> Request | None:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body") or len(body) > READ_BYTES_MAX:
            break
    return Request(
        method=scope["method"],
        path=scope["path"],
        query_string=scope["query_string"].decode("latin-1"),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        body=body,
    )


async def _write(response: SandboxResponse, send: Send) -> None:
    headers = [(b"content-length", str(len(response.body)).encode()), (b"content-type", response.content_type.encode())]
    headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
