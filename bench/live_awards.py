"""A steady stream of live events, and a partner that notes when their awards arrive: what other work delays."""

import asyncio
import base64
import json
import re
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import aiohttp

from bench.null_partner import ANSWER
from bench.product import WRITE_KEY, Product

LIVE_PER_SECOND = 20
_WAIT_SECONDS = 300.0
_LENGTH = re.compile(rb"content-length: *(\d+)")
_KEY = re.compile(rb'"trans_source_id":\s*"SEG:bench:EVENT:([a-z]+\d+)"')


class Partner(asyncio.Protocol):
    """Notes when each key arrives and answers 201."""

    def __init__(self, arrived: dict[str, float]) -> None:
        self._arrived = arrived
        self._pending = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._pending[:end].lower())
            end += 4 + (int(length[1]) if length else 0)
            if len(self._pending) < end:
                return
            if match := _KEY.search(self._pending[:end]):
                self._arrived.setdefault(match[1].decode(), time.perf_counter())
            self._pending = self._pending[end:]
            self._transport.write(ANSWER)


def open_session() -> aiohttp.ClientSession:
    """Return a session that sends as the source of the product."""
    return aiohttp.ClientSession(
        headers={"Authorization": "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()}
    )


async def send_live(
    session: aiohttp.ClientSession,
    running: Product,
    word: str,
    arrived: dict[str, float],
    *,
    goes_on: Callable[[], bool],
) -> list[float]:
    """Send live events at a steady rate; return how long each took from its request to the partner, in seconds."""
    sent: dict[str, float] = {}

    async def send(number: int) -> None:
        sent[f"{word}{number}"] = time.perf_counter()
        body = json.dumps(award_event(word, number, "Checked In"))
        async with session.post(f"{running.url}/v1/track", data=body) as response:
            assert response.status == 200

    begun = time.perf_counter()
    sending: list[asyncio.Task[None]] = []
    while goes_on():
        number = len(sending)
        await asyncio.sleep(max(0.0, begun + number / LIVE_PER_SECOND - time.perf_counter()))
        sending.append(asyncio.create_task(send(number)))
    await asyncio.gather(*sending)
    await until(lambda: all(key in arrived for key in sent))
    return [arrived[key] - sent[key] for key in sent]


def for_seconds(seconds: float) -> Callable[[], bool]:
    """Return what is true for a time from now on."""
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() < end


def award_event(word: str, number: int, name: str) -> dict[str, object]:
    """Return a track call of a person of its own."""
    return {
        "type": "track",
        "messageId": f"{word}{number}",
        "userId": f"{word}-{number}",
        "event": name,
        "properties": {"email": f"{word}-{number}@example.com", "padding": "x" * 800},
    }


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a state.

    Raises:
        TimeoutError: It did not come.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError("awards did not arrive")
        await asyncio.sleep(0.05)


def call_api(running: Product, method: str, path: str, body: dict[str, object] | None = None) -> Any:
    """Call the Public API; return the body of its response."""
    token = (running.data / "admin-token").read_text().strip()
    request = urllib.request.Request(
        f"{running.url}/api{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=_WAIT_SECONDS) as response:
        return json.load(response)
