"""What lists and pages say of audiences and traits: sizes over time, and how destinations took what they were told."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Connection, and_, func, literal, select, true, type_coerce, union_all

from punchcard.clock import to_micros
from punchcard.store.ledger import sets_property
from punchcard.store.schema import EffectState, effects
from punchcard.store.schema_engage import IS_TOLD, computation_sizes, computation_states, synced
from punchcard.store.waiting import NO_CONNECTION


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one destination took what it was told of one computation.

    Attributes:
        told: People of whom it was told last that they are members, or a value.
        no_connection: Calls that wait for the partner to know the customer.
        retrying: Calls that have failed and are tried again.
        parked: Calls that need a person.
        rejected: Calls that the partner has refused for good.
    """

    told: int
    no_connection: int
    retrying: int
    parked: int
    rejected: int


def outcome_of(work: Connection, key: str, *, destination: str, source: str) -> Outcome:
    """How a destination took what it was told of a computation.

    Args:
        source: Of the calls: the destination's own.
    """
    people = select(func.count(synced.c.profile_id.distinct())).where(
        synced.c.destination == destination, synced.c.key == key, IS_TOLD
    )
    own = (effects.c.destination == destination, effects.c.source == source, sets_property(key))
    parts = [
        select(effects.c.state, effects.c.reason, func.count().label("calls"))
        .where(*own, chosen)
        .group_by(effects.c.state, effects.c.reason)
        for chosen in (
            and_(effects.c.is_open == true(), effects.c.state == EffectState.RETRYING),
            effects.c.state.in_([EffectState.PARKED, EffectState.REJECTED]),
        )
    ]
    calls: Counter[str] = Counter()
    for row in work.execute(union_all(*parts)):
        is_waiting = row.reason == NO_CONNECTION and row.state != EffectState.REJECTED
        calls[NO_CONNECTION if is_waiting else row.state] += row.calls
    return Outcome(
        told=work.scalar(people) or 0,
        no_connection=calls[NO_CONNECTION],
        retrying=calls[EffectState.RETRYING],
        parked=calls[EffectState.PARKED],
        rejected=calls[EffectState.REJECTED],
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
