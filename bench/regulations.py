"""How long a deletion of many people takes, and how much it delays live awards meanwhile.

    python -m bench.regulations [PEOPLE [EVENTS]]

The people are deleted from log, lake, profiles, facts and ledger of a running product, which gets live events all the
time. A tenth of the number of events is the number of people: the deleted ones are chosen by chance, so most records
and all files have events of somebody.
"""

import asyncio
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.delivery import settings_for
from bench.live_awards import LIVE_PER_SECOND, Partner, call_api, for_seconds, open_session, send_live
from bench.past_people import fill
from bench.product import Product, cpu_seconds, memory_bytes, product
from bench.report import Figure, percentile, show
from bench.size import size

_PEOPLE = size(1_000, 20)
_EVENTS = size(1_000_000, 2_000)
_EVENTS_PER_PERSON = 10
_SECONDS = size(20, 1)
_SUBJECTS_PER_REGULATION = 5_000
_TARGET_SECONDS = 600
_POLL_SECONDS = 1.0
_ENVIRONMENT = {"PUNCHCARD_LOG_RETENTION_HOURS": "1000"}  # the log has every event, too


def main(people: int = _PEOPLE, events: int = _EVENTS) -> None:
    """Measure and print."""
    uvloop.run(_measure(people, events))


async def _measure(people: int, events: int) -> None:
    arrived: dict[str, float] = {}
    server = await asyncio.get_running_loop().create_server(lambda: Partner(arrived), "127.0.0.1", 0)
    settings, options = settings_for(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    settings["eventToPerkMap"] = {"Checked In": "123457"}
    starting = product(
        settings, options, prepare=lambda data: _fill(data, events), environment=_ENVIRONMENT, releases_file=True
    )
    running = await asyncio.to_thread(starting.__enter__)
    try:
        async with open_session() as session:
            await send_live(session, running, "warm", arrived, goes_on=for_seconds(1))
            alone = await send_live(session, running, "alone", arrived, goes_on=for_seconds(_SECONDS))
            deletion = _Deletion(running, random.Random(1).sample(range(events // _EVENTS_PER_PERSON), people))
            await asyncio.to_thread(deletion.begin)
            watching = asyncio.create_task(asyncio.to_thread(deletion.watch))
            beside = await send_live(session, running, "beside", arrived, goes_on=lambda: not watching.done())
            await watching
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)
        server.close()
    name = f"{people:,} people deleted from {events:,} events"
    print(f"  load average {os.getloadavg()[0]:.1f}; {deletion.counts}")
    show(Figure(name=name, unit="s", values=[deletion.seconds], target=_TARGET_SECONDS, at_most=True))
    show(Figure(name="  processor time", unit="s", values=[deletion.cpu_seconds]))
    show(Figure(name="  memory of all processes, at most", unit="MB", values=[deletion.memory_bytes / 1e6]))
    show(Figure(name=f"  live awards at {LIVE_PER_SECOND}/s before, p95", unit="ms", values=[_p95(alone)]))
    show(Figure(name="  live awards meanwhile, p95", unit="ms", values=[_p95(beside)]))


def _fill(data: Path, events: int) -> None:
    begun = time.perf_counter()
    fill(data, events, events // _EVENTS_PER_PERSON)
    size_bytes = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
    print(f"  {events:,} events, {size_bytes / 1e6:,.0f} MB, made in {time.perf_counter() - begun:.0f} s", flush=True)


def _p95(seconds: list[float]) -> float:
    return percentile(seconds, 0.95) * 1000


class _Deletion:
    """The regulations of a deletion, watched until all are finished."""

    def __init__(self, running: Product, people: list[int]) -> None:
        self._running = running
        self._people = people
        self._ids: list[str] = []
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.memory_bytes = 0
        self.counts = ""

    def begin(self) -> None:
        self._begun, self._used = time.perf_counter(), cpu_seconds(self._running.pid)
        for begin in range(0, len(self._people), _SUBJECTS_PER_REGULATION):
            subjects = [f"u{person}" for person in self._people[begin : begin + _SUBJECTS_PER_REGULATION]]
            body: dict[str, object] = {
                "regulationType": "DELETE_INTERNAL",
                "subjectType": "USER_ID",
                "subjectIds": subjects,
            }
            self._ids.append(call_api(self._running, "POST", "/regulations", body)["data"]["regulateId"])

    def watch(self) -> None:
        shown: dict[str, str] = {}
        while True:
            views = [call_api(self._running, "GET", f"/regulations/{id}")["data"]["regulation"] for id in self._ids]
            self.memory_bytes = max(self.memory_bytes, memory_bytes(self._running.pid))
            for view in views:
                stores = ", ".join(f"{step['id']} {step['count']:,}" for step in view["storeStatus"])
                state = f"{view['overallStatus']} {stores} {view['detail'] or ''}"
                if shown.get(view["id"]) != state:
                    shown[view["id"]] = state
                    print(f"  after {time.perf_counter() - self._begun:6.1f} s: {view['id']} {state}", flush=True)
            if all(_is_over(view) for view in views):
                break
            time.sleep(_POLL_SECONDS)
        self.seconds = time.perf_counter() - self._begun
        self.cpu_seconds = cpu_seconds(self._running.pid) - self._used
        failed = [view for view in views if view["overallStatus"] not in ("RUNNING", "FINISHED")]
        assert not failed, failed
        totals: dict[str, int] = {}
        for view in views:
            for step in view["storeStatus"]:
                totals[step["id"]] = totals.get(step["id"], 0) + step["count"]
        self.counts = ", ".join(f"{name} {count:,}" for name, count in totals.items())


def _is_over(view: dict[str, Any]) -> bool:
    """Return whether a regulation is finished; at the tiny size, whether only files wait for their readers."""
    in_lake = any(step["id"] == "lake" for step in view["storeStatus"])
    return view["overallStatus"] not in ("INITIALIZED", "RUNNING") or bool(size(0, 1) and in_lake)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
