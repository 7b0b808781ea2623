"""Which workers are alive to share the partitions of a log, by the clock of the database: machines' clocks differ."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

_FORGOTTEN_AFTER_SECONDS: Final = 5
_NOW: Final = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
_REPORT = text(
    f"INSERT INTO partition_workers (worker, seen_at, feeds_lake) VALUES (:worker, {_NOW}, :feeds_lake) "  # a constant
    "ON CONFLICT (worker) DO UPDATE SET seen_at = excluded.seen_at, feeds_lake = excluded.feeds_lake"
)
# Never the worker itself: it may stand still for long between the two statements.
_FORGET = text(f"DELETE FROM partition_workers WHERE seen_at < {_NOW} - :micros AND worker <> :worker")
_ALIVE = text("SELECT worker, feeds_lake FROM partition_workers ORDER BY worker")
_LEAVE = text("DELETE FROM partition_workers WHERE worker = :worker")


@dataclass(frozen=True, slots=True)
class AliveWorker:
    """A worker that shares the partitions.

    Attributes:
        feeds_lake: None for a worker of a version that does not say it.
    """

    id: str
    feeds_lake: bool | None


def report_worker(work: Connection, worker: str, *, feeds_lake: bool) -> list[AliveWorker]:
    """Report that a worker is alive; return all that are, itself included, in one order everywhere. PostgreSQL only."""
    work.execute(_REPORT, {"worker": worker, "feeds_lake": feeds_lake})
    work.execute(_FORGET, {"worker": worker, "micros": _FORGOTTEN_AFTER_SECONDS * 1_000_000})
    return [AliveWorker(id, feeds) for id, feeds in work.execute(_ALIVE)]


def leave(work: Connection, worker: str) -> None:
    """Report that a worker has ended."""
    work.execute(_LEAVE, {"worker": worker})
