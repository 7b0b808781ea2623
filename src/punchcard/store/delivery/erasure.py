"""Take the persons out of the ledger. What money needs stays: effect keys, orders, amounts, dates, states.

The customer becomes a keyed hash, so that totals by customer still agree, and the same order sent again is still
recognized as the one that was awarded.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, func, select, true, update

from punchcard.profiles.erasure import ErasedIds
from punchcard.store.bulk import execute_many
from punchcard.store.delivery.effect_subjects import forget_effect_subjects
from punchcard.store.delivery.effects import DELETED_CUSTOMER, SUBJECT_DELETED, EffectState, Move
from punchcard.store.delivery.outbox import move_effects
from punchcard.store.delivery.schema import delivery_attempts, destination_pauses, effect_conflicts, effects
from punchcard.store.text_scrubbing import scrub_columns

_KEYS_PER_QUERY: Final = 400
_EFFECTS_AT_ONCE: Final = 20_000

Message = tuple[str, str]
"""Source and message id of an event."""

Place = tuple[int, int]
"""Log position and index of an event."""


@dataclass(frozen=True, kw_only=True)
class LedgerErasure:
    """What was done to the ledger.

    Attributes:
        erased: Effects without their customer now.
        canceled: Of them, those that were not sent yet.
        in_flight: Ids of effects that were perhaps performed: they are read back first.
    """

    erased: int
    canceled: int
    in_flight: tuple[int, ...]


def find_effects(work: Connection, emails: Collection[str], messages: Collection[Message]) -> set[int]:
    """Return the ids of the effects of these customers, and of these events."""
    effect_ids: set[int] = set()
    columns = effects.c
    destinations = list(work.scalars(select(columns.destination).distinct()))
    customers = sorted(emails)
    for begin in range(0, len(customers), _KEYS_PER_QUERY):
        chunk = customers[begin : begin + _KEYS_PER_QUERY]
        for destination in destinations:
            effect_ids.update(
                work.scalars(select(columns.id).where(columns.destination == destination, columns.customer.in_(chunk)))
            )
    known = set(messages)
    message_ids = sorted({message_id for _, message_id in messages})
    for begin in range(0, len(message_ids), _KEYS_PER_QUERY):
        rows = work.execute(
            select(columns.id, columns.source, columns.message_id).where(
                columns.message_id.in_(message_ids[begin : begin + _KEYS_PER_QUERY])
            )
        )
        effect_ids.update(row.id for row in rows if (row.source, row.message_id) in known)
    return effect_ids


def conflict_places(work: Connection, effect_ids: Collection[int]) -> list[Place]:
    """Return the events that conflict with these effects: their results name the customers of the effects."""
    columns = effect_conflicts.c
    places: list[Place] = []
    ordered = sorted(effect_ids)
    for begin in range(0, len(ordered), _KEYS_PER_QUERY):
        rows = work.execute(
            select(columns.log_position, columns.event_index).where(
                columns.effect_id.in_(ordered[begin : begin + _KEYS_PER_QUERY])
            )
        )
        places += [(row.log_position, row.event_index) for row in rows]
    return places


def cancel_unsent(work: Connection, effect_ids: Collection[int], *, reason: str, detail: str, now: datetime) -> int:
    """Reject those of the effects that wait for their first attempt or for a retry; return their number."""
    moves = [
        Move(effect_id=row.id, state=EffectState.REJECTED, reason=reason, detail=detail, due_at=now)
        for row in _rows(work, effect_ids)
        if row.state in (EffectState.PENDING, EffectState.RETRYING)
    ]
    if moves:
        move_effects(work, moves, now=now)
    return len(moves)


def erase_effects(
    work: Connection,
    effect_ids: Collection[int],
    ids: ErasedIds,
    *,
    pseudonym: Callable[[str], str],
    now: datetime,
    cancels: bool = True,
) -> LedgerErasure:
    """Replace the customers of effects by their keyed hashes; unsent effects are rejected first.

    Args:
        pseudonym: Returns what stands for an email.
        cancels: False to leave effects that are open, whether they were sent or not.
    """
    canceled = 0
    if cancels:
        canceled = cancel_unsent(
            work, effect_ids, reason=SUBJECT_DELETED, detail="the customer was deleted before it was sent", now=now
        )
    rows = _rows(work, effect_ids)
    ended = [row for row in rows if not row.is_open]
    execute_many(
        work,
        update(effects).where(effects.c.id == bindparam("b_id")),
        [{"b_id": row.id, **_without_customer(row, ids, pseudonym)} for row in ended],
    )
    for begin in range(0, len(ended), _KEYS_PER_QUERY):
        chunk = [row.id for row in ended[begin : begin + _KEYS_PER_QUERY]]
        work.execute(update(delivery_attempts).where(delivery_attempts.c.effect_id.in_(chunk)).values(detail=None))
    forget_effect_subjects(work, [row.id for row in ended])
    in_flight = tuple(row.id for row in rows if row.is_open)
    return LedgerErasure(erased=len(ended), canceled=canceled, in_flight=in_flight)


def _without_customer(row: Row[Any], ids: ErasedIds, pseudonym: Callable[[str], str]) -> dict[str, Any]:
    """Return the columns of an effect that no longer name its customer."""
    is_named = row.customer and not row.customer.startswith(DELETED_CUSTOMER)
    name = pseudonym(row.customer) if is_named else row.customer
    return {
        "customer": name,
        "email": name,
        "ordering_key": name if row.customer else f"{DELETED_CUSTOMER}{row.id}",
        "detail": None if row.detail is None else ids.scrub(row.detail),
        "attributes": None if row.attributes is None else "{}",
        "payload": None,
        "summary": None if row.summary is None else ids.scrub(row.summary),
        "message_id": f"deleted-{row.id}" if ids.mentions(row.message_id) else row.message_id,
        "corrected_content": None if row.corrected_content is None else ids.scrub(row.corrected_content),
        "reason": SUBJECT_DELETED if row.state in (EffectState.PARKED, EffectState.REJECTED) else row.reason,
    }


def scrub_delivery_texts(work: Connection, ids: ErasedIds) -> int:
    """Replace the ids of subjects in conflicts and pauses; return the number of changed rows."""
    changed = scrub_columns(work, effect_conflicts, [effect_conflicts.c.content, effect_conflicts.c.message_id], ids)
    return changed + scrub_columns(work, destination_pauses, [destination_pauses.c.detail], ids)


@dataclass(frozen=True, kw_only=True)
class NamingTexts:
    """Texts of the ledger that name subjects, among the effects through an id.

    Attributes:
        effects: Id and text of effects.
        attempts: Effect, number and text of attempts.
        last_id: Of the effects looked at; None if there are no more.
    """

    effects: tuple[tuple[int, str], ...]
    attempts: tuple[tuple[int, int, str], ...]
    last_id: int | None


def find_naming_texts(work: Connection, ids: ErasedIds, *, after: int) -> NamingTexts:
    """Return which of the next effects have texts that name subjects. It only reads: the ledger may be large.

    Args:
        after: The id after which to continue.
    """
    next_ids = (
        select(effects.c.id).where(effects.c.id > after).order_by(effects.c.id).limit(_EFFECTS_AT_ONCE).subquery()
    )
    last_id = work.scalar(select(func.max(next_ids.c.id)))
    if last_id is None:
        return NamingTexts(effects=(), attempts=(), last_id=None)
    columns, attempts = effects.c, delivery_attempts.c
    texts = work.execute(
        select(columns.id, columns.detail).where(
            columns.id > after, columns.id <= last_id, columns.detail.contains("@")
        )
    )
    of_attempts = work.execute(
        select(attempts.effect_id, attempts.number, attempts.detail).where(
            attempts.effect_id > after, attempts.effect_id <= last_id, attempts.detail.contains("@")
        )
    )
    return NamingTexts(
        effects=tuple((row[0], row[1]) for row in texts if ids.mentions(row[1])),
        attempts=tuple((row[0], row[1], row[2]) for row in of_attempts if ids.mentions(row[2])),
        last_id=last_id,
    )


def scrub_naming_texts(work: Connection, ids: ErasedIds, texts: NamingTexts) -> None:
    """Replace the ids of subjects in these texts, unless they have changed since they were found."""
    for effect_id, text in texts.effects:
        work.execute(
            update(effects).where(effects.c.id == effect_id, effects.c.detail == text).values(detail=ids.scrub(text))
        )
    attempts = delivery_attempts.c
    for effect_id, number, text in texts.attempts:
        work.execute(
            update(delivery_attempts)
            .where(attempts.effect_id == effect_id, attempts.number == number, attempts.detail == text)
            .values(detail=ids.scrub(text))
        )


def _rows(work: Connection, effect_ids: Collection[int]) -> list[Row[Any]]:
    rows: list[Row[Any]] = []
    ordered = sorted(effect_ids)
    for begin in range(0, len(ordered), _KEYS_PER_QUERY):
        chunk = ordered[begin : begin + _KEYS_PER_QUERY]
        rows += work.execute(select(effects).where(effects.c.id.in_(chunk)).order_by(effects.c.id)).all()
    return rows


def erase_event_copies(
    work: Connection, effect_ids: Collection[int], *, now: datetime, cancels: bool = True
) -> LedgerErasure:
    """Delete the copies of events that effects carry; unsent ones with a copy are rejected first. Customers stay.

    Args:
        cancels: False to leave effects that are open, whether they were sent or not.
    """
    carrying = [row.id for row in _rows(work, effect_ids) if row.payload is not None]
    canceled = 0
    if cancels:
        canceled = cancel_unsent(
            work, carrying, reason=SUBJECT_DELETED, detail="the event was deleted before it was sent", now=now
        )
    rows = _rows(work, carrying)
    ended = [row.id for row in rows if not row.is_open]
    for begin in range(0, len(ended), _KEYS_PER_QUERY):
        chunk = ended[begin : begin + _KEYS_PER_QUERY]
        work.execute(update(effects).where(effects.c.id.in_(chunk)).values(payload=None))
    in_flight = tuple(row.id for row in rows if row.is_open)
    return LedgerErasure(erased=len(ended), canceled=canceled, in_flight=in_flight)


def of_source(work: Connection, effect_ids: Collection[int], source: str) -> set[int]:
    """Return those of the effects that events of a source have made."""
    return {row.id for row in _rows(work, effect_ids) if row.source == source}


def find_open_calls(work: Connection, ids: ErasedIds) -> set[int]:
    """Return the ids of the open effects that are ordered by a user or device, for those of subjects."""
    user_ids = ids.user_ids | ids.anonymous_ids
    rows = work.execute(select(effects.c.id, effects.c.ordering_key).where(effects.c.is_open == true()))
    return {row.id for row in rows if row.ordering_key.partition(":")[2].partition(":")[2] in user_ids}


def states_of(work: Connection, effect_ids: Collection[int]) -> list[EffectState]:
    """Return the states of effects."""
    return [EffectState(row.state) for row in _rows(work, effect_ids)]


def effects_about(work: Connection, effect_ids: Collection[int]) -> list[dict[str, Any]]:
    """Return effects with their attempts, oldest first."""
    rows = [dict(row._mapping) for row in _rows(work, effect_ids)]
    for row in rows:
        attempts = select(delivery_attempts).where(delivery_attempts.c.effect_id == row["id"])
        row["attempts"] = [dict(attempt._mapping) for attempt in work.execute(attempts)]
    return rows
