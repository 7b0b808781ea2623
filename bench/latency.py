"""From the Tracking API to the partner: how long until Perkville gets the POST, and the processor time of an event."""

import asyncio
import base64
import json
import re
import time

import aiohttp
import uvloop

from bench.delivery import settings_for
from bench.null_partner import ANSWER
from bench.product import WRITE_KEY, cpu_seconds, product
from bench.report import Figure, percentile, show
from bench.size import size

_TARGETS = {200: (8, 25), 50: (5, 15)}  # milliseconds of p50 and p99, by events a second
_CPU_TARGET = 5  # milliseconds of an event, all processes
_SECONDS = size(10, 1)
_WARM_UP = size(200, 20)  # events before any is counted
_KEY = re.compile(rb'"trans_source_id":\s*"SEG:bench:EVENT:(m\d+)"')


class _TimingPartner(asyncio.Protocol):
    """Notes when each key arrives and answers 201."""

    arrived: dict[str, float]

    def __init__(self, arrived: dict[str, float]) -> None:
        self.arrived = arrived
        self._pending = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._pending += data
        if self._pending.startswith(b"GET ") and self._pending.endswith(b"\r\n\r\n"):
            self._pending = b""
            self._transport.write(ANSWER)
        while match := _KEY.search(self._pending):
            self.arrived.setdefault(match[1].decode(), time.perf_counter())
            self._pending = self._pending[match.end() :]
            self._transport.write(ANSWER)


def main() -> None:
    """Measure and print."""
    for per_second, targets in _TARGETS.items():
        waits, cpu_seconds_per_event = uvloop.run(_measure(per_second))
        for share, target in zip((0.5, 0.99), targets, strict=True):
            show(
                Figure(
                    name=f"receipt → POST, p{share * 100:.0f} at {per_second}/s",
                    unit="ms",
                    values=[percentile(waits, share) * 1000],
                    target=target,
                    at_most=True,
                )
            )
        show(
            Figure(
                name=f"processor time of an event at {per_second}/s",
                unit="ms",
                values=[cpu_seconds_per_event * 1000],
                target=_CPU_TARGET,
                at_most=True,
            )
        )


async def _measure(per_second: int) -> tuple[list[float], float]:
    """Return the wait of each event in seconds, and the processor time of one."""
    arrived: dict[str, float] = {}
    server = await asyncio.get_running_loop().create_server(lambda: _TimingPartner(arrived), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings, options = settings_for(f"http://127.0.0.1:{port}")
    sent: dict[str, float] = {}
    starting = product({**settings, "eventToPerkMap": {"Checked In": "123457"}}, options)
    running = await asyncio.to_thread(starting.__enter__)
    try:
        headers = {"Authorization": "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()}
        async with aiohttp.ClientSession(headers=headers) as session:
            total = _WARM_UP + per_second * _SECONDS
            await _send(session, running.url, total, sent)
            while not arrived:  # the worker is still starting
                await asyncio.sleep(0.05)
            sent.clear()
            arrived.clear()
            begun, used = time.perf_counter(), 0.0
            sending = []
            for number in range(total):
                if number == _WARM_UP:  # by now the worker has loaded what writes the lake
                    used = cpu_seconds(running.pid)
                await asyncio.sleep(max(0.0, begun + number / per_second - time.perf_counter()))
                sending.append(asyncio.create_task(_send(session, running.url, number, sent)))
            await asyncio.gather(*sending)
            deadline = time.perf_counter() + 20
            while len(arrived) < total and time.perf_counter() < deadline:
                await asyncio.sleep(0.05)
            used = cpu_seconds(running.pid) - used
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)
        server.close()
    missing = len(sent) - len(arrived)
    if missing:
        raise AssertionError(f"{missing} awards did not arrive")
    return [arrived[key] - sent[key] for key in list(sent)[_WARM_UP:]], used / (total - _WARM_UP)


async def _send(session: aiohttp.ClientSession, url: str, number: int, sent: dict[str, float]) -> None:
    body = {
        "messageId": f"m{number}",
        "userId": f"u{number}",
        "event": "Checked In",
        "properties": {"email": f"u{number}@example.com", "padding": "x" * 800},
    }
    sent[f"m{number}"] = time.perf_counter()
    async with session.post(f"{url}/v1/track", data=json.dumps(body)) as response:
        assert response.status == 200


if __name__ == "__main__":
    main()
