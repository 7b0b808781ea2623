"""The accounts at a partner that effects are for, so that what is queued for one is never sent to another by itself."""

from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, case, false, func, null, select

from punchcard.store.delivery.effects import (
    CORRECTED_REASONS,
    OTHER_ACCOUNT,
    OTHER_ACCOUNT_IN_DOUBT,
    UNCERTAIN_REASONS,
    EffectState,
)
from punchcard.store.delivery.ledger import destinations_with_effects
from punchcard.store.delivery.schema import effects

_ROWS_READ_MAX: Final = 5_000
_MAYBE_PERFORMED: Final = (EffectState.DELIVERED, EffectState.SENDING, EffectState.UNKNOWN)


def account_once_retried() -> ColumnElement[str | None]:
    """Return the account of an effect that an operator puts back in the queue: whichever the settings name then.

    Only of one that was parked for its account, as its detail has shown both; any other one keeps its account.
    """
    was_parked_for_it = effects.c.reason.in_([OTHER_ACCOUNT, OTHER_ACCOUNT_IN_DOUBT])
    return case((func.coalesce(was_parked_for_it, false()), null()), else_=effects.c.account)


def is_first_account(work: Connection, destination: str, account: str) -> bool:
    """Return whether what is queued for an account may follow corrected settings, as it is a typing error of the setup.

    Nothing of the destination was performed in it, not even perhaps, and no other destination has awards: nothing can
    be split between two accounts, nor given twice in one of them. False if some thousand rows do not decide it.
    """
    columns = effects.c
    corrected = columns.reason.in_((*UNCERTAIN_REASONS, *CORRECTED_REASONS))
    performed = [
        *(columns.state == state for state in _MAYBE_PERFORMED),
        *(and_(columns.state == state, corrected) for state in (EffectState.PARKED, EffectState.REJECTED)),
    ]
    for condition in performed:
        rows = select(columns.account).where(condition, columns.destination == destination).limit(_ROWS_READ_MAX)
        accounts = work.scalars(rows).all()
        if len(accounts) == _ROWS_READ_MAX or not {account, None}.isdisjoint(accounts):
            return False
    return not any(_has_awards(work, other) for other in destinations_with_effects(work) if other != destination)


def _has_awards(work: Connection, destination: str) -> bool:
    """Return whether the newest effect of a destination is for an account, or from before accounts were stored."""
    columns = effects.c
    newest = select(columns.account, columns.item, columns.attributes).where(columns.destination == destination)
    row = work.execute(newest.order_by(columns.id.desc()).limit(1)).first()
    return row is not None and any(value is not None for value in row)
