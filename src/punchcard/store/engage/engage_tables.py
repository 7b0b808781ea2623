"""Audiences and computed traits in the store: their state, their members, and the queue of their syncs."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    case,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)

from punchcard.store.bulk import execute_many
from punchcard.store.engage.profiles import chunks
from punchcard.store.engage.schema import (
    IS_WAITING,
    computation_sizes,
    computation_states,
    engage_requests,
    external_ids,
    profile_traits,
    sync_calls,
    sync_pauses,
    sync_queue,
)
from punchcard.store.stored_enum import StoredEnum
from punchcard.store.upsert import insert_into
from punchcard.store.values import storable

NOBODY = ("false", "null")
"""The values of those who are no members, or have no value any more."""

HOUR_MICROS = 3_600_000_000
_DETAIL_CHARACTERS_MAX = 500

SYNC_FAILED = "failed"
"""What a row waits for on which Punchcard itself failed: its next value, a resync, or the next start of Engage."""

SYNC_REFUSED = "refused"
"""What a row waits for if the destination's mapping refused its call: its next value or a resync."""

# Of rows with a value that cannot be sent, see `engage.call_size`. Without parameters, for `execute_many`.
_IS_REFUSED: ColumnElement[bool] = literal_column(
    "sync_queue.waits_for IN ('too_large', 'invalid', 'failed', 'refused')", Boolean
)


class Status(StoredEnum):
    """The status of a computation; words as Segment's."""

    PREPARING = "Preparing"  # waits for its first answer, or events are still read in
    COMPUTING = "Computing"  # its definition has changed: computed again
    LIVE = "Live"  # kept up to date
    DISABLED = "Disabled"  # switched off by somebody
    FAILED = "Failed"  # cannot be computed; the detail says why


@dataclass(frozen=True, kw_only=True)
class ComputationState:
    """The state of a computation.

    Attributes:
        fingerprint: Of the definition that the current results are of, "" for none yet.
        detail: A sentence for a person, "" for none.
        size: Members of an audience, people with a value of a trait.
        computed_at: For which moment its answers hold.
        checked_at: When all of it was last computed from scratch.
        differences: What all checks together have found wrong.
        last_sync: JSON of how it was synced last.
    """

    key: str
    kind: str
    fingerprint: str
    status: Status
    detail: str
    size: int
    computed_at: datetime | None
    checked_at: datetime | None
    differences: int
    created_at: datetime
    last_sync: str


@dataclass(frozen=True, kw_only=True)
class Due:
    """A profile that may have to be synced to a destination."""

    destination: str
    key: str
    profile_id: int
    queued_at: datetime
    is_resync: bool


@dataclass(frozen=True, kw_only=True)
class Request:
    """What App, API or command line asks of Engage."""

    id: str
    kind: str
    body: str


def states(work: Connection) -> list[ComputationState]:
    """All states, those of deleted computations too while a sync of them is pending."""
    return [
        ComputationState(**{**dict(row._mapping), "status": Status(row.status)})
        for row in work.execute(select(computation_states).order_by(computation_states.c.key))
    ]


def save_states(work: Connection, states: Sequence[ComputationState]) -> None:
    """Keep these states, each in the place of the one with its key."""
    for state in states:
        values = {name: getattr(state, name) for name in computation_states.c.keys()}  # noqa: SIM118
        added = insert_into(work, computation_states).values(**values)
        work.execute(added.on_conflict_do_update(index_elements=["key"], set_=values))


def save_size(work: Connection, key: str, *, size: int, at: datetime, bucket: datetime) -> None:
    """Note a size for its hour; the last of an hour stands."""
    added = insert_into(work, computation_sizes).values(key=key, bucket=bucket, size=size)
    work.execute(added.on_conflict_do_update(index_elements=["key", "bucket"], set_={"size": size}))


def sizes(work: Connection, key: str, *, since: datetime) -> list[tuple[datetime, int]]:
    """The sizes of a computation by the hour, oldest first; hours without a change are left out."""
    query = (
        select(computation_sizes.c.bucket, computation_sizes.c.size)
        .where(computation_sizes.c.key == key, computation_sizes.c.bucket >= since)
        .order_by(computation_sizes.c.bucket)
    )
    return [(row.bucket, row.size) for row in work.execute(query)]


def forget_state(work: Connection, key: str) -> None:
    """Drop what is kept of a computation that is deleted."""
    work.execute(delete(computation_states).where(computation_states.c.key == key))
    work.execute(delete(computation_sizes).where(computation_sizes.c.key == key))


