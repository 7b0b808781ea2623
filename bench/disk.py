"""Bytes on disk for one event, in log, lake and ledger, for bodies that do not repeat."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.log_router import open_router
from bench.realistic import MAPPED_EVERY, realistic_bodies
from bench.report import Figure, show
from bench.routing import workspace
from bench.size import size
from punchcard.clock import SystemClock, to_micros
from punchcard.log.port import NewRecord
from punchcard.log.sqlite import SqliteEventLog
from punchcard.store.engine import Store
from punchcard.workspace.apply import apply
from punchcard.workspace.keyring import Keyring

_EVENTS = size(50_000, 400)
_BATCH = 20  # events of a request of a server library
_LAKE_TARGET = 200


def main() -> None:
    """Measure and print."""
    singles = list(realistic_bodies(_EVENTS, events_per_body=1))
    print(f"  an event has {sum(map(len, singles)) / _EVENTS:,.0f} bytes as sent")
    for name, bodies in (
        ("single events", singles),
        (f"bodies of {_BATCH}", list(realistic_bodies(_EVENTS, events_per_body=_BATCH))),
    ):
        log, lake, ledger = _measure(bodies)
        show(Figure(name=f"log, {name}", unit="B/event", values=[log], at_most=True))
        show(Figure(name=f"lake, {name}", unit="B/event", values=[lake], target=_LAKE_TARGET, at_most=True))
        show(Figure(name=f"ledger, {name}", unit="B/award", values=[ledger], at_most=True))


def _measure(bodies: Sequence[bytes]) -> tuple[float, float, float]:
    """Return the bytes in the log and in the lake for an event, and those in the database for a planned award."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = SqliteEventLog(folder / "log.db")
        for begin in range(0, len(bodies), 50):
            now = to_micros(SystemClock().now())
            log.append(
                [NewRecord(now, "wk_bench", _call_of(body), "identity", body, "") for body in bodies[begin:][:50]]
            )
        log.close()
        log_bytes = (folder / "log.db").stat().st_size
        store = Store(f"sqlite:///{folder}/punchcard.db")
        keyring = Keyring("bench")
        apply(store, workspace(()), clock=SystemClock(), keyring=keyring, actor="bench")
        store.close()
        empty_bytes = _database_bytes(folder)
        _route(folder, keyring)
        lake_bytes = sum(file.stat().st_size for file in (folder / "lake").rglob("*.parquet"))
        awards = _EVENTS // MAPPED_EVERY
        return log_bytes / _EVENTS, lake_bytes / _EVENTS, (_database_bytes(folder) - empty_bytes) / awards


def _route(folder: Path, keyring: Keyring) -> None:
    """Route the whole log, and write and merge the files of the lake."""
    clock = SystemClock()
    store = Store(f"sqlite:///{folder}/punchcard.db")
    log = SqliteEventLog(folder / "log.db")
    router, feed = open_router(folder, log, store, keyring)
    while router.step():
        feed.flush()
    feed.flush()
    while feed.trim_log(older_than_micros=to_micros(clock.now())):
        continue
    feed.close()
    log.close()
    store.close()


def _call_of(body: bytes) -> str:
    return "batch" if body.startswith(b'{"batch"') else "track"


def _database_bytes(folder: Path) -> int:
    return (folder / "punchcard.db").stat().st_size


if __name__ == "__main__":
    main()
