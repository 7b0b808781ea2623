"""Open what the settings name: store, keyring, log, lake. Every process starts here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from punchcard.clock import SystemClock
from punchcard.destinations.port import DeliveryOptions
from punchcard.errors import ConfigurationError
from punchcard.lake.reader import LakeReader
from punchcard.log.sqlite import SqliteEventLog
from punchcard.routing.generation_file import GenerationFile
from punchcard.routing.log_guard import LogGuard
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.traces.trace import TraceReader
from punchcard.workspace import persistence
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.keyring import open_keyring as keyring_of
from punchcard.workspace.snapshot import Snapshot


def open_store(settings: Settings) -> Store:
    """Open the store and update its schema.

    Raises:
        ConfigurationError: The URL names an unsupported engine.
        StorageError: The database is not available.
    """
    return Store(settings.store_url())


def open_keyring(settings: Settings) -> Keyring:
    """Open the key of stored secrets: the operator's, otherwise the one in the data folder, created if missing."""
    return keyring_of(settings.secret_key.reveal() or None, settings.secret_key_path())


@contextmanager
def open_log(settings: Settings) -> Iterator[SqliteEventLog]:
    """Open the event log; it is closed at the end of the block.

    Raises:
        ConfigurationError: The log's URL names an unsupported kind.
        StorageError: The log cannot be opened.
    """
    scheme, _, path = settings.event_log_url().partition(":///")
    if scheme != "sqlite" or not path:
        raise ConfigurationError(f"log_url: The log can only be in SQLite (sqlite:///path), not in {scheme}.")
    log = SqliteEventLog(Path(path))
    try:
        yield log
    finally:
        log.close()


@contextmanager
def open_guarded_log(
    settings: Settings, store: Store, *, current: Callable[[], Snapshot]
) -> Iterator[tuple[SqliteEventLog, LogGuard]]:
    """Open the event log for appending, routing and sending, bound to the store, with its guard.

    Args:
        current: Returns the current configuration of the store.

    Raises:
        OtherLogError: The store belongs to another log.
        ConfigurationError: See `open_log`.
        StorageError: Log or store is not available.
    """
    with open_log(settings) as log:
        guard = guard_of(settings, store, log, current=current)
        guard.open()
        yield log, guard


def guard_of(settings: Settings, store: Store, log: SqliteEventLog, *, current: Callable[[], Snapshot]) -> LogGuard:
    """Return the guard of an open log, which has not checked it yet."""

    def outcome_wait_seconds() -> float:
        destinations = [destination for destination in current().destinations.values() if destination.invalid is None]
        waits = [each.partner.delivery_options(each.settings).unknown_wait_seconds for each in destinations]
        return max(waits, default=DeliveryOptions().unknown_wait_seconds)

    log_path = settings.event_log_url().removeprefix("sqlite:///")
    return LogGuard(
        store=store,
        log=log,
        lake=LakeReader(settings.lake_location()),
        clock=SystemClock(),
        is_private=not settings.database_url.reveal() and not settings.log_url.reveal(),
        landing_seconds=outcome_wait_seconds,
        log_place=log_path,
        generation_file=GenerationFile(settings.data / "generation"),
    )


@contextmanager
def open_reading(settings: Settings) -> Iterator[TraceReader]:
    """Open what `trace` reads: log, lake and store, whether or not `up` is running."""
    store = open_store(settings)
    try:
        with store.reading() as work:
            workspace = persistence.read(work).workspace
        types = {destination.slug: destination.type for destination in workspace.destinations}
        with open_log(settings) as log:
            yield TraceReader(
                log=log,
                lake=LakeReader(settings.lake_location()),
                store=store,
                rules=lambda: workspace.identity,
                types=lambda: types,
            )
    finally:
        store.close()
