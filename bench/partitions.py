"""Two workers on two partitions of a log, beside one worker that routes both: events a second.

The log is in PostgreSQL, then in Kafka. Each worker is a process on a core of its own, and the servers have the rest.
On two cores there is none, and they take from the workers what they need. So the processor time of all is shown, and
how much faster two workers are by that of the busiest one: what they could reach if no server needed their cores.

The log is filled before, so no sender takes part. The first worker feeds the lake too, as the one that leads does, and
of two partitions the other worker routes both; the time ends when all is routed. Without Java or the files of the
broker, nothing is measured on Kafka.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.postgres import new_database, own_postgres
from bench.product import cpu_seconds
from bench.report import Figure, show
from bench.routing import workspace
from bench.size import size
from bench.workload import EVENTS_PER_BODY, bodies
from punchcard.clock import SystemClock, to_micros
from punchcard.errors import StorageError
from punchcard.lake.writer import LakeWriter
from punchcard.log.opening import open_event_log
from punchcard.log.partitions import PartitionedLog, bucket_of
from punchcard.log.port import NewRecord
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.divided_lake_feed import DividedLakeFeed
from punchcard.routing.router import Router
from punchcard.runtime.garbage_collection import collect_rarely
from punchcard.runtime.partition_routing import PartitionRouting, divide_log
from punchcard.store.engine import Store
from punchcard.store.routing.positions import ROUTING, position_of
from punchcard.workspace.apply import apply
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Source
from punchcard.workspace.snapshot import SnapshotWatch

if TYPE_CHECKING:
    from punchcard.testing.kafka import KafkaCluster

_JARS = Path(__file__).parents[1] / "tests" / "kafka" / "jars"
_BROKERS = size(3, 1)
_BODIES = size(2_000, 20)  # of each source
_ROUNDS = size(2, 1)
_PARTITIONS = 2
_BATCH_BYTES = 4_194_304  # as in default.toml
_FLUSH_SECONDS = 2.0
_IDS_MIN = 2_000_000
_SHARE = 1.6
_LOOK_SECONDS = 0.05  # a look is a query, which costs the database as much as the workers' own
_RETRY_SECONDS = 1.0
_STILL_SECONDS_MAX = 120.0  # without a routed record: something hangs
_FILLED_AT_ONCE = 50  # bodies of each source: an append to Kafka waits twice for its brokers


@dataclass(frozen=True)
class _Run:
    """One measurement.

    Attributes:
        rate: Events a second.
        workers: Processor time of each worker, in seconds for a million events.
        servers: That of the database, and of the brokers.
    """

    rate: float
    workers: list[float]
    servers: float


def main() -> None:
    """Measure and print."""
    with own_postgres() as server:
        database = partial(new_database, server.url)
        _compare(database, lambda store_url: store_url, lambda: [server.pid], name="two partitions")
        with ExitStack() as stack:
            cluster = kafka_brokers(stack, _BROKERS)
            if cluster is not None:
                pids = [server.pid, *(broker.pid for broker in cluster.brokers)]
                _compare(database, lambda _: cluster.url(), lambda: pids, name="two partitions in Kafka")


def kafka_brokers(
    stack: ExitStack, count: int, *, settings: Mapping[str, object] | None = None
) -> "KafkaCluster | None":
    """Start brokers that end with the stack; without what they need, say so and return None.

    Args:
        settings: Further settings of the brokers.
    """
    try:
        from punchcard.testing.kafka import kafka_cluster, why_not
    except ImportError:
        print("not measured on Kafka: the extra punchcard[kafka] is not installed")
        return None
    if reason := why_not(_JARS):
        print(f"not measured on Kafka: {reason}")
        return None
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-kafka-"))
    return stack.enter_context(kafka_cluster(Path(folder), _JARS, brokers=count, settings=settings))


def _compare(
    new_store: Callable[[], str], log_of: Callable[[str], str], servers: Callable[[], list[int]], *, name: str
) -> None:
    runs: dict[int, list[_Run]] = {1: [], 2: []}
    for _ in range(_ROUNDS):
        for workers, of_workers in runs.items():
            store_url = new_store()
            of_workers.append(_measure(store_url, log_of(store_url), workers, servers()))
    rate_alone = statistics.mean(run.rate for run in runs[1])
    show(Figure(name=f"routing {name}, one worker", unit="events/s", values=[run.rate for run in runs[1]]))
    _show_processor_time(runs[1])
    show(
        Figure(
            name=f"routing {name}, two workers",
            unit="events/s",
            values=[run.rate for run in runs[2]],
            target=_SHARE * rate_alone,
            ceiling=rate_alone,
            ceiling_name="one worker",
        )
    )
    _show_processor_time(runs[2])
    # Of one round, since the runs of a round had the same neighbours.
    ratios = [max(alone.workers) / max(pair.workers) for alone, pair in zip(runs[1], runs[2], strict=True)]
    show(Figure(name="  by the busiest worker's processor time, of one", unit="times", values=ratios, target=_SHARE))


def _show_processor_time(runs: Sequence[_Run]) -> None:
    show(Figure(name="  processor time of the busiest", unit="µs/event", values=[max(run.workers) for run in runs]))
    show(Figure(name="  that of all workers", unit="µs/event", values=[sum(run.workers) for run in runs]))
    show(Figure(name="  that of the servers meanwhile", unit="µs/event", values=[run.servers for run in runs]))


def _measure(url: str, log_url: str, workers: int, servers: Sequence[int]) -> _Run:
    keys = _keys_of_partitions()
    store = Store(url)
    content = workspace(())
    slugs = tuple(f"source-{number}" for number in range(_PARTITIONS))
    sources = tuple(Source(slug=slug, name=slug, write_keys=(key,)) for slug, key in zip(slugs, keys, strict=True))
    destination = replace(content.destinations[0], sources=slugs)
    apply(
        store,
        replace(content, sources=sources, destinations=(destination,)),
        clock=SystemClock(),
        keyring=Keyring("bench"),
        actor="bench",
    )
    log = open_divided(log_url, store, _PARTITIONS)
    requests = _fill(log, keys)
    end = log.last_position()
    with tempfile.TemporaryDirectory() as folder:
        cores = sorted(os.sched_getaffinity(0))
        command = [sys.executable, "-m", "bench.partitions", "--worker", url, log_url, folder]
        processes = [
            subprocess.Popen([*command, str(cores[number % len(cores)]), str(number)], stdin=subprocess.PIPE)
            for number in range(workers)
        ]
        try:
            while len(list(Path(folder).glob("ready-*"))) < workers:
                if any(process.poll() is not None for process in processes):
                    raise RuntimeError("a worker has ended at its start")
                time.sleep(0.05)
            used = _processor_seconds(servers)
            begun = time.perf_counter()
            (Path(folder) / "begin").touch()
            _wait_until_routed(store, end, processes)
            seconds = time.perf_counter() - begun
            used = _processor_seconds(servers) - used
        finally:
            for process in processes:
                assert process.stdin is not None
                process.stdin.close()
                process.wait()
        of_workers = [float(file.read_text()) for file in sorted(Path(folder).glob("used-*"))]
    log.close()
    store.close()
    millions = requests * EVENTS_PER_BODY / 1e6
    return _Run(1e6 * millions / seconds, [each / millions for each in of_workers], used / millions)


def _processor_seconds(pids: Sequence[int]) -> float:
    return sum(map(cpu_seconds, pids))


def _keys_of_partitions() -> list[str]:
    """Return a write key with batches in each partition."""
    keys: dict[int, str] = {}
    number = 0
    while len(keys) < _PARTITIONS:
        key = f"wk_bench_{number}"
        keys.setdefault(bucket_of(NewRecord(0, key, "batch", "identity", b"", "")) % _PARTITIONS, key)
        number += 1
    return [keys[partition] for partition in range(_PARTITIONS)]


def open_divided(url: str, store: Store, count: int) -> PartitionedLog:
    """Open a new log of a store, divided into so many partitions."""
    log = _open_log(url)
    divide_log(log, store, count)
    return log


def _open_log(url: str) -> PartitionedLog:
    log = open_event_log(url)
    assert isinstance(log, PartitionedLog)
    return log


def _fill(log: PartitionedLog, keys: list[str]) -> int:
    """Append bodies of all sources in turn; return how many."""
    waiting: list[NewRecord] = []
    for of_sources in zip(*(bodies(_BODIES, seed=number) for number in range(len(keys))), strict=True):
        now = to_micros(SystemClock().now())
        waiting += [
            NewRecord(now, key, "batch", "identity", body, "") for key, body in zip(keys, of_sources, strict=True)
        ]
        if len(waiting) >= _FILLED_AT_ONCE * len(keys):
            log.append(waiting)
            waiting = []
    log.append(waiting)
    return _BODIES * len(keys)


def _wait_until_routed(store: Store, end: int, workers: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Wait until all is routed.

    Raises:
        RuntimeError: A worker has ended, or nothing was routed for minutes.
    """
    position, moved_at = -1, time.perf_counter()
    while (routed := _routed(store)) < end:
        if routed != position:
            position, moved_at = routed, time.perf_counter()
        if any(worker.poll() is not None for worker in workers):
            raise RuntimeError(f"a worker has ended at position {routed} of {end}")
        if time.perf_counter() - moved_at > _STILL_SECONDS_MAX:
            raise RuntimeError(f"nothing was routed for {_STILL_SECONDS_MAX:.0f} s, from position {routed} of {end} on")
        time.sleep(_LOOK_SECONDS)


