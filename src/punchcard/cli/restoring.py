"""The implementation of `recover` and `adopt-log`: restored or lost storage that Punchcard cannot detect."""

import sys
from collections.abc import Callable

from punchcard.cli.confirmation import confirm
from punchcard.clock import SystemClock
from punchcard.errors import PunchcardError
from punchcard.log.opening import describe_place
from punchcard.operations.sentences import count_noun
from punchcard.routing.log_guard import LogGuard
from punchcard.runtime.assembly import guard_of, open_keyring, open_log, open_store
from punchcard.runtime.settings import Settings
from punchcard.workspace.snapshot import SnapshotWatch


def recover(settings: Settings, *, assume_yes: bool) -> int:
    """Mark every queued award to be read back, after a restore that Punchcard cannot detect.

    Returns:
        0 if it was done, 1 if the person declined.

    Raises:
        ConfigurationError: There is no terminal for the confirmation.
        PunchcardError: Punchcard is running, or storage is unavailable.
    """
    question = (
        "Every queued award is read back at the partner before it is sent, and so is every new one for 30 days. "
        "Continue?"
    )

    def declare(guard: LogGuard) -> str:
        by_destination = guard.declare_restored()
        count = sum(by_destination.values())
        return f"{count_noun(count, 'queued award')} will be read back. Start Punchcard now."

    return _run(settings, question, declare, assume_yes=assume_yes)


def adopt_log(settings: Settings, *, assume_yes: bool) -> int:
    """Bind the database to the event log of this data folder.

    Returns:
        0 if it was done, 1 if the person declined.

    Raises:
        ConfigurationError: There is no terminal for the confirmation.
        PunchcardError: Punchcard is running, or storage is unavailable.
    """
    question = (
        f"{describe_place(settings.event_log_url())} becomes the event log of the database. Unrouted "
        "requests in the previous event log are never routed. Continue?"
    )

    def adopt(guard: LogGuard) -> str:
        records = guard.adopt()
        return f"The event log with {count_noun(records, 'request')} was adopted. Start Punchcard now."

    return _run(settings, question, adopt, assume_yes=assume_yes)


def _run(settings: Settings, question: str, act: Callable[[LogGuard], str], *, assume_yes: bool) -> int:
    if not assume_yes and not confirm(question):
        print("Nothing was changed.", file=sys.stderr)
        return 1
    store = open_store(settings)
    try:
        watch = SnapshotWatch(store, open_keyring(settings), clock=SystemClock(), interval_seconds=1)
        with store.leadership("routing") as leadership, open_log(settings) as log:
            if not leadership.held():
                raise PunchcardError("A worker is running on this database. Stop Punchcard first.", code="running")
            print(act(guard_of(settings, store, log, current=watch.current)))
    finally:
        store.close()
    return 0
