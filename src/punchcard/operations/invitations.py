"""Inviting people to the App: the link, its mail, and what happens when it is used, recorded in the audit log."""

import re
from datetime import datetime

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError
from punchcard.operations.alert_channels import ChannelError
from punchcard.operations.mail import find_mail_channel, send_mail
from punchcard.store.access import audit
from punchcard.store.access.invitations import (
    Invitation,
    add_invitation,
    delete_invitation,
    find_invitation,
    list_invitations,
)
from punchcard.store.access.operators import Operator, create_operator, operator_by_email
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.snapshot import Snapshot

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,185}\.[^@\s\x00-\x1f\x7f]{1,63}")
ROLE_LABELS = {Role.READ_ONLY: "Viewer", Role.EDITOR: "Editor", Role.OWNER: "Owner"}


class InvalidLinkError(ConfigurationError):
    """The link was used or revoked, or it has expired."""

    code = "invalid_link"


def is_operator_email(text: str) -> bool:
    """Return whether a text can be the email of an operator."""
    return _EMAIL.fullmatch(text) is not None


def read_role(text: str) -> Role:
    """Return the role of this name.

    Raises:
        ConfigurationError: There is no such role.
    """
    if text not in set(Role):
        raise ConfigurationError(f"The role must be one of {', '.join(Role)}.", code="invalid_request", field="role")
    return Role(text)


def invite(work: Connection, *, email: str, role: Role, actor: str, clock: Clock) -> tuple[Invitation, str]:
    """Invite a person; an earlier link for the same email ends.

    Returns:
        The invitation, and the secret of its link, which cannot be shown again.

    Raises:
        ConfigurationError: The email is invalid, or belongs to an operator; the context has the `field`.
    """
    email = email.strip()
    if not is_operator_email(email):
        raise ConfigurationError(f'"{email}" is not an email address.', code="invalid_request", field="email")
    if operator_by_email(work, email) is not None:
        raise ConfigurationError(f"{email} is an operator already.", code="operator_exists", field="email")
    invitation, secret = add_invitation(work, email=email, role=role, invited_by=actor, clock=clock)
    _record(work, "add", invitation, actor=actor, now=clock.now())
    return invitation, secret


def revoke_invitation(work: Connection, id: str, *, actor: str, clock: Clock) -> Invitation:
    """Revoke an invitation: its link cannot be used any more.

    Raises:
        NotFoundError: There is no such invitation; it may have been used.
    """
    invitation = next((invitation for invitation in list_invitations(work) if invitation.id == id), None)
    if invitation is None or not delete_invitation(work, id):
        raise NotFoundError("This invitation was used or revoked. Settings > Team lists the open ones.")
    _record(work, "remove", invitation, actor=actor, now=clock.now())
    return invitation


def accept_invitation(work: Connection, secret: str, *, name: str, password: str, clock: Clock) -> Operator:
    """Make the invited person an operator; the link ends.

    Args:
        password: The hash.

    Raises:
        InvalidLinkError: The link was used or revoked, or it has expired.
        ConfigurationError: The email belongs to an operator by now.
    """
    invitation = find_invitation(work, secret, clock=clock)
    if invitation is None or not delete_invitation(work, invitation.id):
        raise InvalidLinkError("This invitation was used or revoked, or it has expired.")
    operator = create_operator(
        work, email=invitation.email, name=name, role=invitation.role, password=password, clock=clock
    )
    audit.record_operator_change(
        work,
        operator.id,
        audit.ChangedValue("role", after=operator.role),
        audit.ChangedValue("invited_by", after=invitation.invited_by),
        kind="add",
        actor=f"operator {operator.email}",
        at=clock.now(),
    )
    return operator


def invitation_link(base_url: str, secret: str) -> str:
    """Return the link of an invitation.

    Args:
        base_url: Where people reach the App.
    """
    return f"{base_url.rstrip('/')}/join/{secret}"


def mail_invitation(snapshot: Snapshot, invitation: Invitation, link: str, *, workspace: str) -> str:
    """Send the link to the invited person. Waits for the network.

    Args:
        workspace: Name of the workspace.

    Returns:
        Why no mail was sent, "" if one was.
    """
    channel = find_mail_channel(snapshot)
    if channel is None:
        return "No alert channel sends mail, so send the link yourself."
    until = f"{invitation.expires_at.astimezone(snapshot.zone):%Y-%m-%d %H:%M} ({snapshot.zone.key})"
    text = (
        f"You are invited to Punchcard of {workspace}, with the role {ROLE_LABELS.get(invitation.role, 'Viewer')}.\n\n"
        f"Choose a name and a password here:\n\n{link}\n\n"
        f"The link works once, until {until}. If you do not expect this mail, ignore it.\n"
    )
    try:
        send_mail(channel, to=invitation.email, subject=f"You are invited to {workspace}", text=text)
    except ChannelError as error:
        return f"The mail was not sent: {error.message.rstrip('.')}. Send the link yourself."
    return ""


def _record(work: Connection, kind: str, invitation: Invitation, *, actor: str, now: datetime) -> None:
    is_new = kind == "add"
    values = [("email", invitation.email), ("role", invitation.role.value)]
    changes = [
        audit.ChangedValue(path, after=value) if is_new else audit.ChangedValue(path, before=value)
        for path, value in values
    ]
    audit.record(
        work,
        at=now,
        actor=actor,
        kind=kind,
        resource_type="invitation",
        resource_id=invitation.id,
        changes=audit.changes_json(*changes),
    )
