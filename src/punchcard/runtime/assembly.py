"""Open what the settings name: store, keyring, log, lake. Every process starts here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from punchcard.clock import SystemClock
from punchcard.destinations.port import DeliveryOptions
from punchcard.lake.reader import LakeReader
from punchcard.log.opening import describe_place, is_shared, open_event_log
from punchcard.log.partitions import refuse_fewer_partitions
from punchcard.log.port import EventLog
from punchcard.routing.generation_file import GenerationFile
from punchcard.routing.log_guard import LogGuard
from punchcard.runtime.settings import Settings
from punchcard.runtime.shared_storage import refuse_wrong_combination
from punchcard.store.engine import Store
from punchcard.store.routing.positions import LAKE, position_of
from punchcard.workspace import persistence
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.keyring import open_keyring as keyring_of
from punchcard.workspace.snapshot import Snapshot

if TYPE_CHECKING:
    from punchcard.traces.trace import TraceReader


def open_store(settings: Settings) -> Store:
    """Open the store and update its schema.

    Raises:
        ConfigurationError: The URL names an unsupported engine, or the other settings do not go with it.
        StorageError: The database is not available.
    """
    refuse_wrong_combination(settings)
    return Store(settings.store_url())


def open_keyring(settings: Settings) -> Keyring:
    """Open the key of stored secrets: the operator's, otherwise the one in the data folder, created if missing."""
    return keyring_of(
        settings.secret_key.reveal() or None,
        settings.secret_key_path(),
        accepted=settings.secret_key_accepted.reveal(),
    )


@contextmanager
def open_log(settings: Settings) -> Iterator[EventLog]:
    """Open the event log; it is closed at the end of the block.

    Raises:
        ConfigurationError: The log's URL names an unsupported kind, or the other settings do not go with it.
        StorageError: The log cannot be opened.
    """
    refuse_wrong_combination(settings)
    log = open_event_log(settings.event_log_url())
    try:
        yield log
    finally:
        log.close()


def open_lake(settings: Settings, store: Store) -> LakeReader:
    """Open the lake for reading its events; with a shared log, it is noticed if the worker writes another one."""
    if not is_shared(settings.event_log_url()):
        return LakeReader(settings.lake_location())

    def written_through() -> int:
        with store.reading() as work:
            return position_of(work, LAKE)

    return LakeReader(settings.lake_location(), written_through=written_through)


@contextmanager
def open_guarded_log(
    settings: Settings, store: Store, *, current: Callable[[], Snapshot], lake: LakeReader | None = None
) -> Iterator[tuple[EventLog, LogGuard]]:
    """Open the event log for appending, routing and sending, bound to the store, with its guard.

    Args:
        current: Returns the current configuration of the store.
        lake: What the guard reads; None opens the lake.

    Raises:
        OtherLogError: The store belongs to another log.
        ConfigurationError: See `open_log`.
        StorageError: Log or store is not available.
    """
    with open_log(settings) as log:
        refuse_fewer_partitions(log, settings.log_partitions)
        guard = guard_of(settings, store, log, current=current, lake=lake)
        guard.open()
        yield log, guard


def guard_of(
    settings: Settings,
    store: Store,
    log: EventLog,
    *,
    current: Callable[[], Snapshot],
    lake: LakeReader | None = None,
) -> LogGuard:
    """Return the guard of an open log, which has not checked it yet."""

    def outcome_wait_seconds() -> float:
        destinations = [destination for destination in current().destinations.values() if destination.invalid is None]
        waits = [each.partner.delivery_options(each.settings).unknown_wait_seconds for each in destinations]
        return max(waits, default=DeliveryOptions().unknown_wait_seconds)

    return LogGuard(
        store=store,
        log=log,
        lake=lake or LakeReader(settings.lake_location()),
        clock=SystemClock(),
        is_private=not settings.database_url.reveal() and not settings.log_url.reveal(),
        landing_seconds=outcome_wait_seconds,
        log_place=describe_place(settings.event_log_url()),
        is_shared=is_shared(settings.event_log_url()),
        generation_file=GenerationFile(settings.data / "generation"),
    )


@contextmanager
def open_reading(settings: Settings) -> Iterator["TraceReader"]:
    """Open what `trace` reads: log, lake and store, whether or not `up` is running."""
    from punchcard.traces.trace import TraceReader  # processes that run for long open it only for pages and calls

    store = open_store(settings)
    try:
        with store.reading() as work:
            workspace = persistence.read(work).workspace
        types = {destination.slug: destination.type for destination in workspace.destinations}
        with open_log(settings) as log:
            yield TraceReader(
                log=log,
                lake=open_lake(settings, store),
                store=store,
                rules=lambda: workspace.identity,
                types=lambda: types,
            )
    finally:
        store.close()
