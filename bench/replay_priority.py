"""How much a running replay delays live awards: the same stream of live events without and with one, in one run.

    python -m bench.replay_priority

Past events were received while their name was not mapped. Then it is mapped, and they are replayed while live events
arrive at a part of the rate limit.
"""

import asyncio
import json
import time

import aiohttp
import uvloop

from bench.delivery import settings_for
from bench.live_awards import (
    LIVE_PER_SECOND,
    Partner,
    award_event,
    call_api,
    for_seconds,
    open_session,
    send_live,
    until,
)
from bench.product import Product, product
from bench.report import Figure, percentile, show
from bench.size import size

_PAST = size(20_000, 200)
_PER_BODY = 100
_LIMIT_PER_SECOND = 100
_SECONDS = size(30, 1)
_WAIT_SECONDS = 300.0
_FACTOR_MAX = 1.2
_PATH = "/destinations/perkville"


def main() -> None:
    """Measure and print."""
    alone, beside, replayed = uvloop.run(_measure())
    without, during = percentile(alone, 0.95) * 1000, percentile(beside, 0.95) * 1000
    name = f"live awards at {LIVE_PER_SECOND}/s, p95"
    show(Figure(name=name, unit="ms", values=[without]))
    show(Figure(name=f"  with a replay ({replayed:,} awards meanwhile)", unit="ms", values=[during]))
    show(Figure(name="  times as long", unit="×", values=[during / without], target=_FACTOR_MAX, at_most=True))


async def _measure() -> tuple[list[float], list[float], int]:
    arrived: dict[str, float] = {}
    server = await asyncio.get_running_loop().create_server(lambda: Partner(arrived), "127.0.0.1", 0)
    settings, options = settings_for(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    settings["eventToPerkMap"] = {"Checked In": "123457"}
    # The App and the API may change the destination: the file is applied once and manages nothing.
    starting = product(settings, {**options, "requestsPerSecond": _LIMIT_PER_SECOND}, releases_file=True)
    running = await asyncio.to_thread(starting.__enter__)
    try:
        async with open_session() as session:
            await _send_past(session, running)
            await send_live(session, running, "warm", arrived, goes_on=for_seconds(1))
            alone = await send_live(session, running, "alone", arrived, goes_on=for_seconds(_SECONDS))
            await asyncio.to_thread(_start_replay, running)
            await until(lambda: any(key.startswith("past") for key in arrived))
            beside = await send_live(session, running, "beside", arrived, goes_on=for_seconds(_SECONDS))
            return alone, beside, sum(key.startswith("past") for key in arrived)
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)
        server.close()


async def _send_past(session: aiohttp.ClientSession, running: Product) -> None:
    for begin in range(0, _PAST, _PER_BODY):
        batch = [award_event("past", number, "Class Booked") for number in range(begin, begin + _PER_BODY)]
        async with session.post(f"{running.url}/v1/batch", data=json.dumps({"batch": batch})) as response:
            assert response.status == 200


def _start_replay(running: Product) -> None:
    call_api(
        running, "PATCH", _PATH, {"settings": {"eventToPerkMap": {"Checked In": "123457", "Class Booked": "123456"}}}
    )
    deadline = time.monotonic() + _WAIT_SECONDS
    selection = {"events": ["Class Booked"]}
    while True:
        plan = call_api(running, "POST", f"{_PATH}/replays", {**selection, "dryRun": True})["data"]["replay"]["plan"]
        if plan["awards"] == _PAST:
            break
        if time.monotonic() > deadline:
            raise TimeoutError(f"the plan is {plan}")
        time.sleep(0.5)
    call_api(running, "POST", f"{_PATH}/replays", {**selection, "dryRun": False})


if __name__ == "__main__":
    main()
