"""What routes a log to the lake in a folder, as the worker process does, without anything that waits for it."""

from pathlib import Path

from punchcard.clock import SystemClock
from punchcard.lake.writer import LakeWriter
from punchcard.log.port import EventLog
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.lake_feed import LakeFeed
from punchcard.routing.router import Router
from punchcard.routing.suppression import Suppressions
from punchcard.store.engine import Store
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.snapshot import SnapshotWatch

_BATCH_BYTES = 4_194_304  # as in default.toml
_MESSAGES_REMEMBERED = 2_000_000


def open_router(
    folder: Path, log: EventLog, store: Store, keyring: Keyring, *, suppressions: Suppressions | None = None
) -> tuple[Router, LakeFeed]:
    """Return what routes the log, and what takes the rows to `folder/lake` with each `flush`."""
    clock = SystemClock()
    feed = LakeFeed(lake=LakeWriter(str(folder / "lake")), log=log, store=store, clock=clock, rows_max=50_000)
    router = Router(
        log=log,
        store=store,
        clock=clock,
        current=SnapshotWatch(store, keyring, clock=clock).newest,
        index=MessageIndex(_MESSAGES_REMEMBERED),
        feed=feed,
        on_effects=lambda _: None,
        batch_bytes=_BATCH_BYTES,
        suppressions=suppressions,
    )
    return router, feed
