"""Invitations: links by which people become operators, each for one email."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from punchcard.clock import Clock
from punchcard.store.access.link_secrets import new_secret, secret_digest
from punchcard.store.access.schema import invitations
from punchcard.store.access.token_store import Role
from punchcard.store.values import storable

INVITATION_LENGTH = timedelta(days=7)
"""After this a link cannot be used any more."""

_COLUMNS = [column for column in invitations.c if column is not invitations.c.digest]


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """An invitation that was neither used nor revoked.

    Attributes:
        email: Lower-cased.
        invited_by: The actor in the audit log.
    """

    id: str
    email: str
    role: Role
    invited_by: str
    created_at: datetime
    expires_at: datetime


def add_invitation(
    work: Connection, *, email: str, role: Role, invited_by: str, clock: Clock
) -> tuple[Invitation, str]:
    """Add an invitation in place of an earlier one for the same email; return it with the secret of its link."""
    now = clock.now()
    secret = new_secret()
    invitation = Invitation(
        id=clock.new_id(),
        email=storable(email).lower(),
        role=role,
        invited_by=storable(invited_by),
        created_at=now,
        expires_at=now + INVITATION_LENGTH,
    )
    work.execute(delete(invitations).where(invitations.c.email == invitation.email))
    values = {column.name: getattr(invitation, column.name) for column in _COLUMNS}
    work.execute(insert(invitations).values(**values, digest=secret_digest(secret)))
    return invitation, secret


def list_invitations(work: Connection) -> Sequence[Invitation]:
    """Return all invitations, the newest first, expired ones included."""
    rows = work.execute(select(*_COLUMNS).order_by(invitations.c.created_at.desc(), invitations.c.id))
    return [_invitation(dict(row._mapping)) for row in rows]


def find_invitation(work: Connection, secret: str, *, clock: Clock) -> Invitation | None:
    """Return the invitation of a link, None if it was used or revoked, or has expired."""
    chosen = select(*_COLUMNS).where(
        invitations.c.digest == secret_digest(secret), invitations.c.expires_at > clock.now()
    )
    row = work.execute(chosen).one_or_none()
    return None if row is None else _invitation(dict(row._mapping))


def invitation_of_email(work: Connection, email: str, *, clock: Clock) -> Invitation | None:
    """Return the invitation of an email, None if it was used or revoked, or has expired."""
    chosen = select(*_COLUMNS).where(invitations.c.email == email.lower(), invitations.c.expires_at > clock.now())
    row = work.execute(chosen).one_or_none()
    return None if row is None else _invitation(dict(row._mapping))


def delete_invitation(work: Connection, id: str) -> bool:
    """Delete an invitation; return False if somebody else has, so that of two requests at once one uses it."""
    return work.execute(delete(invitations).where(invitations.c.id == id)).rowcount > 0


def _invitation(values: dict[str, object]) -> Invitation:
    return Invitation(**{**values, "role": Role(str(values["role"]))})  # type: ignore[arg-type]  # the columns' types
