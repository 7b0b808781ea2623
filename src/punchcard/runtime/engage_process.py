"""The Engage process beside the worker: profiles, computed traits, audiences, and their sync to destinations."""

import argparse
import os
import signal
import sys
import threading
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import structlog

from punchcard.clock import SystemClock
from punchcard.errors import ConfigurationError, PunchcardError, StorageError, StorageSettingsError
from punchcard.runtime.child_process import stop_with_parent
from punchcard.runtime.data_folder import prepare_data_folder
from punchcard.runtime.garbage_collection import collect_rarely
from punchcard.runtime.logs import configure_logs
from punchcard.runtime.loop_progress import LoopProgress
from punchcard.runtime.metrics import prepare_metrics
from punchcard.runtime.settings import Settings, read_settings
from punchcard.runtime.stop_deadline import end_in_time

if TYPE_CHECKING:
    from punchcard.engage.facts import Facts
    from punchcard.store.leadership import Leadership

_RETRY_SECONDS = 1.0
_REQUEST_POLL_SECONDS = 0.1
_LEADERSHIP_LOOK_SECONDS = 1.0
_LOOP = "engage"
_RETENTION_FIRST_SECONDS = 60.0
_RETENTION_SECONDS = 3_600.0
_STALLED_AFTER_SECONDS = 1_800.0  # the first results of very many profiles are one round
_FAILED = 1


class EngageProcess:
    """The Engage process."""

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        from punchcard.engage.fact_opening import shard_paths
        from punchcard.engage.fact_snapshots import FactSnapshots
        from punchcard.engage.telemetry import EngageTelemetry
        from punchcard.lake.erasure import LakeEraser
        from punchcard.runtime.assembly import open_keyring, open_store
        from punchcard.runtime.storage_wait import StorageWait
        from punchcard.workspace.snapshot import SnapshotWatch
        from punchcard.workspace.subject_vault import SubjectVault

        self._settings = settings
        self._facts_paths = shard_paths(settings.facts_path(), settings.engage_shards)
        self._stopping = stopping
        self._clock = SystemClock()
        self._progress = LoopProgress(self._clock)
        self._telemetry = EngageTelemetry()
        self._store = StorageWait(settings, process="engage").open(lambda: open_store(settings))
        keyring = open_keyring(settings)
        self._subjects = SubjectVault(keyring)
        self._eraser = LakeEraser(settings.lake_location(), clock=self._clock)
        self._snapshots = None
        if settings.lake_url and settings.engage_snapshot_hours > 0:
            self._snapshots = FactSnapshots(
                settings.lake_location(), clock=self._clock, interval_seconds=3_600 * settings.engage_snapshot_hours
            )
        self._retention_at = self._clock.monotonic() + _RETENTION_FIRST_SECONDS
        self._watch = SnapshotWatch(
            self._store, keyring, clock=self._clock, interval_seconds=settings.config_poll_seconds
        )

    def run(self) -> int:
        """Work until stopped; return the exit status."""
        from punchcard.runtime.heartbeats import ENGAGE, HeartbeatThread

        heartbeat = HeartbeatThread(
            self._settings, self._store, clock=self._clock, process=ENGAGE, progress=self._progress
        )
        heartbeat.start()
        try:
            return self._run()
        finally:
            heartbeat.stop()

    def _run(self) -> int:
        with closing(self._store), self._store.leadership("engage") as leadership:
            while not self._stopping.is_set():
                try:
                    if leadership.held() and self._can_work():
                        self._lead(leadership)
                    else:
                        self._stopping.wait(_RETRY_SECONDS)
                except StorageSettingsError as error:
                    raise ConfigurationError(error.message) from error
                except StorageError as error:
                    self._telemetry.storage_failed(error=error.message)
                    self._stopping.wait(_RETRY_SECONDS)
        return 0

    def _can_work(self) -> bool:
        """Return False while the identity rules cannot be read, because merging by other rules cannot be undone."""
        return ("workspace", "") not in self._watch.newest().unreadable

    def _lead(self, leadership: "Leadership") -> None:
        """Work until stopped, another process leads, storage fails, or the workspace cannot be read."""
        from punchcard.engage.computation_engine import ComputationEngine, ComputationEngineSettings
        from punchcard.engage.fact_opening import discard_other_facts
        from punchcard.engage.recovery import RestoredSync
        from punchcard.engage.sync_dispatch import SyncDispatcher
        from punchcard.runtime.assembly import open_guarded_log, open_lake

        settings = self._settings
        lake = open_lake(settings, self._store)
        discard_other_facts(settings.facts_path(), self._facts_paths)
        with (
            open_guarded_log(settings, self._store, current=self._watch.current) as (log, guard),
            ExitStack() as watching,
        ):
            recovery = RestoredSync(store=self._store, lake=lake, clock=self._clock)
            while not recovery.step():
                if self._stopping.wait(_RETRY_SECONDS):
                    return
            facts = watching.enter_context(closing(self._open_facts()))
            engine = ComputationEngine(
                store=self._store,
                lake=lake,
                facts=facts,
                clock=self._clock,
                current=self._watch.newest,
                settings=ComputationEngineSettings(events_max=settings.engage_events_max),
            )
            dispatcher = SyncDispatcher(store=self._store, log=log, clock=self._clock)
            _stop_on_signals(self._stopping, self._settings)
            step_at, check_at = 0.0, self._clock.monotonic() + 3_600 * settings.engage_check_hours
            look_at = 0.0
            watching.enter_context(self._progress.watch(_LOOP, stalled_after_seconds=_STALLED_AFTER_SECONDS))
            while not self._stopping.is_set() and self._can_work():
                self._progress.mark(_LOOP)
                if self._clock.monotonic() >= look_at:
                    look_at = self._clock.monotonic() + _LEADERSHIP_LOOK_SECONDS
                    if not leadership.held():
                        return
                busy = False
                if self._clock.monotonic() >= step_at:
                    guard.check()
                    busy = engine.step()
                    busy = dispatcher.step(self._watch.newest()) > 0 or busy
                    step_at = self._clock.monotonic() + (0 if busy else settings.engage_poll_seconds)
                if self._clock.monotonic() >= check_at:
                    engine.check()
                    check_at = self._clock.monotonic() + 3_600 * settings.engage_check_hours
                if self._serve_requests(facts):
                    return
                self._stopping.wait(0.0 if busy else _REQUEST_POLL_SECONDS)

    def _open_facts(self) -> "Facts":
        """Open the facts of this machine, or of the newest snapshot."""
        from punchcard.engage.demand import ERASED, POSITION, STAMP
        from punchcard.engage.fact_snapshots import open_newest_facts
        from punchcard.store.routing.positions import position_of

        with self._store.reading() as work:
            stamp, position, erased = (position_of(work, consumer) for consumer in (STAMP, POSITION, ERASED))
        return open_newest_facts(self._facts_paths, self._snapshots, stamp=stamp, position=position, erased=erased)

    def _discard_snapshots(self) -> None:
        if self._snapshots is not None:
            self._snapshots.discard()

    def _serve_requests(self, facts: "Facts") -> bool:
        """Process previews, deletions, retention and snapshots; True if everything must be computed again."""
        from punchcard.engage.erasure import erase_for_regulations
        from punchcard.engage.requests import process_requests

        process_requests(self._store, facts, clock=self._clock, zone=self._watch.newest().day_zone)
        is_erased = erase_for_regulations(
            self._store, facts, self._subjects, self._eraser, discard_snapshots=self._discard_snapshots
        )
        is_outdated = self._delete_old_profiles(facts) or is_erased
        if self._snapshots is not None and not is_outdated:
            self._snapshots.write_if_due(facts)
        return is_outdated

    def _delete_old_profiles(self, facts: "Facts") -> bool:
        """Delete profiles that were not seen for long; True if everything must be computed again."""
        from punchcard.operations.profile_retention import delete_old_profiles

        if self._clock.monotonic() < self._retention_at:
            return False
        self._retention_at = self._clock.monotonic() + _RETENTION_SECONDS
        periods = self._settings.retention_days()
        return delete_old_profiles(self._store, facts, periods, clock=self._clock, is_stopping=self._stopping.is_set)


