"""What lists and pages say of audiences and traits: sizes over time, and how destinations took what they were told."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Connection, and_, func, literal, select, type_coerce

from punchcard.clock import to_micros
from punchcard.store.schema_engage import computation_sizes, computation_states


def sizes_of_all(
    work: Connection, *, since: datetime, until: datetime, step: timedelta
) -> Mapping[str, Sequence[tuple[datetime, int]]]:
    """The sizes of every computation by key, oldest first, in one statement.

    The first of each is the one that stood when the time began, if it is known. Of each stretch only the last is
    there: what is shown small needs no more.

    Args:
        since: Where the time begins.
        until: Where it ends; stretches are counted from here.
        step: How long a stretch is.
    """
    sizes = computation_sizes.c
    other = computation_sizes.alias()
    standing = (
        select(func.max(other.c.bucket))
        .where(other.c.key == computation_states.c.key, other.c.bucket <= since)
        .scalar_subquery()
    )
    age = literal(to_micros(until), BigInteger) - type_coerce(sizes.bucket, BigInteger)
    stretch = age // literal(step // timedelta(microseconds=1), BigInteger)
    newest = func.row_number().over(partition_by=(sizes.key, stretch), order_by=sizes.bucket.desc())
    ranked = (
        select(sizes.key, sizes.bucket, sizes.size, newest.label("rank"))
        .select_from(computation_states)
        .outerjoin(  # so that SQLite begins with the few keys, and finds the sizes of each by the index
            computation_sizes,
            and_(
                sizes.key == computation_states.c.key,
                sizes.bucket >= func.coalesce(standing, literal(since, sizes.bucket.type)),
            ),
        )
        .subquery()
    )
    wanted = select(ranked).where(ranked.c.rank == 1).order_by(ranked.c.key, ranked.c.bucket)
    found: dict[str, list[tuple[datetime, int]]] = {}
    for row in work.execute(wanted):
        if row.key is not None:
            found.setdefault(row.key, []).append((row.bucket, row.size))
    return found
