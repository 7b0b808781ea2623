"""Requests that take the direct way from the parser into the group commit: the same response and record as by ASGI."""

import asyncio
import gzip
import json
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from punchcard.clock import SystemClock
from punchcard.ingest.app import TrackingApp
from punchcard.log.bodies import decompress
from punchcard.log.group_commit import GroupCommit
from punchcard.log.sqlite import SqliteEventLog
from punchcard.runtime.connections import HttpLimits
from punchcard.runtime.http_server import HttpServer

LIMITS = HttpLimits(
    line_bytes_max=1_000,
    headers_bytes_max=2_000,
    headers_max=20,
    head_seconds=30,
    body_seconds=30,
    keep_alive_seconds=30,
    connections_max=100,
    per_address_max=100,
    bodies_bytes_max=10_000_000,
)
TEXT = b'{"userId":"u","event":"Checked In","messageId":"m1"}'
BATCH = json.dumps({"batch": [{"type": "track", "userId": "u", "event": "E"}]}).encode()
KEY_INSIDE = b'{"userId":"u","event":"E","writeKey":"wk_website"}'
BASIC = "Authorization: Basic d2tfd2Vic2l0ZTo="
UNKNOWN = "Authorization: Basic bm9uZTo="
LARGE = b'{"userId":"u","event":"E","properties":{"a":"' + b"x" * 33_000 + b'"}}'

Recorded = list[tuple[str, str, str, bytes, str]]


def post(target: str, body: bytes, *headers: str, version: str = "1.1", method: str = "POST") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: localhost", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(target: str, *parts: bytes) -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\n{BASIC}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


REQUESTS = {
    "a track call": post("/v1/track", TEXT, BASIC),
    "every call": b"".join(
        post(f"/v1/{call}", TEXT, BASIC) for call in ("identify", "page", "screen", "group", "alias")
    ),
    "a batch": post("/v1/batch", BATCH, BASIC),
    "an import": post("/v1/import", BATCH, BASIC),
    "the key in the body": post("/v1/track", KEY_INSIDE),
    "chunks": chunked("/v1/track", TEXT[:7], TEXT[7:]),
    "three requests at once": post("/v1/track", TEXT, BASIC) * 3,
    "a refused request between others": post("/v1/track", TEXT, BASIC)
    + post("/v1/track", b"{", BASIC)
    + post("/v1/batch", BATCH, BASIC),
    "an unknown key": post("/v1/track", TEXT, UNKNOWN),
    "an unknown key in strict mode": post("/v1/track", TEXT, UNKNOWN, "X-Punchcard-Strict: 1"),
    "strict mode": post("/v1/track", b'{"userId":"u"}', BASIC, "x-punchcard-strict: 1"),
    "no key": post("/v1/track", TEXT),
    "a key of another kind": post("/v1/track", TEXT, "Authorization: Bearer x"),
    "no JSON": post("/v1/track", b"{nonsense", BASIC),
    "a list": post("/v1/track", b"[]", BASIC),
    "no body": post("/v1/track", b"", BASIC),
    "no UTF-8": post("/v1/track", b'{"userId":"\xff"}', BASIC),
    "a value that is not finite": post("/v1/track", b'{"userId":"u","event":"E","value":NaN}', BASIC),
    "a byte order mark": post("/v1/track", "\ufeff".encode() + TEXT, BASIC),
    "gzip": post("/v1/track", gzip.compress(TEXT, mtime=0), BASIC, "Content-Encoding: gzip"),
    "gzip without its header": post("/v1/track", gzip.compress(TEXT, mtime=0), BASIC),
    "brotli": post("/v1/track", TEXT, BASIC, "Content-Encoding: br"),
    "an event too large": post("/v1/track", LARGE, BASIC),
    "a single event as a batch": post("/v1/batch", TEXT, BASIC),
    "a batch as a single event": post("/v1/track", BATCH, BASIC),
    "a query": post("/v1/track?a=1", TEXT, BASIC),
    "slashes too many": post("//v1//track/", TEXT, BASIC),
    "an escaped path": post("/v1/tr%61ck", TEXT, BASIC),
    "an absolute target": post("http://localhost/v1/track", TEXT, BASIC),
    "a browser's call": post("/v1/t", TEXT, BASIC),
    "GET": post("/v1/track", b"", BASIC, method="GET"),
    "PUT": post("/v1/track", TEXT, BASIC, method="PUT"),
    "OPTIONS": post("/v1/track", b"", "Origin: http://a", "Access-Control-Request-Headers: b", method="OPTIONS"),
    "the last request": post("/v1/track", TEXT, BASIC, "Connection: close"),
    "a request behind the last": post("/v1/track", TEXT, BASIC, "Connection: close") + post("/v1/track", TEXT, BASIC),
    "HTTP/1.0": post("/v1/track", TEXT, BASIC, version="1.0"),
    "HTTP/1.0 that stays": post("/v1/track", TEXT, BASIC, "Connection: keep-alive", version="1.0"),
    "an offer to upgrade": post("/v1/track", TEXT, BASIC, "Connection: Upgrade", "Upgrade: h2c"),
    "Expect": post("/v1/track", TEXT, BASIC, "Expect: 100-continue"),
    "headers too many": post("/v1/track", TEXT, BASIC, *(f"X-{number}: 1" for number in range(30))),
    "headers too large": post("/v1/track", TEXT, BASIC, f"X-Large: {'x' * 3_000}"),
    "a target too long": post(f"/v1/track?{'x' * 2_000}", TEXT, BASIC),
    "no HTTP": b"nonsense\r\n\r\n",
    "no HTTP behind a request": post("/v1/track", TEXT, BASIC) + b"nonsense\r\n\r\n",
    "a damaged chunk": chunked("/v1/track", TEXT)[:-8] + b"nonsense\r\n",
    "half of a body": post("/v1/track", TEXT, BASIC)[:-5],
    "half of a head": post("/v1/track", TEXT, BASIC)[:40],
}

