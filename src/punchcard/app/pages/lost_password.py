"""Lost passwords: the page that requests a link by mail, and the one that the link leads to."""

import asyncio

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors
from punchcard.app.passwords import LENGTH_MIN, hash_password
from punchcard.app.request_context import PUBLIC, ContextDependency, Page, RequestContext
from punchcard.operations.executor import run_in_executor
from punchcard.operations.invitations import InvalidLinkError, is_operator_email
from punchcard.operations.mail import find_mail_channel
from punchcard.operations.password_resets import choose_password, find_reset_operator
from punchcard.store.access.operators import count_failures, note_failure

_REQUESTS_BY_ADDRESS_MAX = 10
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@get("/lost-password", opt={PUBLIC: True})
@run_in_executor
def show_lost_password(context: ContextDependency) -> Page:
    """Show the form that requests a link, or what to do if no mail can be sent."""
    return _lost_password(context)


@post("/lost-password", opt={PUBLIC: True}, status_code=200)
@run_in_executor
def request_link(context: ContextDependency) -> Page:
    """Request a link by mail. The response does not depend on whether an operator has the email."""
    email = context.field("email")
    base_url = _link_base(context)
    if not _sends_mail(context) or not base_url:
        return _lost_password(context)
    if not is_operator_email(email):
        return _lost_password(context, error="This is not an email address.")
    clock = context.dependencies.clock
    subject = f"password reset {context.client_address}"
    with context.dependencies.store.unit_of_work() as work:
        if count_failures(work, subject, clock=clock) >= _REQUESTS_BY_ADDRESS_MAX:
            return _lost_password(context, status=429, error="Too many requests. Try again in 15 minutes.")
        note_failure(work, [subject], clock=clock)
    context.password_resets.request(email, base_url=base_url)
    return _lost_password(context, requested=email)


@get("/new-password/{secret:str}", opt={PUBLIC: True})
@run_in_executor
def show_new_password(context: ContextDependency, secret: FromPath[str]) -> Page:
    """Show the form of a link. Opening the link does not use it: mail servers open links, too."""
    return _new_password(context, secret, FormErrors())


@post("/new-password/{secret:str}", opt={PUBLIC: True}, status_code=200)
async def set_new_password(context: ContextDependency, secret: FromPath[str]) -> Page:
    """Set the password. It does not sign in: the second factor is asked for at the usual place."""
    errors = FormErrors()
    password = context.password_field("password")
    if len(password) < LENGTH_MIN:
        errors.fields["password"] = f"Use at least {LENGTH_MIN} characters, for example three or four words."
    if errors or not await asyncio.to_thread(_is_valid, context, secret):  # a hash costs too much for a guess
        return await asyncio.to_thread(_new_password, context, secret, errors)
    stored = await context.passwords.run(hash_password, password)
    return await asyncio.to_thread(_store_password, context, secret, stored)


def _store_password(context: RequestContext, secret: str, password: str) -> Page:
    try:
        with context.dependencies.store.unit_of_work() as work:
            choose_password(work, secret, password, clock=context.dependencies.clock)
    except InvalidLinkError:  # another request was faster
        return _new_password(context, secret, FormErrors())
    notices = ["Your password was changed, and all your sessions have ended. Sign in with the new password."]
    return context.redirect("/sign-in", notices=notices)


def _is_valid(context: RequestContext, secret: str) -> bool:
    with context.dependencies.store.reading() as work:
        return find_reset_operator(work, secret, clock=context.dependencies.clock) is not None


def _sends_mail(context: RequestContext) -> bool:
    return find_mail_channel(context.dependencies.current()) is not None


def _link_base(context: RequestContext) -> str:
    """Return where a mailed link leads, "" if it is not known for sure.

    Anybody may send this form with a `Host` of their own, and would then get the link that the operator opens.
    """
    if context.dependencies.public_url or context.request.url.hostname in _LOOPBACK_NAMES:
        return context.base_url
    return ""


def _lost_password(context: RequestContext, *, status: int = 200, error: str = "", requested: str = "") -> Page:
    """Return the page.

    Args:
        error: What is wrong with the email, "" for nothing.
        requested: The email that a link was requested for, "" before that.
    """
    return context.page(
        "lost_password.html",
        status=422 if error and status == 200 else status,
        error=error,
        requested=requested,
        sends_mail=_sends_mail(context),
        has_address=bool(_link_base(context)),
    )


def _new_password(context: RequestContext, secret: str, errors: FormErrors) -> Page:
    with context.dependencies.store.reading() as work:
        operator = find_reset_operator(work, secret, clock=context.dependencies.clock)
    status = 404 if operator is None else 422 if errors else 200
    return context.page(
        "new_password.html", status=status, reset_operator=operator, errors=errors, length_min=LENGTH_MIN
    )


HANDLERS = (show_lost_password, request_link, show_new_password, set_new_password)
