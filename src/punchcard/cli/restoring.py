"""`recover` and `adopt-log`: what a person says of storage that was put back or lost, where Punchcard cannot know."""

import sys
from collections.abc import Callable

from punchcard.clock import SystemClock
from punchcard.errors import ConfigurationError, PunchcardError
from punchcard.routing.log_guard import LogGuard
from punchcard.runtime.assemble import guard_of, open_keyring, open_log, open_store
from punchcard.runtime.settings import Settings
from punchcard.workspace.snapshot import SnapshotWatch


def recover(settings: Settings, *, assume_yes: bool) -> int:
    """Put every open award in doubt, as after a restore that Punchcard cannot notice by itself.

    Returns:
        0 if it was done, 1 if the person said no.

    Raises:
        ConfigurationError: there is nobody to ask.
        PunchcardError: Punchcard is running, or storage is away.
    """
    question = (
        "Every queued award is read back at the partner before anything is sent, and so is every new one for 30 days. "
        "Go on?"
    )

    def declare(guard: LogGuard) -> str:
        by_destination = guard.declare_restored()
        count = sum(by_destination.values())
        return f"{count} queued award{'' if count == 1 else 's'} will be read back; start Punchcard now"

    return _run(settings, question, declare, assume_yes=assume_yes)


def adopt_log(settings: Settings, *, assume_yes: bool) -> int:
    """Bind the database to the event log of this data folder.

    Returns:
        0 if it was done, 1 if the person said no.

    Raises:
        ConfigurationError: there is nobody to ask.
        PunchcardError: Punchcard is running, or storage is away.
    """
    question = (
        f"{settings.event_log_url().removeprefix('sqlite:///')} becomes the event log of the database. What is left "
        "unrouted in the log that it belonged to is never routed. Go on?"
    )

    def adopt(guard: LogGuard) -> str:
        records = guard.adopt()
        return f"adopted, with {records} request{'' if records == 1 else 's'} in it; start Punchcard now"

    return _run(settings, question, adopt, assume_yes=assume_yes)


def _run(settings: Settings, question: str, act: Callable[[LogGuard], str], *, assume_yes: bool) -> int:
    if not assume_yes and not _is_confirmed(question):
        print("nothing was changed", file=sys.stderr)
        return 1
    store = open_store(settings)
    try:
        watch = SnapshotWatch(store, open_keyring(settings), clock=SystemClock(), interval_seconds=1)
        with store.leadership("routing") as leadership, open_log(settings) as log:
            if not leadership.held():
                raise PunchcardError("a worker is running on this database: stop Punchcard first", code="running")
            print(act(guard_of(settings, store, log, current=watch.current)))
    finally:
        store.close()
    return 0


def _is_confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{question} There is nobody to ask: say --yes")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
