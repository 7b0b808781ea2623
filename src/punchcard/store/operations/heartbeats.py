"""When each process was alive last, and what it saw of the machine that it runs on."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from punchcard.store.operations.schema import process_heartbeats
from punchcard.store.values import storable


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """What one process on one machine has reported last.

    Attributes:
        process: `serve`, `worker` or `engage`.
        disk_free_bytes: Of the disk with the least space that it writes to; None if it could not be read.
        certificate_expires_at: Of the certificate that it serves with, None if it has none.
    """

    process: str
    host: str
    seen_at: datetime
    disk_free_bytes: int | None = None
    disk_total_bytes: int | None = None
    disk_path: str | None = None
    certificate_expires_at: datetime | None = None


def write_heartbeat(work: Connection, heartbeat: Heartbeat) -> None:
    """Write what a process reports, in place of what it has reported before."""
    columns = process_heartbeats.c
    work.execute(
        delete(process_heartbeats).where(columns.process == heartbeat.process, columns.host == storable(heartbeat.host))
    )
    work.execute(
        insert(process_heartbeats).values(
            process=heartbeat.process,
            host=storable(heartbeat.host),
            seen_at=heartbeat.seen_at,
            disk_free_bytes=heartbeat.disk_free_bytes,
            disk_total_bytes=heartbeat.disk_total_bytes,
            disk_path=None if heartbeat.disk_path is None else storable(heartbeat.disk_path),
            certificate_expires_at=heartbeat.certificate_expires_at,
        )
    )


def expect_process(work: Connection, process: str, *, host: str, now: datetime) -> None:
    """Begin to wait for a process: from now on it is missing if it does not report."""
    if work.scalar(select(func.count()).where(process_heartbeats.c.process == process)):
        return
    engine_insert = sqlite.insert if work.dialect.name == "sqlite" else postgresql.insert
    work.execute(
        engine_insert(process_heartbeats)
        .values(process=process, host=storable(host), seen_at=now)
        .on_conflict_do_nothing()
    )


def read_heartbeats(work: Connection) -> list[Heartbeat]:
    """Return what every process has reported last."""
    rows = work.execute(select(process_heartbeats).order_by(process_heartbeats.c.process, process_heartbeats.c.host))
    return [Heartbeat(**row._mapping) for row in rows]


def forget_old_heartbeats(work: Connection, *, before: datetime) -> None:
    """Forget machines that have not reported for long, but for the newest report of each kind of process."""
    newest: dict[str, datetime] = {}
    for heartbeat in read_heartbeats(work):
        newest[heartbeat.process] = max(heartbeat.seen_at, newest.get(heartbeat.process, heartbeat.seen_at))
    columns = process_heartbeats.c
    for process, seen_at in newest.items():
        work.execute(
            delete(process_heartbeats).where(columns.process == process, columns.seen_at < min(before, seen_at))
        )
