"""Sessions of operators: one for each browser in which somebody has signed in."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, insert, select, update

from punchcard.clock import Clock
from punchcard.store.access.access_settings import REQUIRES_TWO_FACTOR, setting_query
from punchcard.store.access.link_secrets import new_secret, secret_digest
from punchcard.store.access.operators import Operator, operator_of_row
from punchcard.store.access.schema import operator_sessions, operators, passkeys, second_factors
from punchcard.store.engine import Store
from punchcard.store.stored_enum import StoredEnum
from punchcard.store.values import storable

SESSION_LENGTH = timedelta(days=14)
"""After this a session ends, however much it is used."""

SESSION_IDLE = timedelta(hours=24)
"""After this without a request it ends."""

_USE_NOTED_EVERY = timedelta(minutes=1)
_CHARACTERS_MAX = 500


class SignInMethod(StoredEnum):
    """How an operator has signed in."""

    PASSWORD = "password"  # with the second factor, if the operator has one
    OIDC = "oidc"  # at the identity provider, which asks for a second factor itself
    PASSKEY = "passkey"  # without a password: the device has verified the person


@dataclass(frozen=True, kw_only=True)
class Session:
    """A session.

    Attributes:
        id: Digest of its secret, which does not lead back to the secret.
        used_at: To the minute.
        address: The client's address when the session began, "" if it is not known.
        user_agent: The browser as it names itself, "" if it is not known.
    """

    id: str
    created_at: datetime
    used_at: datetime
    method: SignInMethod
    address: str
    user_agent: str


@dataclass(frozen=True, kw_only=True)
class SignedInOperator:
    """The operator of a session.

    Attributes:
        must_set_up_two_factor: True if the workspace requires a second factor and the operator has none.
    """

    operator: Operator
    must_set_up_two_factor: bool


def begin_session(
    work: Connection,
    operator: Operator,
    *,
    clock: Clock,
    method: SignInMethod = SignInMethod.PASSWORD,
    address: str = "",
    user_agent: str = "",
) -> str:
    """Sign an operator in; return the secret for their cookie. Sessions that have ended are deleted."""
    now = clock.now()
    secret = new_secret()
    ended = (operator_sessions.c.expires_at < now) | (operator_sessions.c.used_at < now - SESSION_IDLE)
    work.execute(delete(operator_sessions).where(ended))
    work.execute(
        insert(operator_sessions).values(
            digest=secret_digest(secret),
            operator_id=operator.id,
            created_at=now,
            used_at=now,
            expires_at=now + SESSION_LENGTH,
            method=method,
            address=storable(address)[:_CHARACTERS_MAX],
            user_agent=storable(user_agent)[:_CHARACTERS_MAX],
        )
    )
    work.execute(update(operators).where(operators.c.id == operator.id).values(last_signed_in_at=now))
    return secret


def end_session(work: Connection, secret: str) -> None:
    """Sign out."""
    work.execute(delete(operator_sessions).where(operator_sessions.c.digest == secret_digest(secret)))


def list_sessions(work: Connection, operator_id: str, *, clock: Clock) -> Sequence[Session]:
    """Return the sessions of an operator that have not ended, the last used first."""
    columns = operator_sessions.c
    now = clock.now()
    chosen = (
        select(operator_sessions)
        .where(columns.operator_id == operator_id, columns.expires_at > now, columns.used_at > now - SESSION_IDLE)
        .order_by(columns.used_at.desc(), columns.created_at.desc(), columns.digest)
    )
    return [_session(row) for row in work.execute(chosen)]


def revoke_session(work: Connection, operator_id: str, id: str) -> bool:
    """End a session of an operator; return False if the operator has no such session."""
    columns = operator_sessions.c
    ended = delete(operator_sessions).where(columns.operator_id == operator_id, columns.digest == id)
    return work.execute(ended).rowcount > 0


def end_other_sessions(work: Connection, operator_id: str, secret: str) -> int:
    """End all sessions of an operator except the one with this secret; return their number.

    Args:
        secret: Secret of the session to keep, "" to keep none.
    """
    columns = operator_sessions.c
    others = delete(operator_sessions).where(
        columns.operator_id == operator_id, columns.digest != (secret_digest(secret) if secret else "")
    )
    return work.execute(others).rowcount


def session_id(secret: str) -> str:
    """Return the id of the session with this secret."""
    return secret_digest(secret)


def operator_of_session(store: Store, secret: str, *, clock: Clock) -> SignedInOperator | None:
    """Return the operator of a session, None if it is unknown or has ended. Notes its use, to the minute."""
    now = clock.now()
    columns = operator_sessions.c
    with store.reading() as work:
        row = work.execute(
            select(
                operators,
                columns.used_at,
                columns.expires_at,
                columns.method,
                second_factors.c.enabled_at,
                exists().where(passkeys.c.operator_id == operators.c.id).label("has_passkey"),
                setting_query(REQUIRES_TWO_FACTOR).scalar_subquery().label("requirement"),
            )
            .join(operator_sessions, columns.operator_id == operators.c.id)
            .outerjoin(second_factors, second_factors.c.operator_id == operators.c.id)
            .where(columns.digest == secret_digest(secret))
        ).one_or_none()
    if row is None:
        return None
    values = row._mapping
    if values["expires_at"] <= now or values["used_at"] <= now - SESSION_IDLE:
        return None
    if now - values["used_at"] >= _USE_NOTED_EVERY:
        with store.unit_of_work() as work:
            work.execute(update(operator_sessions).where(columns.digest == secret_digest(secret)).values(used_at=now))
    has_second_factor = values["enabled_at"] is not None or values["has_passkey"]
    lacks_second_factor = not has_second_factor and values["method"] != SignInMethod.OIDC
    return SignedInOperator(
        operator=operator_of_row(row), must_set_up_two_factor=bool(values["requirement"]) and lacks_second_factor
    )


def _session(row: Row[*tuple[Any, ...]]) -> Session:
    values = row._mapping
    return Session(
        id=values["digest"],
        created_at=values["created_at"],
        used_at=values["used_at"],
        method=SignInMethod(values["method"]),
        address=values["address"],
        user_agent=values["user_agent"],
    )
