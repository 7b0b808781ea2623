"""Tokens of the Public API: shown once, kept as digests."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from punchcard.clock import Clock
from punchcard.errors import StorageError
from punchcard.store.access.link_secrets import new_secret, secret_digest
from punchcard.store.access.schema import api_tokens
from punchcard.store.engine import Store
from punchcard.store.stored_enum import StoredEnum
from punchcard.store.values import storable

_PREFIX = "punchcard_"  # so that a token found in a log or a repository is recognised
# The first token has a fixed id: two processes that start on an empty store at once cannot both make it.
_ADMIN_ID = "admin"
_USE_NOTED_EVERY = timedelta(minutes=1)
_SHOWN = (
    api_tokens.c.id,
    api_tokens.c.name,
    api_tokens.c.created_at,
    api_tokens.c.role,
    api_tokens.c.last_used_at,
)


class Role(StoredEnum):
    """What a token may do; each may do what those before it may."""

    READ_ONLY = "read_only"  # look at everything
    EDITOR = "editor"  # change the configuration, send test events
    OWNER = "owner"  # make and revoke tokens

    def may(self, needed: "Role") -> bool:
        """True if this role may do what that one may; a role that is not listed may do nothing."""
        order = list(Role)
        if self not in order:
            return False
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, kw_only=True)
class StoredToken:
    """A token as it is stored: without its secret.

    Attributes:
        last_used_at: To the minute; None if it never was.
    """

    id: str
    name: str
    created_at: datetime
    role: Role
    last_used_at: datetime | None


def create_token(work: Connection, name: str, *, clock: Clock, role: Role = Role.OWNER, id: str | None = None) -> str:
    """Make a token and return it: it is kept nowhere, so this is the only time to see it."""
    token = _PREFIX + new_secret()
    work.execute(
        insert(api_tokens).values(
            id=id or clock.new_id(), name=storable(name), digest=secret_digest(token), created_at=clock.now(), role=role
        )
    )
    return token


def verify_token(work: Connection, token: str) -> StoredToken | None:
    """The stored token if the text is one of them.

    It is looked up by its digest, so the time taken tells nothing about a token that is nearly right.
    """
    row = work.execute(select(*_SHOWN).where(api_tokens.c.digest == secret_digest(token))).one_or_none()
    return None if row is None else _stored(row)


def find_token(work: Connection, id: str) -> StoredToken | None:
    """The token of this id, None if there is none."""
    row = work.execute(select(*_SHOWN).where(api_tokens.c.id == id)).one_or_none()
    return None if row is None else _stored(row)


def note_use(store: Store, token: StoredToken, *, clock: Clock) -> None:
    """Keep when the token was used, at most once a minute."""
    now = clock.now()
    if token.last_used_at is not None and now - token.last_used_at < _USE_NOTED_EVERY:
        return
    with store.unit_of_work() as work:
        work.execute(update(api_tokens).where(api_tokens.c.id == token.id).values(last_used_at=now))


def list_tokens(work: Connection) -> Sequence[StoredToken]:
    """All tokens, oldest first."""
    rows = work.execute(select(*_SHOWN).order_by(api_tokens.c.created_at, api_tokens.c.id))
    return [_stored(row) for row in rows]


def revoke_token(work: Connection, id: str) -> bool:
    """Make a token invalid; False if there is none of that id."""
    return work.execute(delete(api_tokens).where(api_tokens.c.id == id)).rowcount > 0


def ensure_admin_token(store: Store, path: Path, *, clock: Clock) -> str | None:
    """Make the first token if there is none at all, and write it to `path` for the owner's eyes only.

    Returns:
        The token, to be shown once; None if there are tokens already.

    Raises:
        StorageError: the file or the store cannot be written; then no token was made.
    """
    try:
        with store.unit_of_work() as work:
            if work.scalar(select(func.count()).select_from(api_tokens)):
                return None
            token = create_token(work, "admin", clock=clock, id=_ADMIN_ID)
            # Before the commit: a crash in between leaves a dead file that the next start replaces, never a token
            # that nobody knows.
            _write_private(path, token)
            return token
    except IntegrityError:
        return None  # another process has made it in this moment
    except OSError as error:
        raise StorageError(f"{path}: the admin token cannot be written: {error.strerror}") from error


def _stored(row: Row[*tuple[Any, ...]]) -> StoredToken:
    values = dict(row._mapping)
    return StoredToken(**{**values, "role": Role(values["role"])})


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # an older file may be readable by others
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
