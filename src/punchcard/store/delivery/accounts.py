"""The accounts at a partner that effects are for, so that what is queued for one is never sent to another by itself."""

from sqlalchemy import ColumnElement, Connection, case, false, func, null, select

from punchcard.store.delivery.effects import (
    CORRECTED_REASONS,
    OTHER_ACCOUNT,
    OTHER_ACCOUNT_IN_DOUBT,
    UNCERTAIN_REASONS,
    EffectState,
)
from punchcard.store.delivery.schema import effects

_MAYBE_PERFORMED = (EffectState.DELIVERED, EffectState.SENDING, EffectState.UNKNOWN)


def account_once_retried() -> ColumnElement[str | None]:
    """Return the account of an effect that an operator puts back in the queue: whichever the settings name then.

    Only of one that was parked for its account, as its detail has shown both; any other one keeps its account.
    """
    was_parked_for_it = effects.c.reason.in_([OTHER_ACCOUNT, OTHER_ACCOUNT_IN_DOUBT])
    return case((func.coalesce(was_parked_for_it, false()), null()), else_=effects.c.account)


def has_other_accounts(work: Connection, destination: str) -> bool:
    """Return False if changed settings of the destination can only mean a correction before its first award.

    Nothing of it was performed anywhere, not even perhaps, and no other destination has awards: nothing can be split
    between two accounts, nor given twice in one of them. Answered by a few rows of the ledger, however long it is.
    """
    columns = effects.c
    for state in _MAYBE_PERFORMED:
        if _exists(work, columns.state == state, columns.destination == destination):
            return True
    corrected = columns.reason.in_((*UNCERTAIN_REASONS, *CORRECTED_REASONS))
    for state in (EffectState.PARKED, EffectState.REJECTED):
        if _exists(work, columns.state == state, columns.destination == destination, corrected):
            return True
    return any(_has_awards(work, other) for other in _destinations(work) if other != destination)


def _exists(work: Connection, *conditions: ColumnElement[bool]) -> bool:
    return work.execute(select(effects.c.id).where(*conditions).limit(1)).first() is not None


def _destinations(work: Connection) -> list[str]:
    """Return all destinations with effects, one look into the index for each."""
    slugs: list[str] = []
    query = select(func.min(effects.c.destination))
    slug = work.scalar(query)
    while slug is not None:
        slugs.append(slug)
        slug = work.scalar(query.where(effects.c.destination > slug))
    return slugs


def _has_awards(work: Connection, destination: str) -> bool:
    """Return whether the newest effect of a destination is for an account, or from before accounts were stored."""
    columns = effects.c
    newest = select(columns.account, columns.item, columns.attributes).where(columns.destination == destination)
    row = work.execute(newest.order_by(columns.id.desc()).limit(1)).first()
    return row is not None and any(value is not None for value in row)