def enqueue(work: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Queue people: `destination`, `key`, `profile_id`, `queued_at`, `due_at`, perhaps `waits_for`.

    A profile that waits keeps waiting, but no longer than the new row would, and not for another value: this is one.
    """
    added = insert_into(work, sync_queue)
    waits = sync_queue.c.waits_for
    execute_many(
        work,
        added.on_conflict_do_update(
            index_elements=["destination", "key", "profile_id"],
            set_={
                "due_at": case(
                    (added.excluded.due_at < sync_queue.c.due_at, added.excluded.due_at), else_=sync_queue.c.due_at
                ),
                "waits_for": case((_IS_REFUSED, added.excluded.waits_for), else_=waits),
            },
            where=(added.excluded.due_at < sync_queue.c.due_at) | _IS_REFUSED,
        ),
        rows,
    )


def enqueue_everybody(work: Connection, *, destination: str, key: str, at: datetime, is_resync: bool = False) -> int:
    """Queue everybody who has a value; returns how many are queued for it now."""
    everybody = select(
        literal(destination),
        literal(key),
        profile_traits.c.profile_id,
        literal(at, sync_queue.c.queued_at.type),
        literal(at, sync_queue.c.due_at.type),
        literal(is_resync),
    ).where(profile_traits.c.name == key, profile_traits.c.computation != "", profile_traits.c.value.not_in(NOBODY))
    columns = ["destination", "key", "profile_id", "queued_at", "due_at", "is_resync"]
    added = insert_into(work, sync_queue).from_select(columns, everybody)
    work.execute(
        added.on_conflict_do_update(
            index_elements=["destination", "key", "profile_id"],
            set_={
                "is_resync": added.excluded.is_resync,
                "waits_for": case((_IS_REFUSED, literal_column("''")), else_=sync_queue.c.waits_for),
            },
        )
        if is_resync
        else added.on_conflict_do_nothing()
    )
    return queued(work, destination=destination, key=key)


def queued(work: Connection, *, destination: str, key: str | None = None) -> int:
    """Return the number of profiles that wait for a sync to a destination."""
    query = select(func.count()).where(sync_queue.c.destination == destination, sync_queue.c.waits_for == "")
    if key is not None:
        query = query.where(sync_queue.c.key == key)
    return int(work.scalar(query) or 0)


def queue_sizes(work: Connection) -> dict[tuple[str, str, str], int]:
    """Return how many wait, by destination, key and what they wait for ("" for their turn)."""
    place = (sync_queue.c.destination, sync_queue.c.key)
    waiting = (*place, sync_queue.c.waits_for)
    # Two indexes are read, and no row: a queue may have millions of them.
    rows = work.execute(select(*waiting, func.count()).where(IS_WAITING).group_by(*waiting))
    sizes = {(row[0], row[1], row[2]): row[3] for row in rows}
    others: Counter[tuple[str, str]] = Counter()
    for (destination, key, _), number in sizes.items():
        others[destination, key] += number
    for destination, key, number in work.execute(select(*place, func.count()).group_by(*place)):
        if number > others[destination, key]:
            sizes[destination, key, ""] = number - others[destination, key]
    return sizes


def due(work: Connection, *, destination: str, at: datetime, limit: int) -> list[Due]:
    """Return the next profiles to sync to a destination, longest due first."""
    query = (
        select(sync_queue)
        .where(sync_queue.c.waits_for == "", sync_queue.c.destination == destination, sync_queue.c.due_at <= at)
        .order_by(sync_queue.c.due_at, sync_queue.c.queued_at)
        .limit(limit)
    )
    return [
        Due(
            destination=row.destination,
            key=row.key,
            profile_id=row.profile_id,
            queued_at=row.queued_at,
            is_resync=row.is_resync,
        )
        for row in work.execute(query)
    ]


def advance_due(
    work: Connection, *, destination: str, keys: Collection[str], is_excluding: bool, beyond: datetime, at: datetime
) -> int:
    """Make rows due at `at` that are due after `beyond`: no row waits so long, so their clock was wrong.

    Args:
        keys: The only computations that are looked at; with `is_excluding`, all others are.

    Returns:
        How many there were.
    """
    chosen = sync_queue.c.key.not_in(keys) if is_excluding else sync_queue.c.key.in_(keys)
    advanced = (
        update(sync_queue)
        .where(
            sync_queue.c.waits_for == "",
            sync_queue.c.destination == destination,
            sync_queue.c.due_at > beyond,
            chosen,
        )
        .values(due_at=at)
    )
    return work.execute(advanced).rowcount


def dequeue(work: Connection, due: Due, *, waits_for: str | None = None, due_at: datetime | None = None) -> None:
    """Take somebody from the queue, or let them wait for something or longer."""
    where = (
        sync_queue.c.destination == due.destination,
        sync_queue.c.key == due.key,
        sync_queue.c.profile_id == due.profile_id,
    )
    if waits_for is not None:
        work.execute(update(sync_queue).where(*where).values(waits_for=waits_for))
    elif due_at is not None:
        work.execute(update(sync_queue).where(*where).values(due_at=due_at))
    else:
        work.execute(delete(sync_queue).where(*where))


def hold_failed(work: Connection, due: Due, detail: str) -> None:
    """Sync nothing more of somebody for now, because Punchcard fails on it."""
    dequeue(work, due, waits_for=SYNC_FAILED)
    _explain(work, due.destination, due.key, due.profile_id, detail=detail, waits_for=SYNC_FAILED)


def explain_refusal(work: Connection, destination: str, key: str, profile_id: int, *, detail: str) -> None:
    """Keep why a destination's mapping refused a call."""
    _explain(work, destination, key, profile_id, detail=detail, waits_for=SYNC_REFUSED)


def _explain(work: Connection, destination: str, key: str, profile_id: int, *, detail: str, waits_for: str) -> None:
    work.execute(
        update(sync_queue)
        .where(
            sync_queue.c.destination == destination,
            sync_queue.c.key == key,
            sync_queue.c.profile_id == profile_id,
            sync_queue.c.waits_for == waits_for,
        )
        .values(detail=storable(detail)[:_DETAIL_CHARACTERS_MAX])
    )


def retry_failed(work: Connection) -> None:
    """Sync again what failed: this may be a version of Punchcard that does not fail on it."""
    work.execute(update(sync_queue).where(sync_queue.c.waits_for == SYNC_FAILED).values(waits_for=""))


def last_failure(work: Connection, *, destination: str, key: str, waits_for: str = SYNC_FAILED) -> str:
    """Why the newest row of a computation failed, or was refused; "" for none."""
    columns = sync_queue.c
    newest = select(columns.detail).where(
        columns.destination == destination, columns.key == key, columns.waits_for == waits_for
    )
    return work.scalar(newest.order_by(columns.due_at.desc()).limit(1)) or ""


def wake(work: Connection, profile_ids: Collection[int], *, waits_for: str) -> None:
    """Make these profiles due, which have waited for something that is there now."""
    for ids in chunks(profile_ids):
        work.execute(
            update(sync_queue)
            .where(sync_queue.c.profile_id.in_(ids), sync_queue.c.waits_for == waits_for)
            .values(waits_for="")
        )


def newest_email(work: Connection, profile_id: int) -> str | None:
    """The email that came to a profile last."""
    return work.scalar(
        select(external_ids.c.value)
        .where(external_ids.c.profile_id == profile_id, external_ids.c.type == "email")
        .order_by(external_ids.c.created_at.desc(), external_ids.c.value)
        .limit(1)
    )


def add_calls(work: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep calls until the event log has them: `message_id`, `destination`, `body`, `created_at`."""
    if rows:
        work.execute(insert(sync_calls), list(rows))


def waiting_calls(work: Connection, limit: int) -> list[tuple[str, str, str]]:
    """Calls that the event log may not have yet: message id, destination, JSON text."""
    in_order = (sync_calls.c.created_at, func.length(sync_calls.c.message_id), sync_calls.c.message_id)
    query = select(sync_calls).order_by(*in_order).limit(limit)
    return [(row.message_id, row.destination, row.body) for row in work.execute(query)]


def forget_calls(work: Connection, message_ids: Collection[str]) -> None:
    """Drop calls that the event log has."""
    for ids in chunks(message_ids):
        work.execute(delete(sync_calls).where(sync_calls.c.message_id.in_(ids)))


def pauses(work: Connection) -> dict[str, datetime]:
    """The destinations that somebody has paused, and since when."""
    return {row.destination: row.since for row in work.execute(select(sync_pauses))}


def pause(work: Connection, destination: str, *, at: datetime, actor: str) -> None:
    """Tell a destination nothing until `resume`."""
    added = insert_into(work, sync_pauses).values(destination=destination, since=at, actor=actor)
    work.execute(added.on_conflict_do_nothing())


def resume(work: Connection, destination: str) -> None:
    """Go on telling a destination."""
    work.execute(delete(sync_pauses).where(sync_pauses.c.destination == destination))


def add_request(work: Connection, request: Request, *, at: datetime) -> None:
    """Add a request to Engage."""
    values = {"id": request.id, "kind": request.kind, "body": request.body, "created_at": at}
    work.execute(insert(engage_requests).values(**values))


def open_requests(work: Connection) -> list[Request]:
    """Return the requests without a result, oldest first."""
    query = select(engage_requests).where(engage_requests.c.result.is_(None)).order_by(engage_requests.c.created_at)
    return [Request(id=row.id, kind=row.kind, body=row.body) for row in work.execute(query)]


def save_result(work: Connection, request_id: str, text: str) -> None:
    """Save the result of a request; JSON text."""
    work.execute(update(engage_requests).where(engage_requests.c.id == request_id).values(result=text))


def result_of(work: Connection, request_id: str) -> str | None:
    """Return the result of a request, None if there is none yet."""
    return work.scalar(select(engage_requests.c.result).where(engage_requests.c.id == request_id))


def forget_requests(work: Connection, *, before: datetime) -> None:
    """Delete requests older than a time, with or without a result."""
    work.execute(delete(engage_requests).where(engage_requests.c.created_at < before))