def _routed(store: Store) -> int:
    with store.reading() as work:
        return position_of(work, ROUTING)


def _work(url: str, log_url: str, folder: Path, core: int, number: int) -> None:
    """Route a share of the partitions until standard input ends."""
    os.sched_setaffinity(0, {core})
    clock = SystemClock()
    store, log = Store(url), _open_log(log_url)
    current = SnapshotWatch(store, Keyring("bench"), clock=clock).newest
    current()
    index = MessageIndex(_IDS_MIN)
    lake = LakeWriter(str(folder / "lake"))
    feed = DividedLakeFeed(lake=lake, log=log, store=store, clock=clock, rows_max=50_000)
    stopping = threading.Event()
    routing = PartitionRouting(
        log=log,
        store=store,
        clock=clock,
        count=_PARTITIONS,
        worker=clock.new_id(),
        feeds_lake=lambda: number == 0,
        lake_last=lake.last_position,
        fill_index=lambda: None,
        open_router=lambda partition: Router(
            log=partition,
            store=store,
            clock=clock,
            current=current,
            index=index,
            feed=None,
            on_effects=lambda _: None,
            batch_bytes=_BATCH_BYTES,
        ),
    )
    collect_rarely()
    threading.Thread(target=_stop_with_parent, args=(stopping,), daemon=True).start()
    _repeat_until_done(routing.balance)  # the other worker is known before partitions are routed
    (folder / f"ready-{number}").touch()
    while not ((folder / "begin").exists() or stopping.wait(0.005)):
        _repeat_until_done(routing.balance)
    feeding = threading.Thread(target=_feed, args=(feed, stopping))
    if number == 0:
        feeding.start()
    busy = time.process_time()
    routing.run(stopping)
    stopping.set()
    if number == 0:
        feeding.join()
    (folder / f"used-{number}").write_text(str(time.process_time() - busy))


def _stop_with_parent(stopping: threading.Event) -> None:
    sys.stdin.read()
    stopping.set()


def _feed(feed: DividedLakeFeed, stopping: threading.Event) -> None:
    while not stopping.wait(0.0 if feed.is_behind else _FLUSH_SECONDS):
        _repeat_until_done(feed.flush)


def _repeat_until_done(action: Callable[[], object]) -> None:
    """Do what the worker's loops do with servers that are too busy to respond in time: say so, and try again."""
    while True:
        try:
            action()
        except StorageError as error:
            print(f"  repeated: {error.message}", flush=True)
            time.sleep(_RETRY_SECONDS)
        else:
            return


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _work(sys.argv[2], sys.argv[3], Path(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6]))
    else:
        main()
