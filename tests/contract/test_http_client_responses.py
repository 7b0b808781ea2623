"""The HTTP client: which bodies are complete, which connections are used again, TLS, and anything that may come."""

import asyncio
import gzip
import os
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from punchcard.destinations.http_client import HttpConnectError, HttpError, HttpResponse
from punchcard.destinations.http_connection import HttpConnectionLostError, HttpHeaders
from punchcard.runtime.self_signed import ensure_certificate
from punchcard.testing.misbehaving_server import (
    BODY_BYTES_MAX,
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
        # The event loop closes a socket one turn after its transport.
        await wait_for(lambda: server.open == 0 and len(os.listdir("/proc/self/fd")) <= before)
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


async def test_an_idle_connection_is_ended_and_not_reset() -> None:
    ends: list[bytes] = []

    async def serve(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(CREATED)
        ends.append(await peer.reader.read())  # a reset would be an error

    async with serving(serve) as server:
        async with client_of(server.url) as client:
            await post(client)
        await wait_for(lambda: server.open == 0)
    assert ends == [b""]


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
                # On a busy machine the short time may pass before there is a connection.
                assert result.may_be_sent or not (ends or server.requests)
            assert len(server.requests) <= 1

    uvloop.run(run())
