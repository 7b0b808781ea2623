"""A simulation of which the process is killed is made again, whole, and ends with the same result."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from bench.past_events import configure, fill_lake
from punchcard.clock import SystemClock
from punchcard.operations.proposals import propose
from punchcard.operations.simulation_outcome import read_outcome
from punchcard.operations.simulations import request_simulation
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.settings import Settings, read_settings
from punchcard.runtime.simulating import SimulationProcess
from punchcard.store.engine import Store
from punchcard.store.operations.simulations import Simulation, SimulationStatus, simulation_by_id
from punchcard.testing.processes import children_of
from punchcard.testing.waiting import wait_until
from punchcard.workspace.snapshot import SnapshotWatch

EVENTS = 40_000  # so many that planning takes seconds


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    configure(tmp_path, {"Checked In": "123457"})
    fill_lake(tmp_path, EVENTS, {"Checked In": 2})
    return read_settings({"PUNCHCARD_DATA": str(tmp_path), "PUNCHCARD_LOG_LEVEL": "error"})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = open_store(settings)
    yield store
    store.close()


def children() -> set[int]:
    """Process ids of the simulating processes that this one has started."""
    ids = set()
    for pid in children_of(os.getpid()):
        with suppress(OSError):  # it has just ended
            if b"punchcard.runtime.simulating" in Path(f"/proc/{pid}/cmdline").read_bytes():
                ids.add(pid)
    return ids


def test_a_killed_process_is_followed_by_another(settings: Settings, store: Store) -> None:
    snapshot = SnapshotWatch(store, open_keyring(settings), clock=SystemClock()).current()
    current = snapshot.destinations["perkville"]
    now = SystemClock().now()
    with store.unit_of_work() as work:
        requested = request_simulation(
            work, current, propose(current), since=now - timedelta(days=30), actor="test", now=now
        )

    def read() -> Simulation:
        with store.reading() as work:
            simulation = simulation_by_id(work, "perkville", requested.id)
        assert simulation is not None
        return simulation

    stopping = threading.Event()
    running = threading.Thread(target=SimulationProcess(settings, store).keep_running, args=(stopping,))
    running.start()
    try:
        (killed,) = wait_until(lambda: children() if read().done > 0 else set())
        assert read().status is SimulationStatus.RUNNING
        os.kill(killed, signal.SIGKILL)
        (_,) = wait_until(lambda: children() - {killed}, "no process follows")
        wait_until(lambda: read().status.is_over, lambda: read())
    finally:
        stopping.set()
        running.join()
    finished = read()
    assert (finished.status, finished.detail) == (SimulationStatus.FINISHED, "")
    outcome = read_outcome(finished)
    assert outcome is not None
    assert outcome.totals.awards == EVENTS // 2
