"""What identity costs in steady state: bytes of PostgreSQL's write-ahead log and processor time per event.

    python -m bench engage_wal

Everybody is known before it is measured. 100,000 customers are active and send 5,000 events a second together, so each
sends every 20 seconds. One call in ten is an identify call with the same five traits as always; one visitor in fifty
signs in.
"""

import gc
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from bench.postgres import new_database, postgres_server
from bench.report import Figure, show
from bench.size import size
from punchcard.engage import identity_resolution
from punchcard.engage.person_events import read_events
from punchcard.lake.reader import LakeEvent
from punchcard.profiles.external_ids import IdReader
from punchcard.profiles.rules import IdentityRules
from punchcard.runtime.garbage_collection import collect_rarely
from punchcard.store.engine import Store

_BEGIN = datetime(2026, 6, 1, tzinfo=UTC)
_PEOPLE = size(100_000, 200)
_BATCH = size(20_000, 200)
_BATCHES = size(5, 2)
_EVENTS_PER_SECOND = size(5_000, 10)
_RENEWAL_SECONDS = 80  # a minute, and 20 seconds until the next event
_TRAITS = '{"email":"person%d@example.com","name":"Person %d","plan":"gold","city":"Berlin","visits":7}'
_TRACK = b'{"type":"track","event":"Page Viewed","properties":{"sku":"a"},"context":{"page":{"url":"u"}}}'
_TABLES = ("profiles", "external_ids", "profile_traits", "profile_trait_changes", "profile_conflicts")


@dataclass(frozen=True, kw_only=True)
class IdentityCost:
    """The cost of some batches of events.

    Attributes:
        events_per_cpu_second: Of the Engage process, one for each batch.
        wal_bytes_per_event: Of PostgreSQL's write-ahead log, without images of pages; 0 for SQLite.
        wal_bytes_per_event_with_images: The same directly after a checkpoint, when each page is written whole once.
        writes_per_event: Rows inserted or updated, by table.
    """

    events_per_cpu_second: Sequence[float]
    wal_bytes_per_event: float = 0.0
    wal_bytes_per_event_with_images: float = 0.0
    writes_per_event: dict[str, float] | None = None


class Population:
    """Events of the same people, again and again.

    Attributes:
        number: How many events there were.
    """

    def __init__(self) -> None:
        self.number = 0
        self._chance = random.Random(1)

    def first_events(self) -> Sequence[LakeEvent]:
        """Return an event of each person with all of their ids and traits."""
        return [self._event(person, kind="first") for person in range(_PEOPLE)]

    def next_events(self) -> Sequence[LakeEvent]:
        """Return a batch of events of known people."""
        return [self._event(self._chance.randrange(_PEOPLE), kind=self._kind()) for _ in range(_BATCH)]

    def _kind(self) -> str:
        value = self._chance.random()
        return "signs in" if value < 0.01 else "visits" if value < 0.5 else "identifies" if value < 0.6 else "is known"

    def _event(self, person: int, *, kind: str) -> LakeEvent:
        number, self.number = self.number, self.number + 1
        is_first = kind == "first"
        # Their last events are recorded at different times, as they are in an installation that has run for long.
        seconds = _RENEWAL_SECONDS * (number / _PEOPLE - 1) if is_first else (number - _PEOPLE) / _EVENTS_PER_SECOND
        at = _BEGIN + timedelta(seconds=seconds)
        is_identify = is_first or kind == "identifies"
        traits = _TRAITS % (person, person)
        return LakeEvent(
            message_id=f"{number:08x}-0000-4000-8000-000000000000",
            type="identify" if is_identify else "track",
            event=None if is_identify else "Page Viewed",
            user_id=None if kind == "visits" else f"user-{person}",
            anonymous_id=None if kind in ("is known", "identifies") else f"anon-{person}",
            email=None if kind in ("visits", "signs in") else f"person{person}@example.com",
            source="web",
            received_at=at,
            timestamp=at,
            log_position=number // 100 + 1,
            event_index=number % 100,
            payload=b'{"type":"identify","traits":%s}' % traits.encode() if is_identify else _TRACK,
            results=(),
        )


