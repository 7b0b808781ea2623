"""The page that an invitation leads to, where the invited person chooses a name and a password."""

import asyncio

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors
from punchcard.app.pages.sign_in import open_session
from punchcard.app.passwords import LENGTH_MIN, hash_password
from punchcard.app.request_context import PUBLIC, ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.invitations import ROLE_LABELS, accept_invitation
from punchcard.store.access.invitations import find_invitation


@get("/join/{secret:str}", opt={PUBLIC: True})
@run_in_executor
def show_invitation(context: ContextDependency, secret: FromPath[str]) -> Page:
    """Show the form of an invitation. Opening the link does not use it: mail servers open links, too."""
    return _invitation(context, secret, FormErrors())


@post("/join/{secret:str}", opt={PUBLIC: True}, status_code=200)
async def join(context: ContextDependency, secret: FromPath[str]) -> Page:
    """Create the account of the invited person, and sign in."""
    errors = FormErrors()
    if not context.field("name"):
        errors.fields["name"] = "Enter your name."
    password = context.password_field("password")
    if len(password) < LENGTH_MIN:
        errors.fields["password"] = f"Use at least {LENGTH_MIN} characters, for example three or four words."
    if errors or not await asyncio.to_thread(_is_valid, context, secret):  # a hash costs too much for a guess
        return await asyncio.to_thread(_invitation, context, secret, errors)
    stored = await context.passwords.run(hash_password, password)
    return await asyncio.to_thread(_accept, context, secret, stored)


def _accept(context: RequestContext, secret: str, password: str) -> Page:
    dependencies = context.dependencies
    try:
        with dependencies.store.unit_of_work() as work:
            operator = accept_invitation(
                work, secret, name=context.field("name"), password=password, clock=dependencies.clock
            )
    except ConfigurationError:  # somebody was faster
        return _invitation(context, secret, FormErrors())
    notice = f"Welcome, {operator.name}. Your role is {ROLE_LABELS[operator.role]}."
    return open_session(context, operator, "/", notices=[notice])


def _is_valid(context: RequestContext, secret: str) -> bool:
    with context.dependencies.store.reading() as work:
        return find_invitation(work, secret, clock=context.dependencies.clock) is not None


def _invitation(context: RequestContext, secret: str, errors: FormErrors) -> Page:
    with context.dependencies.store.reading() as work:
        invitation = find_invitation(work, secret, clock=context.dependencies.clock)
    status = 404 if invitation is None else 422 if errors else 200
    return context.page(
        "join.html",
        status=status,
        invitation=invitation,
        errors=errors,
        workspace=context.dependencies.workspace().name,
        role=ROLE_LABELS.get(invitation.role, "") if invitation else "",
        length_min=LENGTH_MIN,
    )


HANDLERS = (show_invitation, join)
