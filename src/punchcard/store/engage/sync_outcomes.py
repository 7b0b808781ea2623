"""What lists and pages say of audiences and traits: sizes over time, and the outcomes of their syncs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Connection,
    and_,
    func,
    literal,
    select,
    type_coerce,
)

from punchcard.clock import to_micros
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.sync_results import FailedSync, count_failing_calls, failed_syncs
from punchcard.store.delivery.waiting import NO_CONNECTION
from punchcard.store.engage.schema import HAS_VALUE, computation_sizes, computation_states, synced


@dataclass(frozen=True, kw_only=True)
class SyncOutcome:
    """The outcome of the syncs of one computation to one destination.

    Attributes:
        synced: Profiles of which the last synced value is a membership, or a value.
        no_connection: Calls that wait for the partner to know the customer.
        retrying: Calls that have failed and are tried again.
        parked: Calls that need attention.
        rejected: Calls that the partner has refused for good.
        failed: The newest values that the destination does not have because of that, at most `FAILED_MAX`.
    """

    synced: int
    no_connection: int
    retrying: int
    parked: int
    rejected: int
    failed: Sequence[FailedSync] = ()


def outcome_of(work: Connection, key: str, *, destination: str, source: str) -> SyncOutcome:
    """Return the outcome of the syncs of a computation to a destination.

    Args:
        source: Of the calls: the destination's own.
    """
    people = select(func.count(synced.c.profile_id.distinct())).where(
        synced.c.destination == destination, synced.c.key == key, HAS_VALUE
    )
    calls = count_failing_calls(work, key, destination=destination, source=source)
    return SyncOutcome(
        synced=work.scalar(people) or 0,
        no_connection=calls[NO_CONNECTION],
        retrying=calls[EffectState.RETRYING],
        parked=calls[EffectState.PARKED],
        rejected=calls[EffectState.REJECTED],
        failed=failed_syncs(work, key, destination=destination, source=source)
        if calls[EffectState.PARKED] or calls[EffectState.REJECTED]
        else (),
    )


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
    older_size = (
        select(func.max(other.c.bucket))
        .where(other.c.key == computation_states.c.key, other.c.bucket <= since)
        .scalar_subquery()
    )
    age = literal(to_micros(until), BigInteger) - type_coerce(sizes.bucket, BigInteger)
    stretch = age // literal(step // timedelta(microseconds=1), BigInteger)
    # In the order of the index, so that nothing is sorted.
    following = func.lead(stretch).over(partition_by=sizes.key, order_by=sizes.bucket)
    ranked = (
        select(sizes.key, sizes.bucket, sizes.size, stretch.label("stretch"), following.label("following"))
        .select_from(computation_states)
        .outerjoin(  # so that SQLite begins with the few keys, and finds the sizes of each by the index
            computation_sizes,
            and_(
                sizes.key == computation_states.c.key,
                sizes.bucket >= func.coalesce(older_size, literal(since, sizes.bucket.type)),
            ),
        )
        .subquery()
    )
    query = (
        select(ranked.c.key, ranked.c.bucket, ranked.c.size)
        .where(ranked.c.following.is_distinct_from(ranked.c.stretch))
        .order_by(ranked.c.key, ranked.c.bucket)
    )
    sizes_by_key: dict[str, list[tuple[datetime, int]]] = {}
    for row in work.execute(query):
        if row.key is not None:
            sizes_by_key.setdefault(row.key, []).append((row.bucket, row.size))
    return sizes_by_key
