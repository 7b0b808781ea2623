"""What an operator does to effects that need attention: retry or dismiss."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, false, func, not_, or_, update

from punchcard.store.delivery.counts import count_ends, ended_of
from punchcard.store.delivery.effects import CORRECTED_REASONS, UNCERTAIN_REASONS, EffectState
from punchcard.store.delivery.recoveries import newest_recovery
from punchcard.store.delivery.schema import effects
from punchcard.store.values import storable

_REOPENED = (EffectState.PARKED, EffectState.REJECTED)
_KEYS_PER_QUERY = 400  # below SQLite's limit of bound variables, also on old builds


def reopen(work: Connection, effect_ids: Sequence[int], *, now: datetime) -> int:
    """Put parked or rejected effects back in the queue with all their tries; returns how many.

    One with an unknown outcome is read back before anything is sent again, and so is one that ended before the
    store was restored from an older copy: it may have been retried and delivered since.
    """
    reopened = 0
    recovery = newest_recovery(work)
    for start_at in range(0, len(effect_ids), _KEYS_PER_QUERY):
        chunk = effect_ids[start_at : start_at + _KEYS_PER_QUERY]
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
                .values(state=state, is_open=True, reason="retried", tries=0, due_at=now, finished_at=None)
            ).rowcount
    return reopened


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
