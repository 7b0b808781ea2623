"""The process beside the worker that makes simulations: it starts when one is asked for, and ends when all are made.

Planning is divided among processes of its own, each with one stretch of the log at a time; new effects and
duplicates are determined here, in the log's order.
"""

import argparse
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import structlog

from punchcard.clock import SystemClock
from punchcard.errors import PunchcardError, StorageError
from punchcard.lake.reader import LakeReader
from punchcard.lake.selection import EventSelection
from punchcard.operations.comparison_telemetry import SimulationTelemetry
from punchcard.operations.simulation import Lake, PlannedStretch, PlanStretches, SimulationScope, plan_stretch
from punchcard.operations.simulations import SimulationRunner
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.child_process import as_environment
from punchcard.runtime.logs import configure_logs
from punchcard.runtime.settings import Settings, read_settings
from punchcard.store.changes import StoreChanges
from punchcard.store.engine import Store
from punchcard.store.operations.simulations import SimulationStatus, end_simulation, next_simulation
from punchcard.workspace.snapshot import SnapshotWatch

_PROCESSES = 2
_NICENESS = 10  # awards go first
_POLL_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_FAILURES_MAX = 3
_RETRY_SECONDS = 2.0
_STOP_SECONDS = 5.0
_FAILED = 1

# What the planning processes inherit: a compiled destination cannot be sent to another process.
_inherited: tuple[Lake, SimulationScope] | None = None


@contextmanager
def parallel_planning(lake_location: str, scope: SimulationScope) -> Iterator[PlanStretches]:
    """Fork processes that plan stretches of the log, for the length of the block.

    To be entered before this process uses DuckDB or anything else with threads: forking copies none of them, and what
    they hold at that moment stays locked.
    """
    global _inherited  # the only way into a forked process that pickles nothing
    _inherited = (LakeReader(lake_location), scope)
    with multiprocessing.get_context("fork").Pool(_PROCESSES, initializer=_end_with_parent) as pool:

        def plan(
            _: Lake, __: SimulationScope, selection: EventSelection, stretches: Sequence[tuple[int, int]]
        ) -> Iterator[PlannedStretch]:
            return pool.imap(_plan, [(selection, *stretch) for stretch in stretches])

        yield plan


def _plan(task: tuple[EventSelection, int, int]) -> PlannedStretch:
    if _inherited is None:
        raise RuntimeError("this process was not forked for a simulation")
    lake, scope = _inherited
    return plan_stretch(lake, scope, *task)


def _end_with_parent() -> None:
    """End this planning process when the one that forked it is gone, however that died."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os._exit(_FAILED)

    threading.Thread(target=watch, daemon=True).start()


class SimulationProcess:
    """Starts a process for each requested simulation. For a thread of the worker."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._environment = {**os.environ, **as_environment(settings)}
        self._telemetry = SimulationTelemetry()
        self._failures: Counter[int] = Counter()

    def keep_running(self, stopping: threading.Event) -> None:
        """Look for simulations until stopped. A simulation that did not finish is started again."""
        changes = StoreChanges(self._store, clock=SystemClock())
        while not stopping.wait(_POLL_SECONDS):
            if changes.have_come():
                self._look(stopping, changes)

    def _look(self, stopping: threading.Event, changes: StoreChanges) -> None:
        """Make the oldest simulation that is requested, if there is one."""
        try:
            with self._store.reading() as work:
                simulation = next_simulation(work)
            if simulation is None:
                return
            if not self._make_one(stopping):
                self._note_failure(simulation.id)
                stopping.wait(_RETRY_SECONDS)
        except StorageError as error:
            self._telemetry.storage_failed(error=error.message)
        changes.forget()  # there may be another one, and a failure ends before the next look

    def _make_one(self, stopping: threading.Event) -> bool:
        """Run the process; False if it failed."""
        command = [sys.executable, "-m", "punchcard.runtime.simulating", "--until-stdin-closes"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=self._environment)
        with process:
            while process.poll() is None:
                if stopping.wait(_LOOK_SECONDS):
                    process.terminate()
                    try:
                        process.wait(_STOP_SECONDS)
                    except subprocess.TimeoutExpired:
                        process.kill()
                    return True
        return process.returncode == 0

    def _note_failure(self, simulation_id: int) -> None:
        """End a simulation that ends its process again and again: those behind it must not wait for ever."""
        self._failures[simulation_id] += 1
        if self._failures[simulation_id] < _FAILURES_MAX:
            return
        detail = f"Its process has ended {_FAILURES_MAX} times before it was made; the log has the details."
        with self._store.unit_of_work() as work:
            end_simulation(work, simulation_id, status=SimulationStatus.FAILED, detail=detail, now=SystemClock().now())


def run_simulation(settings: Settings, stopping: threading.Event) -> int:
    """Make the oldest simulation that is asked for; returns the exit status."""
    telemetry = SimulationTelemetry()
    with closing(open_store(settings)) as store, store.leadership("simulations") as leadership:
        watch = SnapshotWatch(store, open_keyring(settings), clock=SystemClock())
        runner = SimulationRunner(
            store=store,
            lake=LakeReader(settings.lake_location()),
            clock=SystemClock(),
            current=watch.newest,
            planning=lambda scope: parallel_planning(settings.lake_location(), scope),
        )
        try:
            if leadership.held():
                runner.run_next(stopping=stopping.is_set)
        except StorageError as error:
            telemetry.storage_failed(error=error.message)
            return _FAILED
    return 0


def main() -> int:
    """Run as the worker's child."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--until-stdin-closes", action="store_true")
    until_stdin_closes = arguments.parse_args().until_stdin_closes
    try:
        settings = read_settings(os.environ)
        configure_logs(level=settings.log_level, format=settings.log_format)
        os.nice(_NICENESS)
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        if until_stdin_closes:
            threading.Thread(target=_wait_for_parent, args=(stopping,), daemon=True).start()
        return run_simulation(settings, stopping)
    except PunchcardError as error:
        structlog.get_logger("punchcard.simulation").error("simulation_stopped", reason=error.message)
        return _FAILED


def _wait_for_parent(stopping: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        continue
    stopping.set()


if __name__ == "__main__":
    sys.exit(main())
