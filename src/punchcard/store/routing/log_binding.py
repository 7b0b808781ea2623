"""Which event log the store belongs to, and the generation that both have reached.

Positions in one log say nothing about another one, so a store is routed from the log that it is bound to and from no
other. The generation tells copies apart: it rises in the log and in the store together, so that whichever of the two
is restored from an older copy is behind the other one.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from punchcard.store.routing.schema import log_binding
from punchcard.store.upsert import insert_into

_ONLY_ROW = 1


@dataclass(frozen=True, kw_only=True)
class LogBinding:
    """The log that a store belongs to.

    Attributes:
        log_id: The id that the log was given when it was created.
        generation: The newest generation that the store has reached.
        place: Where the log is, for messages; "" if that was not stored.
        store_id: The id of this store, by which a shared log knows it; "" if it has none yet.
    """

    log_id: str
    generation: int
    place: str = ""
    store_id: str = ""


def read_binding(work: Connection, *, for_update: bool = False) -> LogBinding | None:
    """The store's binding, None before a process has opened it with a log.

    Args:
        for_update: Hold the row against other processes until the unit of work ends.
    """
    columns = log_binding.c
    query = select(columns.log_id, columns.generation, columns.place, columns.store_id).where(columns.id == _ONLY_ROW)
    row = work.execute(query.with_for_update() if for_update else query).one_or_none()
    if row is None:
        return None
    return LogBinding(log_id=row.log_id, generation=row.generation, place=row.place or "", store_id=row.store_id or "")


def bind(work: Connection, binding: LogBinding, *, now: datetime) -> None:
    """Bind the store to a log, in the place of any that it was bound to before."""
    values = _values(binding, now)
    statement = insert_into(work, log_binding).values(id=_ONLY_ROW, **values)
    work.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))


def bind_if_unbound(work: Connection, binding: LogBinding, *, now: datetime) -> bool:
    """Bind a store that has no log yet; False if another process has bound it in the meantime."""
    statement = insert_into(work, log_binding).values(id=_ONLY_ROW, **_values(binding, now)).on_conflict_do_nothing()
    return work.execute(statement.returning(log_binding.c.id)).first() is not None


def raise_generation(work: Connection, generation: int) -> None:
    """Raise the generation of the store to this one, unless it is higher already."""
    work.execute(
        update(log_binding)
        .where(log_binding.c.id == _ONLY_ROW, log_binding.c.generation < generation)
        .values(generation=generation)
    )


def _values(binding: LogBinding, now: datetime) -> dict[str, object]:
    return {
        "log_id": binding.log_id,
        "generation": binding.generation,
        "place": binding.place,
        "store_id": binding.store_id,
        "bound_at": now,
    }
