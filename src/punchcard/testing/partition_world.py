"""Several workers that share the partitions of one log: real routers, log, store and lake, and what may end a worker.

Every step is chosen by a test. Workers are objects of one process; what they share is only PostgreSQL, and Kafka.
"""

import json
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from sqlalchemy import select

from punchcard.clock import to_micros
from punchcard.lake.reader import LakeReader
from punchcard.lake.writer import LakeWriter
from punchcard.log.opening import open_event_log
from punchcard.log.partitions import PartitionedLog, PartitionReader
from punchcard.log.port import NewRecord
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.divided_lake_feed import DividedLakeFeed
from punchcard.routing.router import PositionMovedError, Router
from punchcard.runtime.partition_routing import PartitionRouting, divide_log
from punchcard.store.delivery.schema import effects
from punchcard.store.engine import Store
from punchcard.store.routing.partition_workers import leave
from punchcard.store.routing.positions import ROUTING, position_of
from punchcard.testing.clock import ManualClock
from punchcard.testing.partner.scripted import QUICK_REFUNDS, ScriptedPartner, ScriptedSettings
from punchcard.testing.partner.scripted_snapshot import scripted_snapshot
from punchcard.testing.world import OPTIONS, SLUG, WRITE_KEYS, track

_IDS_MIN = 10_000


@dataclass
class SentEvent:
    """An event that was appended.

    Attributes:
        position: Of its first copy in the log.
        order_id: "" for an event that is known by its message id alone.
    """

    source: str
    message_id: str
    customer: str
    order_id: str
    position: int
    copies: int = 1


@dataclass
class PartitionWorker:
    """One worker: what a process would have for itself."""

    name: str
    store: Store
    log: PartitionedLog
    routing: PartitionRouting
    is_frozen: bool = False
    fenced: int = 0

    def close(self) -> None:
        """Release what the process holds."""
        self.routing.release_all()
        self.log.close()
        self.store.close()


