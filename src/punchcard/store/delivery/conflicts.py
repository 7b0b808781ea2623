"""Events that met their effect key in the ledger with other content, what was decided of them, and corrections."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, Row, Select, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from punchcard.errors import InvariantError
from punchcard.store.delivery.effects import ConflictResolution, NewEffect, StoredEffect, effect_of
from punchcard.store.delivery.schema import effect_conflicts, effects
from punchcard.store.values import decimal_text, storable


@dataclass(frozen=True, kw_only=True)
class StoredConflict:
    """An event that met its effect key in the ledger with other content.

    Attributes:
        effect_id: Of the effect with the key.
        content: JSON text: `{"source", "email", "quantity", "event", "attributes", "item", …}`.
        resolution: What an operator decided, None while nobody has.
    """

    id: int
    effect_id: int
    destination: str
    message_id: str
    log_position: int
    event_index: int
    received_at: datetime
    content: str
    resolution: ConflictResolution | None
    resolved_at: datetime | None
    resolved_by: str | None

    @property
    def values(self) -> Mapping[str, object]:
        """The content, parsed."""
        values = json.loads(self.content)
        return values if isinstance(values, dict) else {}


@dataclass(frozen=True, kw_only=True)
class ConflictQuery:
    """A filter of conflicts; None and () match all.

    Attributes:
        is_resolved: True for those that an operator has decided, False for the others.
        effect_ids: Only conflicts with these effects.
        message_id: Only of this event, or with an effect of it.
    """

    destination: str | None = None
    is_resolved: bool | None = None
    effect_ids: Sequence[int] = ()
    message_id: str | None = None


def add_conflict(work: Connection, effect_id: int, new: NewEffect) -> None:
    """Store an event that repeats a key of the ledger with other content.

    What was decided of the same message before holds for it as well: it was replayed, or sent once more.

    Raises:
        InvariantError: the event is stored already: its log record was routed before.
    """
    content = {
        "source": new.source,
        "email": new.email,
        "quantity": decimal_text(new.requested_quantity),
        "event": new.event_name,
        "attributes": None if new.attributes is None else dict(new.attributes),
        "item": new.item,
        **({} if new.payload is None else {"payload": new.payload}),
        **({} if new.summary is None else {"summary": new.summary}),
        **({} if new.event_settings is None else {"eventSettings": dict(new.event_settings)}),
    }
    columns = effect_conflicts.c
    decided = work.execute(
        select(columns.resolution, columns.resolved_at, columns.resolved_by)
        .where(
            columns.effect_id == effect_id,
            columns.message_id == storable(new.message_id),
            columns.resolution.is_not(None),
        )
        .order_by(columns.id.desc())
        .limit(1)
    ).one_or_none()
    statement = insert(effect_conflicts).values(
        effect_id=effect_id,
        message_id=storable(new.message_id),
        log_position=new.log_position,
        event_index=new.event_index,
        received_at=new.received_at,
        content=json.dumps(content, sort_keys=True),
        resolution=None if decided is None else decided.resolution,
        resolved_at=None if decided is None else decided.resolved_at,
        resolved_by=None if decided is None else decided.resolved_by,
    )
    try:
        work.execute(statement)
    except IntegrityError as error:
        raise InvariantError(f"log record {new.log_position} was routed twice: {error.orig}") from error


def is_chosen_content(existing: StoredEffect, new: NewEffect) -> bool:
    """Whether an operator has chosen this content to count instead of the effect's own."""
    content = existing.corrected_content
    if content is None:
        return False
    quantity = content.get("quantity")
    return (
        str(content.get("email", "")).lower() == new.customer
        and (None if quantity is None else Decimal(str(quantity))) == new.requested_quantity
        and content.get("payload") == new.payload
    )


def list_conflicts(
    work: Connection, query: ConflictQuery, *, count: int, before_id: int | None = None
) -> list[StoredConflict]:
    """Return a page of conflicts, newest first."""
    statement = _filtered(_selected(), query)
    if before_id is not None:
        statement = statement.where(effect_conflicts.c.id < before_id)
    return [_conflict_of(row) for row in work.execute(statement.order_by(effect_conflicts.c.id.desc()).limit(count))]


def conflict_ids(work: Connection, query: ConflictQuery, *, after_id: int, limit: int) -> list[int]:
    """Return the ids of conflicts that match, oldest first."""
    statement = _filtered(select(effect_conflicts.c.id).select_from(_JOINED), query)
    return list(
        work.scalars(statement.where(effect_conflicts.c.id > after_id).order_by(effect_conflicts.c.id).limit(limit))
    )


def conflicts_of(work: Connection, effect_ids: Sequence[int]) -> dict[int, list[StoredConflict]]:
    """Return the events that met each effect's key with other content, oldest first."""
    conflicts: dict[int, list[StoredConflict]] = {effect_id: [] for effect_id in effect_ids}
    chosen = _selected().where(effect_conflicts.c.effect_id.in_(effect_ids)).order_by(effect_conflicts.c.id)
    for row in work.execute(chosen):
        conflict = _conflict_of(row)
        conflicts[conflict.effect_id].append(conflict)
    return conflicts


