"""Opens the parts that the settings name: store, keyring, log, lake. Every process starts here."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from punchcard.errors import ConfigurationError
from punchcard.lake.reader import LakeReader
from punchcard.log.sqlite import SqliteEventLog
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.traces.story import Stories
from punchcard.workspace import stored
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.keyring import open_keyring as keyring_of


def open_store(settings: Settings) -> Store:
    """The store, its schema up to date.

    Raises:
        ConfigurationError: the URL names an engine that the store does not speak.
        StorageError: the database is away.
    """
    return Store(settings.store_url())


def open_keyring(settings: Settings) -> Keyring:
    """The key of stored secrets: the operator's, else the one kept in the data folder, made if there is none."""
    return keyring_of(settings.secret_key.reveal() or None, settings.secret_key_path())


@contextmanager
def open_log(settings: Settings) -> Iterator[SqliteEventLog]:
    """The event log, closed at the end of the block.

    Raises:
        ConfigurationError: the log's URL names a kind that this version does not have.
        StorageError: the log cannot be opened.
    """
    scheme, _, path = settings.event_log_url().partition(":///")
    if scheme != "sqlite" or not path:
        raise ConfigurationError(f"log_url: this version keeps its log in SQLite (sqlite:///path), not {scheme}")
    log = SqliteEventLog(Path(path))
    try:
        yield log
    finally:
        log.close()


@contextmanager
def open_reading(settings: Settings) -> Iterator[Stories]:
    """What `trace` reads: log, lake and store, whether or not `up` is running."""
    store = open_store(settings)
    try:
        with store.reading() as work:
            rules = stored.read(work).workspace.identity
        with open_log(settings) as log:
            yield Stories(log=log, lake=LakeReader(settings.lake_location()), store=store, rules=lambda: rules)
    finally:
        store.close()
