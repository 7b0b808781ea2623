"""Second factors: the secret of an authenticator app and recovery codes, one set for each operator.

The secrets are encrypted by the caller; recovery codes are stored as digests. Passkeys are in `passkeys.py`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from punchcard.clock import Clock
from punchcard.store.access.link_secrets import secret_digest
from punchcard.store.access.schema import passkeys, recovery_codes, second_factors


@dataclass(frozen=True, kw_only=True)
class SecondFactor:
    """The authenticator app of an operator.

    Attributes:
        secret: Encrypted.
        enabled_at: None until the first code was confirmed; before that, it is not asked for.
    """

    secret: str
    enabled_at: datetime | None


def read_second_factor(work: Connection, operator_id: str) -> SecondFactor | None:
    """Return the second factor of an operator, confirmed or not; None if there is none."""
    columns = second_factors.c
    chosen = select(columns.secret, columns.enabled_at).where(columns.operator_id == operator_id)
    row = work.execute(chosen).one_or_none()
    return None if row is None else SecondFactor(secret=row.secret, enabled_at=row.enabled_at)


def begin_second_factor(work: Connection, operator_id: str, secret: str, *, clock: Clock) -> bool:
    """Store a secret that is not confirmed yet; return False if the operator has a confirmed one, which stays."""
    columns = second_factors.c
    work.execute(delete(second_factors).where(columns.operator_id == operator_id, columns.enabled_at.is_(None)))
    if read_second_factor(work, operator_id) is not None:
        return False
    work.execute(insert(second_factors).values(operator_id=operator_id, secret=secret, created_at=clock.now()))
    return True


def enable_second_factor(work: Connection, operator_id: str, *, clock: Clock) -> bool:
    """Confirm the secret of an operator; return False if it was confirmed before or removed."""
    columns = second_factors.c
    confirmed = (
        update(second_factors)
        .where(columns.operator_id == operator_id, columns.enabled_at.is_(None))
        .values(enabled_at=clock.now())
    )
    return work.execute(confirmed).rowcount > 0


def remove_authenticator(work: Connection, operator_id: str) -> bool:
    """Delete the secret of an operator; return False if there is none. Recovery codes go with the last factor."""
    removed = work.execute(delete(second_factors).where(second_factors.c.operator_id == operator_id)).rowcount > 0
    remove_unneeded_recovery_codes(work, operator_id)
    return removed


def remove_second_factors(work: Connection, operator_id: str) -> bool:
    """Delete secret, passkeys and recovery codes of an operator; return False if there was no second factor."""
    deleted = [
        work.execute(delete(table).where(table.c.operator_id == operator_id)).rowcount
        for table in (second_factors, passkeys)
    ]
    remove_unneeded_recovery_codes(work, operator_id)
    return any(deleted)


def remove_unneeded_recovery_codes(work: Connection, operator_id: str) -> None:
    """Delete the recovery codes of an operator who has no second factor."""
    if not has_second_factor(work, operator_id):
        work.execute(delete(recovery_codes).where(recovery_codes.c.operator_id == operator_id))


def accept_step(work: Connection, operator_id: str, step: int) -> bool:
    """Note that the code of a time step was used; return False if it, or the code of a later step, was used before."""
    columns = second_factors.c
    accepted = (
        update(second_factors)
        .where(columns.operator_id == operator_id, or_(columns.last_step.is_(None), columns.last_step < step))
        .values(last_step=step)
    )
    return work.execute(accepted).rowcount > 0


def replace_recovery_codes(work: Connection, operator_id: str, codes: Sequence[str]) -> None:
    """Store recovery codes in place of earlier ones."""
    work.execute(delete(recovery_codes).where(recovery_codes.c.operator_id == operator_id))
    work.execute(
        insert(recovery_codes), [{"operator_id": operator_id, "digest": secret_digest(code)} for code in codes]
    )


def use_recovery_code(work: Connection, operator_id: str, code: str) -> bool:
    """Delete a recovery code; return False if it is not one, or was used before."""
    columns = recovery_codes.c
    used = delete(recovery_codes).where(columns.operator_id == operator_id, columns.digest == secret_digest(code))
    return work.execute(used).rowcount > 0


def count_recovery_codes(work: Connection, operator_id: str) -> int:
    """Return how many recovery codes an operator has left."""
    return work.scalar(select(func.count()).where(recovery_codes.c.operator_id == operator_id)) or 0


def has_second_factor(work: Connection, operator_id: str) -> bool:
    """Return whether an operator has a confirmed authenticator app or a passkey, so that a password is not enough."""
    confirmed = select(second_factors.c.operator_id).where(
        second_factors.c.operator_id == operator_id, second_factors.c.enabled_at.is_not(None)
    )
    registered = select(passkeys.c.operator_id).where(passkeys.c.operator_id == operator_id)
    return work.execute(confirmed.union_all(registered).limit(1)).one_or_none() is not None


def operators_with_second_factor(work: Connection) -> Collection[str]:
    """Return the ids of the operators who have a confirmed authenticator app or a passkey."""
    confirmed = select(second_factors.c.operator_id).where(second_factors.c.enabled_at.is_not(None))
    return set(work.scalars(confirmed.union(select(passkeys.c.operator_id))))
