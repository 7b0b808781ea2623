"""The HTTP client against servers that misbehave: what may have been sent is never called unsent, nothing leaks."""

import asyncio
import gzip
import os
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from punchcard.destinations.http_client import HttpClient, HttpConnectError, HttpError, HttpResponse, HttpTimeoutError
from punchcard.destinations.http_connection import HttpConnectionLostError, HttpHeaders, HttpInvalidResponseError
from punchcard.runtime.self_signed import ensure_certificate
from punchcard.testing.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

CREATED = b'HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{"id": 1}'
BODY = b'{"quantity": "9.99"}'
BODY_BYTES_MAX = 100_000
SOON_SECONDS = 0.3  # for what must run into its time limit
Serve = Callable[["Peer"], Awaitable[None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


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
        self.writer.write(data)
        await self.writer.drain()

    async def close(self) -> None:
        self.writer.close()

    async def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    async def wait_for_end(self) -> None:
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
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(serve: Serve, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        server.tasks.add(task)
        server.connections += 1
        server.open += 1
        try:
            # The client has gone; uvloop says so with a RuntimeError.
            with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, RuntimeError):
                await serve(Peer(server, reader, writer))
        except asyncio.CancelledError:
            pass  # the test is over
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
    client = HttpClient(url, headers={"Authorization": "Bearer t"}, connections_max=connections_max, **options)
    try:
        yield client
    finally:
        await client.close()


async def post(client: HttpClient, *, seconds: float = PATIENCE_SECONDS, **options: Any) -> HttpResponse:
    return await client.request(
        "POST", "/v2/transactions/", seconds=seconds, body=BODY, body_bytes_max=BODY_BYTES_MAX, **options
    )


async def get(client: HttpClient, *, seconds: float = PATIENCE_SECONDS) -> HttpResponse:
    return await client.request("GET", "/v2/perks/7/?a=b", seconds=seconds, body_bytes_max=BODY_BYTES_MAX)


def answering(*responses: bytes, then: Callable[[Peer], Awaitable[None]] = Peer.wait_for_end) -> Serve:
    async def serve(peer: Peer) -> None:
        for response in responses:
            await peer.read_request()
            await peer.send(response)
        await then(peer)

    return serve


async def answer_forever(peer: Peer) -> None:
    while True:
        await peer.read_request()
        await peer.send(CREATED)


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110  # of the other end, which says nothing
            await asyncio.sleep(0.01)


# --- what is sent ---


async def test_the_request_on_the_wire() -> None:
    async with serving(answer_forever) as server, client_of(server.url) as client:
        response = await post(client, headers={"Content-Type": "application/json"})
        await get(client)
    assert (response.status, response.body, response.is_complete) == (201, b'{"id": 1}', True)
    post_request, get_request = server.requests
    head, _, body = post_request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v2/transactions/ HTTP/1.1"
    assert set(lines[1:]) == {
        f"Host: 127.0.0.1:{server.port}",
        "Accept-Encoding: gzip, deflate",
        "Authorization: Bearer t",
        "Content-Type: application/json",
        f"Content-Length: {len(BODY)}",
    }
    assert body == BODY
    assert get_request.startswith(b"GET /v2/perks/7/?a=b HTTP/1.1\r\n")
    assert b"Content-Length" not in get_request


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/a b", {}),
        ("/\r\nX: y", {}),
        ("no-slash", {}),
        ("/ä", {}),
        ("/", {"X": "a\r\nY: b"}),
        ("/", {"X": "a\nY: b"}),
        ("/", {"X": "a\0"}),
        ("/", {"X Y": "a"}),
        ("/", {"": "a"}),
    ],
)
async def test_what_would_change_the_framing_of_a_request_is_refused(target: str, headers: dict[str, str]) -> None:
    async with serving(answer_forever) as server, client_of(server.url) as client:
        with pytest.raises(ValueError, match=r"cannot be sent|request target"):
            await client.request("POST", target, seconds=1, headers=headers, body=BODY, body_bytes_max=10)
    assert server.connections == 0


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answer_forever) as server, serving(answer_forever) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with client_of(server.url) as client:
            assert (await post(client)).status == 201
    assert (len(server.requests), proxy.connections) == (1, 0)


