"""A server that treats each connection as a test says, and a client of it: for the conformance suite of the client."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from punchcard.destinations.http_client import HttpClient, HttpResponse
from punchcard.testing.waiting import PATIENCE_SECONDS

CREATED = b'HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{"id": 1}'
BODY = b'{"quantity": "9.99"}'
BODY_BYTES_MAX = 100_000
Serve = Callable[["Peer"], Awaitable[None]]
SOON_SECONDS = 0.3  # for what must run into its time limit


class Peer:
    """The server's end of one connection."""

    def __init__(self, server: "Server", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    async def read_request(self) -> bytes:
        """Return the next request, and note that it came; an error if the connection ends."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        self.server.requests.append(head + await self.reader.readexactly(length))
        return self.server.requests[-1]

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()

    async def reset(self) -> None:
        """Reset the connection."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    async def wait_for_end(self) -> None:
        """Wait until the client closes it."""
        with suppress(ConnectionError):
            await self.reader.read()


class Server:
    """A server on a free port that treats each connection as a function says."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.port = 0
        self.tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(serve: Serve, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve for as long as the block lasts."""
    server = Server()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        server.tasks.add(task)
        server.connections += 1
        server.open += 1
        disconnects = (
            ConnectionError,
            asyncio.IncompleteReadError,
            ssl.SSLError,
            RuntimeError,
        )  # the last one by uvloop
        try:
            # Cancelled when the test is over.
            with suppress(*disconnects, asyncio.CancelledError):
                await serve(Peer(server, reader, writer))
        finally:
            server.open -= 1
            writer.transport.abort()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)


@asynccontextmanager
async def client_of(url: str, *, connections_max: int = 4, **options: Any) -> AsyncIterator[HttpClient]:
    """Return a client that is closed at the end."""
    client = HttpClient(url, headers={"Authorization": "Bearer t"}, connections_max=connections_max, **options)
    try:
        yield client
    finally:
        await client.close()


async def post(client: HttpClient, *, seconds: float = PATIENCE_SECONDS, **options: Any) -> HttpResponse:
    """Send a POST."""
    return await client.request(
        "POST", "/v2/transactions/", seconds=seconds, body=BODY, body_bytes_max=BODY_BYTES_MAX, **options
    )


async def get(client: HttpClient, *, seconds: float = PATIENCE_SECONDS) -> HttpResponse:
    """Send a GET."""
    return await client.request("GET", "/items/7/?a=b", seconds=seconds, body_bytes_max=BODY_BYTES_MAX)


def answering(*responses: bytes, then: Callable[[Peer], Awaitable[None]] = Peer.wait_for_end) -> Serve:
    """Return what reads a request for each of the responses and sends it, and then does something."""

    async def serve(peer: Peer) -> None:
        for response in responses:
            await peer.read_request()
            await peer.send(response)
        await then(peer)

    return serve


async def answer_forever(peer: Peer) -> None:
    """Answer every request."""
    while True:
        await peer.read_request()
        await peer.send(CREATED)


async def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for a state of the other end."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110  # of the other end, which says nothing
            await asyncio.sleep(0.01)
