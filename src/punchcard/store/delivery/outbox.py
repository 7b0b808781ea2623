"""The outbox: effects added by routing, claimed and attempted by delivery, their results. All writes to `effects`."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, case, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from punchcard.clock import to_micros
from punchcard.errors import InvariantError
from punchcard.store.bulk import BulkStatement, PreparedStatement, is_listed
from punchcard.store.delivery.claiming import claimable as claimable
from punchcard.store.delivery.claiming import claimable_ids as claimable_ids
from punchcard.store.delivery.counts import Ended, count_ends, ended_of, ending_of
from punchcard.store.delivery.effects import (
    NO_ANSWER,
    Attempt,
    AttemptOutcome,
    AttemptResult,
    EffectState,
    Move,
    NewEffect,
    StoredEffect,
    effect_of,
)
from punchcard.store.delivery.recoveries import Recovery
from punchcard.store.delivery.schema import delivery_attempts, effects
from punchcard.store.values import decimal_text, storable, storable_or_none

_KEYS_PER_QUERY = 400  # below SQLite's limit of bound variables, also on old builds
# A new effect has no value of these.
_LATER = {"id", "lease_until", "partner_id", "finished_at", "corrected_content"}
_ADD = BulkStatement(insert(effects), [column.name for column in effects.c if column.name not in _LATER])
_BY_KEY = PreparedStatement(
    select(effects).where(
        effects.c.destination == bindparam("b_destination"), is_listed(effects.c.effect_key, "b_values")
    )
)
_BY_MESSAGE = PreparedStatement(
    select(effects).where(
        effects.c.destination == bindparam("b_destination"), is_listed(effects.c.message_id, "b_values")
    )
)
_ADD_ATTEMPT = BulkStatement(insert(delivery_attempts), ("effect_id", "number", "action", "started_at"))
_START = BulkStatement(
    update(effects)
    .where(effects.c.id == bindparam("b_id"))
    .values(
        state=EffectState.SENDING,
        lease_until=bindparam("b_lease_until"),
        attempts=bindparam("b_number"),
        item=bindparam("b_item"),
        quantity=bindparam("b_quantity"),
        detail=bindparam("b_detail"),
        account=bindparam("b_account"),
    )
)
_END_ATTEMPT = BulkStatement(
    update(delivery_attempts)
    .where(delivery_attempts.c.effect_id == bindparam("b_id"), delivery_attempts.c.number == bindparam("b_number"))
    .values(
        finished_at=bindparam("b_finished_at"),
        status=bindparam("b_status"),
        outcome=bindparam("b_outcome"),
        detail=bindparam("b_detail"),
    )
)
_SETTLE = BulkStatement(
    update(effects)
    .where(
        effects.c.id == bindparam("b_id"),
        effects.c.attempts == bindparam("b_number"),
        effects.c.state == EffectState.SENDING,
    )
    .values(
        state=bindparam("b_state"),
        is_open=bindparam("b_open"),
        reason=bindparam("b_reason"),
        detail=func.coalesce(bindparam("b_detail"), effects.c.detail),
        tries=effects.c.tries + bindparam("b_counts"),
        due_at=bindparam("b_due_at"),
        lease_until=None,
        partner_id=func.coalesce(bindparam("b_partner_id"), effects.c.partner_id),
        quantity=func.coalesce(bindparam("b_booked"), effects.c.quantity),
        finished_at=bindparam("b_end"),
    )
)
_MOVE = BulkStatement(
    update(effects)
    .where(effects.c.id == bindparam("b_id"))
    .values(
        state=bindparam("b_state"),
        is_open=bindparam("b_open"),
        reason=bindparam("b_reason"),
        detail=bindparam("b_detail"),
        due_at=bindparam("b_due_at"),
        lease_until=None,
        finished_at=bindparam("b_end"),
    )
)
_ABANDON = BulkStatement(
    update(delivery_attempts)
    .where(
        delivery_attempts.c.effect_id == bindparam("b_id"),
        delivery_attempts.c.number == bindparam("b_number"),
        delivery_attempts.c.outcome.is_(None),
    )
    .values(outcome=AttemptOutcome.UNKNOWN, finished_at=bindparam("b_finished_at"), detail=NO_ANSWER)
)


def effects_by_key(work: Connection, destination: str, keys: Iterable[str]) -> dict[str, StoredEffect]:
    """Return the effects that have these keys."""
    return request_effects_by_key(work, destination, keys)()


def request_effects_by_key(
    work: Connection, destination: str, keys: Iterable[str]
) -> Callable[[], dict[str, StoredEffect]]:
    """Ask for the effects that have these keys; see `PreparedStatement.request`."""
    rows = _BY_KEY.request(work, {"b_destination": destination, "b_values": list(keys)})
    return lambda: {effect.effect_key: effect for effect in map(effect_of, rows())}


def request_effects_by_message(
    work: Connection, destination: str, message_ids: Iterable[str]
) -> Callable[[], dict[tuple[str, str], StoredEffect]]:
    """Ask for the effects that these messages have made, however long ago, by source and message id."""
    stored = list({storable(message_id) for message_id in message_ids})
    rows = _BY_MESSAGE.request(work, {"b_destination": destination, "b_values": stored})
    return lambda: {(effect.source, effect.message_id): effect for effect in map(effect_of, rows())}


def add(work: Connection, new: Sequence[NewEffect], *, now: datetime, recovery: Recovery | None = None) -> None:
    """Put effects in the queue.

    Args:
        recovery: The last time that the store was restored from an older copy: what may have been performed by the
            run that it does not know is read back first.

    Raises:
        InvariantError: a key is in the ledger already. The unique index is the last line of defence.
    """
    if not new:
        return
    try:
        _insert(work, new, now, recovery)
    except IntegrityError as error:
        raise InvariantError(f"an effect key was added twice: {error.orig}") from error


def _insert(work: Connection, new: Sequence[NewEffect], now: datetime, recovery: Recovery | None) -> None:
    _ADD.execute(
        work,
        [
            {
                "destination": effect.destination,
                "effect_key": effect.effect_key,
                "kind": effect.kind,
                "source": effect.source,
                "message_id": storable(effect.message_id),
                "event_name": storable(effect.event_name),
                "log_position": effect.log_position,
                "event_index": effect.event_index,
                "received_at": effect.received_at,
                "customer": effect.customer,
                "email": effect.email,
                "item": effect.item,
                "requested_quantity": decimal_text(effect.requested_quantity),
                "quantity": None if effect.is_refund else decimal_text(effect.requested_quantity),
                "attributes": None
                if effect.attributes is None
                else json.dumps(dict(effect.attributes), sort_keys=True),
                "order_id": storable_or_none(effect.order_id),
                "is_refund": effect.is_refund,
                "event_settings": None if effect.event_settings is None else json.dumps(dict(effect.event_settings)),
                "refund_id": storable_or_none(effect.refund_id),
                "ordering_key": storable(effect.customer if effect.ordering_key is None else effect.ordering_key),
                "event_type": effect.event_type,
                "payload": storable_or_none(effect.payload),
                "summary": storable_or_none(effect.summary),
                "replay": effect.replay,
                "corrects": effect.corrects,
                "account": storable_or_none(effect.account),
                "state": EffectState.PENDING,
                "is_open": True,
                "reason": None,
                "detail": None,
                "attempts": 0,
                "tries": 0,
                "due_at": now,
                "created_at": now,
                **_doubt(effect, recovery, now),
            }
            for effect in new
        ],
    )


def _doubt(effect: NewEffect, recovery: Recovery | None, now: datetime) -> Mapping[str, object]:
    """The state of a new effect that may have been performed by a run that this store knows nothing of."""
    if recovery is None:
        return {}
    # The ledger may have lost what an event received earlier has earned, and a replay has no other memory of it; nor
    # has an operator who resolves its conflict for the second time.
    is_repeated = effect.replay is not None or effect.corrects is not None
    is_older = is_repeated and effect.received_at <= recovery.noticed_at
    return recovery.doubt(now) if is_older else recovery.state_columns(effect.log_position, now)


def effect_by_id(work: Connection, effect_id: int) -> StoredEffect:
    """Return the effect with this id, which must exist."""
    return effect_of(work.execute(select(effects).where(effects.c.id == effect_id)).one())


def start(work: Connection, started: Sequence[Attempt], *, now: datetime, lease_until: datetime) -> None:
    """Write the attempts and take the leases; once this is committed, the first byte may leave."""
    _ADD_ATTEMPT.execute(
        work,
        [
            {"effect_id": attempt.effect.id, "number": attempt.number, "action": attempt.action, "started_at": now}
            for attempt in started
        ],
    )
    _START.execute(
        work,
        [
            {
                "b_id": attempt.effect.id,
                "b_number": attempt.number,
                "b_item": attempt.item,
                "b_quantity": decimal_text(attempt.quantity),
                "b_detail": storable_or_none(attempt.detail),
                "b_account": storable_or_none(attempt.account),
                "b_lease_until": lease_until,
            }
            for attempt in started
        ],
    )


def record_results(work: Connection, attempt_results: Sequence[AttemptResult]) -> int:
    """Write how attempts ended; returns how many effects that moved.

    Only the newest attempt of an effect changes it: a worker that was thought dead and reports late changes nothing
    that its successor has decided.
    """
    if not attempt_results:
        return 0
    _END_ATTEMPT.execute(
        work,
        [
            {
                "b_id": attempt_result.effect_id,
                "b_number": attempt_result.number,
                "b_finished_at": attempt_result.finished_at,
                "b_status": attempt_result.status,
                "b_outcome": attempt_result.outcome,
                "b_detail": storable_or_none(attempt_result.attempt_detail),
            }
            for attempt_result in attempt_results
        ],
    )
    _count_ends_of(work, attempt_results)
    return _SETTLE.execute(
        work,
        [
            {
                "b_id": attempt_result.effect_id,
                "b_number": attempt_result.number,
                "b_state": attempt_result.state,
                "b_open": attempt_result.state.is_open,
                "b_reason": attempt_result.reason,
                "b_detail": storable_or_none(attempt_result.detail),
                "b_counts": 1 if attempt_result.counts else 0,
                "b_due_at": attempt_result.due_at,
                "b_partner_id": storable_or_none(attempt_result.partner_id),
                "b_booked": decimal_text(attempt_result.quantity),
                "b_end": None if attempt_result.state.is_open else attempt_result.finished_at,
            }
            for attempt_result in attempt_results
        ],
    )


def _count_ends_of(work: Connection, attempt_results: Sequence[AttemptResult]) -> None:
    """Count the effects that these results end."""
    ends = {
        attempt_result.effect_id: attempt_result
        for attempt_result in attempt_results
        if not attempt_result.state.is_open
    }
    count_ends(
        work,
        [
            Ended(  # without `_replace`, which takes three times as long
                *sent[:6],  # all before the state
                end.state,
                end.reason,
                sent.item,
                sent.quantity if end.quantity is None else decimal_text(end.quantity),
                sent.received_micros,
                to_micros(end.finished_at),
                sent.replay,
            )
            for sent in ending_of(work, list(ends))
            if sent.attempts == (end := ends[sent.id]).number
        ],
        sign=1,
    )


def put(
    work: Connection,
    effect_id: int,
    *,
    state: EffectState,
    reason: str | None,
    detail: str | None,
    due_at: datetime,
    now: datetime,
) -> None:
    """Move an effect without an attempt: parked, rejected or put off before anything was sent."""
    move_effects(work, [Move(effect_id=effect_id, state=state, reason=reason, detail=detail, due_at=due_at)], now=now)


def move_effects(work: Connection, moves: Sequence[Move], *, now: datetime) -> None:
    """Move effects without an attempt."""
    _MOVE.execute(
        work,
        [
            {
                "b_id": move.effect_id,
                "b_state": move.state,
                "b_open": move.state.is_open,
                "b_reason": move.reason,
                "b_detail": storable_or_none(move.detail),
                "b_due_at": move.due_at,
                "b_end": None if move.state.is_open else now,
            }
            for move in moves
        ],
    )
    count_ends(work, ended_of(work, [move.effect_id for move in moves if not move.state.is_open]), sign=1)


def set_aside(
    work: Connection, effect_id: int, *, detail: str, now: datetime, number: int | None = None, count: bool = True
) -> None:
    """Park an effect on which Punchcard failed. Reads nothing of it, because perhaps it cannot be read.

    One that was perhaps performed keeps that doubt, so that it is read back if it is retried.

    Args:
        number: Only if this is still its newest attempt.
        count: False if counting it is what fails.
    """
    # A state that only another version knows may mean anything.
    in_doubt = effects.c.state.not_in([EffectState.PENDING, EffectState.RETRYING])
    statement = update(effects).where(effects.c.id == effect_id)
    if number is not None:
        statement = statement.where(effects.c.attempts == number, effects.c.state == EffectState.SENDING)
    work.execute(
        statement.values(
            state=EffectState.PARKED,
            is_open=False,
            reason=case((in_doubt, "outcome_unknown"), else_="preparation_failed"),
            detail=storable(detail),
            due_at=now,
            lease_until=None,
            finished_at=now,
        )
    )
    if count:
        count_ends(work, ended_of(work, [effect_id]), sign=1)


def abandon(work: Connection, *abandoned: StoredEffect, now: datetime) -> None:
    """Record that the outcomes of the newest attempts are unknown, because their leases are over."""
    _ABANDON.execute(
        work, [{"b_id": effect.id, "b_number": effect.attempts, "b_finished_at": now} for effect in abandoned]
    )


def release_orphans(
    work: Connection, destination: str, *, now: datetime, due_at: datetime, own: Collection[tuple[int, int]] = ()
) -> int:
    """Record that the outcome of all that a stopped worker had in flight is unknown; returns the number of effects.

    To be called only by the one process that holds the destination's delivery leadership.

    Args:
        due_at: When none of their requests can land any more. Not when their leases say: those were written down by
            another process, perhaps by another clock.
        own: Ids and attempts of the effects that the caller itself has in flight.
    """
    sending = select(effects.c.id, effects.c.attempts).where(
        effects.c.destination == destination, effects.c.state == EffectState.SENDING
    )
    orphans = [row.id for row in work.execute(sending).all() if (row.id, row.attempts) not in own]
    for start_at in range(0, len(orphans), _KEYS_PER_QUERY):
        chunk = orphans[start_at : start_at + _KEYS_PER_QUERY]
        work.execute(
            update(delivery_attempts)
            .where(delivery_attempts.c.outcome.is_(None), delivery_attempts.c.effect_id.in_(chunk))
            .values(outcome=AttemptOutcome.UNKNOWN, finished_at=now, detail=NO_ANSWER)
        )
        work.execute(
            update(effects)
            .where(effects.c.id.in_(chunk))
            .values(state=EffectState.UNKNOWN, reason="worker_stopped", due_at=due_at, lease_until=None)
        )
    return len(orphans)
