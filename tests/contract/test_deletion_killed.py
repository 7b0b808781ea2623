"""A deletion of which the process is killed again and again ends in the same state."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.contract.privacy_world import traces_of

from bench.past_people import fill
from punchcard.clock import SystemClock
from punchcard.engage.erasure import erase_for_regulations
from punchcard.engage.fact_store import FactStore
from punchcard.lake.erasure import LakeEraser
from punchcard.lake.reader import LakeReader
from punchcard.log.port import EventLog
from punchcard.operations.deletion_runner import REMAINING, DeletionRunner
from punchcard.operations.regulations import NewRegulation, create_regulation
from punchcard.runtime.assembly import open_keyring, open_log, open_store
from punchcard.runtime.regulating import RegulationThread
from punchcard.runtime.settings import Settings, read_settings
from punchcard.store.engine import Store
from punchcard.store.privacy.regulations import Regulation, RegulationType, SubjectType, unfinished_regulations
from punchcard.testing.waiting import wait_until
from punchcard.workspace.snapshot import SnapshotWatch
from punchcard.workspace.subject_vault import SubjectVault

EVENTS, PEOPLE = 12_000, 1_200
DELETED = [f"u{number}" for number in range(700, 760)]
KILLS = 5


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    fill(tmp_path, EVENTS, PEOPLE)
    environment = {"PUNCHCARD_DATA": str(tmp_path), "PUNCHCARD_LOG_LEVEL": "error"}
    return read_settings({**environment, "PUNCHCARD_LOG_RETENTION_HOURS": "100000"})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = open_store(settings)
    yield store
    store.close()


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    with open_log(settings) as log:
        yield log


def children() -> set[int]:
    """Process ids of the processes of long steps that this one has started."""
    ids = set()
    for task in Path("/proc/self/task").iterdir():
        for text in (task / "children").read_text().split():
            with suppress(OSError):  # it has just ended
                if b"punchcard.runtime.regulating" in Path(f"/proc/{text}/cmdline").read_bytes():
                    ids.add(int(text))
    return ids


class LaterClock(SystemClock):
    """The time after readers have had theirs for replaced files."""

    def now(self) -> datetime:
        """Five minutes from now."""
        return super().now() + timedelta(minutes=5)


def test_a_deletion_ends_in_the_same_state_however_often_its_process_is_killed(
    settings: Settings, store: Store, log: EventLog, tmp_path: Path
) -> None:
    clock, vault = SystemClock(), SubjectVault(open_keyring(settings))
    watch = SnapshotWatch(store, open_keyring(settings), clock=clock)
    lake = LakeReader(settings.lake_location())
    eraser = LakeEraser(settings.lake_location(), clock=clock)
    before = log.read(0, records_max=10**6, bytes_max=10**9)
    others = [event.message_id for event in lake.after(0, limit=10**6) if event.user_id not in DELETED]
    with store.unit_of_work() as work:
        regulation = NewRegulation(
            type=RegulationType.DELETE_INTERNAL, subject_type=SubjectType.USER_ID, subjects=DELETED
        )
        create_regulation(work, vault, regulation, actor="test", now=clock.now())

    def read() -> Regulation | None:
        with store.reading() as work:
            return next(iter(unfinished_regulations(work)), None)

    over = threading.Event()
    thread = RegulationThread(settings, store, log=log, current=watch.newest, over=over)
    chance, killed = random.Random(18), set[int]()
    with closing(FactStore(settings.facts_path())) as facts:
        thread.start()
        try:
            while (current := read()) is not None and current.stage != REMAINING:
                erase_for_regulations(store, facts, vault, eraser)
                for process in children() - killed:
                    if len(killed) < KILLS:
                        time.sleep(3 * chance.random())  # while it imports, reads or writes
                        killed.add(process)
                        with suppress(ProcessLookupError):
                            os.kill(process, signal.SIGKILL)
                time.sleep(0.05)
        finally:
            over.set()
            thread.join()
    assert len(killed) >= 3
    runner = DeletionRunner(
        store=store, log=log, lake=lake, eraser=eraser, vault=vault, clock=LaterClock(), current=watch.newest
    )
    wait_until(lambda: runner.step() or read() is None)
    assert read() is None
    assert [event.message_id for event in lake.after(0, limit=10**6)] == others
    after = log.read(0, records_max=10**6, bytes_max=10**9)
    assert [record.position for record in after] == [record.position for record in before]
    names = [f"{user_id}@example.com" for user_id in DELETED[:3]]
    assert traces_of(tmp_path, settings.store_url(), *names) == []
