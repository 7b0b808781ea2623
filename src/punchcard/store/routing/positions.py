"""The position of a consumer in the log, and the results that the lake may still need.

Results are kept as long as their log records are: with both, rows that the lake has lost are made again.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from punchcard.errors import InvariantError
from punchcard.store.bulk import BulkStatement
from punchcard.store.routing.event_results import ResultBatch, decode_batch, encode_batch
from punchcard.store.routing.schema import log_positions, result_batches
from punchcard.store.upsert import insert_into

ROUTING = "routing"
LAKE = "lake"
"""The consumer for the position through which the lake held everything when it was last written."""
SCHEMA = "schema"
"""The consumer for the position through which events are counted in the source schema."""


# Built once: building them costs more than running them.
_POSITION = select(log_positions.c.position).where(log_positions.c.consumer == bindparam("b_consumer"))
_ADVANCE = BulkStatement(
    update(log_positions)
    .where(log_positions.c.consumer == bindparam("b_consumer"), log_positions.c.position == bindparam("b_expected"))
    .values(position=bindparam("b_to"))
)
_ADD_BATCH = BulkStatement(insert(result_batches), ["first_position", "last_position", "body"])


def position_of(work: Connection, consumer: str) -> int:
    """Return the last log position with committed results, 0 at first."""
    return stored_position(work, consumer) or 0


def stored_position(work: Connection, consumer: str) -> int | None:
    """Return the position of a consumer, None if it has none yet."""
    position: int | None = work.scalar(_POSITION, {"b_consumer": consumer})
    return position


def advance(work: Connection, consumer: str, *, expected: int, to: int) -> bool:
    """Move the consumer from `expected` to `to`; False if it is not there: another process has moved it."""
    if expected == 0:
        # Two processes that start on an empty store together: the second finds the row of the first.
        first = insert_into(work, log_positions).values(consumer=consumer, position=to).on_conflict_do_nothing()
        if work.execute(first.returning(log_positions.c.consumer)).first() is not None:
            return True
    return _ADVANCE.execute(work, [{"b_consumer": consumer, "b_expected": expected, "b_to": to}]) == 1


def note_position(work: Connection, consumer: str, position: int) -> None:
    """Store the position of a consumer that keeps its position in its own storage."""
    noted = insert_into(work, log_positions).values(consumer=consumer, position=position)
    work.execute(noted.on_conflict_do_update(index_elements=["consumer"], set_={"position": position}))


def save_results(work: Connection, batch: ResultBatch) -> None:
    """Keep a batch's results until the lake holds them.

    Raises:
        InvariantError: results of its first record are kept already: it was routed before.
    """
    first, last = batch.records[0].position, batch.records[-1].position
    try:
        _ADD_BATCH.execute(work, [{"first_position": first, "last_position": last, "body": encode_batch(batch)}])
    except IntegrityError as error:
        raise InvariantError(f"log record {first} was routed twice: {error.orig}") from error


def results_after(work: Connection, position: int, *, batches_max: int) -> Sequence[ResultBatch]:
    """The oldest kept batches that reach behind a log position, in order."""
    # The batch that the position lies in begins before it; from there on the primary key leads.
    holding = select(func.max(result_batches.c.first_position)).where(result_batches.c.first_position <= position)
    rows = work.execute(
        select(result_batches.c.body)
        .where(
            result_batches.c.first_position >= func.coalesce(holding.scalar_subquery(), 0),
            result_batches.c.last_position > position,
        )
        .order_by(result_batches.c.first_position)
        .limit(batches_max)
    )
    return [decode_batch(row.body) for row in rows]


def results_between(work: Connection, first: int, last: int) -> Sequence[ResultBatch]:
    """The kept batches that hold a position from `first` to `last`, in order."""
    holding = select(func.max(result_batches.c.first_position)).where(result_batches.c.first_position <= first)
    rows = work.execute(
        select(result_batches.c.body)
        .where(
            result_batches.c.first_position >= func.coalesce(holding.scalar_subquery(), 0),
            result_batches.c.first_position <= last,
            result_batches.c.last_position >= first,
        )
        .order_by(result_batches.c.first_position)
    )
    return [decode_batch(row.body) for row in rows]


def first_kept_results(work: Connection) -> int | None:
    """The log position from which on results are kept, None if none are."""
    first: int | None = work.scalar(select(func.min(result_batches.c.first_position)))
    return first


def forget_results(work: Connection, through: int) -> None:
    """Drop the batches up to a log position."""
    work.execute(delete(result_batches).where(result_batches.c.last_position <= through))
