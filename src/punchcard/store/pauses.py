"""Destinations that deliver nothing until an operator acts."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from punchcard.store.effects import storable
from punchcard.store.schema import destination_pauses


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Why a destination stands still. It ends when its settings have another fingerprint, or by an operator's retry."""

    destination: str
    reason: str
    detail: str
    since: datetime
    settings_fingerprint: str


def pause_of(work: Connection, destination: str) -> Pause | None:
    """The destination's pause, None if it delivers."""
    row = work.execute(select(destination_pauses).where(destination_pauses.c.destination == destination)).one_or_none()
    return None if row is None else Pause(**row._mapping)


def pause(work: Connection, wanted: Pause) -> bool:
    """Pause a destination; False if it was paused already."""
    if pause_of(work, wanted.destination) is not None:
        return False
    work.execute(
        insert(destination_pauses).values(
            destination=wanted.destination,
            reason=wanted.reason,
            detail=storable(wanted.detail),
            since=wanted.since,
            settings_fingerprint=wanted.settings_fingerprint,
        )
    )
    return True


def resume(work: Connection, destination: str) -> bool:
    """End a destination's pause; False if there was none."""
    return work.execute(delete(destination_pauses).where(destination_pauses.c.destination == destination)).rowcount > 0
