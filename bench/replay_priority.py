"""How much a running replay delays live awards: the same stream of live events without and with one, in one run.

    python -m bench.replay_priority

Past events were received while their name was not mapped. Then it is mapped, and they are replayed while live events
arrive at a part of the rate limit.
"""

import asyncio
import base64
import json
import re
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import aiohttp
import uvloop

from bench.delivery import settings_for
from bench.null_partner import ANSWER
from bench.product import WRITE_KEY, Product, product
from bench.report import Figure, percentile, show
from bench.size import size

_PAST = size(20_000, 200)
_PER_BODY = 100
_LIVE_PER_SECOND = 20
_LIMIT_PER_SECOND = 100
_SECONDS = size(30, 1)
_WAIT_SECONDS = 300.0
_FACTOR_MAX = 1.2
_LENGTH = re.compile(rb"content-length: *(\d+)")
_KEY = re.compile(rb'"trans_source_id":\s*"SEG:bench:EVENT:([a-z]+\d+)"')


class _Partner(asyncio.Protocol):
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


def main() -> None:
    """Measure and print."""
    alone, beside, replayed = uvloop.run(_measure())
    without, during = percentile(alone, 0.95) * 1000, percentile(beside, 0.95) * 1000
    name = f"live awards at {_LIVE_PER_SECOND}/s, p95"
    show(Figure(name=name, unit="ms", values=[without]))
    show(Figure(name=f"  with a replay ({replayed:,} awards meanwhile)", unit="ms", values=[during]))
    show(Figure(name="  times as long", unit="×", values=[during / without], target=_FACTOR_MAX, at_most=True))


async def _measure() -> tuple[list[float], list[float], int]:
    arrived: dict[str, float] = {}
    server = await asyncio.get_running_loop().create_server(lambda: _Partner(arrived), "127.0.0.1", 0)
    settings, options = settings_for(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    settings["eventToPerkMap"] = {"Checked In": "123457"}
    # The App and the API may change the destination: the file is applied once and manages nothing.
    starting = product(settings, {**options, "requestsPerSecond": _LIMIT_PER_SECOND}, releases_file=True)
    running = await asyncio.to_thread(starting.__enter__)
    try:
        headers = {"Authorization": "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()}
        async with aiohttp.ClientSession(headers=headers) as session:
            await _send_past(session, running)
            await _live(session, running, "warm", arrived, seconds=1)
            alone = await _live(session, running, "alone", arrived, seconds=_SECONDS)
            await asyncio.to_thread(_start_replay, running)
            await _until(lambda: any(key.startswith("past") for key in arrived))
            beside = await _live(session, running, "beside", arrived, seconds=_SECONDS)
            return alone, beside, sum(key.startswith("past") for key in arrived)
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)
        server.close()


async def _send_past(session: aiohttp.ClientSession, running: Product) -> None:
    for begin in range(0, _PAST, _PER_BODY):
        batch = [_event("past", number, "Class Booked") for number in range(begin, begin + _PER_BODY)]
        async with session.post(f"{running.url}/v1/batch", data=json.dumps({"batch": batch})) as response:
            assert response.status == 200


async def _live(
    session: aiohttp.ClientSession, running: Product, word: str, arrived: dict[str, float], *, seconds: int
) -> list[float]:
    """Send live events at a steady rate; return how long each took from its request to the partner, in seconds."""
    sent: dict[str, float] = {}

    async def send(number: int) -> None:
        sent[f"{word}{number}"] = time.perf_counter()
        body = json.dumps(_event(word, number, "Checked In"))
        async with session.post(f"{running.url}/v1/track", data=body) as response:
            assert response.status == 200

    begun = time.perf_counter()
    sending = []
    for number in range(_LIVE_PER_SECOND * seconds):
        await asyncio.sleep(max(0.0, begun + number / _LIVE_PER_SECOND - time.perf_counter()))
        sending.append(asyncio.create_task(send(number)))
    await asyncio.gather(*sending)
    await _until(lambda: all(key in arrived for key in sent))
    return [arrived[key] - sent[key] for key in sent]


def _start_replay(running: Product) -> None:
    _call(running, "PATCH", "", {"settings": {"eventToPerkMap": {"Checked In": "123457", "Class Booked": "123456"}}})
    deadline = time.monotonic() + _WAIT_SECONDS
    selection = {"events": ["Class Booked"]}
    while True:
        plan = _call(running, "POST", "/replays", {**selection, "dryRun": True})["data"]["replay"]["plan"]
        if plan["awards"] == _PAST:
            break
        if time.monotonic() > deadline:
            raise TimeoutError(f"the plan is {plan}")
        time.sleep(0.5)
    _call(running, "POST", "/replays", {**selection, "dryRun": False})


def _call(running: Product, method: str, path: str, body: dict[str, object]) -> Any:
    token = (running.data / "admin-token").read_text().strip()
    request = urllib.request.Request(
        f"{running.url}/api/destinations/perkville{path}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=_WAIT_SECONDS) as response:
        return json.load(response)


def _event(word: str, number: int, name: str) -> dict[str, object]:
    return {
        "type": "track",
        "messageId": f"{word}{number}",
        "userId": f"{word}-{number}",
        "event": name,
        "properties": {"email": f"{word}-{number}@example.com", "padding": "x" * 800},
    }


async def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError("awards did not arrive")
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    main()
