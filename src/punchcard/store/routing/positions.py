"""The position of a consumer in the log, and the results that the lake may still need.

Results are kept as long as their log records are: with both, rows that the lake has lost are made again.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, String, bindparam, delete, func, insert, literal, or_, select, update
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
_OF_PARTITIONS = log_positions.c.consumer.like(bindparam("b_consumer", type_=String).concat("/%"))
_LEAST = select(func.min(log_positions.c.position)).where(
    or_(log_positions.c.consumer == bindparam("b_consumer", type_=String), _OF_PARTITIONS),
    log_positions.c.position >= 0,
)
_DIVIDED = -1
"""The position of a consumer that is divided by partition since: no router of the whole log can advance it."""
_ADVANCE = BulkStatement(
    update(log_positions)
    .where(log_positions.c.consumer == bindparam("b_consumer"), log_positions.c.position == bindparam("b_expected"))
    .values(position=bindparam("b_to"))
)
_ADD_BATCH = BulkStatement(insert(result_batches), ["first_position", "last_position", "body", "partition"])


def position_of(work: Connection, consumer: str) -> int:
    """Return the log position through which a consumer has come, 0 at first; of its partitions, the least."""
    position: int | None = work.scalar(_LEAST, {"b_consumer": consumer})
    return position or 0


def consumer_of(consumer: str, partition: int | None) -> str:
    """Return the name of a consumer of one partition; without a partition, of the whole log."""
    return consumer if partition is None else f"{consumer}/{partition}"


def partition_positions(work: Connection, consumer: str = ROUTING) -> dict[int, int]:
    """Return the position of each partition of a divided log, by number; empty if the log is not divided."""
    rows = work.execute(
        select(log_positions.c.consumer, log_positions.c.position).where(_OF_PARTITIONS), {"b_consumer": consumer}
    )
    return dict(sorted((int(name.rpartition("/")[2]), position) for name, position in rows))


def furthest_position(work: Connection, consumer: str) -> int:
    """Return the highest position that a consumer has reached in any partition, 0 at first."""
    return max([stored_position(work, consumer) or 0, *partition_positions(work, consumer).values()])


def divide_routing(work: Connection) -> int:
    """Make the consumer of the whole log that of partition 0; return its position. Repeating it changes nothing.

    A worker that was frozen while it routed the whole log can never advance its position again.
    """
    work.execute(insert_into(work, log_positions).values(consumer=ROUTING, position=0).on_conflict_do_nothing())
    # Locked until this is committed: a router that is about to advance it comes before, or too late.
    position: int = work.scalars(_POSITION.with_for_update(), {"b_consumer": ROUTING}).one()
    if position == _DIVIDED:
        return partition_positions(work)[0]
    note_position(work, ROUTING, _DIVIDED)
    note_position(work, consumer_of(ROUTING, 0), position)
    return position


def add_partitions(work: Connection, positions: Mapping[int, int]) -> None:
    """Add the partitions that are missing, each with the position after which it has records."""
    for partition, position in positions.items():
        first = insert_into(work, log_positions).values(consumer=consumer_of(ROUTING, partition), position=position)
        work.execute(first.on_conflict_do_nothing())


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


def save_results(work: Connection, batch: ResultBatch, *, partition: int | None = None) -> None:
    """Keep a batch's results until the lake holds them.

    Raises:
        InvariantError: results of its first record are kept already: it was routed before.
    """
    first, last = batch.records[0].position, batch.records[-1].position
    try:
        row = {"first_position": first, "last_position": last, "body": encode_batch(batch), "partition": partition or 0}
        _ADD_BATCH.send(work, [row])
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
    """The kept batches that hold a position from `first` to `last`, in order; of a divided log they may overlap."""
    begin = select(func.max(result_batches.c.first_position)).where(result_batches.c.first_position <= first)
    if partitions := partition_positions(work):
        # In each partition the batch that holds the position begins before it.
        begins = [work.scalar(begin.where(result_batches.c.partition == partition)) for partition in partitions]
        holding: ColumnElement[int] = literal(min((number for number in begins if number is not None), default=0))
    else:
        holding = func.coalesce(begin.scalar_subquery(), 0)
    rows = work.execute(
        select(result_batches.c.body)
        .where(
            result_batches.c.first_position >= holding,
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
