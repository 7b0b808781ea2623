"""Reading the ledger: one row per effect for ever, with its attempts, for traces, lists and refunds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    String,
    and_,
    func,
    literal_column,
    not_,
    or_,
    select,
    true,
    type_coerce,
)

from punchcard.clock import to_micros
from punchcard.events.commerce import id_variants
from punchcard.store.delivery.effects import DISMISSED_REASONS, UNCERTAIN_REASONS, EffectState, StoredEffect, effect_of
from punchcard.store.delivery.schema import (
    BEGIN_OF_EVENT_NAME,
    HAS_NO_CONNECTION,
    IS_OPEN,
    NAME_CHARACTERS_MAX,
    delivery_attempts,
    effects,
)
from punchcard.store.delivery.unknown_customers import IS_BEHIND_UNKNOWN_CUSTOMER, IS_WITHOUT_UNKNOWN_CUSTOMER
from punchcard.store.routing.event_results import EventStatus
from punchcard.store.routing.replayed_events import replayed_messages
from punchcard.store.values import storable

_OVERTAKING_MAX = 10_000
_OPEN_READ_MAX = 100_000
_IDS_PER_QUERY = 400  # below SQLite's limit of bound variables, also on old builds


@dataclass(frozen=True, kw_only=True)
class StoredAttempt:
    """An HTTP call made for an effect."""

    effect_id: int
    number: int
    action: str
    started_at: datetime
    finished_at: datetime | None
    status: int | None
    outcome: str | None
    detail: str | None


def earning_messages(work: Connection, message_ids: Sequence[str]) -> list[str]:
    """Return those of the message ids of which the events have an award that was not rejected, in the order given."""
    earning: set[str] = set()
    ids = [storable(message_id) for message_id in message_ids]
    for begin in range(0, len(ids), _IDS_PER_QUERY):
        portion = ids[begin : begin + _IDS_PER_QUERY]
        earning |= set(
            work.scalars(
                select(effects.c.message_id).where(
                    effects.c.message_id.in_(portion),
                    effects.c.item.is_not(None),
                    effects.c.state != EffectState.REJECTED,
                )
            )
        )
    return [message_id for message_id in message_ids if storable(message_id) in earning]


def effects_of_message(work: Connection, message_id: str) -> list[StoredEffect]:
    """Every effect that events with this message id made: at most one a source and destination for ever."""
    return [
        effect_of(row)
        for row in work.execute(select(effects).where(effects.c.message_id == message_id).order_by(effects.c.id))
    ]


def effect_by_key(work: Connection, destination: str, effect_key: str) -> StoredEffect | None:
    """The effect under a key, None if there is none."""
    row = work.execute(
        select(effects).where(effects.c.destination == destination, effects.c.effect_key == effect_key)
    ).one_or_none()
    return None if row is None else effect_of(row)


def attempts_of(work: Connection, effect_ids: Sequence[int]) -> dict[int, list[StoredAttempt]]:
    """Return the attempts of each effect in order."""
    attempts: dict[int, list[StoredAttempt]] = {effect_id: [] for effect_id in effect_ids}
    statement = (
        select(delivery_attempts)
        .where(delivery_attempts.c.effect_id.in_(effect_ids))
        .order_by(delivery_attempts.c.effect_id, delivery_attempts.c.number)
    )
    for row in work.execute(statement):
        attempt = StoredAttempt(**row._mapping)
        attempts[attempt.effect_id].append(attempt)
    return attempts


@dataclass(frozen=True, kw_only=True)
class LedgerQuery:
    """A filter of a destination's ledger; None and () match all.

    Attributes:
        customer: An email in any case.
        statuses: Only rows with one of these statuses, as they are shown to people.
        begin: Of events received from here on.
        end: And before this.
        without_reason: All but those with this reason.
        sets: Only effects that set this attribute.
        source: With `sets`: only of this source.
    """

    destination: str
    customer: str | None = None
    states: Sequence[EffectState] = ()
    statuses: Sequence[EventStatus] = ()
    reason: str | None = None
    without_reason: str | None = None
    sets: str | None = None
    source: str | None = None
    event_name: str | None = None
    order_id: str | None = None
    begin: datetime | None = None
    end: datetime | None = None


def page(work: Connection, query: LedgerQuery, *, count: int, before_id: int | None = None) -> list[StoredEffect]:
    """A page of the ledger, newest first."""
    statement = _filtered(select(effects), query)
    if (first := _first_id(work, query)) is not None:
        statement = statement.where(effects.c.id >= first)
    if before_id is not None:
        statement = statement.where(effects.c.id < before_id)
    # An order has few rows: sorting them is cheaper than looking for them in the order of the ledger, as SQLite would.
    rank = effects.c.id if query.order_id is None else effects.c.id + 0
    return [effect_of(row) for row in work.execute(statement.order_by(rank.desc()).limit(count))]


def _first_id(work: Connection, query: LedgerQuery) -> int | None:
    """Return a lower bound of the ids of a period: ids rise as events are received, but for a few."""
    if query.begin is None:
        return None
    columns = effects.c
    first = work.scalar(
        select(columns.id)
        .where(columns.destination == query.destination, columns.received_at >= query.begin)
        .order_by(columns.received_at)
        .limit(1)
    )
    return None if first is None else max(0, first - _OVERTAKING_MAX)


def count(work: Connection, query: LedgerQuery, *, at_most: int | None = None) -> int:
    """Return the number of rows that match; counts no further than `at_most`."""
    if at_most is None:
        return work.scalar(_filtered(select(func.count()), query)) or 0
    limited = _filtered(select(effects.c.id), query).limit(at_most).subquery()
    return work.scalar(select(func.count()).select_from(limited)) or 0


def ids(work: Connection, query: LedgerQuery, *, after_id: int = 0, limit: int | None = None) -> list[int]:
    """Return the ids of the rows that match, oldest first."""
    statement = _filtered(select(effects.c.id), query).where(effects.c.id > after_id)
    return list(work.scalars(statement.order_by(effects.c.id).limit(limit)))


def own_ids(work: Connection, destination: str, effect_ids: Sequence[int]) -> list[int]:
    """Return those of the ids that are the destination's, oldest first."""
    ids: list[int] = []
    for begin in range(0, len(effect_ids), _IDS_PER_QUERY):
        chunk = effect_ids[begin : begin + _IDS_PER_QUERY]
        ids += work.scalars(select(effects.c.id).where(effects.c.destination == destination, effects.c.id.in_(chunk)))
    return sorted(ids)


