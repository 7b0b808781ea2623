"""Creating and revoking tokens of the Public API, recorded in the audit log."""

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError
from punchcard.store.access import audit
from punchcard.store.access.token_store import Role, StoredToken, create_token, find_token, list_tokens, revoke_token
from punchcard.workspace.editing import NotFoundError

_NAME_CHARACTERS_MAX = 100


def make_token(work: Connection, name: str, role: str, *, actor: str, clock: Clock) -> tuple[StoredToken, str]:
    """Create a token; return it with its secret, which cannot be shown again.

    Raises:
        ConfigurationError: The name or the role is invalid; the context has the `field`.
    """
    name = name.strip()
    if not 1 <= len(name) <= _NAME_CHARACTERS_MAX:
        raise ConfigurationError(
            f"Enter a name of 1 to {_NAME_CHARACTERS_MAX} characters.", code="invalid_request", field="name"
        )
    if role not in set(Role):
        raise ConfigurationError(f"The role must be one of {', '.join(Role)}.", code="invalid_request", field="role")
    id_ = clock.new_id()
    secret = create_token(work, name, clock=clock, role=Role(role), id=id_)
    token = find_token(work, id_)
    assert token is not None
    _record_audit_event(work, "add", token, actor=actor, clock=clock)
    return token, secret


def remove_token(work: Connection, id: str, *, actor: str, clock: Clock) -> None:
    """Revoke a token. The last owner's token cannot be revoked: without it, nobody could create another one.

    Raises:
        NotFoundError: There is no token with this id.
        ConfigurationError: It is the last token of an owner.
    """
    token = find_token(work, id)
    if token is None:
        raise NotFoundError(f"There is no token {id}.")
    owners = [token.id for token in list_tokens(work) if token.role is Role.OWNER]
    if owners == [token.id]:
        raise ConfigurationError("This is the last token of an owner. Create another one first.")
    revoke_token(work, token.id)
    _record_audit_event(work, "remove", token, actor=actor, clock=clock)


def _record_audit_event(work: Connection, kind: str, token: StoredToken, *, actor: str, clock: Clock) -> None:
    values = [("name", token.name), ("role", token.role.value)]
    is_new = kind == "add"
    changes = [
        audit.ChangedValue(path, after=value) if is_new else audit.ChangedValue(path, before=value)
        for path, value in values
    ]
    audit.record(
        work,
        at=clock.now(),
        actor=actor,
        kind=kind,
        resource_type="token",
        resource_id=token.id,
        changes=audit.changes_json(*changes),
    )