def corrected_conflicts(
    work: Connection, destination: str, *, begin: datetime, end: datetime
) -> dict[str, list[StoredConflict]]:
    """Return the conflicts of events of a period that were corrected to the second content, by effect key."""
    columns = effect_conflicts.c
    chosen = select(effect_conflicts, effects.c.destination, effects.c.effect_key).select_from(_JOINED)
    chosen = chosen.where(
        effects.c.destination == destination,
        columns.resolution == ConflictResolution.CORRECTED,
        columns.received_at >= begin,
        columns.received_at < end,
    )
    conflicts: dict[str, list[StoredConflict]] = {}
    for row in work.execute(chosen.order_by(columns.id)):
        conflicts.setdefault(row.effect_key, []).append(_conflict_of(row))
    return conflicts


def count_conflicts(work: Connection, query: ConflictQuery) -> int:
    """Return the number of conflicts that match."""
    return work.scalar(_filtered(select(func.count()).select_from(_JOINED), query)) or 0


def count_unresolved(work: Connection) -> Mapping[str, int]:
    """Return how many events conflict with the ledger and were not decided, by destination."""
    columns = effect_conflicts.c
    # The same event may have been received, or replayed, several times.
    events = select(effects.c.destination, columns.effect_id, columns.message_id).select_from(_JOINED)
    distinct = events.where(columns.resolution.is_(None)).distinct().subquery()
    rows = work.execute(select(distinct.c.destination, func.count()).group_by(distinct.c.destination))
    return {row[0]: row[1] for row in rows}


def conflict_by_id(work: Connection, conflict_id: int) -> StoredConflict | None:
    """Return a conflict, None if there is none with this id."""
    row = work.execute(_selected().where(effect_conflicts.c.id == conflict_id)).one_or_none()
    return None if row is None else _conflict_of(row)


def resolve_conflict(
    work: Connection, conflict: StoredConflict, *, resolution: ConflictResolution, by: str, now: datetime
) -> bool:
    """Write down what was decided, also of further copies of the same event; False if it was decided before."""
    columns = effect_conflicts.c
    values = {"resolution": resolution, "resolved_at": now, "resolved_by": storable(by)}
    decided = update(effect_conflicts).where(columns.id == conflict.id, columns.resolution.is_(None)).values(**values)
    if work.execute(decided).rowcount != 1:
        return False
    work.execute(
        update(effect_conflicts)
        .where(
            columns.effect_id == conflict.effect_id,
            columns.message_id == conflict.message_id,
            columns.resolution.is_(None),
        )
        .values(**values)
    )
    return True


def lock_effect(work: Connection, effect_id: int) -> StoredEffect:
    """Return an effect, locked until the unit of work ends."""
    return effect_of(work.execute(select(effects).where(effects.c.id == effect_id).with_for_update()).one())


def set_corrected_content(work: Connection, effect_id: int, content: str) -> None:
    """Set the content that counts for an effect instead of its own, as JSON."""
    work.execute(update(effects).where(effects.c.id == effect_id).values(corrected_content=content))


def effects_with_corrections(work: Connection, effect_id: int) -> list[StoredEffect]:
    """Return an effect and all that correct it, oldest first."""
    chosen = select(effects).where(or_(effects.c.id == effect_id, effects.c.corrects == effect_id))
    return [effect_of(row) for row in work.execute(chosen.order_by(effects.c.id))]


_JOINED = effect_conflicts.join(effects, effects.c.id == effect_conflicts.c.effect_id)


def _selected() -> Select[*tuple[object, ...]]:
    return select(effect_conflicts, effects.c.destination).select_from(_JOINED)


def _conflict_of(row: Row[*tuple[object, ...]]) -> StoredConflict:
    values = dict(row._mapping)
    values.pop("effect_key", None)
    resolution = values.pop("resolution")
    return StoredConflict(**values, resolution=None if resolution is None else ConflictResolution(resolution))


def _filtered(statement: Select[*tuple[object, ...]], query: ConflictQuery) -> Select[*tuple[object, ...]]:
    columns = effect_conflicts.c
    if query.destination is not None:
        # Not by its index: there are few conflicts, and a destination may have millions of effects.
        statement = statement.where(func.coalesce(effects.c.destination, "") == query.destination)
    if query.is_resolved is not None:
        statement = statement.where(
            columns.resolution.is_not(None) if query.is_resolved else columns.resolution.is_(None)
        )
    if query.effect_ids:
        statement = statement.where(columns.effect_id.in_(query.effect_ids))
    if query.message_id is not None:
        message_id = storable(query.message_id)
        own = select(effects.c.id).where(effects.c.message_id == message_id)
        statement = statement.where(or_(columns.message_id == message_id, columns.effect_id.in_(own)))
    return statement
