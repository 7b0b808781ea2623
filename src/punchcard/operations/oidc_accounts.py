"""Accounts of people who sign in at an identity provider, and the stored settings of the provider."""

import json

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError
from punchcard.operations.oidc import OidcError, OidcIdentity, OidcSettings
from punchcard.store.access import audit
from punchcard.store.access.access_settings import OIDC, read_setting, write_setting
from punchcard.store.access.invitations import invitation_of_email
from punchcard.store.access.operators import Operator, create_operator, operator_by_email
from punchcard.store.access.token_store import Role
from punchcard.workspace.keyring import Keyring, mask


def sign_in_identity(work: Connection, settings: OidcSettings, identity: OidcIdentity, *, clock: Clock) -> Operator:
    """Return the operator with the verified email of a person; invited and allowed people become operators.

    Raises:
        OidcError: The person has no account and may not get one.
    """
    operator = operator_by_email(work, identity.email)
    if operator is not None:
        return operator
    invitation = invitation_of_email(work, identity.email, clock=clock)
    role = invitation.role if invitation else settings.new_user_role
    if role is None:
        raise OidcError(f"{identity.email} has no account here. Ask an owner to invite you.")
    operator = create_operator(work, email=identity.email, name=identity.name, role=role, password="", clock=clock)
    changes = [audit.ChangedValue("role", after=role), audit.ChangedValue("identity_provider", after=settings.issuer)]
    if invitation:
        changes.append(audit.ChangedValue("invited_by", after=invitation.invited_by))
    audit.record_operator_change(
        work, operator.id, *changes, kind="add", actor=f"operator {operator.email}", at=clock.now()
    )
    return operator


def load_oidc_settings(work: Connection, keyring: Keyring) -> OidcSettings | None:
    """Return the provider that owners have entered in the App, None if there is none.

    Raises:
        ConfigurationError: The client secret was encrypted with another key.
    """
    text = read_setting(work, OIDC)
    if not text:
        return None
    stored = json.loads(text)
    return OidcSettings(
        name=stored["name"],
        issuer=stored["issuer"],
        client_id=stored["client_id"],
        client_secret=keyring.decrypt(stored["client_secret"]) if stored["client_secret"] else "",
        allowed_domains=tuple(stored["allowed_domains"]),
        new_user_role=Role(stored["new_user_role"]) if stored["new_user_role"] else None,
    )


def store_oidc_settings(
    work: Connection, settings: OidcSettings | None, keyring: Keyring, *, actor: str, clock: Clock
) -> None:
    """Store the provider, None to remove it, and record the change in the audit log."""
    try:
        before = load_oidc_settings(work, keyring)
    except ConfigurationError:  # the secret cannot be read any more, and is replaced now
        before = None
    content = ""
    if settings is not None:
        secret = keyring.encrypt(settings.client_secret) if settings.client_secret else ""
        content = json.dumps({**_shown(settings), "client_secret": secret})
    write_setting(work, OIDC, content)
    old, new = (_shown(value) if value else {} for value in (before, settings))
    changes = [
        {"path": f"oidc.{key}", "before": old.get(key), "after": new.get(key)}
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]
    if changes:
        audit.record(
            work,
            at=clock.now(),
            actor=actor,
            kind="change",
            resource_type="sign_in",
            resource_id="workspace",
            changes=json.dumps(changes),
        )


def _shown(settings: OidcSettings) -> dict[str, object]:
    """Return the values of a provider, with its secret masked."""
    return {
        "name": settings.name,
        "issuer": settings.issuer,
        "client_id": settings.client_id,
        "client_secret": mask(settings.client_secret) if settings.client_secret else "",
        "allowed_domains": list(settings.allowed_domains),
        "new_user_role": settings.new_user_role or "",
    }
