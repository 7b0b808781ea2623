"""Due times that cannot be meant: written down by a clock that has been set since.

A due time is an instant of the wall clock, so that it survives a restart. If the clock is set forward and back, effects
that were put off meanwhile would wait for the time that the clock once showed; if it is set forward, an effect with
an unknown outcome would be read back before its request can have landed.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select, true, update

from punchcard.store.delivery.effects import WAITING_FOR_ORDER, EffectState, StoredEffect, effect_of
from punchcard.store.delivery.schema import delivery_attempts, effects

UNKNOWN_WAIT = timedelta(minutes=1)
"""Longer than a lost request can take to land, and short enough that no person need care."""

_KEYS_PER_QUERY = 400  # below SQLite's limit of bound variables, also on old builds
# Put off before anything was sent, so no attempt says when that was. Looking again costs nothing.
_PUT_OFF = or_(effects.c.attempts == 0, effects.c.reason == WAITING_FOR_ORDER)


def correct_waits(
    work: Connection, destination: str, *, now: datetime, unknown_due_at: datetime, longest: timedelta
) -> int:
    """Correct every wait of a destination after the clock was set, or may have been; returns how many.

    - What waits for its first attempt, or began to wait in the future, is due now.
    - What is unknown is not read back before `unknown_due_at`, however long ago its request seems to be.

    Doing it twice changes nothing.

    Args:
        unknown_due_at: When a request that left a moment ago can no longer land.
        longest: What no effect ever waits longer than.
    """
    waiting = _waiting(destination)
    began_in_future = _began_in_future(now)
    corrected = 0
    for state, due_at in ((EffectState.RETRYING, now), (EffectState.UNKNOWN, unknown_due_at)):
        condition = began_in_future if state is EffectState.UNKNOWN else or_(_PUT_OFF, began_in_future)
        corrected += _set_due(
            work, and_(waiting, effects.c.state == state, effects.c.due_at > due_at, condition), due_at
        )
    is_new = and_(waiting, effects.c.state == EffectState.PENDING, effects.c.due_at > now)
    corrected += _set_due(work, is_new, now)
    too_early = and_(waiting, effects.c.state == EffectState.UNKNOWN, effects.c.due_at < unknown_due_at)
    corrected += _set_due(work, too_early, unknown_due_at)
    return corrected + end_far_waits(work, destination, now=now, unknown_due_at=unknown_due_at, longest=longest)


def end_far_waits(
    work: Connection, destination: str, *, now: datetime, unknown_due_at: datetime, longest: timedelta
) -> int:
    """End waits that are longer than any wait that Punchcard sets; return their number."""
    is_far = and_(_waiting(destination), effects.c.due_at > now + longest)
    unknown = effects.c.state == EffectState.UNKNOWN
    return _set_due(work, and_(is_far, unknown), unknown_due_at) + _set_due(
        work, and_(is_far, effects.c.state.in_([EffectState.RETRYING, EffectState.PENDING])), now
    )


def end_requested_waits(
    work: Connection, destination: str, *, now: datetime, longest_by_tries: Sequence[timedelta]
) -> int:
    """Shorten waits that the partner requested before it performed another effect; returns how many.

    Args:
        longest_by_tries: What is left of a wait with 0, 1 … tries; the last one is that of all further tries.
    """
    columns = effects.c
    newest = select(columns.finished_at).where(
        columns.state == EffectState.DELIVERED, columns.destination == destination
    )
    performed_at = work.scalar(newest.order_by(columns.id.desc()).limit(1))
    if performed_at is None:
        return 0
    was_put_off_before = exists().where(
        delivery_attempts.c.effect_id == columns.id,
        delivery_attempts.c.number == columns.attempts,
        delivery_attempts.c.finished_at < performed_at,
    )
    shortened = 0
    for tries, longest in enumerate(longest_by_tries):
        is_last = tries + 1 == len(longest_by_tries)
        condition = and_(
            _waiting(destination),
            columns.due_at > now + longest,
            columns.tries >= tries if is_last else columns.tries == tries,
            columns.state.in_([EffectState.RETRYING, EffectState.UNKNOWN]),
            func.coalesce(columns.reason, "") != WAITING_FOR_ORDER,
            was_put_off_before,
        )
        shortened += _set_due(work, condition, now + longest)
    return shortened


def overlong_waits(
    work: Connection, destination: str, *, now: datetime, longest: timedelta, message_ids: Sequence[str] = ()
) -> list[StoredEffect]:
    """Open effects that wait more than a minute for a time that cannot be meant, oldest first.

    Args:
        message_ids: None of them means all.
    """
    statement = select(effects).where(
        _waiting(destination),
        effects.c.state.in_([EffectState.PENDING, EffectState.RETRYING, EffectState.UNKNOWN]),
        effects.c.due_at > now + UNKNOWN_WAIT,
        or_(effects.c.due_at > now + longest, _began_in_future(now), effects.c.state == EffectState.PENDING),
    )
    if message_ids:
        statement = statement.where(effects.c.message_id.in_(message_ids))
    return [effect_of(row) for row in work.execute(statement.order_by(effects.c.id))]


def end_waits(work: Connection, effect_ids: Sequence[int], *, due_at: datetime) -> int:
    """Make waiting effects due at an earlier time; return their number."""
    ended = 0
    for start_at in range(0, len(effect_ids), _KEYS_PER_QUERY):
        chunk = effect_ids[start_at : start_at + _KEYS_PER_QUERY]
        is_waiting = effects.c.state.in_([EffectState.PENDING, EffectState.RETRYING, EffectState.UNKNOWN])
        ended += _set_due(work, and_(effects.c.id.in_(chunk), is_waiting, effects.c.due_at > due_at), due_at)
    return ended


def _waiting(destination: str) -> ColumnElement[bool]:
    return and_(effects.c.destination == destination, effects.c.is_open == true())


def _began_in_future(now: datetime) -> ColumnElement[bool]:
    """Return the condition that the newest attempt of an effect ended at a time that has not come yet."""
    return exists().where(
        delivery_attempts.c.effect_id == effects.c.id,
        delivery_attempts.c.number == effects.c.attempts,
        delivery_attempts.c.finished_at > now,
    )


def _set_due(work: Connection, condition: ColumnElement[bool], due_at: datetime) -> int:
    return work.execute(update(effects).where(condition).values(due_at=due_at)).rowcount
