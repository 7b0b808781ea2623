"""A scripted Perkville that responds, stalls and breaks, for tests of the client; writes HTTP by hand, valid or not."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

from punchcard.destinations.perkville.client import PerkvilleClient
from punchcard.destinations.perkville.definition import TRANSACTION, USER_PROPERTY
from punchcard.destinations.perkville.settings import PerkvilleSettings, read_settings
from punchcard.destinations.port import Effect, EffectKey
from punchcard.errors import DeliveryError
from punchcard.testing.clock import ManualClock

TOKEN = "sandbox-token"
KEY = EffectKey("SEG:perkville:ORDER:o1:order-completed")
OTHER_KEY = EffectKey("SEG:perkville:ORDER:o9:order-completed")
AWARD = Effect(
    kind=TRANSACTION,
    effect_key=KEY,
    email="Ann+x@example.com",
    event_name="Order Completed",
    item="123456",
    quantity=Decimal("9.99"),
    attributes=None,
)
VIP = Effect(
    kind=USER_PROPERTY,
    effect_key=EffectKey("SEG:website:EVENT:m1"),
    email="ann@example.com",
    event_name="identify",
    item=None,
    quantity=None,
    attributes={"vip": True},
)
EARNING = {"perk_id": 123456, "classification": "EARN", "status": "ACTIVE", "business": "/v2/businesses/41/"}
REDEEMING = {**EARNING, "classification": "redeem"}
STORED = {"transaction_id": 99, "quantity": "9.99", "transaction_status": "ACTIVE", "trans_source_id": KEY}
GZIP = {"Content-Encoding": "gzip"}
HTML = b"<!DOCTYPE html><html><head><title>Attention Required!</title></head></html>"


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as the server saw it."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What the server does with a request.

    Attributes:
        cut: Bytes of the body that are held back before the connection is closed.
        reset: Tear the connection down without an answer.
        hang: No answer at all.
        close: Close the connection after the response, without announcing it.
    """

    status: int = 200
    body: object = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int = 0
    reset: bool = False
    hang: bool = False
    close: bool = False

    def head_and_body(self) -> bytes:
        """What goes over the wire."""
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        named = {"Content-Type": "application/json", "Content-Length": str(len(body)), **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        # A test that wants bytes that are no UTF-8 in a header writes them as such halves of surrogate pairs.
        start = f"HTTP/1.1 {self.status} X\r\n{head}\r\n".encode("utf-8", "surrogateescape")
        return start + body[: len(body) - self.cut]


class Server:
    """Speaks HTTP by hand, so that it can also speak it badly."""

    def __init__(self, reply: Callable[[ReceivedRequest], Reply]) -> None:
        self._reply = reply
        self.requests: list[ReceivedRequest] = []

    @property
    def posts(self) -> list[ReceivedRequest]:
        """The requests that book something."""
        return [request for request in self.requests if request.method == "POST"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection."""
        try:
            while (request := await self._read(reader)) is not None:
                self.requests.append(request)
                reply = self._reply(request)
                if reply.hang:
                    await reader.read()
                    return
                if reply.reset:
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    writer.transport.abort()
                    return
                writer.write(reply.head_and_body())
                await writer.drain()
                if reply.cut or reply.close:
                    return
        except ConnectionError:
            return
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> ReceivedRequest | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, target, _ = first.split()
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        return ReceivedRequest(method, parts.path, query, headers, json.loads(body) if body else None)


def settings_for(url: str, **options: object) -> PerkvilleSettings:
    """Settings with two mapped events, for a Perkville at the URL."""
    given = {
        "apiKey": TOKEN,
        "businessId": "41",
        "locationId": "7",
        "eventToPerkMap": {"Order Completed": "123456", "Order Refunded": "123458"},
    }
    return read_settings(given, {"apiBaseUrl": url, "requestTimeoutSeconds": 5, "unknownWaitSeconds": 0, **options})


@asynccontextmanager
async def serving(
    reply: Callable[[ReceivedRequest], Reply], **options: object
) -> AsyncIterator[tuple[PerkvilleClient, Server]]:
    """A client and the server it talks to."""
    script = Server(reply)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    client = PerkvilleClient(
        settings_for(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", **options), clock=ManualClock()
    )
    try:
        yield client, script
    finally:
        await client.close()
        server.close()


def answering(write: Reply, *, perk: object = EARNING, listed: object = None) -> Callable[[ReceivedRequest], Reply]:
    """Perk reads succeed, lists hold one page, and writes are answered as given."""

    def reply(request: ReceivedRequest) -> Reply:
        if request.method != "GET":
            return write
        if request.path.startswith("/v2/perks/"):
            return Reply(body=perk)
        first = request.query["offset"] == ["0"]
        return Reply(body={"meta": {"limit": 100, "offset": 0}, "objects": listed if first and listed else []})

    return reply


def outcome_of(
    reply: Callable[[ReceivedRequest], Reply], effect: Effect = AWARD, **options: object
) -> tuple[object, Server]:
    """What `perform` returned or raised."""

    async def run() -> tuple[object, Server]:
        async with serving(reply, **options) as (client, server):
            try:
                return await client.perform(effect), server
            except DeliveryError as error:
                return error, server

    return asyncio.run(run())


def found_by(
    reply: Callable[[ReceivedRequest], Reply], effect: Effect = AWARD, **options: object
) -> tuple[object, Server]:
    """What `find` returned or raised."""

    async def run() -> tuple[object, Server]:
        async with serving(reply, **options) as (client, server):
            try:
                return await client.find(effect), server
            except DeliveryError as error:
                return error, server

    return asyncio.run(run())


def pages(*listed: list[dict[str, object]], obeys_offset: bool = True) -> Callable[[ReceivedRequest], Reply]:
    """A list in pages, each as long as it is."""

    def reply(request: ReceivedRequest) -> Reply:
        offset = int(request.query["offset"][0]) if obeys_offset else 0
        start = 0
        for page in listed:
            if start == offset:
                return Reply(body={"meta": {"limit": 2, "offset": offset}, "objects": page})
            start += len(page)
        return Reply(body={"meta": {"limit": 2, "offset": offset}, "objects": []})

    return reply


def item(number: int, key: str | None = None) -> dict[str, object]:
    """A transaction in a list."""
    return {"resource_uri": f"/v2/transactions/{number}/", "trans_source_id": key, "quantity": "9.99"}


def connection(number: int, **members: object) -> dict[str, object]:
    """A customer's connection in a list."""
    return {"connection_id": number, "business": "/v2/businesses/41/", "status": "ACTIVE", **members}


def returning(reply: Reply) -> Callable[[ReceivedRequest], Reply]:
    """The same reply to every request."""
    return lambda request: reply
