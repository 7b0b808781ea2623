"""The HTTP client against servers that misbehave: what may have been sent is never called unsent, nothing leaks."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from punchcard.destinations import http_connection
from punchcard.destinations.host_lookup import resolve
from punchcard.destinations.http_client import HttpConnectError, HttpError, HttpTimeoutError
from punchcard.destinations.http_connection import HttpConnectionLostError, HttpInvalidResponseError
from punchcard.testing.misbehaving_server import (
    BODY,
    CREATED,
    SOON_SECONDS,
    Peer,
    answer_forever,
    answering,
    client_of,
    get,
    post,
    serving,
    wait_for,
)
from punchcard.testing.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


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
    assert get_request.startswith(b"GET /items/7/?a=b HTTP/1.1\r\n")
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
    port = closed_port()
    async with client_of(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(HttpConnectError) as caught:
            await post(client)
    assert not caught.value.may_be_sent
    assert str(caught.value) == f"127.0.0.1:{port}: Connection refused"


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


async def test_a_name_server_that_does_not_answer_keeps_no_other_destination_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names: list[str] = []
    answering_again = threading.Event()
    original = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **options: Any) -> Any:
        names.append(host)
        if host == "silent.example":
            answering_again.wait()
            raise socket.gaierror("no answer")
        return original(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with (
        serving(answer_forever) as server,
        client_of("http://silent.example", connections_max=100) as silent,
        client_of(f"http://localhost:{server.port}") as other,
    ):
        waiting = [asyncio.create_task(post(silent)) for _ in range(100)]
        await wait_for(lambda: "silent.example" in names)
        assert (await post(other)).status == 201
        answering_again.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, HttpConnectError) for result in results)
    assert names.count("silent.example") == 1


async def test_closing_ends_what_waits_for_a_name() -> None:
    async def resolve(host: str, port: int) -> list[Any]:
        await asyncio.Event().wait()
        return []

    async with client_of("http://slow.example", resolve=resolve) as client:
        waiting = asyncio.create_task(post(client))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(HttpConnectError):
            await waiting


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


@pytest.mark.parametrize("is_kept", [False, True], ids=["new connection", "kept connection"])
async def test_a_request_of_a_machine_that_was_suspended_before_it_could_send_was_not_sent(
    monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    """The clock of the event loop has not gone on meanwhile; another machine has sent the request."""
    time = SimpleNamespace(time=lambda: 1_000.0)
    monkeypatch.setattr(http_connection, "time", time)

    def suspend() -> None:
        time.time = lambda: 1_000.0 + PATIENCE_SECONDS + 1

    async def resolve_late(host: str, port: int) -> Any:
        if not is_kept:
            suspend()
        return await resolve(host, port)

    async def serve(peer: Peer) -> None:
        while True:
            await peer.read_request()
            if is_kept:
                suspend()
            await peer.send(CREATED)

    async with (
        serving(serve) as server,
        client_of(server.url, resolve=resolve_late, connections_max=1) as client,
    ):
        first = asyncio.create_task(post(client)) if is_kept else None
        await asyncio.sleep(0)
        with pytest.raises(HttpTimeoutError) as caught:
            await post(client)  # waits for the connection of the first one
        assert not caught.value.may_be_sent
        assert first is None or (await first).status == 201
        sent = len(server.requests)
        assert (await post(client)).status == 201
    assert (sent, len(server.requests)) == (int(is_kept), 1 + is_kept)


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


async def test_the_system_does_not_go_on_sending_a_request_that_was_given_up() -> None:
    given_up = asyncio.Event()
    received: list[int] = []

    async def serve(peer: Peer) -> None:
        sock = peer.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)  # and it does not grow any more
        await given_up.wait()
        try:
            while piece := await peer.reader.read(1_000_000):
                received.append(len(piece))
        finally:
            received.append(0)

    body = b"x" * 1_000_000  # more than what a server holds that does not read, less than what the system takes
    async with serving(serve) as server, client_of(server.url) as client:
        with pytest.raises(HttpTimeoutError):
            await client.request("POST", "/", seconds=1, body=body, body_bytes_max=10)
        given_up.set()
        await wait_for(lambda: 0 in received)
    assert sum(received) < len(body)


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
