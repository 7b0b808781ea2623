"""Signing in and out, and the setup page that creates the owner."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from litestar import get, post

from punchcard.app.forms import FormErrors
from punchcard.app.passwords import LENGTH_MIN, PasswordsBusyError, hash_password, verify_password
from punchcard.app.request_context import (
    NEEDS_NO_SECOND_FACTOR,
    PUBLIC,
    REQUIRED_ROLE,
    SESSION_COOKIE,
    ContextDependency,
    Page,
    RequestContext,
    local_path,
)
from punchcard.app.sealed_cookies import set_sealed_cookie
from punchcard.app.timezones import TIMEZONES
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.invitations import is_operator_email
from punchcard.operations.oidc import OidcSettings
from punchcard.operations.oidc_accounts import load_oidc_settings
from punchcard.operations.passkeys import PasskeyError, Passkeys, RelyingParty
from punchcard.store.access.audit import record_operator_change
from punchcard.store.access.link_secrets import secret_digest
from punchcard.store.access.operators import (
    Operator,
    count_failures,
    count_operators,
    create_operator,
    forget_failures,
    note_failure,
    operator_by_email,
    remove_failures,
)
from punchcard.store.access.second_factors import has_second_factor
from punchcard.store.access.sessions import SignInMethod, end_session
from punchcard.store.access.token_store import Role, verify_token
from punchcard.workspace.editing import change_workspace

# Failed attempts by email and address, and by address alone: enough for typing errors, too few for guessing.
_FAILURES_BY_BOTH_MAX = 8
_FAILURES_BY_ADDRESS_MAX = 40
_BUSY_RETRY_SECONDS = 5
_TOO_MANY_ATTEMPTS = "Too many attempts. Try again in 15 minutes."
SECOND_STEP_COOKIE = "punchcard_sign_in"
"""Cookie of a browser in which the password was accepted and the second factor is missing."""

_LOOPBACK = frozenset({"127.0.0.1", "::1"})


@get("/welcome", opt={PUBLIC: True})
@run_in_executor
def show_welcome(context: ContextDependency) -> Page:
    """Show the setup page of a new Punchcard."""
    if _has_owner(context):
        return context.redirect("/")
    return _welcome(context, FormErrors(), status=200)


@post("/welcome", opt={PUBLIC: True}, status_code=200)
async def make_owner(context: ContextDependency) -> Page:
    """Create the owner, name the workspace, and sign in."""
    refusal = await asyncio.to_thread(_refuse_owner, context)
    if refusal is not None:
        return refusal
    password = await context.passwords.run(hash_password, context.field("password"))
    return await asyncio.to_thread(_create_owner, context, password)


def _refuse_owner(context: RequestContext) -> Page | None:
    """Return the page with errors if the owner cannot be created from the form, else None."""
    if _has_owner(context):
        return context.redirect("/sign-in")
    errors = FormErrors()
    if not is_operator_email(context.field("email")):
        errors.fields["email"] = "This is not an email address."
    if not context.field("name"):
        errors.fields["name"] = "Enter your name."
    if len(context.field("password")) < LENGTH_MIN:
        errors.fields["password"] = f"Use at least {LENGTH_MIN} characters, for example three or four words."
    if not _is_named_by_file(context):
        if context.field("timezone") not in TIMEZONES:
            errors.fields["timezone"] = "Choose a time zone from the list."
        if not context.field("workspace"):
            errors.fields["workspace"] = "Enter a name, such as your company's."
    if _needs_code(context) and not _is_code(context, context.field("code")):
        errors.fields["code"] = "This is not the admin token of this Punchcard."
    return _welcome(context, errors, status=422) if errors else None


def _create_owner(context: RequestContext, password: str) -> Page:
    with context.dependencies.store.unit_of_work() as work:
        operator = create_operator(
            work,
            email=context.field("email"),
            name=context.field("name"),
            role=Role.OWNER,
            password=password,
            clock=context.dependencies.clock,
            is_first=True,
        )
        record_operator_change(
            work,
            operator.id,
            kind="add",
            actor=f"operator {operator.email}",
            at=context.dependencies.clock.now(),
        )
    if not _is_named_by_file(context):
        context.dependencies.edit_as(
            f"operator {operator.email}",
            change_workspace(name=context.field("workspace"), timezone=context.field("timezone")),
        )
    return open_session(context, operator, "/")


@get("/sign-in", opt={PUBLIC: True})
@run_in_executor
def show_sign_in(context: ContextDependency) -> Page:
    """Show the sign-in page."""
    if context.operator is not None:
        return context.redirect(local_path(context.query("next")))
    if not _has_owner(context):
        return context.redirect("/welcome")
    return sign_in_page(context, 200, "", following=local_path(context.query("next")))


@post("/sign-in", opt={PUBLIC: True}, status_code=200)
async def sign_in(context: ContextDependency) -> Page:
    """Sign in. After too many failed attempts, further ones are refused for a while."""
    attempt = await asyncio.to_thread(_begin_attempt, context)
    if attempt is None:
        return sign_in_page(context, 429, _TOO_MANY_ATTEMPTS)
    password = context.password_field("password")
    stored = attempt.operator.password if attempt.operator else None
    try:
        is_accepted = await context.passwords.run(verify_password, stored, password)
    except PasswordsBusyError as error:
        await asyncio.to_thread(_withdraw_attempt, context, attempt)  # the password was not verified
        page = sign_in_page(context, 503, error.message)
        page.headers["Retry-After"] = str(_BUSY_RETRY_SECONDS)
        return page
    if attempt.operator is None or not is_accepted:
        return sign_in_page(context, 401, "Wrong email or password.")
    return await asyncio.to_thread(_accept_attempt, context, attempt, attempt.operator)


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """An attempt to sign in, counted as failed until it succeeds.

    Attributes:
        operator: Operator with this email, None if there is none.
        subject: Email and address, by which failures are counted.
        address: The client's address, by which failures with any email are counted.
        counted: Ids of the failures that were recorded for this attempt.
    """

    operator: Operator | None
    subject: str
    address: str
    counted: Sequence[int]


def _begin_attempt(context: RequestContext) -> _Attempt | None:
    """Count the attempt as failed before the password is verified, so that concurrent attempts are counted too.

    Returns:
        None if too many attempts have failed already.
    """
    clock = context.dependencies.clock
    email = context.field("email").lower()
    address = context.client_address
    subject = f"{email} {address}"
    with context.dependencies.store.unit_of_work() as work:
        if (
            count_failures(work, subject, clock=clock) >= _FAILURES_BY_BOTH_MAX
            or count_failures(work, address, clock=clock) >= _FAILURES_BY_ADDRESS_MAX
        ):
            return None
        counted = note_failure(work, [subject, address], clock=clock)
        return _Attempt(operator=operator_by_email(work, email), subject=subject, address=address, counted=counted)


def _withdraw_attempt(context: RequestContext, attempt: _Attempt) -> None:
    with context.dependencies.store.unit_of_work() as work:
        remove_failures(work, attempt.counted)


def _accept_attempt(context: RequestContext, attempt: _Attempt, operator: Operator) -> Page:
    with context.dependencies.store.unit_of_work() as work:
        forget_failures(work, attempt.subject)
        remove_failures(work, attempt.counted)
        needs_second_step = has_second_factor(work, operator.id)
    following = local_path(context.field("next"))
    if not needs_second_step:
        return open_session(context, operator, following)
    values = {"operator": operator.id, "password": password_mark(operator), "next": following}
    return set_sealed_cookie(context, context.redirect("/sign-in/code"), SECOND_STEP_COOKIE, values)


def password_mark(operator: Operator) -> str:
    """Return a text that changes with the password of an operator, and does not reveal its hash."""
    return secret_digest(operator.password)


def sign_in_page(context: RequestContext, status: int, errors: str, *, following: str = "") -> Page:
    """Return the sign-in page.

    Args:
        errors: What went wrong, "" for nothing.
        following: Path of the page that is shown afterwards, "" for the one in the form.
    """
    passkeys = passkeys_of(context)
    return context.page(
        "sign_in.html",
        status=status,
        errors=errors,
        email=context.field("email").lower(),
        following=following or local_path(context.field("next")),
        provider=identity_provider(context),
        ceremony=passkeys.offer_sign_in(),
        party=passkeys.party,
    )


def passkeys_of(context: RequestContext) -> Passkeys:
    """Return what creates and verifies passkeys at the address of the App."""
    dependencies = context.dependencies
    return Passkeys(
        store=dependencies.store,
        keyring=dependencies.configuration.keyring,
        party=RelyingParty.at(context.base_url),
        clock=dependencies.clock,
    )


def identity_provider(context: RequestContext) -> OidcSettings | None:
    """Return the identity provider at which people may sign in, None if there is none."""
    dependencies = context.dependencies
    if dependencies.oidc is not None:
        return dependencies.oidc
    try:
        with dependencies.store.reading() as work:
            return load_oidc_settings(work, dependencies.configuration.keyring)
    except ConfigurationError:  # encrypted with another key: the settings page says so, and passwords still work
        return None


@post("/sign-in/passkey", opt={PUBLIC: True}, status_code=200)
@run_in_executor
def sign_in_with_passkey(context: ContextDependency) -> Page:
    """Sign in with a passkey alone. Too many failed attempts of an address end it for a while, as for passwords."""
    clock, address = context.dependencies.clock, context.client_address
    with context.dependencies.store.unit_of_work() as work:
        if count_failures(work, address, clock=clock) >= _FAILURES_BY_ADDRESS_MAX:
            return sign_in_page(context, 429, _TOO_MANY_ATTEMPTS)
        counted = note_failure(work, [address], clock=clock)
    try:
        operator = passkeys_of(context).sign_in(context.field("state"), context.field("response"))
    except PasskeyError as error:
        return sign_in_page(context, 401, error.message)
    with context.dependencies.store.unit_of_work() as work:
        remove_failures(work, counted)
    return open_session(context, operator, local_path(context.field("next")), method=SignInMethod.PASSKEY)


@post("/sign-out", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY, NEEDS_NO_SECOND_FACTOR: True})
@run_in_executor
def sign_out(context: ContextDependency) -> Page:
    """End the session."""
    with context.dependencies.store.unit_of_work() as work:
        end_session(work, context.secret)
    response = context.redirect("/sign-in")
    response.delete_cookie(SESSION_COOKIE, path="/")
    return response


def open_session(
    context: RequestContext,
    operator: Operator,
    path: str,
    *,
    method: SignInMethod = SignInMethod.PASSWORD,
    notices: Sequence[str] = (),
) -> Page:
    """Sign an operator in at this browser, in place of the operator who was; redirect to a page.

    Args:
        notices: Sentences that the page shows.
    """
    # A new secret for each sign-in prevents session fixation.
    with context.dependencies.store.unit_of_work() as work:
        if context.secret:
            end_session(work, context.secret)
        secret = context.begin_session(work, operator, method=method)
    return context.set_session_cookie(context.redirect(path, notices=notices), secret)


def _welcome(context: RequestContext, errors: FormErrors, *, status: int) -> Page:
    workspace = context.dependencies.workspace()
    return context.page(
        "welcome.html",
        status=status,
        errors=errors,
        needs_code=_needs_code(context),
        is_named_by_file=_is_named_by_file(context),
        timezones=TIMEZONES,
        workspace=context.field("workspace") or ("" if workspace.name == "My workspace" else workspace.name),
        timezone=context.field("timezone") or workspace.timezone,
        length_min=LENGTH_MIN,
    )


def _is_named_by_file(context: RequestContext) -> bool:
    """Return True if the config file sets the name and the time zone of the workspace."""
    return context.is_managed_by_file("workspace", "")


def _has_owner(context: RequestContext) -> bool:
    with context.dependencies.store.reading() as work:
        return count_operators(work) > 0


def _needs_code(context: RequestContext) -> bool:
    """Return True if the request is not local: the client must then prove access to the server with the admin token."""
    client = context.request.client
    return client is None or client.host not in _LOOPBACK or "x-forwarded-for" in context.request.headers


def _is_code(context: RequestContext, text: str) -> bool:
    with context.dependencies.store.reading() as work:
        token = verify_token(work, text) if text else None
    return token is not None and token.role is Role.OWNER


HANDLERS = (show_welcome, make_owner, show_sign_in, sign_in, sign_in_with_passkey, sign_out)
