"""Invitations to the App, and the roles that they give.

Source: Segment's Public API, "IAM Users" and "IAM Roles"; the member `invites` of a response is Punchcard's own.
"""

import re
from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, post
from litestar.params import JSONBody, QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import REQUIRED_ROLE, ApiDependencies, Dependencies
from punchcard.api.errors import bad_request, unprocessable
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page
from punchcard.clock import to_iso
from punchcard.operations.executor import run_in_executor
from punchcard.operations.invitations import (
    ROLE_LABELS,
    invitation_link,
    invite,
    mail_invitation,
    read_role,
    revoke_invitation,
)
from punchcard.store.access.invitations import Invitation, list_invitations
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import NotFoundError

_WORKSPACE = "WORKSPACE"
_INVITES_MAX = 50
_NUMBERED_EMAIL = re.compile(r"emails\[\d*\]")
_ROLE_TEXTS = {
    Role.READ_ONLY: "Reads everything.",
    Role.EDITOR: "Reads everything, changes the configuration and sends test events.",
    Role.OWNER: "Everything, including users and tokens.",
}


class InvitedResource(msgspec.Struct):
    """What a role applies to; always the workspace."""

    type: str
    id: str = ""


class InvitePermission(msgspec.Struct, rename="camel"):
    """A role to give."""

    role_id: str
    resources: list[InvitedResource] = []


class NewInvite(msgspec.Struct):
    """A person to invite. Without permissions the role is `read_only`; of several, the highest is given."""

    email: str
    permissions: list[InvitePermission] = []


class NewInvites(msgspec.Struct):
    """Persons to invite."""

    invites: list[NewInvite]


class InviteView(msgspec.Struct, rename="camel"):
    """An invitation. `url` is the link, which is returned only once; `mail` says why it was not mailed."""

    email: str
    role_id: str
    url: str
    expires_at: str
    is_mailed: bool
    mail: str


class CreatedInvites(msgspec.Struct):
    """The invited emails, and the link of each."""

    emails: list[str]
    invites: list[InviteView]


class InvitePage(msgspec.Struct):
    """A page of invited emails."""

    invites: list[str]
    pagination: bodies.Pagination


class RoleView(msgspec.Struct):
    """A role."""

    id: str
    name: str
    description: str


class RolePage(msgspec.Struct):
    """A page of roles."""

    roles: list[RoleView]
    pagination: bodies.Pagination


@get("/roles", opt={REQUIRED_ROLE: Role.OWNER}, summary="List roles")
@run_in_executor
def list_roles(dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None) -> dict[str, RolePage]:
    """List the roles, by id."""
    roles, pagination = page(sorted(Role), key=lambda role: role.value, count=count, cursor=cursor)
    views = [RoleView(id=role.value, name=ROLE_LABELS[role], description=_ROLE_TEXTS[role]) for role in roles]
    return {"data": RolePage(roles=views, pagination=pagination)}


@get("/invites", opt={REQUIRED_ROLE: Role.OWNER}, summary="List invites")
@run_in_executor
def list_invites(
    dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, InvitePage]:
    """List the emails of persons who have not used their invitation, expired ones included."""
    with dependencies.store.reading() as work:
        emails = sorted(invitation.email for invitation in list_invitations(work))
    shown, pagination = page(emails, key=str, count=count, cursor=cursor)
    return {"data": InvitePage(invites=list(shown), pagination=pagination)}


@post("/invites", status_code=201, opt={REQUIRED_ROLE: Role.OWNER}, summary="Create invites")
@run_in_executor
def create_invites(
    request: Request[Any, Any, Any], data: JSONBody[NewInvites], dependencies: Dependencies
) -> dict[str, CreatedInvites]:
    """Invite persons: all of them, or none. Their links are returned, and mailed if an alert channel sends mail."""
    if not 1 <= len(data.invites) <= _INVITES_MAX:
        raise bad_request(f"Send 1 to {_INVITES_MAX} invites.", "invites")
    with dependencies.store.unit_of_work() as work:
        created = [
            invite(work, email=new.email, role=_role(new), actor=dependencies.actor, clock=dependencies.clock)
            for new in data.invites
        ]
    base_url = dependencies.public_url or f"{request.url.scheme}://{request.url.netloc}"
    views = [_mailed(dependencies, invitation, invitation_link(base_url, secret)) for invitation, secret in created]
    return {"data": CreatedInvites(emails=[view.email for view in views], invites=views)}


@delete("/invites", status_code=200, opt={REQUIRED_ROLE: Role.OWNER}, summary="Delete invites")
@run_in_executor
def delete_invites(
    request: Request[Any, Any, Any],
    dependencies: Dependencies,
    emails: Annotated[list[str] | None, QueryParameter(name="emails")] = None,
) -> dict[str, dict[str, str]]:
    """Revoke invitations by email: all of them, or none. Their links cannot be used from now on."""
    # Segment's client numbers them: `emails[0]=…&emails[1]=…`.
    numbered = [value for name, value in request.query_params.multi_items() if _NUMBERED_EMAIL.fullmatch(name)]
    emails = [*(emails or ()), *numbered]
    if not emails:
        raise bad_request("Name the persons with the parameter emails.", "emails")
    with dependencies.store.unit_of_work() as work:
        ids = {invitation.email: invitation.id for invitation in list_invitations(work)}
        for email in emails:
            id_ = ids.get(email.strip().lower())
            if id_ is None:
                raise NotFoundError(f"There is no invite of {email}.")
            revoke_invitation(work, id_, actor=dependencies.actor, clock=dependencies.clock)
    return {"data": {"status": "SUCCESS"}}


def _role(new: NewInvite) -> Role:
    roles = [read_role(permission.role_id) for permission in new.permissions]
    for permission in new.permissions:
        if any(resource.type != _WORKSPACE for resource in permission.resources):
            raise unprocessable("Roles apply to the whole workspace. Send no resources, or WORKSPACE.", "resources")
    return max(roles, key=list(Role).index, default=Role.READ_ONLY)


def _mailed(dependencies: ApiDependencies, invitation: Invitation, link: str) -> InviteView:
    not_mailed = mail_invitation(dependencies.current(), invitation, link, workspace=dependencies.workspace().name)
    return InviteView(
        email=invitation.email,
        role_id=invitation.role.value,
        url=link,
        expires_at=to_iso(invitation.expires_at),
        is_mailed=not not_mailed,
        mail=not_mailed,
    )


HANDLERS = (list_roles, list_invites, create_invites, delete_invites)
