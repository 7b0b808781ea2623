"""Team: the operators with their roles, and invitations."""

import asyncio

from litestar import get, post

from punchcard.app.forms import FormErrors
from punchcard.app.pages.sign_in import open_session
from punchcard.app.passwords import LENGTH_MIN, hash_password
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.invitations import (
    ROLE_LABELS,
    invitation_link,
    invite,
    is_operator_email,
    mail_invitation,
    revoke_invitation,
)
from punchcard.operations.mail import find_mail_channel
from punchcard.operations.two_factor import reset_second_factors
from punchcard.store.access.audit import ChangedValue
from punchcard.store.access.invitations import Invitation, list_invitations
from punchcard.store.access.operators import (
    change_operator,
    create_operator,
    find_operator,
    list_operators,
    remove_operator,
)
from punchcard.store.access.second_factors import operators_with_second_factor
from punchcard.store.access.sessions import end_other_sessions
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import NotFoundError

_REMOVED = "This person is not in the team any more. Settings > Team lists everybody."
_INVITE, _ADD = "invite", "add"  # the forms of the page, for their errors


@get("/settings/team", opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def show_team(context: ContextDependency) -> Page:
    """List all operators and invitations."""
    return _team(context)


@post("/settings/team", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
async def add_operator(context: ContextDependency) -> Page:
    """Add an operator with a temporary password."""
    errors = FormErrors()
    email, name, role = (context.field(field) for field in ("email", "name", "role"))
    password = context.password_field("password")
    if not is_operator_email(email):
        errors.fields["email"] = "This is not an email address."
    if not name:
        errors.fields["name"] = "Enter a name."
    if role not in set(Role):
        errors.fields["role"] = "Choose a role."
    if len(password) < LENGTH_MIN:
        errors.fields["password"] = f"Use at least {LENGTH_MIN} characters."
    if errors:
        return await asyncio.to_thread(_team, context, _ADD, errors)
    stored = await context.passwords.run(hash_password, password)
    return await asyncio.to_thread(_create_operator, context, email=email, name=name, role=Role(role), password=stored)


def _create_operator(context: RequestContext, *, email: str, name: str, role: Role, password: str) -> Page:
    try:
        with context.dependencies.store.unit_of_work() as work:
            operator = create_operator(
                work, email=email, name=name, role=role, password=password, clock=context.dependencies.clock
            )
            context.record_operator_change(work, operator.id, ChangedValue("role", after=role), kind="add")
    except ConfigurationError as error:
        return _team(context, _ADD, FormErrors(fields={"email": error.message}))
    return context.redirect("/settings/team", notices=[f"{name} was added and can sign in now."])


@post("/settings/team/invitations", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def invite_operator(context: ContextDependency) -> Page:
    """Invite a person by mail, or with a link to copy. The link is shown in this response only."""
    dependencies, role = context.dependencies, context.field("role")
    if role not in set(Role):
        return _team(context, _INVITE, FormErrors(fields={"role": "Choose a role."}))
    try:
        with dependencies.store.unit_of_work() as work:
            invitation, secret = invite(
                work, email=context.field("email"), role=Role(role), actor=context.actor, clock=dependencies.clock
            )
    except ConfigurationError as error:
        return _team(context, _INVITE, FormErrors(fields={str(error.context.get("field", "email")): error.message}))
    link = invitation_link(context.base_url, secret)
    not_mailed = mail_invitation(dependencies.current(), invitation, link, workspace=dependencies.workspace().name)
    return _team(context, invitation=invitation, link=link, not_mailed=not_mailed)


@post("/settings/team/invitations/revoke", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def revoke(context: ContextDependency) -> Page:
    """Revoke an invitation. Its link cannot be used from now on."""
    with context.dependencies.store.unit_of_work() as work:
        invitation = revoke_invitation(work, context.field("id"), actor=context.actor, clock=context.dependencies.clock)
    return context.redirect("/settings/team", notices=[f"The invitation of {invitation.email} was revoked."])


@post("/settings/team/role", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def change_role(context: ContextDependency) -> Page:
    """Change a role. The sessions of the operator end; an owner who changes their own stays signed in here."""
    assert context.operator is not None
    id_, role = context.field("id"), context.field("role")
    if role not in set(Role):
        raise ConfigurationError("Choose a role.")
    with context.dependencies.store.unit_of_work() as work:
        operator = find_operator(work, id_)
        if operator is None:
            raise NotFoundError(_REMOVED)
        change_operator(work, id_, role=Role(role))
        context.record_operator_change(work, id_, ChangedValue("role", before=operator.role, after=role))
    notices = [f"The role of {operator.name} is {ROLE_LABELS[Role(role)]} now."]
    if id_ == context.operator.id:
        path = "/settings/team" if Role(role) is Role.OWNER else "/settings"
        return open_session(context, operator, path, notices=notices)
    return context.redirect("/settings/team", notices=notices)


@post("/settings/team/remove", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def remove(context: ContextDependency) -> Page:
    """Remove an operator. Their sessions end immediately."""
    id_ = context.field("id")
    with context.dependencies.store.unit_of_work() as work:
        operator = find_operator(work, id_)
        if operator is None:
            raise NotFoundError(_REMOVED)
        remove_operator(work, id_)
        context.record_operator_change(work, id_, ChangedValue("role", before=operator.role), kind="remove")
    return context.redirect("/settings/team", notices=[f"{operator.name} was removed and cannot sign in any more."])


@post("/settings/team/reset-two-factor", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def reset_two_factor(context: ContextDependency) -> Page:
    """Turn two-factor authentication off for somebody who has lost phone and recovery codes. Their sessions end."""
    with context.dependencies.store.unit_of_work() as work:
        operator = find_operator(work, context.field("id"))
        if operator is None or not reset_second_factors(
            work, operator, actor=context.actor, clock=context.dependencies.clock
        ):
            raise NotFoundError(
                "This person has no second factor, or was removed. Settings > Team lists everybody with theirs."
            )
        end_other_sessions(work, operator.id, "")
    return context.redirect("/settings/team", notices=[f"{operator.name} signs in with the password alone now."])


def _team(
    context: RequestContext,
    form: str = "",
    errors: FormErrors = FormErrors(),  # noqa: B008  # never changed
    *,
    invitation: Invitation | None = None,
    link: str = "",
    not_mailed: str = "",
) -> Page:
    """Return the page.

    Args:
        form: The form with errors, "" for none.
        invitation: The invitation that was just made, with its link and the reason why it was not mailed.
    """
    with context.dependencies.store.reading() as work:
        operators, invitations = list_operators(work), list_invitations(work)
        with_second_factor = operators_with_second_factor(work)
    return context.page(
        "team.html",
        status=422 if errors else 200,
        adding=errors if form == _ADD else FormErrors(),
        inviting=errors if form == _INVITE else FormErrors(),
        operators=operators,
        with_second_factor=with_second_factor,
        invitations=invitations,
        invitation=invitation,
        link=link,
        not_mailed=not_mailed,
        sends_mail=find_mail_channel(context.dependencies.current()) is not None,
        now=context.dependencies.clock.now(),
        roles=list(Role),
        length_min=LENGTH_MIN,
    )


HANDLERS = (show_team, add_operator, invite_operator, revoke, change_role, remove, reset_two_factor)
