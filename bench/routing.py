"""Routing with one destination, one event in fifty mapped, lake append included: events a second, and memory.

A process of its own fills the log; routing and the lake share one core. `python -m bench.routing 10000000` takes ten
million events and shows whether memory stays flat.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.delivery import settings_for
from bench.filters import TEN
from bench.log_router import open_router
from bench.report import Figure, show
from bench.size import size
from bench.workload import EVENTS_PER_BODY, bodies
from punchcard.clock import SystemClock, to_micros
from punchcard.events.model import WireEvent
from punchcard.log.opening import open_event_log
from punchcard.log.port import EventLog, NewRecord
from punchcard.routing.lake_feed import LakeFeed
from punchcard.runtime.garbage_collection import collect_rarely
from punchcard.store.engine import Store
from punchcard.workspace.apply import apply
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Destination, DestinationFilter, Source, Workspace

_EVENTS = size(1_000_000, 2_000)
# The log is filled this far ahead of routing, and trimmed behind it: a default run is filled before it is measured.
_AHEAD_BODIES = 10_000
_FLUSH_SECONDS = 2.0


def main(events: int = _EVENTS) -> None:
    """Measure and print."""
    ceiling = _parse_ceiling()
    plain, memory = _measure(events, ())
    show(
        Figure(
            name=f"routing {events:,} events, lake included, one core",
            unit="events/s",
            values=[plain],
            target=80_000,
            ceiling=ceiling,
            ceiling_name="bare msgspec parse",
        )
    )
    for done, megabytes in memory:
        print(f"  resident after {done:>12,} events: {megabytes:7.1f} MB")
    if events <= _EVENTS:
        filtered, _ = _measure(events, TEN)
        show(
            Figure(
                name="the same with ten filters",
                unit="events/s",
                values=[filtered],
                target=0.7 * plain,
                ceiling=plain,
                ceiling_name="the rate without",
            )
        )


def measure(events: int, *, log_url: str | None = None, store_url: str | None = None) -> float:
    """Return the events routed a second, with log and store in SQLite files if no URL is given."""
    rate, _ = _measure(events, (), log_url=log_url, store_url=store_url)
    return rate


def _measure(
    events: int, conditions: Sequence[str], *, log_url: str | None = None, store_url: str | None = None
) -> tuple[float, list[tuple[int, float]]]:
    with tempfile.TemporaryDirectory() as folder:
        log_url = log_url or f"sqlite:///{folder}/log.db"
        store_url = store_url or f"sqlite:///{folder}/punchcard.db"
        open_event_log(log_url).close()
        filling = subprocess.Popen(
            [sys.executable, "-m", "bench.routing", "--fill", log_url, str(events // EVENTS_PER_BODY)],
            stdin=subprocess.PIPE,
        )
        affinity = os.sched_getaffinity(0)
        try:
            return _route(Path(folder), log_url, store_url, events, conditions)
        finally:
            os.sched_setaffinity(0, affinity)
            assert filling.stdin is not None
            filling.stdin.close()
            filling.wait()


def _route(
    folder: Path, log_url: str, store_url: str, events: int, conditions: Sequence[str]
) -> tuple[float, list[tuple[int, float]]]:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    clock = SystemClock()
    store = Store(store_url)
    keyring = Keyring("bench")
    apply(store, workspace(conditions), clock=clock, keyring=keyring, actor="bench")
    log = open_event_log(log_url)
    router, feed = open_router(folder, log, store, keyring)
    flushing = threading.Thread(target=_flush, args=(feed, log))
    while log.last_position() < min(_AHEAD_BODIES, events // EVENTS_PER_BODY):
        time.sleep(0.05)
    flushing.start()
    memory: list[tuple[int, float]] = []
    step = max(events // 10, 1)
    collect_rarely()  # as the worker process does
    begun = time.perf_counter()
    busy = time.process_time()
    while router.position * EVENTS_PER_BODY < events:
        if not router.step():
            time.sleep(0.002)
        done = router.position * EVENTS_PER_BODY
        if done >= step * (len(memory) + 1):
            memory.append((done, _resident_mb()))
    feed.close()
    flushing.join()
    seconds = time.perf_counter() - begun
    print(f"  processor time {1e6 * (time.process_time() - busy) / events:.2f} µs an event")
    log.close()
    store.close()
    return events / seconds, memory


def workspace(conditions: Sequence[str]) -> Workspace:
    """Return a source and a Perkville destination with filters of these conditions."""
    settings, options = settings_for("http://127.0.0.1:1")
    filters = tuple(
        DestinationFilter(title=f"filter {number}", condition=condition, actions=({"type": "DROP"},))
        for number, condition in enumerate(conditions)
    )
    return Workspace(
        sources=(Source(slug="bench", name="Bench", write_keys=("wk_bench",)),),
        destinations=(
            Destination(
                slug="perkville",
                type="perkville",
                sources=("bench",),
                settings=settings,
                options=options,
                filters=filters,
            ),
        ),
    )


def _flush(feed: LakeFeed, log: EventLog) -> None:
    closed = False
    while not closed:
        closed = feed.wait(0.0 if feed.is_behind else _FLUSH_SECONDS)
        feed.flush()
        while feed.trim_log(older_than_micros=to_micros(SystemClock().now())):
            continue


def _fill(log_url: str, count: int) -> None:
    """Fill the log a little ahead of the reader that trims it."""
    log = open_event_log(log_url)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    pending = []
    written = 0
    for body in bodies(count):
        pending.append(NewRecord(to_micros(SystemClock().now()), "wk_bench", "batch", "identity", body, ""))
        if len(pending) == 100:
            written += len(log.append(pending))
            pending = []
            while not ended.is_set() and _ahead(log, written) > _AHEAD_BODIES:
                time.sleep(0.02)
            if ended.is_set():
                break
    if pending:
        log.append(pending)
    log.close()


def _ahead(log: EventLog, written: int) -> int:
    oldest = log.read(0, records_max=1, bytes_max=1)
    return written - (oldest[0].position if oldest else written)


def _parse_ceiling() -> float:
    class Batch(msgspec.Struct):
        batch: list[WireEvent]

    decoder = msgspec.json.Decoder(Batch)
    sample = list(bodies(50))
    best = 0.0
    for _ in range(5):
        begun = time.perf_counter()
        for body in sample:
            decoder.decode(body)
        best = max(best, len(sample) * EVENTS_PER_BODY / (time.perf_counter() - begun))
    return best


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fill"]:
        _fill(sys.argv[2], int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else _EVENTS)