def run_engage(settings: Settings, *, until_stdin_closes: bool) -> int:
    """Compute profiles, traits and audiences until SIGTERM or SIGINT; return the exit status.

    Args:
        until_stdin_closes: Also stop when the parent process is gone.

    Raises:
        PunchcardError: Storage cannot be opened.
    """
    configure_logs(level=settings.log_level, format=settings.log_format)
    prepare_data_folder(settings.data)
    prepare_metrics(settings.data, reset=False)
    collect_rarely()
    stopping = threading.Event()
    # Until it works it has nothing to finish: a signal ends it at once, whatever it imports or waits for. Not by the
    # default handler: the first process of a container has none.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    if until_stdin_closes:
        threading.Thread(target=stop_with_parent, daemon=True).start()
    try:
        return EngageProcess(settings, stopping).run()
    except PunchcardError:
        raise
    except Exception as error:  # noqa: BLE001  # outer loop of the process: log, stop, let the parent start it again
        structlog.get_logger("punchcard.engage").error("engage_stopped", exc_info=error)
        return _FAILED


def _stop_on_signals(stopping: threading.Event, settings: Settings) -> None:
    """Finish the step when asked to stop, from now on."""

    def stop(*_: object) -> None:
        stopping.set()
        end_in_time(settings.shutdown_seconds, process="engage")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _main() -> int:
    parser = argparse.ArgumentParser(description="Audiences and computed traits, beside the worker that starts it.")
    parser.add_argument("--until-stdin-closes", action="store_true")
    arguments = parser.parse_args()
    try:
        return run_engage(read_settings(os.environ), until_stdin_closes=arguments.until_stdin_closes)
    except PunchcardError as error:
        print(f"punchcard engage: {error.message}", file=sys.stderr)
        return _FAILED


if __name__ == "__main__":
    sys.exit(_main())
