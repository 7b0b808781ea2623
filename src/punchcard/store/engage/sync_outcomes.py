"""What lists and pages say of audiences and traits: sizes over time, and the outcomes of their syncs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Connection,
    column,
    func,
    select,
    true,
    type_coerce,
    union_all,
    values,
)

from punchcard.clock import from_micros, to_micros
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.sync_results import FailedSync, count_failing_calls, failed_syncs
from punchcard.store.delivery.unknown_customers import NO_CONNECTION
from punchcard.store.engage.schema import HAS_VALUE, computation_sizes, computation_states, synced
from punchcard.store.engage.sync_accounts import current_account


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
    _, digest = current_account(work, destination)
    people = select(func.count(synced.c.profile_id.distinct())).where(
        synced.c.destination == destination, synced.c.key == key, HAS_VALUE, synced.c.account == digest
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


def sizes_over_time(
    work: Connection, keys: Sequence[str], *, since: datetime, until: datetime, step: timedelta
) -> Mapping[str, Sequence[tuple[datetime, int]]]:
    """The sizes of computations by key, oldest first, in one statement.

    The first of each is the one that stood when the time began, if it is known. Of each stretch only the last is
    there: what is shown small needs no more.

    Args:
        since: Where the time begins.
        until: Where it ends; stretches are counted from here.
        step: How long a stretch is.
    """
    sizes, other = computation_sizes.c, computation_sizes.alias()
    step_micros, until_micros = step // timedelta(microseconds=1), to_micros(until)
    ends = range(until_micros, to_micros(since), -step_micros)
    stretches = values(column("ends_at", BigInteger), name="ends").data([(end,) for end in ends]).cte("stretches")
    # Each found by the index: a computation has a size for every hour, and few of them are shown.
    other_at = type_coerce(other.c.bucket, BigInteger)
    last = select(func.max(other_at)).where(
        other.c.key == computation_states.c.key,
        other_at <= stretches.c.ends_at,
        other_at > stretches.c.ends_at - step_micros,
    )
    older = select(func.max(other_at)).where(other.c.key == computation_states.c.key, other_at <= to_micros(since))
    chosen = union_all(
        select(computation_states.c.key, last.scalar_subquery().label("bucket"))
        .select_from(computation_states.join(stretches, true()))
        .where(computation_states.c.key.in_(keys)),
        select(computation_states.c.key, older.scalar_subquery()).where(computation_states.c.key.in_(keys)),
    ).subquery()
    size = select(sizes.size).where(sizes.key == chosen.c.key, type_coerce(sizes.bucket, BigInteger) == chosen.c.bucket)
    # Not a join: SQLite would begin with the sizes, and read all of them.
    query = select(chosen.c.key, chosen.c.bucket, size.scalar_subquery()).where(chosen.c.bucket.is_not(None)).distinct()
    sizes_by_key: dict[str, list[tuple[datetime, int]]] = {}
    for key, bucket, number in sorted(map(tuple, work.execute(query))):
        sizes_by_key.setdefault(key, []).append((from_micros(bucket), number))
    return sizes_by_key
