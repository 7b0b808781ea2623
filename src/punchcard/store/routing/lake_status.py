"""Whether the lake can be used, as the worker that feeds it sees it, and what of it was lost for good."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from punchcard.store.routing.schema import lake_status
from punchcard.store.upsert import insert_into
from punchcard.store.values import storable

_DETAIL_CHARACTERS_MAX = 1_000


@dataclass(frozen=True, kw_only=True)
class LakeStatus:
    """The lake's condition.

    Attributes:
        failing_since: Since when it cannot be read or written; None if it can.
        detail: The last error.
        lost_events: How many events the last repair could not restore.
        lost_from: When the first of them was received, as far as that is known.
        lost_until: The same of the last.
        lost_at: When that repair was.
    """

    failing_since: datetime | None = None
    detail: str = ""
    lost_events: int = 0
    lost_from: datetime | None = None
    lost_until: datetime | None = None
    lost_at: datetime | None = None


def read_lake_status(work: Connection) -> LakeStatus:
    """The condition as it was noted last."""
    columns = [lake_status.c[name] for name in LakeStatus.__dataclass_fields__]
    row = work.execute(select(*columns)).first()
    return LakeStatus() if row is None else LakeStatus(**row._mapping)


def note_lake_failure(work: Connection, detail: str, *, now: datetime) -> None:
    """Store that the lake cannot be used; the time since when is not changed."""
    since = read_lake_status(work).failing_since or now
    _write(work, {"failing_since": since, "detail": storable(detail[:_DETAIL_CHARACTERS_MAX])})


def note_lake_success(work: Connection) -> None:
    """Say that the lake can be used."""
    _write(work, {"failing_since": None, "detail": ""})


def note_lake_loss(
    work: Connection, count: int, *, begin: datetime | None, end: datetime | None, now: datetime
) -> None:
    """Say what a repair could not restore; 0 if it could restore everything."""
    _write(work, {"lost_events": count, "lost_from": begin, "lost_until": end, "lost_at": now if count else None})


def _write(work: Connection, values: dict[str, object]) -> None:
    row = {"id": 1, "detail": "", "lost_events": 0, **values}
    work.execute(insert_into(work, lake_status).values(row).on_conflict_do_update(index_elements=["id"], set_=values))
