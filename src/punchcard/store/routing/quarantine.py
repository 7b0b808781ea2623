"""Records and events that routing could not process: kept as they were received, for an operator."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select

from punchcard.store.routing.schema import quarantined_records
from punchcard.store.values import storable

_BODY_BYTES_MAX = 1_000_000
_BODIES_MAX = 10_000
"""How many rows keep a body: a sender that goes wrong for good must not fill the database."""


@dataclass(frozen=True, kw_only=True)
class QuarantinedRecord:
    """A record, or one event of a record, that was quarantined.

    Attributes:
        position: Its place in the log.
        event_index: Its place in the record; None for the record as a whole.
        message_id: Of the event, or of the record's first one.
        source: Slug, None if unknown.
        destination: Slug of the destination where the event failed, None if that was before any.
        reason: `unreadable_record` or `internal_error`.
        detail: A sentence for a person.
        body: The record's body as it is in the log, or the event's JSON text.
    """

    position: int
    event_index: int | None
    message_id: str
    received_at: datetime
    quarantined_at: datetime
    source: str | None
    destination: str | None
    reason: str
    detail: str
    write_key: str
    call: str
    encoding: str
    ip: str
    body: bytes


def add_quarantined(work: Connection, records: Sequence[QuarantinedRecord]) -> None:
    """Keep records; beyond the first thousands without their bodies."""
    if not records:
        return
    bodies = work.scalar(select(func.count()).select_from(quarantined_records)) or 0
    rows = []
    for number, record in enumerate(records):
        values = {name: storable(value) if isinstance(value, str) else value for name, value in vars(record).items()}
        values["body"] = record.body[:_BODY_BYTES_MAX] if bodies + number < _BODIES_MAX else b""
        rows.append(values)
    work.execute(insert(quarantined_records), rows)


def quarantined(work: Connection, *, limit: int) -> list[QuarantinedRecord]:
    """The newest quarantined records."""
    columns = [quarantined_records.c[name] for name in QuarantinedRecord.__dataclass_fields__]
    rows = work.execute(select(*columns).order_by(quarantined_records.c.id.desc()).limit(limit))
    return [QuarantinedRecord(**row._mapping) for row in rows]


@dataclass(frozen=True, kw_only=True)
class QuarantineCount:
    """How many records and events were quarantined for one reason."""

    reason: str
    count: int
    newest: datetime


def count_quarantined(work: Connection, *, since: datetime | None = None) -> list[QuarantineCount]:
    """What was quarantined, by reason.

    Args:
        since: Only what was quarantined from this instant on.
    """
    columns = quarantined_records.c
    chosen = select(columns.reason, func.count(), func.max(columns.quarantined_at)).group_by(columns.reason)
    if since is not None:
        chosen = chosen.where(columns.quarantined_at >= since)
    return [
        QuarantineCount(reason=reason, count=count, newest=newest)
        for reason, count, newest in work.execute(chosen.order_by(columns.reason))
    ]
