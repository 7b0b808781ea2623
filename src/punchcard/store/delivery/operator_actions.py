"""What an operator does to effects that need attention: retry or dismiss."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, false, func, not_, or_, select, true, update

from punchcard.store.delivery.accounts import account_once_retried
from punchcard.store.delivery.counts import count_ends, ended_of
from punchcard.store.delivery.effects import (
    CORRECTED_REASONS,
    DELETED_CUSTOMER,
    RETRIED,
    SUBJECT_DELETED,
    SUPERSEDED,
    UNCERTAIN_REASONS,
    EffectState,
)
from punchcard.store.delivery.ledger import is_superseded
from punchcard.store.delivery.recoveries import newest_recovery
from punchcard.store.delivery.schema import effects
from punchcard.store.values import storable

_REOPENED = (EffectState.PARKED, EffectState.REJECTED)
_KEYS_PER_QUERY = 400  # below SQLite's limit of bound variables, also on old builds


def reopen(work: Connection, effect_ids: Sequence[int], *, now: datetime, for_present_account: bool = False) -> int:
    """Put parked or rejected effects back in the queue with all their tries; returns how many.

    One with an unknown outcome is read back before anything is sent again, and so is one that ended before the
    store was restored from an older copy: it may have been retried and delivered since.

    Args:
        for_present_account: True to send those that were parked because the settings name another account to that one;
            else they are parked again, unless the settings name theirs.
    """
    reopened = 0
    recovery = newest_recovery(work)
    for start_at in range(0, len(effect_ids), _KEYS_PER_QUERY):
        chunk = _without_superseded(work, effect_ids[start_at : start_at + _KEYS_PER_QUERY])
        chunk = _without_old_values(work, chunk)
        count_ends(work, [row for row in ended_of(work, chunk) if row.state in _REOPENED], sign=-1)
        for state, uncertain in ((EffectState.UNKNOWN, True), (EffectState.PENDING, False)):
            doubt: ColumnElement[bool] = func.coalesce(
                effects.c.reason.in_((*UNCERTAIN_REASONS, *CORRECTED_REASONS)), false()
            )
            if recovery is not None:
                doubt = or_(doubt, func.coalesce(effects.c.finished_at < recovery.noticed_at, false()))
            reopened += work.execute(
                update(effects)
                .where(
                    effects.c.id.in_(chunk),
                    effects.c.state.in_(_REOPENED),
                    doubt if uncertain else not_(doubt),
                )
                .values(
                    state=state,
                    is_open=True,
                    reason=RETRIED,
                    tries=0,
                    due_at=now,
                    finished_at=None,
                    account=account_once_retried() if for_present_account else effects.c.account,
                )
            ).rowcount
    return reopened


def is_sendable(work: Connection, effect_id: int) -> bool:
    """Return False if another content was chosen in the place of the effect's, or its customer was deleted."""
    return bool(_without_superseded(work, [effect_id]))


def _without_superseded(work: Connection, effect_ids: Sequence[int]) -> list[int]:
    """Return the effects without those of which another content was chosen, and given in full: theirs would double it.

    One that was perhaps performed may be read back: its correction waits for that. Nothing can be sent for a customer
    who was deleted.
    """
    columns = effects.c
    is_deleted = or_(columns.customer.startswith(DELETED_CUSTOMER), columns.reason == SUBJECT_DELETED)
    superseded = set(
        work.scalars(
            select(columns.id).where(columns.id.in_(effect_ids), or_(is_superseded(), is_deleted)).with_for_update()
        )
    )
    return [effect_id for effect_id in effect_ids if effect_id not in superseded]


def _without_old_values(work: Connection, effect_ids: Sequence[int]) -> list[int]:
    """Return the effects without older values of attributes that have a newer one, delivered or in the queue."""
    columns = effects.c
    attributes = select(columns.id, columns.destination, columns.customer, columns.attributes).where(
        columns.attributes.is_not(None)
    )
    candidates = work.execute(attributes.where(columns.id.in_(effect_ids))).all()
    if not candidates:
        return list(effect_ids)
    is_newer = or_(columns.is_open == true(), columns.state == EffectState.DELIVERED)
    of_customers = attributes.where(
        columns.destination.in_({row.destination for row in candidates}),
        columns.customer.in_({row.customer for row in candidates}),
        is_newer,
    )
    newest: dict[tuple[str, str, str], int] = {}
    for row in work.execute(of_customers):
        for name in _attribute_names(row.attributes):
            place = row.destination, row.customer, name
            newest[place] = max(row.id, newest.get(place, 0))
    old = {
        row.id
        for row in candidates
        for name in _attribute_names(row.attributes)
        if newest.get((row.destination, row.customer, name), 0) > row.id
    }
    return [effect_id for effect_id in effect_ids if effect_id not in old]


def _attribute_names(attributes: str) -> Collection[str]:
    try:
        decoded = json.loads(attributes)
    except ValueError:  # a damaged row, which delivery parks
        return ()
    return decoded if isinstance(decoded, dict) else ()


def supersede(work: Connection, effect_id: int, *, detail: str, now: datetime) -> bool:
    """Keep an effect that was surely not performed from being sent ever; False if it is open, delivered or in doubt."""
    ended = [
        row for row in ended_of(work, [effect_id]) if row.state in _REOPENED and row.reason not in UNCERTAIN_REASONS
    ]
    if not ended:
        return False
    count_ends(work, ended, sign=-1)
    work.execute(
        update(effects)
        .where(effects.c.id == effect_id)
        .values(state=EffectState.REJECTED, reason=SUPERSEDED, detail=storable(detail), finished_at=now)
    )
    count_ends(work, ended_of(work, [effect_id]), sign=1)
    return True


def dismiss(work: Connection, effect_ids: Sequence[int], *, detail: str, now: datetime) -> int:
    """Dismiss parked effects for good; returns how many. One that was perhaps performed keeps that doubt."""
    dismissed = 0
    for start_at in range(0, len(effect_ids), _KEYS_PER_QUERY):
        chunk = effect_ids[start_at : start_at + _KEYS_PER_QUERY]
        parked = [row for row in ended_of(work, chunk) if row.state == EffectState.PARKED]
        count_ends(work, parked, sign=-1)
        for row in parked:
            reason = "dismissed_in_doubt" if row.reason in UNCERTAIN_REASONS else "dismissed"
            work.execute(
                update(effects)
                .where(effects.c.id == row.id)
                .values(state=EffectState.REJECTED, reason=reason, detail=storable(detail), finished_at=now)
            )
        count_ends(work, ended_of(work, [row.id for row in parked]), sign=1)
        dismissed += len(parked)
    return dismissed
