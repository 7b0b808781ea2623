"""Which workers are alive to share the partitions of a log, by the clock of the database: machines' clocks differ."""

from typing import Final

from sqlalchemy import Connection, text

_FORGOTTEN_AFTER_SECONDS: Final = 5
_NOW: Final = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
_REPORT = text(
    f"INSERT INTO partition_workers (worker, seen_at) VALUES (:worker, {_NOW}) "  # a constant
    "ON CONFLICT (worker) DO UPDATE SET seen_at = excluded.seen_at"
)
_FORGET = text(f"DELETE FROM partition_workers WHERE seen_at < {_NOW} - {_FORGOTTEN_AFTER_SECONDS * 1_000_000}")
_ALIVE = text("SELECT worker FROM partition_workers ORDER BY worker")
_LEAVE = text("DELETE FROM partition_workers WHERE worker = :worker")


def report_worker(work: Connection, worker: str) -> list[str]:
    """Report that a worker is alive; return all that are, in one order everywhere. On PostgreSQL only."""
    work.execute(_REPORT, {"worker": worker})
    work.execute(_FORGET)
    return list(work.scalars(_ALIVE))


def leave(work: Connection, worker: str) -> None:
    """Report that a worker has ended."""
    work.execute(_LEAVE, {"worker": worker})
