"""The front of the sandbox: reads a request whole, lets the bad day happen, and passes it on to the part it is for."""

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
from punchcard.sandbox.faults import Faults, Misfortune, Strike
from punchcard.sandbox.pages.site import Site
from punchcard.sandbox.web import Request, SandboxResponse

RESET_EXTENSION = "punchcard.reset"
"""Where the server puts a function that tears the connection down; see `server.ResettableProtocol`."""

READ_BYTES_MAX = 1_048_576
"""No body is read further than this; what is too large for the API is refused by the API in its own words."""

# The shapes of ASGI, whose messages are dictionaries of anything.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Front:
    """The ASGI application."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._misfortune = Misfortune(clock)
        self._api = PerkvilleApi(database, clock, faults=lambda: self._misfortune.faults)
        self._control_api = ControlApi(database, clock, self._misfortune)
        self._site = Site(database, clock, self._misfortune)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or tear its connection down."""
        request = await _read(scope, receive)
        if request is None:
            return  # the caller has gone
        response = await self._answer(request)
        if response is None:
            scope["extensions"][RESET_EXTENSION]["reset"]()
            await receive()  # returns when the connection is gone, so that the server does not answer after all
            return
        await _write(response, send)

    async def _answer(self, request: Request) -> SandboxResponse | None:
        if request.path.startswith(api.PREFIX):
            response = await self._play(request)
            self._misfortune.counts["requests"] += 1
            self._misfortune.counts["no_answer" if response is None else f"status_{response.status}"] += 1
            return response
        try:
            if request.path.startswith(control_api.PREFIX):
                return await self._control_api.response(request)
            return self._site.response(request)
        except StorageError as exc:
            return SandboxResponse(503, exc.message.encode(), "text/plain; charset=utf-8")

    async def _play(self, request: Request) -> SandboxResponse | None:
        """Perkville's answer on the day that is switched on; None for no answer at all."""
        faults = self._misfortune.faults
        if not request.headers.get("user-agent"):
            return edge_block()
        if faults.latency_ms:
            await asyncio.sleep(faults.latency_ms / 1000)
        if wait_seconds := self._misfortune.seconds_to_wait():
            return throttled(wait_seconds if faults.retry_after is None else faults.retry_after)
        strike = self._misfortune.strike(is_write=request.is_write)
        if strike is Strike.RESET:
            return None
        if strike is Strike.ANSWERED:
            return unavailable(faults.status or 503, retry_after_seconds=faults.retry_after, html=faults.html)
        response = self._perform(request)
        if strike is Strike.ANSWER_LOST:
            return _lost(faults)
        return response

    def _perform(self, request: Request) -> SandboxResponse:
        try:
            return self._api.response(request)
        except StorageError:
            return unavailable(503)


def _lost(faults: Faults) -> SandboxResponse | None:
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