LAST = post("/v1/page", TEXT, BASIC, "Connection: close")
"""Sent behind the requests, so that the server closes the connection once all are answered."""
CLOSED = {
    "the last request",
    "a request behind the last",
    "HTTP/1.0",
    "HTTP/1.0 that stays",
    "headers too many",
    "headers too large",
    "a target too long",
    "no HTTP",
    "no HTTP behind a request",
    "a damaged chunk",
}
UNFINISHED = {"half of a body", "half of a head"}


class Server:
    """A server in this event loop, and what it has recorded."""

    def __init__(self, folder: Path, *, is_direct: bool) -> None:
        folder.mkdir()
        self._log = SqliteEventLog(folder / "log.db")
        self.commit = GroupCommit(self._log, records_max=100, bytes_max=10**6, queue_bytes_max=10**7)
        self.tracking = TrackingApp(
            self.commit, keys=lambda key: key == "wk_website", clock=SystemClock(), body_seconds=30
        )
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = self._socket.getsockname()[:2]
        self._ready = asyncio.Event()
        self._server = HttpServer(
            self.tracking,
            limits=LIMITS,
            direct=self.tracking if is_direct else None,
            on_ready=self._ready.set,
            on_stop=lambda: None,
        )
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def start(self) -> None:
        await self._ready.wait()

    async def stop(self) -> None:
        self._server.stop()
        await self._serving
        await asyncio.to_thread(self.commit.stop)
        self._log.close()
        self._socket.close()

    def recorded(self) -> Recorded:
        return [
            (record.write_key, record.call, record.encoding, decompress(record), record.ip)
            for record in self._log.read(0, records_max=10_000, bytes_max=10**8)
        ]


@asynccontextmanager
async def both_ways(folder: Path) -> AsyncIterator[tuple[Server, Server]]:
    servers = Server(folder / "direct", is_direct=True), Server(folder / "ordinary", is_direct=False)
    for server in servers:
        await server.start()
    try:
        yield servers
    finally:
        for server in servers:
            await server.stop()


async def exchange(address: tuple[str, int], name: str, pieces: Sequence[bytes]) -> bytes:
    """Send the pieces, each in a read of its own as far as possible, and return everything that comes back."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        for number, piece in enumerate([*pieces, *([] if name in CLOSED | UNFINISHED else [LAST])]):
            if number:
                await asyncio.sleep(0.005)
            writer.write(piece)
            await writer.drain()
        if name in UNFINISHED:
            await asyncio.sleep(0.1)
            return b""
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()


def pieces_of(request: bytes) -> dict[str, list[bytes]]:
    border = request.find(b"\r\n\r\n") + 4
    cuts = {
        "whole": [],
        "head and body": [border],
        "inside the head": [30],
        "inside the body": [border + 3],
        "small pieces": list(range(37, min(len(request), 900), 37)),
    }
    return {
        name: [request[start:end] for start, end in zip([0, *places], [*places, len(request)], strict=True)]
        for name, places in cuts.items()
    }


@pytest.mark.parametrize("split", ["whole", "head and body", "inside the head", "inside the body", "small pieces"])
def test_both_ways_respond_and_record_alike(tmp_path: Path, split: str) -> None:
    async def compare() -> None:
        async with both_ways(tmp_path) as (direct, ordinary):
            for name, request in REQUESTS.items():
                if split == "small pieces" and name in CLOSED:
                    continue  # the connection may be closed before everything is sent
                pieces = pieces_of(request)[split]
                assert await exchange(direct.address, name, pieces) == await exchange(ordinary.address, name, pieces), (
                    name
                )
            assert direct.recorded() == ordinary.recorded()

    asyncio.run(compare())


def test_what_is_accepted_as_it_is_takes_the_direct_way(tmp_path: Path) -> None:
    async def count() -> None:
        async with both_ways(tmp_path) as (direct, _):
            submitted: list[str] = []
            submit = direct.tracking.submit

            def counting(call: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> object:
                if (durable := submit(call, headers, body)) is not None:
                    submitted.append(call)
                return durable

            direct.tracking.submit = counting  # type: ignore[assignment, method-assign]
            for name in ("a track call", "a batch", "the key in the body", "chunks", "gzip", "no key", "HTTP/1.0"):
                await exchange(direct.address, name, [REQUESTS[name]])
            assert submitted == ["track", "batch", "track", "track"]

    asyncio.run(count())


def test_a_log_that_fails_is_a_503_on_both_ways(tmp_path: Path) -> None:
    async def compare() -> None:
        async with both_ways(tmp_path) as servers:
            for server in servers:
                server._log.close()
            responses = [
                await exchange(server.address, "a track call", [REQUESTS["a track call"]]) for server in servers
            ]
            texts = [re.sub(rb"/[^ \"]*log\.db", b"log.db", response) for response in responses]
            lengths = [re.sub(rb"content-length: \d+", b"", text) for text in texts]
            assert lengths[0] == lengths[1]
            assert lengths[0].startswith(b"HTTP/1.1 503")
            assert b"retry-after: 1" in lengths[0]

    asyncio.run(compare())


def test_a_stopped_group_commit_is_a_503_on_both_ways(tmp_path: Path) -> None:
    async def compare() -> None:
        async with both_ways(tmp_path) as servers:
            responses = []
            for server in servers:
                await asyncio.to_thread(server.commit.stop)
                responses.append(await exchange(server.address, "a track call", [REQUESTS["a track call"]]))
            assert responses[0] == responses[1]
            assert responses[0].startswith(b"HTTP/1.1 503")

    asyncio.run(compare())