@dataclass
class PartitionWorld:
    """An installation with a divided log.

    Args:
        url: A PostgreSQL database for the store.
        folder: Of the lake.
        log_url: Of the log; the same database by default.
    """

    url: str
    folder: Path
    count: int
    seed: int = 0
    log_url: str = ""
    sent: list[SentEvent] = field(default_factory=list)
    workers: list[PartitionWorker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.clock = ManualClock(seed=self.seed)
        self.store = Store(self.url)
        self.log = self.open_log()
        self.partner = ScriptedPartner(clock=self.clock, refuses_used_keys=True, late_seconds=5.0)
        settings = ScriptedSettings(token="t", options=OPTIONS, refunds=QUICK_REFUNDS)
        self.configuration = scripted_snapshot(self.partner, settings, slug=SLUG, write_keys=WRITE_KEYS)
        self.lake_url = str(self.folder / "lake")
        self._bodies: list[tuple[str, bytes, SentEvent]] = []
        self.fenced = 0

    # --- steps ---

    def divide(self) -> bool:
        """Divide the log as a leading worker does."""
        return divide_log(self.log, self.store, self.count)

    def start_worker(self, *, store: Store | None = None, feeds_lake: bool = False) -> PartitionWorker:
        """Start a worker; with a store of the test, or one of its own. It only says whether it feeds the lake."""
        name = f"worker-{len(self.workers)}-{self.clock.new_id()[:8]}"
        store, log = store or Store(self.url), self.open_log()
        index = MessageIndex(_IDS_MIN)
        lake = LakeReader(self.lake_url)
        feed = self.feed(store, log)

        def fill() -> None:
            for keys in (*lake.recent_message_keys(_IDS_MIN), *feed.waiting_message_keys()):
                index.add_all(keys)

        def open_router(partition: PartitionReader) -> Router:
            return Router(
                log=partition,
                store=store,
                clock=self.clock,
                current=lambda: self.configuration,
                index=index,
                feed=None,
                on_effects=lambda slugs: None,
                batch_bytes=2_000,
            )

        routing = PartitionRouting(
            log=log,
            store=store,
            clock=self.clock,
            count=self.count,
            worker=name,
            lake_last=lake.last_position,
            fill_index=fill,
            open_router=open_router,
            feeds_lake=lambda: feeds_lake,
        )
        self.workers.append(PartitionWorker(name, store, log, routing))
        return self.workers[-1]

    def open_log(self) -> PartitionedLog:
        """Open the log once more, as another process does."""
        log = open_event_log(self.log_url or self.url)
        assert isinstance(log, PartitionedLog)
        return log

    def feed(self, store: Store, log: PartitionedLog) -> DividedLakeFeed:
        """Return a feed as the leading worker has it."""
        lake = LakeWriter(self.lake_url, clock=self.clock)
        return DividedLakeFeed(lake=lake, log=log, store=store, clock=self.clock, rows_max=1_000)

    def freeze(self, worker: PartitionWorker) -> None:
        """Freeze a worker for so long that the server ends its sessions and the others forget it."""
        worker.is_frozen = True
        self._end_sessions(worker)

    def wake(self, worker: PartitionWorker) -> None:
        """Let a frozen worker go on in the middle of its round: it takes the next step of every partition it had."""
        worker.is_frozen = False
        for partition in worker.routing.partitions:
            router = worker.routing.router_of(partition)
            before = router.position
            try:
                router.step()
            except PositionMovedError:
                worker.fenced += 1
                self.fenced += 1
                assert router.position == before
        worker.routing.release_all()

    def kill(self, worker: PartitionWorker) -> None:
        """End a worker as by SIGKILL: its sessions end, and it says nothing."""
        self._end_sessions(worker)
        self.workers.remove(worker)
        worker.log.close()
        worker.store.close()

    def step(self, worker: PartitionWorker) -> int:
        """Let a worker take one round."""
        self.clock.advance(0.3)
        return worker.routing.step()

    def send(self, *, repeat_share: float = 0.2) -> None:
        """Append a request: an order, of which another source may report a copy, or a repeated request."""
        if self._bodies and self.chance.random() < repeat_share:
            key, body, event = self.chance.choice(self._bodies[-50:])
            event.copies += 1
            self._append(key, body)
            return
        number = len(self.sent)
        source = self.chance.choice(sorted(WRITE_KEYS))
        order_id = f"o{number}"
        if self.sent and self.chance.random() < repeat_share:
            order_id = self.chance.choice(self.sent[-50:]).order_id
        # The same order has the same customer, whichever source reports it; its partition is another one.
        owner = order_id or str(number)
        customer = f"c{int(owner.strip('o') or 0) % 17}@example.com"
        content = track(f"m{number}", email=customer, quantity="1", order_id=order_id)
        content["userId"] = f"{source}-{customer}"
        body = json.dumps(content).encode()
        event = SentEvent(source, f"m{number}", customer, order_id, 0)
        event.position = self._append(WRITE_KEYS[source], body)
        self.sent.append(event)
        self._bodies.append((WRITE_KEYS[source], body, event))

    def drain(self) -> None:
        """Let the workers that are not frozen route everything, and bring it to the lake."""
        end = self.log.last_position()
        for _ in range(2_000):
            for worker in self.workers:
                if not worker.is_frozen:
                    self.step(worker)
            if self.routed() >= end:
                break
        with closing(self.open_log()) as log:
            feed = self.feed(self.store, log)
            while feed.flush():
                continue

    # --- state ---

    def routed(self) -> int:
        """Return the position that all partitions have reached."""
        with self.store.reading() as work:
            return position_of(work, ROUTING)

    def effects(self) -> list[tuple[str, str, str, str, int]]:
        """Return key, source, message id, customer and log position of all effects, in the order of their ids."""
        columns = effects.c
        query = select(
            columns.effect_key, columns.source, columns.message_id, columns.customer, columns.log_position
        ).order_by(columns.id)
        with self.store.reading() as work:
            return [tuple(row) for row in work.execute(query)]

    def check_exactly_once(self) -> None:
        """Assert that nothing is lost, doubled or out of order, and that every duplicate is named."""
        planned = self.effects()
        assert len({key for key, *_ in planned}) == len(planned)
        assert {key for key, *_ in planned} == {
            f"SEG:partner:ORDER:{order}" for order in {e.order_id for e in self.sent}
        }
        places: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for _, source, _, customer, position in planned:
            places[source, customer].append(position)
        for positions in places.values():
            assert positions == sorted(positions)
        end = self.log.last_position()
        assert (self.routed(), self.lake().last_position()) == (end, end)
        rows = self.lake().between(1, end)
        records = self.log.read(0, records_max=1_000_000, bytes_max=1 << 30)
        assert [row.log_position for row in rows] == [record.position for record in records]
        results = Counter((result.status, result.reason) for row in rows for result in row.results)
        # A repeated request, or another one for an order that was awarded.
        duplicates = {("duplicate", "duplicate_message_id"), ("duplicate", "same_effect")}
        assert set(results) <= {("pending", None), *duplicates}
        assert results["pending", None] == len(planned)
        assert sum(results.values()) == sum(event.copies for event in self.sent) == len(records)

    def lake(self) -> LakeReader:
        """Return a reader of the lake."""
        return LakeReader(self.lake_url)

    def close(self) -> None:
        """Close everything."""
        for worker in self.workers:
            worker.close()
        self.log.close()
        self.store.close()

    def _append(self, write_key: str, body: bytes) -> int:
        record = NewRecord(to_micros(self.clock.now()), write_key, "track", "identity", body, "")
        return self.log.append([record])[-1]

    def _end_sessions(self, worker: PartitionWorker) -> None:
        worker.routing.end_sessions()
        with self.store.unit_of_work() as work:
            leave(work, worker.name)