def customers_like(work: Connection, text: str, *, limit: int) -> list[str]:
    """Return the customers of the ledger with an email that begins with the text, in order."""
    customers: dict[str, None] = {}
    begin = text.strip().lower()
    for destination in destinations_with_effects(work):
        condition = and_(
            effects.c.destination == destination,
            effects.c.customer != "",  # effects that are not about a customer
            effects.c.customer < begin + "\U0010ffff",
        )
        # Each by the one before, so that the index is entered once per customer, however many effects one has.
        customer = work.scalar(select(func.min(effects.c.customer)).where(condition, effects.c.customer >= begin))
        for _ in range(limit):
            if customer is None:
                break
            customers[customer] = None
            customer = work.scalar(select(func.min(effects.c.customer)).where(condition, effects.c.customer > customer))
    return sorted(customers)[:limit]


def destinations_with_effects(work: Connection) -> list[str]:
    """Return the slugs of all destinations in the ledger, by one look into the index for each."""
    slugs: list[str] = []
    query = select(func.min(effects.c.destination))
    slug = work.scalar(query)
    while slug is not None:
        slugs.append(slug)
        slug = work.scalar(query.where(effects.c.destination > slug))
    return slugs


def needing_a_person(
    work: Connection,
    *,
    destination: str | None = None,
    reason: str | None = None,
    message_ids: Sequence[str] = (),
) -> list[StoredEffect]:
    """Parked and rejected effects that match, oldest first: what `punchcard retry` shows."""
    statement = select(effects).where(
        effects.c.state.in_([EffectState.PARKED, EffectState.REJECTED]), not_(is_superseded())
    )
    if reason is None and not message_ids:
        # What an operator has dismissed comes back only by its reason or message id.
        statement = statement.where(or_(effects.c.reason.is_(None), effects.c.reason.not_in(DISMISSED_REASONS)))
    if destination is not None:
        statement = statement.where(effects.c.destination == destination)
    if reason is not None:
        statement = statement.where(effects.c.reason == reason)
    if message_ids:
        statement = statement.where(effects.c.message_id.in_(message_ids))
    return [effect_of(row) for row in work.execute(statement.order_by(effects.c.id))]


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """The outbox of one destination in numbers, for metrics."""

    destination: str
    state: EffectState
    count: int
    oldest_created_at: datetime


