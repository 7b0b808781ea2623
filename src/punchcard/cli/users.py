"""`user`: the operators of the App on the command line."""

import secrets
import sys

from sqlalchemy import Connection

from punchcard.app.passwords import hash_password
from punchcard.cli.listing import print_list
from punchcard.cli.output import printable
from punchcard.clock import SystemClock, to_iso
from punchcard.errors import ConfigurationError
from punchcard.operations.invitations import invitation_link, invite, mail_invitation, read_role
from punchcard.operations.two_factor import reset_second_factors
from punchcard.runtime.alerting import base_url
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.access.audit import ChangedValue, record_operator_change
from punchcard.store.access.operators import (
    Operator,
    change_operator,
    forget_failures_of,
    list_operators,
    operator_by_email,
)
from punchcard.store.access.second_factors import operators_with_second_factor
from punchcard.store.access.sessions import end_other_sessions
from punchcard.workspace.persistence import load
from punchcard.workspace.snapshot import SnapshotWatch

_PASSWORD_BYTES = 15  # 20 characters


def print_users(settings: Settings, *, as_json: bool) -> None:
    """Print the operators, oldest first.

    Raises:
        StorageError: The store is unavailable.
    """
    store = open_store(settings)
    try:
        with store.reading() as work:
            operators = list_operators(work)
            with_second_factor = operators_with_second_factor(work)
    finally:
        store.close()
    print_list(
        operators,
        columns={
            "email": lambda operator: operator.email,
            "name": lambda operator: operator.name,
            "role": lambda operator: operator.role.replace("_", " "),
            "two-factor": lambda operator: "on" if operator.id in with_second_factor else "off",
            "last signed in": lambda operator: (
                "never" if operator.last_signed_in_at is None else f"{operator.last_signed_in_at:%Y-%m-%d %H:%M} UTC"
            ),
        },
        body=lambda operator: _body(operator, has_two_factor=operator.id in with_second_factor),
        as_json=as_json,
        empty="No users yet. The first visitor of the App becomes the owner.",
    )


def reset_password(settings: Settings, email: str) -> None:
    """Give an operator a new random password, and print it.

    Raises:
        ConfigurationError: There is no such operator.
        StorageError: The store is unavailable.
    """
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    store = open_store(settings)
    try:
        with store.unit_of_work() as work:
            operator = _find_user(work, email)
            change_operator(work, operator.id, password=hash_password(password))
            forget_failures_of(work, operator.email)
            now = SystemClock().now()
            record_operator_change(work, operator.id, ChangedValue("password"), actor="command line", at=now)
    finally:
        store.close()
    print(f"Temporary password of {printable(operator.email)}: {password}")
    print("All sessions have ended. Change the password in the App, under Settings > Your account.")


def reset_two_factor(settings: Settings, email: str) -> None:
    """Turn two-factor authentication off for an operator.

    Raises:
        ConfigurationError: There is no such operator, or the operator has no second factor.
        StorageError: The store is unavailable.
    """
    store = open_store(settings)
    try:
        with store.unit_of_work() as work:
            operator = _find_user(work, email)
            if not reset_second_factors(work, operator, actor="command line", clock=SystemClock()):
                raise ConfigurationError(f"{operator.email} does not use two-factor authentication.")
            end_other_sessions(work, operator.id, "")
    finally:
        store.close()
    print(f"{printable(operator.email)} signs in with the password alone now. All sessions have ended.")


def invite_user(settings: Settings, email: str, role: str, *, url: str, is_mailed: bool) -> int:
    """Invite a person, and print the link.

    Args:
        url: Where people reach the App, "" for what the settings say.
        is_mailed: Whether the link is also sent by mail.

    Returns:
        0, or 1 if a mail was requested and could not be sent; the link is valid nevertheless.

    Raises:
        ConfigurationError: Email or role is invalid, or the email belongs to an operator.
        StorageError: The store is unavailable.
    """
    clock = SystemClock()
    not_mailed = ""
    store = open_store(settings)
    try:
        with store.unit_of_work() as work:
            invitation, secret = invite(work, email=email, role=read_role(role), actor="command line", clock=clock)
        link = invitation_link(url or base_url(settings), secret)
        if is_mailed:
            keyring = open_keyring(settings)
            snapshot = SnapshotWatch(store, keyring, clock=clock).current()
            workspace = load(store, keyring).workspace.name
            not_mailed = mail_invitation(snapshot, invitation, link, workspace=workspace)
    finally:
        store.close()
    until = f"{invitation.expires_at:%Y-%m-%d %H:%M} UTC"
    print(f"{printable(invitation.email)} is invited. The link works once, until {until}:")
    print(link)
    if not_mailed:
        print(printable(not_mailed), file=sys.stderr)
    return 1 if not_mailed else 0


def _find_user(work: Connection, email: str) -> Operator:
    operator = operator_by_email(work, email)
    if operator is None:
        known = ", ".join(other.email for other in list_operators(work)) or "none yet"
        raise ConfigurationError(f"There is no operator {email} (known: {known}).")
    return operator


def _body(operator: Operator, *, has_two_factor: bool) -> dict[str, object]:
    signed_in_at = operator.last_signed_in_at
    return {
        "id": operator.id,
        "email": operator.email,
        "name": operator.name,
        "role": operator.role,
        "createdAt": to_iso(operator.created_at),
        "twoFactor": has_two_factor,
        "lastSignedInAt": None if signed_in_at is None else to_iso(signed_in_at),
    }