# --- phases in which surely nothing was sent ---


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


@asynccontextmanager
async def full_backlog() -> AsyncIterator[int]:
    """A port that completes no further handshake: connections to it neither open nor fail."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port: int = listening.getsockname()[1]
        waiting = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.connect(("127.0.0.1", port))
            waiting.append(sock)
        try:
            yield port
        finally:
            for sock in waiting:
                sock.close()


async def test_a_refused_connection_sent_nothing() -> None:
    async with client_of(f"http://127.0.0.1:{closed_port()}") as client:
        with pytest.raises(HttpConnectError) as caught:
            await post(client)
    assert not caught.value.may_be_sent


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70 + ".example"])
async def test_an_unknown_name_sent_nothing(host: str) -> None:
    async with client_of(f"http://{host}") as client:
        with pytest.raises(HttpError) as caught:
            await post(client, seconds=20)
    assert not caught.value.may_be_sent


async def test_a_name_server_that_does_not_answer_sent_nothing() -> None:
    async def resolve(host: str, port: int) -> list[Any]:
        await asyncio.Event().wait()
        return []

    async with client_of("http://slow.example", resolve=resolve) as client:
        with pytest.raises(HttpTimeoutError) as caught:
            await post(client, seconds=SOON_SECONDS)
    assert not caught.value.may_be_sent


async def test_a_handshake_of_tcp_that_does_not_end_sent_nothing() -> None:
    async with full_backlog() as port, client_of(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(HttpTimeoutError) as caught:
            await post(client, seconds=SOON_SECONDS)
    assert not caught.value.may_be_sent


async def test_a_handshake_of_tls_that_does_not_end_sent_nothing() -> None:
    async with serving(Peer.wait_for_end) as server, client_of(f"https://127.0.0.1:{server.port}") as client:
        with pytest.raises(HttpTimeoutError) as caught:
            await post(client, seconds=SOON_SECONDS)
        await wait_for(lambda: server.open == 0)
    assert not caught.value.may_be_sent


@pytest.mark.parametrize("end", [Peer.close, Peer.reset])
async def test_a_connection_that_ends_before_tls_stands_sent_nothing(end: Callable[[Peer], Awaitable[None]]) -> None:
    async with serving(end) as server, client_of(f"https://127.0.0.1:{server.port}") as client:
        with pytest.raises(HttpConnectError) as caught:
            await post(client)
    assert not caught.value.may_be_sent


async def test_a_server_that_speaks_no_tls_got_nothing() -> None:
    async def serve(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await peer.wait_for_end()

    async with serving(serve) as server, client_of(f"https://127.0.0.1:{server.port}") as client:
        with pytest.raises(HttpConnectError):
            await post(client)
    assert server.requests == []


async def test_a_request_that_waits_for_a_free_connection_was_not_sent() -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_request()
        await peer.wait_for_end()

    async with serving(serve) as server, client_of(server.url, connections_max=1) as client:
        first = asyncio.create_task(post(client))
        await wait_for(lambda: len(server.requests) == 1)
        with pytest.raises(HttpTimeoutError) as caught:
            await post(client, seconds=SOON_SECONDS)
        assert not caught.value.may_be_sent
        first.cancel()
        await asyncio.wait([first])
    assert len(server.requests) == 1


async def test_an_address_that_is_refused_gets_no_packet() -> None:
    def refuse(_: Any) -> socket.socket:
        raise PermissionError("not there")

    async with serving(answer_forever) as server, client_of(server.url, open_socket=refuse) as client:
        with pytest.raises(HttpConnectError) as caught:
            await post(client)
    assert not caught.value.may_be_sent
    assert server.connections == 0


async def test_the_next_address_of_a_name_is_tried() -> None:
    async def resolve(host: str, port: int) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", closed)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", hanging)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
        ]

    closed = closed_port()
    async with (
        full_backlog() as hanging,
        serving(answer_forever) as server,
        client_of("http://several.example", resolve=resolve) as client,
    ):
        assert (await post(client)).status == 201


# --- phases in which it may have been sent ---


@pytest.mark.parametrize("end", [Peer.close, Peer.reset])
@pytest.mark.parametrize(
    "received",
    [
        b"",
        b"H",
        b"HTTP/1.1 201",
        b"HTTP/1.1 201 Created\r\nContent-Le",
        b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n",
    ],
)
async def test_a_connection_that_ends_before_the_head_of_the_response_is_complete_may_have_sent(
    received: bytes, end: Callable[[Peer], Awaitable[None]]
) -> None:
    async with serving(answering(received, then=end)) as server, client_of(server.url) as client:
        with pytest.raises(HttpConnectionLostError) as caught:
            await post(client)
        assert caught.value.may_be_sent
        assert len(server.requests) == 1  # and it was not sent again


async def test_a_server_that_accepts_and_closes_may_have_received() -> None:
    async with serving(Peer.close) as server, client_of(server.url) as client:
        with pytest.raises(HttpConnectionLostError) as caught:
            await post(client)
    assert caught.value.may_be_sent
    assert server.connections == 1


@pytest.mark.parametrize("received", [b"", b"HTTP/1.1 201 Created\r\nX: "])
async def test_a_server_that_is_silent_may_have_received(received: bytes) -> None:
    async with serving(answering(received)) as server, client_of(server.url) as client:
        with pytest.raises(HttpTimeoutError) as caught:
            await post(client, seconds=SOON_SECONDS)
        assert caught.value.may_be_sent
        await wait_for(lambda: server.open == 0)


async def test_a_server_that_reads_nothing_may_have_received() -> None:
    async def serve(peer: Peer) -> None:
        await asyncio.Event().wait()

    async with serving(serve) as server, client_of(server.url) as client:
        with pytest.raises(HttpTimeoutError) as caught:
            await client.request("POST", "/", seconds=SOON_SECONDS, body=b"x" * 30_000_000, body_bytes_max=10)
    assert caught.value.may_be_sent


async def test_a_half_closed_connection_may_have_received() -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_request()
        peer.writer.write_eof()
        await peer.wait_for_end()

    async with serving(serve) as server, client_of(server.url) as client:
        with pytest.raises(HttpConnectionLostError) as caught:
            await post(client)
        assert caught.value.may_be_sent
        await wait_for(lambda: server.open == 0)


async def test_slow_drips_end_with_the_time_of_the_request() -> None:
    async def drip_head(peer: Peer) -> None:
        await peer.read_request()
        for _ in range(1000):
            for byte in b"HTTP/1.1 201 Created\r\n" + b"X-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 1000:
                await peer.send(bytes([byte]))
                await asyncio.sleep(0.01)

    async def drip_body(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 201 Created\r\nContent-Length: 90000\r\n\r\n")
        while True:
            await peer.send(b" ")
            await asyncio.sleep(0.01)

    async with serving(drip_head) as server, client_of(server.url) as client:
        with pytest.raises(HttpTimeoutError) as caught:
            await post(client, seconds=SOON_SECONDS)
        assert caught.value.may_be_sent
        await wait_for(lambda: server.open == 0)
    async with serving(drip_body) as server, client_of(server.url) as client:
        response = await post(client, seconds=SOON_SECONDS)
        assert (response.status, response.is_complete) == (201, False)
        await wait_for(lambda: server.open == 0)


INVALID = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "no version": b"200 OK\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1 \r\n\r\n",
    "status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "header without a name": b"HTTP/1.1 201 Created\r\n: x\r\n\r\n",
    "blank in a header's name": b"HTTP/1.1 201 Created\r\nContent Length: 9\r\n\r\n",
    "two lengths": b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\nContent-Length: 3\r\n\r\n",
    "length and chunks": b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
    "negative length": b"HTTP/1.1 201 Created\r\nContent-Length: -9\r\n\r\n",
    "length of letters": b"HTTP/1.1 201 Created\r\nContent-Length: 9a\r\n\r\n",
    "length beyond numbers": b"HTTP/1.1 201 Created\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "NUL": b"HTTP/1.1 201 Created\r\nX: a\x00b\r\n\r\n",
    "one long header": b"HTTP/1.1 201 Created\r\nX: " + b"a" * 300_000,
    "endless headers": b"HTTP/1.1 201 Created\r\n" + b"X-Header: aaaaaaaaaaaaaaaaaaaa\r\n" * 10_000,
    "endless announcements": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 10_000,
}


@pytest.mark.parametrize("name", INVALID)
async def test_an_invalid_head_is_no_response(name: str) -> None:
    async with serving(answering(INVALID[name])) as server, client_of(server.url) as client:
        with pytest.raises(HttpInvalidResponseError) as caught:
            await post(client)
        assert caught.value.may_be_sent
        await wait_for(lambda: server.open == 0)


# --- bodies ---


@pytest.mark.parametrize(
    ("response", "body"),
    [
        pytest.param(CREATED, b'{"id": 1}', id="length"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="204"),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"", id="304"),
        pytest.param(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", b"", id="empty"),
        pytest.param(
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'3;x=y\r\n{"i\r\n6\r\nd": 1}\r\n0\r\nX: y\r\n\r\n',
            b'{"id": 1}',
            id="chunks",
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + CREATED, b'{"id": 1}', id="continue"),
        pytest.param(
            b"HTTP/1.1 103 Early Hints\r\nContent-Encoding: gzip\r\n\r\n" + CREATED, b'{"id": 1}', id="early-hints"
        ),
        pytest.param(b"HTTP/1.1 201\r\nContent-Length: 2\r\n\r\n{}", b"{}", id="no-reason"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 7, 100_000])
async def test_a_body_with_an_end_is_complete_and_its_connection_is_used_again(
    response: bytes, body: bytes, piece_bytes: int
) -> None:
    async def serve(peer: Peer) -> None:
        while True:
            await peer.read_request()
            for begin in range(0, len(response), piece_bytes):
                await peer.send(response[begin : begin + piece_bytes])
                await asyncio.sleep(0)

    async with serving(serve) as server, client_of(server.url) as client:
        for _ in range(3):
            received = await post(client)
            assert (received.body, received.is_complete) == (body, True)
    assert (server.connections, len(server.requests)) == (1, 3)


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(b"HTTP/1.1 201 Created\r\n\r\n{}", id="no-length"),
        pytest.param(b"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n{}", id="close"),
        pytest.param(b"HTTP/1.0 201 Created\r\n\r\n{}", id="HTTP/1.0"),
    ],
)
async def test_a_body_without_a_length_ends_with_its_connection(response: bytes) -> None:
    async with serving(answering(response, then=Peer.close)) as server, client_of(server.url) as client:
        for _ in range(2):
            received = await post(client)
            assert (received.status, received.body, received.is_complete) == (201, b"{}", True)
    assert server.connections == 2


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", id="close"),
        pytest.param(b"HTTP/1.0 201 Created\r\nContent-Length: 2\r\n\r\n{}", id="HTTP/1.0"),
        pytest.param(CREATED + CREATED, id="two-responses"),
        pytest.param(CREATED + b"garbage", id="garbage"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", id="upgrade"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", id="101"),
    ],
)
async def test_a_connection_about_which_anything_is_odd_is_not_used_again(response: bytes) -> None:
    async with serving(answering(response)) as server, client_of(server.url) as client:
        for _ in range(2):
            assert (await post(client)).is_complete
        await wait_for(lambda: server.open == 0)
    assert (server.connections, len(server.requests)) == (2, 2)


@pytest.mark.parametrize("end", [Peer.close, Peer.reset, Peer.wait_for_end])
@pytest.mark.parametrize(
    "response",
    [
        pytest.param(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{}", id="short"),
        pytest.param(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}", id="cut-chunk"),
        pytest.param(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", id="no-last-chunk"),
        pytest.param(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", id="invalid-chunk"),
    ],
)
async def test_a_status_with_half_a_body_is_a_response_with_half_a_body(
    response: bytes, end: Callable[[Peer], Awaitable[None]]
) -> None:
    async with serving(answering(response, then=end)) as server, client_of(server.url) as client:
        seconds = SOON_SECONDS if end is Peer.wait_for_end else PATIENCE_SECONDS
        received = await post(client, seconds=seconds)
        assert (received.status, received.is_complete) == (201, False)
        await wait_for(lambda: server.open == 0)
        assert len(server.requests) == 1


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_without_end_is_cut_at_the_limit(*, is_chunked: bool) -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_request()
        framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: 999999999"
        await peer.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        while True:
            await peer.send(b"5\r\naaaaa\r\n" * 1000)

    async with serving(serve) as server, client_of(server.url) as client:
        received = await post(client)
        assert (len(received.body), received.is_complete) == (BODY_BYTES_MAX, False)
        await wait_for(lambda: server.open == 0)


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"1;" + b"x" * 65_000 + b"\r\na\r\n", id="extensions"),
        pytest.param(b"X: " + b"y" * 9000, id="trailers"),
    ],
)
async def test_framing_without_end_is_cut_too(rest: bytes) -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        if rest.startswith(b"X"):
            await peer.send(b"0\r\n")
        while True:
            await peer.send(rest)

    async with serving(serve) as server, client_of(server.url) as client:
        assert not (await post(client)).is_complete
        await wait_for(lambda: server.open == 0)


async def test_the_body_that_a_head_announces_is_not_waited_for() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n"
    async with serving(answering(head)) as server, client_of(server.url) as client:
        response = await client.request("HEAD", "/", seconds=PATIENCE_SECONDS, body_bytes_max=10)
    assert (response.status, response.body, response.is_complete) == (200, b"", True)


BOMB = gzip.compress(b"\0" * 10 * BODY_BYTES_MAX)


@pytest.mark.parametrize(
    ("encoding", "encoded", "body"),
    [
        pytest.param("gzip", gzip.compress(b"{}"), b"{}", id="gzip"),
        pytest.param("GZip", gzip.compress(b"{}"), b"{}", id="case"),
        pytest.param("deflate", zlib.compress(b"{}"), b"{}", id="deflate"),
        pytest.param("deflate", zlib.compress(b"{}", wbits=-15), b"{}", id="raw-deflate"),
        pytest.param("identity", b"{}", b"{}", id="identity"),
        pytest.param("gzip", b"", b"", id="nothing"),
        pytest.param("gzip", b"{}", None, id="not-compressed"),
        pytest.param("gzip", gzip.compress(b"{}")[:-3], None, id="cut"),
        pytest.param("gzip", gzip.compress(b"{}") + b"more", None, id="more-behind-it"),
        pytest.param("gzip", BOMB, None, id="bomb"),
        pytest.param("br", b"{}", None, id="unknown"),
    ],
)
async def test_compression_is_undone_within_the_limit(encoding: str, encoded: bytes, body: bytes | None) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(encoded)}\r\n\r\n"
    async with serving(answering(head.encode() + encoded)) as server, client_of(server.url) as client:
        received = await post(client)
    assert received.is_complete is (body is not None)
    assert len(received.body) <= BODY_BYTES_MAX
    if body is not None:
        assert received.body == body


async def test_redirects_are_responses() -> None:
    async with serving(answer_forever) as other:
        moved = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n"
        async with serving(answering(moved.encode())) as server, client_of(server.url) as client:
            response = await post(client)
    assert (response.status, response.headers["LOCATION"]) == (307, f"{other.url}/")
    assert other.connections == 0


def test_headers_are_found_in_any_case() -> None:
    headers = HttpHeaders([(b"Retry-After", b"3"), (b"retry-after", b"4"), (b"X", b"\xff")])
    assert (headers["RETRY-AFTER"], "x" in headers, len(headers)) == ("3", True, 2)
    assert headers.get("nothing") is None
    assert set(headers) == {"x", "retry-after"}


# --- connections ---


async def test_connections_are_reused_and_their_number_is_limited() -> None:
    async with serving(answer_forever) as server, client_of(server.url, connections_max=3) as client:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            responses = await asyncio.gather(*(post(client) for _ in range(20)))
            assert {response.status for response in responses} == {201}
        assert server.connections <= 3
        # Both ends of each connection are in this process.
        assert len(os.listdir("/proc/self/fd")) <= before + 6
    await wait_for(lambda: server.open == 0)


async def test_no_descriptor_is_left_whatever_happens() -> None:
    number = 0

    async def serve(peer: Peer) -> None:
        nonlocal number
        number += 1
        match number % 6:
            case 0:
                await peer.close()
            case 1:
                await peer.read_request()
                await peer.reset()
            case 2:
                await answering(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{}")(peer)
            case 3:
                await answering(b"nonsense")(peer)
            case 4:
                await answering(CREATED + CREATED)(peer)
            case 5:
                await peer.wait_for_end()

    async with serving(serve) as server:
        async with client_of(server.url, connections_max=10) as client:
            with suppress(HttpError):
                await post(client, seconds=SOON_SECONDS)
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(6):
                await asyncio.gather(*(post(client, seconds=SOON_SECONDS) for _ in range(10)), return_exceptions=True)
        await wait_for(lambda: server.open == 0)
        assert len(os.listdir("/proc/self/fd")) <= before
    assert number > 50


async def test_a_kept_connection_that_the_server_closed_is_not_used() -> None:
    async with serving(answering(CREATED, then=Peer.close)) as server, client_of(server.url) as client:
        for _ in range(3):
            assert (await post(client)).status == 201
            await wait_for(lambda: server.open == 0)
            await asyncio.sleep(0.02)  # for the client to see the end
    assert (server.connections, len(server.requests)) == (3, 3)


async def test_what_comes_on_an_idle_connection_is_not_the_response_to_the_next_request() -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(CREATED)
        if peer.server.connections == 1:
            await asyncio.sleep(0.02)
            await peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await peer.wait_for_end()

    async with serving(serve) as server, client_of(server.url) as client:
        assert (await post(client)).status == 201
        await wait_for(lambda: server.open == 0)
        assert (await post(client)).status == 201


async def close_on_second(peer: Peer) -> None:
    await peer.read_request()
    await peer.send(CREATED)
    await peer.read_request()
    await peer.close()


async def test_a_write_on_a_kept_connection_that_ends_is_not_repeated() -> None:
    async with serving(close_on_second) as server, client_of(server.url) as client:
        await post(client)
        with pytest.raises(HttpConnectionLostError) as caught:
            await post(client)
        assert caught.value.may_be_sent
    assert (server.connections, len(server.requests)) == (1, 2)


async def test_a_read_on_a_kept_connection_that_ends_is_repeated_once_on_a_new_one() -> None:
    async with serving(close_on_second) as server, client_of(server.url) as client:
        await get(client)
        assert (await get(client)).status == 201
    assert (server.connections, len(server.requests)) == (2, 3)
    async with serving(Peer.close) as server, client_of(server.url) as client:
        with pytest.raises(HttpConnectionLostError):
            await get(client)
    assert server.connections == 1


async def test_a_cancelled_request_leaves_its_response_to_nobody() -> None:
    released = asyncio.Event()

    async def serve(peer: Peer) -> None:
        request = await peer.read_request()
        if len(peer.server.requests) == 1:
            await released.wait()
        await peer.send(CREATED.replace(b"1}", b"2}") if b"first" in request else CREATED)
        await peer.wait_for_end()

    async with serving(serve) as server, client_of(server.url, connections_max=1) as client:
        first = asyncio.create_task(post(client, headers={"X": "first"}))
        await wait_for(lambda: len(server.requests) == 1)
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        released.set()
        assert (await post(client)).body == b'{"id": 1}'
    assert server.connections == 2


async def test_an_idle_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("punchcard.destinations.http_client._KEEP_ALIVE_SECONDS", 0.05)
    async with serving(answer_forever) as server, client_of(server.url) as client:
        await post(client)
        await wait_for(lambda: server.open == 0)
        assert (await post(client)).status == 201
    assert server.connections == 2


async def test_closing_ends_what_is_under_way() -> None:
    async with serving(answering(b"")) as server:
        async with client_of(server.url) as client:
            waiting = asyncio.create_task(post(client))
            await wait_for(lambda: len(server.requests) == 1)
        with pytest.raises(HttpConnectionLostError):
            await waiting
        await wait_for(lambda: server.open == 0)


# --- TLS ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    cert = tmp_path_factory.mktemp("tls") / "server.crt"
    return cert, ensure_certificate(cert, "127.0.0.1", datetime.now(UTC))


def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_certificate_of_a_trusted_authority_is_accepted(certificate: tuple[Path, Path], host: str) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    async with serving(answer_forever, tls=server_tls(certificate)) as server:
        async with client_of(f"https://{host}:{server.port}", tls=trusting) as client:
            for _ in range(3):
                assert (await post(client)).status == 201
        await wait_for(lambda: server.open == 0)
    assert (server.connections, len(server.requests)) == (1, 3)


async def test_a_certificate_of_nobody_is_not_accepted(certificate: tuple[Path, Path]) -> None:
    serving_tls = serving(answer_forever, tls=server_tls(certificate))
    async with serving_tls as server, client_of(f"https://127.0.0.1:{server.port}") as client:
        with pytest.raises(HttpConnectError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            await post(client)
    assert not caught.value.may_be_sent
    assert server.requests == []


async def test_a_certificate_of_another_name_is_not_accepted(certificate: tuple[Path, Path]) -> None:
    async def resolve(host: str, port: int) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    async with serving(answer_forever, tls=server_tls(certificate)) as server:
        url = f"https://other.example:{server.port}"
        async with client_of(url, tls=trusting, resolve=resolve) as client:
            with pytest.raises(HttpConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await post(client)
    assert server.requests == []


# --- anything at all ---

PIECES = st.one_of(
    st.sampled_from(
        [
            b"HTTP/1.1 201 Created\r\n",
            b"HTTP/1.0 200 OK\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"Content-Length: 9\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Encoding: gzip\r\n",
            b"Connection: close\r\n",
            b"\r\n",
            b"\n",
            b'{"id": 1}',
            b"0\r\n\r\n",
            b"5\r\n",
            CREATED,
        ]
    ),
    st.binary(max_size=20),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(PIECES, max_size=8), ends=st.booleans())
def test_whatever_comes_a_request_ends_as_one_of_the_known_ways(pieces: list[bytes], ends: bool) -> None:
    async def run() -> None:
        async def serve(peer: Peer) -> None:
            await peer.read_request()
            for piece in pieces:
                await peer.send(piece)
                await asyncio.sleep(0)
            if ends:
                await peer.close()
            else:
                await peer.wait_for_end()

        async with serving(serve) as server, client_of(server.url) as client:
            (result,) = await asyncio.gather(
                post(client, seconds=PATIENCE_SECONDS if ends else 0.05), return_exceptions=True
            )
            if isinstance(result, HttpResponse):
                assert 100 <= result.status <= 999
            else:
                assert isinstance(result, HttpError)
                assert result.may_be_sent
            assert len(server.requests) <= 1

    uvloop.run(run())