def backlog(work: Connection, destinations: Sequence[str]) -> list[Backlog]:
    """Return what is open or parked, by destination and state; 3 µs for each parked effect."""
    parked = _count_backlog(work, destinations, effects.c.state == EffectState.PARKED)
    return [*open_backlog(work, destinations), *parked]


def open_backlog(
    work: Connection, destinations: Sequence[str], *, with_unknown_customers: bool = True
) -> list[Backlog]:
    """Return what is open, by destination and state. Reads only the index of open effects, so it stays cheap.

    Args:
        with_unknown_customers: False for all but what waits for a customer to be known.
    """
    if with_unknown_customers:
        return _count_backlog(work, destinations, IS_OPEN)
    return _count_backlog(work, destinations, and_(IS_OPEN, IS_WITHOUT_UNKNOWN_CUSTOMER))


def _count_backlog(work: Connection, destinations: Sequence[str], condition: ColumnElement[bool]) -> list[Backlog]:
    counted = (
        select(effects.c.destination, effects.c.state, func.count(), func.min(effects.c.created_at))
        .where(effects.c.destination.in_(destinations), condition)
        .group_by(effects.c.destination, effects.c.state)
    )
    return [
        Backlog(destination=destination, state=EffectState(state), count=number, oldest_created_at=oldest)
        for destination, state, number, oldest in work.execute(counted)
    ]


def oldest_open(work: Connection, destination: str) -> StoredEffect | None:
    """Return the effect of the destination that was planned first of those in the outbox, None if there is none.

    What waits for a customer whom the partner does not know may wait for ever, and is left out.
    """
    # Both by their small indexes. In this order SQLite reads that of open effects; by id it would search the whole
    # ledger for one.
    unknown = select(effects.c.id).where(effects.c.destination == destination, HAS_NO_CONNECTION)
    queued = (
        select(effects.c.id)
        .where(effects.c.destination == destination, effects.c.is_open == true(), effects.c.id.not_in(unknown))
        .order_by(effects.c.due_at, effects.c.id)
        .limit(_OPEN_READ_MAX)
        .subquery()
    )
    first_id = work.scalar(select(func.min(queued.c.id)))
    if first_id is None:
        return None
    # Seldom, and then of each: looking at the rows of a long queue would take longer than all the rest of a page.
    if work.scalar(select(effects.c.id).where(effects.c.id == first_id, IS_BEHIND_UNKNOWN_CUSTOMER)) is not None:
        others = effects.c.id.in_(select(queued.c.id))
        first_id = work.scalar(select(func.min(effects.c.id)).where(others, IS_WITHOUT_UNKNOWN_CUSTOMER))
    row = work.execute(select(effects).where(effects.c.id == first_id)).first()
    return None if row is None else effect_of(row)


def first_created_at(work: Connection, destination: str) -> datetime | None:
    """Return when the first effect of the destination was planned, None if there is none."""
    first: datetime | None = work.scalar(
        select(effects.c.created_at).where(effects.c.destination == destination).order_by(effects.c.id).limit(1)
    )
    return first


def is_superseded() -> ColumnElement[bool]:
    """Return the condition that a row was not sent for good, and that another content was given instead."""
    return and_(
        effects.c.state == EffectState.REJECTED,
        effects.c.corrected_content.is_not(None),
        func.coalesce(effects.c.reason, "").not_in(UNCERTAIN_REASONS),
    )


