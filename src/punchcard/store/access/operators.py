"""People who sign in to the App, and failed attempts to sign in."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from punchcard import __version__
from punchcard.clock import Clock
from punchcard.errors import ConfigurationError
from punchcard.store.access.schema import (
    invitations,
    operator_sessions,
    operators,
    passkeys,
    password_resets,
    recovery_codes,
    second_factors,
    sign_in_failures,
)
from punchcard.store.access.token_store import Role
from punchcard.store.values import storable

FAILURES_REMEMBERED = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True)
class Operator:
    """A person.

    Attributes:
        email: Lower-cased.
        password: The hash, with its parameters and salt; "" if they sign in by an identity provider only.
        seen_version: The version of Punchcard that they were last offered the changes of, None for none.
    """

    id: str
    email: str
    name: str
    role: Role
    password: str
    created_at: datetime
    last_signed_in_at: datetime | None
    seen_version: str | None = None


def create_operator(
    work: Connection, *, email: str, name: str, role: Role, password: str, clock: Clock, is_first: bool = False
) -> Operator:
    """Add a person; invitations of their email end.

    Args:
        password: The hash.
        is_first: Only if there is nobody yet.

    Raises:
        ConfigurationError: there is somebody with this email, or (`is_first`) anybody.
    """
    if is_first and count_operators(work):
        raise ConfigurationError("This Punchcard has an owner already: sign in", code="owner_exists")
    # The first one has a fixed id, so that of two requests at once only one can be it.
    id_ = "owner" if is_first else clock.new_id()
    try:
        work.execute(
            insert(operators).values(
                id=id_,
                email=email.lower(),
                name=storable(name),
                role=role,
                password=password,
                created_at=clock.now(),
                seen_version=__version__,  # to a new operator everything is new
            )
        )
    except IntegrityError as error:
        raise ConfigurationError(f"{email} is an operator already", code="operator_exists") from error
    work.execute(delete(invitations).where(invitations.c.email == email.lower()))
    operator = find_operator(work, id_)
    assert operator is not None
    return operator


def count_operators(work: Connection) -> int:
    """Return how many there are."""
    return work.scalar(select(func.count()).select_from(operators)) or 0


def list_operators(work: Connection) -> Sequence[Operator]:
    """All, oldest first."""
    return [
        operator_of_row(row) for row in work.execute(select(operators).order_by(operators.c.created_at, operators.c.id))
    ]


def find_operator(work: Connection, id: str) -> Operator | None:
    """The person with this id, None if there is none."""
    row = work.execute(select(operators).where(operators.c.id == id)).one_or_none()
    return None if row is None else operator_of_row(row)


def operator_by_email(work: Connection, email: str) -> Operator | None:
    """The person with this email, None if there is none."""
    row = work.execute(select(operators).where(operators.c.email == email.strip().lower())).one_or_none()
    return None if row is None else operator_of_row(row)


def operator_of_row(row: Row[*tuple[Any, ...]]) -> Operator:
    """Return the operator in a row with the columns of `operators`."""
    values = row._mapping
    return Operator(
        id=values["id"],
        email=values["email"],
        name=values["name"],
        role=Role(values["role"]),
        password=values["password"],
        created_at=values["created_at"],
        last_signed_in_at=values["last_signed_in_at"],
        seen_version=values["seen_version"],
    )


def note_seen_version(work: Connection, id: str, version: str) -> None:
    """Note that a person was offered the changes of a version."""
    work.execute(update(operators).where(operators.c.id == id).values(seen_version=version))


def change_operator(work: Connection, id: str, *, role: Role | None = None, password: str | None = None) -> None:
    """Give a person another role or password; their sessions and links for a new password end.

    The caller begins a new session, if it is the person who made the change.

    Raises:
        ConfigurationError: the last owner would be none any more.
    """
    if role is not None:
        if role is not Role.OWNER:
            _keep_an_owner(work, id)
        work.execute(update(operators).where(operators.c.id == id).values(role=role))
    if password is not None:
        work.execute(update(operators).where(operators.c.id == id).values(password=password))
    if role is not None or password is not None:
        work.execute(delete(operator_sessions).where(operator_sessions.c.operator_id == id))
        work.execute(delete(password_resets).where(password_resets.c.operator_id == id))


def remove_operator(work: Connection, id: str) -> None:
    """Take a person out, with all by which they could sign in.

    Raises:
        ConfigurationError: it is the last owner.
    """
    _keep_an_owner(work, id)
    for table in (operator_sessions, passkeys, password_resets, recovery_codes, second_factors):
        work.execute(delete(table).where(table.c.operator_id == id))
    work.execute(delete(operators).where(operators.c.id == id))


def note_failure(work: Connection, subjects: Sequence[str], *, clock: Clock) -> Sequence[int]:
    """Remember a failed attempt to sign in for a quarter of an hour; returns the ids of what was remembered."""
    now = clock.now()
    work.execute(delete(sign_in_failures).where(sign_in_failures.c.at < now - FAILURES_REMEMBERED))
    values = [{"subject": storable(subject)[:320], "at": now} for subject in subjects]
    return list(work.scalars(insert(sign_in_failures).returning(sign_in_failures.c.id), values))


def remove_failures(work: Connection, ids: Sequence[int]) -> None:
    """Forget failures by their ids: the attempt was none."""
    work.execute(delete(sign_in_failures).where(sign_in_failures.c.id.in_(ids)))


def count_failures(work: Connection, subject: str, *, clock: Clock) -> int:
    """Return how many attempts have failed of late."""
    columns = sign_in_failures.c
    now = clock.now()
    query = select(func.count()).where(
        columns.subject == storable(subject)[:320],
        columns.at >= now - FAILURES_REMEMBERED,
        # The clock may have been set back since: nobody waits until it shows that time again.
        columns.at <= now + FAILURES_REMEMBERED,
    )
    return work.scalar(query) or 0


def forget_failures(work: Connection, subject: str) -> None:
    """Somebody has signed in."""
    work.execute(delete(sign_in_failures).where(sign_in_failures.c.subject == storable(subject)[:320]))


def forget_failures_of(work: Connection, email: str) -> None:
    """Forget the failed attempts to sign in with an email, from any address."""
    subject = sign_in_failures.c.subject
    work.execute(delete(sign_in_failures).where(subject.startswith(storable(f"{email.lower()} "), autoescape=True)))


def _keep_an_owner(work: Connection, id: str) -> None:
    owners = [operator.id for operator in list_operators(work) if operator.role is Role.OWNER]
    if owners == [id]:
        raise ConfigurationError("This is the last owner: make somebody else an owner first", code="last_owner")