def measure(url: str) -> IdentityCost:
    """Measure batches of events of people who are all known."""
    collect_rarely()  # as the process does that this happens in
    people = Population()
    with closing(Store(url)) as store:
        first = people.first_events()
        for begin in range(0, len(first), _BATCH):
            _take(store, first[begin : begin + _BATCH])
        rates: list[float] = []
        if store.is_sqlite:
            _measure_batches(store, people, rates)
            return IdentityCost(events_per_cpu_second=rates)
        with closing(psycopg.connect(url, autocommit=True)) as server:
            _set_images(server, is_on=False)
            writes, begun = _writes(server), _position(server)
            count = _measure_batches(store, people, rates)
            wal_bytes = (_position(server) - begun) / count
            writes = {table: (number - writes[table]) / count for table, number in _writes(server).items()}
            _set_images(server, is_on=True)
            server.execute("CHECKPOINT")
            begun = _position(server)
            with_images = _measure_batches(store, people, [])
            return IdentityCost(
                events_per_cpu_second=rates,
                wal_bytes_per_event=wal_bytes,
                wal_bytes_per_event_with_images=(_position(server) - begun) / with_images,
                writes_per_event=writes,
            )


def _measure_batches(store: Store, people: Population, rates: list[float]) -> int:
    """Take batches; return the number of events."""
    count = 0
    for _ in range(_BATCHES):
        events = people.next_events()
        gc.collect()
        begun = time.process_time()
        _take(store, events)
        rates.append(len(events) / (time.process_time() - begun))
        count += len(events)
    return count


def _take(store: Store, events: Sequence[LakeEvent]) -> None:
    reading = read_events(events, _READER)
    with store.reading() as work:
        changes = identity_resolution.plan_changes(work, reading.people, rules=_RULES, reserved=())
    with store.unit_of_work() as work:
        identity_resolution.write_changes(work, changes)


_RULES = IdentityRules()
_READER = IdReader(_RULES)


def _set_images(server: psycopg.Connection, *, is_on: bool) -> None:
    server.execute(b"ALTER SYSTEM SET full_page_writes = %s" % (b"on" if is_on else b"off"))
    server.execute("SELECT pg_reload_conf()")
    server.execute("CHECKPOINT")  # the setting holds from the next one on


def _position(server: psycopg.Connection) -> float:
    row = server.execute("SELECT pg_current_wal_lsn() - '0/0'").fetchone()
    return float(row[0]) if row else 0.0


def _writes(server: psycopg.Connection) -> dict[str, float]:
    server.execute("SELECT pg_stat_force_next_flush()")
    query = "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relname = ANY (%s)"
    return {name: float(number) for name, number in server.execute(query, [list(_TABLES)])}


def main() -> None:
    """Print the figures of both engines."""
    with tempfile.TemporaryDirectory() as folder:
        cost = measure(f"sqlite:///{Path(folder) / 'store.db'}")
    show(Figure(name="identity on SQLite, people known", unit="ev/CPU-s", values=cost.events_per_cpu_second))
    with postgres_server() as server:
        cost = measure(new_database(server))
    show(
        Figure(
            name="identity on PostgreSQL, people known",
            unit="ev/CPU-s",
            values=cost.events_per_cpu_second,
            target=30_000,
        )
    )
    wal = {"wal without images of pages": (cost.wal_bytes_per_event, 150), "wal after a checkpoint": (
        cost.wal_bytes_per_event_with_images, None)}  # fmt: skip
    for name, (value, target) in wal.items():
        show(Figure(name=f"  {name}", unit="B/event", values=[value], target=target, at_most=True))
    writes = ", ".join(f"{table} {number:.2f}" for table, number in (cost.writes_per_event or {}).items() if number)
    print(f"    rows written per event: {writes}", flush=True)