def sets_attribute(name: str, table: FromClause = effects) -> ColumnElement[bool]:
    """Return the condition that a row of the ledger (`table`: of an alias of it) sets this attribute; each sets one."""
    begin = json.dumps({name: 0}).removesuffix("0}")
    return func.substr(table.c.attributes, 1, len(begin)) == begin


def _has_status(statuses: Sequence[EventStatus]) -> ColumnElement[bool]:
    """The condition that a row has one of the statuses, as `traces.trace.current_status` derives them.

    An effect that is being sent is pending during its first attempt, and retrying from the second one on.
    """
    columns = effects.c
    conditions: list[ColumnElement[bool]] = [columns.state.in_([EffectState(status) for status in statuses])]
    is_sending = columns.state == EffectState.SENDING
    if EventStatus.PENDING in statuses:
        conditions.append(and_(is_sending, columns.attempts <= 1))
    if EventStatus.RETRYING in statuses:
        conditions.append(and_(is_sending, columns.attempts > 1))
    return or_(*conditions)


def _filtered(statement: Select[*tuple[Any, ...]], query: LedgerQuery) -> Select[*tuple[Any, ...]]:
    columns = effects.c
    statement = statement.where(columns.destination == query.destination)
    if query.customer is not None:
        statement = statement.where(columns.customer == query.customer.strip().lower())
    if query.states:
        statement = statement.where(columns.state.in_(list(query.states)))
    if query.statuses:
        statement = statement.where(_has_status(query.statuses))
    if query.order_id is not None:
        statement = statement.where(columns.order_id.in_(id_variants(query.order_id)))
    states = (*query.states, *(EffectState(status) for status in query.statuses))
    # What failed is a small part of the ledger, and one event may be a half of it.
    is_of_failed = bool(states) and set(states) <= {EffectState.PARKED, EffectState.REJECTED}
    if query.reason is not None:
        statement = statement.where((columns.reason.concat("") if is_of_failed else columns.reason) == query.reason)
    if query.event_name is not None:
        begin: ColumnElement[str] = literal_column(BEGIN_OF_EVENT_NAME, String)
        if is_of_failed or len(query.event_name) >= NAME_CHARACTERS_MAX:
            statement = statement.where(columns.event_name.concat("") == query.event_name)
        if not is_of_failed:  # the beginning of a short name is all of it, and in the index
            statement = statement.where(begin == query.event_name[:NAME_CHARACTERS_MAX])
    if query.without_reason is not None:
        statement = statement.where(columns.reason.is_distinct_from(query.without_reason))
    if query.sets is not None:
        # The first condition is that of an index, which elsewhere is larger than what is asked for.
        statement = statement.where(columns.attributes.is_not(None), sets_attribute(query.sets))
        if query.source is not None:
            statement = statement.where(columns.source == query.source)
    if states and all(state.is_open for state in states):
        # These are few, and in an index by their state, which SQLite does not see in the condition of a status.
        possible = dict.fromkeys((*states, EffectState.SENDING))
        statement = statement.where(columns.is_open == true(), columns.state.in_(list(possible)))
    # Not by their index: a list is in the order of ids, and sorting a month of rows takes longer than skipping a few.
    received = type_coerce(columns.received_at, BigInteger) + 0
    if query.begin is not None:
        statement = statement.where(received >= to_micros(query.begin))
    if query.end is not None:
        statement = statement.where(received < to_micros(query.end))
    return statement


def count_states_of_replay(work: Connection, destination: str, replay: str) -> dict[EffectState, int]:
    """Return how many effects that a replay has made are in which state."""
    columns = effects.c
    query = (
        select(columns.state, func.count())
        # By message id, which has an index.
        .where(columns.message_id.in_(replayed_messages(replay)), columns.destination == destination)
        .where(columns.replay == replay)
        .group_by(columns.state)
    )
    return {EffectState(state): int(count) for state, count in work.execute(query)}
