"""Links by which operators who have lost their password choose a new one."""

from datetime import timedelta

from sqlalchemy import Connection, delete, insert, select

from punchcard.clock import Clock
from punchcard.store.access.link_secrets import new_secret, secret_digest
from punchcard.store.access.schema import password_resets

RESET_LENGTH = timedelta(hours=1)
"""After this a link cannot be used any more."""


def add_password_reset(work: Connection, operator_id: str, *, clock: Clock) -> str:
    """Add a link for an operator and return its secret; earlier links of the operator, and expired ones, end."""
    now = clock.now()
    secret = new_secret()
    columns = password_resets.c
    work.execute(delete(password_resets).where((columns.operator_id == operator_id) | (columns.expires_at <= now)))
    work.execute(
        insert(password_resets).values(
            digest=secret_digest(secret), operator_id=operator_id, created_at=now, expires_at=now + RESET_LENGTH
        )
    )
    return secret


def operator_of_reset(work: Connection, secret: str, *, clock: Clock) -> str | None:
    """Return the operator id of a link, None if the link was used or has expired."""
    columns = password_resets.c
    chosen = select(columns.operator_id).where(
        columns.digest == secret_digest(secret), columns.expires_at > clock.now()
    )
    return work.scalar(chosen)


def use_password_reset(work: Connection, secret: str) -> bool:
    """Delete a link; return False if another request has used it."""
    return work.execute(delete(password_resets).where(password_resets.c.digest == secret_digest(secret))).rowcount > 0
