"""Passkeys of operators: public keys of their devices, and the challenges that were used.

Bytes are stored as base64url without padding, as browsers send them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError
from punchcard.store.access.link_secrets import secret_digest
from punchcard.store.access.schema import passkeys, used_challenges
from punchcard.store.upsert import insert_into
from punchcard.store.values import storable

NAME_CHARACTERS_MAX: Final = 60


@dataclass(frozen=True, kw_only=True)
class Credential:
    """What an authenticator has created.

    Attributes:
        credential_id: Unique in the world, base64url.
        public_key: In COSE form, base64url.
        sign_count: Signatures so far, 0 if the authenticator does not count them.
        user_handle: The operator as the authenticator knows them, base64url.
        rp_id: Host name of the App to which browsers restrict the passkey.
    """

    credential_id: str
    public_key: str
    sign_count: int
    user_handle: str
    rp_id: str


@dataclass(frozen=True, kw_only=True)
class Passkey:
    """A passkey.

    Attributes:
        name: As its operator calls it.
        last_used_at: None before the first use.
    """

    id: str
    operator_id: str
    name: str
    credential: Credential
    created_at: datetime
    last_used_at: datetime | None


def add_passkey(work: Connection, operator_id: str, name: str, credential: Credential, *, clock: Clock) -> Passkey:
    """Add a passkey.

    Raises:
        ConfigurationError: The credential is known already.
    """
    id_ = clock.new_id()
    try:
        work.execute(
            insert(passkeys).values(
                id=id_,
                operator_id=operator_id,
                name=storable(name)[:NAME_CHARACTERS_MAX],
                credential_id=credential.credential_id,
                public_key=credential.public_key,
                sign_count=credential.sign_count,
                user_handle=credential.user_handle,
                rp_id=credential.rp_id,
                created_at=clock.now(),
            )
        )
    except IntegrityError as error:
        raise ConfigurationError("This passkey is registered already.") from error
    passkey = find_passkey(work, operator_id, id_)
    assert passkey is not None
    return passkey


def list_passkeys(work: Connection, operator_id: str) -> Sequence[Passkey]:
    """Return the passkeys of an operator, oldest first."""
    columns = passkeys.c
    chosen = select(passkeys).where(columns.operator_id == operator_id).order_by(columns.created_at, columns.id)
    return [_passkey(row) for row in work.execute(chosen)]


def count_passkeys(work: Connection, operator_id: str) -> int:
    """Return how many passkeys an operator has."""
    return work.scalar(select(func.count()).where(passkeys.c.operator_id == operator_id)) or 0


def find_passkey(work: Connection, operator_id: str, id: str) -> Passkey | None:
    """Return a passkey of an operator, None if the operator has no such passkey."""
    chosen = select(passkeys).where(passkeys.c.operator_id == operator_id, passkeys.c.id == id)
    row = work.execute(chosen).one_or_none()
    return None if row is None else _passkey(row)


def passkey_of_credential(work: Connection, credential_id: str) -> Passkey | None:
    """Return the passkey with this credential id, None if it is not known."""
    row = work.execute(select(passkeys).where(passkeys.c.credential_id == storable(credential_id))).one_or_none()
    return None if row is None else _passkey(row)


def has_passkeys_at(work: Connection, rp_id: str) -> bool:
    """Return whether any operator has a passkey for a host name."""
    return bool(work.scalar(select(exists().where(passkeys.c.rp_id == rp_id))))


def rename_passkey(work: Connection, operator_id: str, id: str, name: str) -> None:
    """Give a passkey of an operator another name."""
    columns = passkeys.c
    renamed = update(passkeys).where(columns.operator_id == operator_id, columns.id == id)
    work.execute(renamed.values(name=storable(name)[:NAME_CHARACTERS_MAX]))


def remove_passkey(work: Connection, operator_id: str, id: str) -> bool:
    """Delete a passkey of an operator; return False if the operator has no such passkey."""
    columns = passkeys.c
    return work.execute(delete(passkeys).where(columns.operator_id == operator_id, columns.id == id)).rowcount > 0


def note_passkey_use(work: Connection, passkey: Passkey, sign_count: int, *, clock: Clock) -> bool:
    """Note that a passkey was used; return False if it was used or removed since it was read."""
    columns = passkeys.c
    noted = (
        update(passkeys)
        .where(columns.id == passkey.id, columns.sign_count == passkey.credential.sign_count)
        .values(sign_count=sign_count, last_used_at=clock.now())
    )
    return work.execute(noted).rowcount > 0


def use_challenge(work: Connection, challenge: str, *, valid_for: timedelta, clock: Clock) -> bool:
    """Note that a challenge was used; return False if it was used before.

    Args:
        valid_for: At least as long as a challenge is valid; its row may be deleted after that.
    """
    now = clock.now()
    work.execute(delete(used_challenges).where(used_challenges.c.expires_at <= now))
    added = insert_into(work, used_challenges).values(digest=secret_digest(challenge), expires_at=now + valid_for)
    # Not by `rowcount`, which PostgreSQL's driver does not have for such a statement.
    returned = work.execute(added.on_conflict_do_nothing().returning(used_challenges.c.digest))
    return returned.one_or_none() is not None


def _passkey(row: Row[*tuple[Any, ...]]) -> Passkey:
    values = row._mapping
    return Passkey(
        id=values["id"],
        operator_id=values["operator_id"],
        name=values["name"],
        credential=Credential(
            credential_id=values["credential_id"],
            public_key=values["public_key"],
            sign_count=values["sign_count"],
            user_handle=values["user_handle"],
            rp_id=values["rp_id"],
        ),
        created_at=values["created_at"],
        last_used_at=values["last_used_at"],
    )
