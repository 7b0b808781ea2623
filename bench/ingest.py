"""The Tracking API: events and requests a second, each acknowledged after its sync, and how long a sender waits.

For comparison, in the same run: a bare uvicorn app that reads the body and responds to the same sender, and SQLite
    alone
that appends the same bodies, in groups as large as half the connections can fill: while one group is synced, the other
half sends the next.
"""

import asyncio
import base64
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
import uvloop

from bench.product import WRITE_KEY, product
from bench.report import Figure, percentile, show
from bench.size import size
from bench.workload import EVENTS_PER_BODY, bodies, one_event

_CONNECTIONS = 64
_ROUNDS = size(3, 1)
_WARM_UP_SECONDS = size(1_000, 100) / 1_000
_SECONDS = size(4_000, 300) / 1_000
_RESPONSE_SECONDS_MAX = 60.0
_BODIES = 200
_BODIES_PER_SYNC = _CONNECTIONS // 2
Round = tuple[float, list[float]]  # requests a second, and how many seconds each of them took
_ANSWER_END = b'{"success":true}'


def main() -> None:
    """Measure and print."""
    batches = [request_of("batch", body) for body in bodies(_BODIES)]
    singles = [request_of("track", one_event(number)) for number in range(2_000)]
    ours, bares = _rounds(batches)
    _show(
        "100-event bodies",
        ours,
        bares,
        events_each=EVENTS_PER_BODY,
        appended=[_append_bare(list(bodies(_BODIES))) for _ in range(_ROUNDS)],
        target=150_000,
    )
    ours, bares = _rounds(singles)
    _show(
        "single events",
        ours,
        bares,
        events_each=1,
        appended=[_append_bare([one_event(number) for number in range(4_000)]) for _ in range(_ROUNDS)],
        target=12_000,
    )


def _rounds(requests: Sequence[bytes]) -> tuple[list[Round], list[Round]]:
    """What the product and the bare app make of them, on a data folder of its own: no old log waits to be written."""
    ours: list[Round] = []
    bares: list[Round] = []
    os.sync()
    with product({}, {}, serves_only=True) as running, _bare_app() as bare:
        for _ in range(_ROUNDS):  # taking turns, so that a noisy moment hits both
            ours.append(uvloop.run(load(running.url, requests)))
            bares.append(uvloop.run(load(bare, requests)))
    return ours, bares


def _show(
    what: str, ours: Sequence[Round], bares: Sequence[Round], *, events_each: int, appended: list[float], target: float
) -> None:
    rates = [rate * events_each for rate, _ in ours]
    ceilings = {
        "a bare uvicorn app": statistics.median(rate * events_each for rate, _ in bares),
        "SQLite alone": statistics.median(appended) * events_each,
    }
    for number, (name, ceiling) in enumerate(ceilings.items()):
        show(
            Figure(
                name="  beside the disk's ceiling" if number else f"ingest of {what}, {_CONNECTIONS} connections",
                unit="events/s",
                values=rates,
                target=None if number else target,
                ceiling=ceiling,
                ceiling_name=name,
            )
        )
    for share, words in ((0.5, "p50"), (0.99, "p99")):
        show(
            Figure(
                name=f"  answered after its sync within, {words}",
                unit="ms",
                values=[percentile(waits, share) * 1000 for _, waits in ours],
                target=60 if words == "p99" else None,
                ceiling=statistics.median(percentile(waits, share) * 1000 for _, waits in bares),
                ceiling_name="a bare uvicorn app",
                at_most=True,
            )
        )
    print(f"  {statistics.median(rate for rate, _ in ours):,.0f} requests/s", flush=True)


def request_of(call: str, body: bytes) -> bytes:
    head = f"POST /v1/{call} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    key = f"Authorization: Basic {_basic()}\r\n"
    return f"{head}{key}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _basic() -> str:
    return base64.b64encode(f"{WRITE_KEY}:".encode()).decode()


async def load(url: str, requests: Sequence[bytes]) -> Round:
    """Requests answered a second after the warm-up, and how long each of them took in seconds; one at least.

    Raises:
        TimeoutError: None was answered.
    """
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    supply = cycle(requests)
    waits: list[float] = []
    loop = asyncio.get_running_loop()
    senders = [
        (await loop.create_connection(lambda: _Sender(supply, waits), address.hostname, address.port))[1]
        for _ in range(_CONNECTIONS)
    ]
    await asyncio.sleep(_WARM_UP_SECONDS)
    await _wait_for_response(waits)
    waits.clear()
    begun = time.perf_counter()
    await asyncio.sleep(_SECONDS)
    await _wait_for_response(waits)
    measured, seconds = list(waits), time.perf_counter() - begun
    for sender in senders:
        sender.stop()
    return len(measured) / seconds, measured


async def _wait_for_response(waits: Sequence[float]) -> None:
    """Wait until a request is answered: on a busy machine, that can take longer than a bench of tiny size."""
    async with asyncio.timeout(_RESPONSE_SECONDS_MAX):
        while not waits:
            await asyncio.sleep(0.01)


class _Sender(asyncio.Protocol):
    """One connection that sends the next request as soon as the last is answered."""

    def __init__(self, supply: Iterator[bytes], waits: list[float]) -> None:
        self._supply = supply
        self._waits = waits
        self._response = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._begun = time.perf_counter()
        self._transport.write(next(self._supply))

    def data_received(self, data: bytes) -> None:
        self._response += data
        if not self._response.endswith(_ANSWER_END):
            return
        if not self._response.startswith(b"HTTP/1.1 200"):
            raise AssertionError(self._response)
        self._response = b""
        self._waits.append(time.perf_counter() - self._begun)
        self._send()

    def stop(self) -> None:
        self._transport.abort()


@contextmanager
def _bare_app() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.ingest", "--bare"], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def _serve_bare() -> None:
    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        while (await receive()).get("more_body", False):  # type: ignore[operator]
            pass
        headers = [(b"content-type", b"application/json"), (b"content-length", b"16")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": _ANSWER_END})  # type: ignore[operator]

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http="httptools", loop="none", lifespan="off", access_log=False, log_config=None, server_header=False
    )
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvloop.run(uvicorn.Server(config).serve(sockets=[listening]))


def _append_bare(bodies: Sequence[bytes]) -> float:
    """Bodies a second that SQLite alone makes durable."""
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE records (position INTEGER PRIMARY KEY, body BLOB)")
        begun = time.perf_counter()
        for first in range(0, len(bodies), _BODIES_PER_SYNC):
            connection.execute("BEGIN")
            group = [(body,) for body in bodies[first : first + _BODIES_PER_SYNC]]
            connection.executemany("INSERT INTO records (body) VALUES (?)", group)
            connection.execute("COMMIT")
        seconds = time.perf_counter() - begun
        connection.close()
    return len(bodies) / seconds


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        _serve_bare()
    else:
        main()
