"""Making and revoking tokens of the Public API, written down in the audit log."""

import json

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError
from punchcard.store import audit
from punchcard.store.token_store import Role, StoredToken, create_token, find_token, list_tokens, revoke_token
from punchcard.workspace.editing import NotFoundError

_NAME_CHARACTERS_MAX = 100


def make_token(work: Connection, name: str, role: str, *, actor: str, clock: Clock) -> tuple[StoredToken, str]:
    """A new token and its secret, which nobody can show again.

    Raises:
        ConfigurationError: the name or the role is none; its context says which as `field`.
    """
    name = name.strip()
    if not 1 <= len(name) <= _NAME_CHARACTERS_MAX:
        raise ConfigurationError(
            f"a name has 1 to {_NAME_CHARACTERS_MAX} characters", code="invalid_request", field="name"
        )
    if role not in set(Role):
        raise ConfigurationError(f"role is one of {', '.join(Role)}", code="invalid_request", field="role")
    id_ = clock.new_id()
    secret = create_token(work, name, clock=clock, role=Role(role), id=id_)
    made = find_token(work, id_)
    assert made is not None
    _write_down(work, "add", made, actor=actor, clock=clock)
    return made, secret


def remove_token(work: Connection, id: str, *, actor: str, clock: Clock) -> None:
    """Revoke a token. The last owner's stays: without it nobody could make another.

    Raises:
        NotFoundError: there is none with this id.
        ConfigurationError: it is the last one of an owner.
    """
    token = find_token(work, id)
    if token is None:
        raise NotFoundError(f"there is no token {id}")
    owners = [token.id for token in list_tokens(work) if token.role is Role.OWNER]
    if owners == [token.id]:
        raise ConfigurationError("this is the last token of an owner: make another one first")
    revoke_token(work, token.id)
    _write_down(work, "remove", token, actor=actor, clock=clock)


def _write_down(work: Connection, kind: str, token: StoredToken, *, actor: str, clock: Clock) -> None:
    said = [("name", token.name), ("role", token.role.value)]
    is_new = kind == "add"
    values = [
        {"path": path, "before": None if is_new else value, "after": value if is_new else None} for path, value in said
    ]
    audit.record(
        work,
        at=clock.now(),
        actor=actor,
        kind=kind,
        resource_type="token",
        resource_id=token.id,
        changes=json.dumps(values),
    )
