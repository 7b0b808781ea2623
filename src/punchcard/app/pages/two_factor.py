"""Two-factor authentication: the code at the sign-in, and the operator's own authenticator app and recovery codes."""

import asyncio
from collections.abc import Callable, Sequence

from litestar import get, post

from punchcard.app.forms import FormErrors
from punchcard.app.pages.sign_in import SECOND_STEP_COOKIE, open_session, passkeys_of, password_mark
from punchcard.app.passwords import verify_password
from punchcard.app.request_context import (
    NEEDS_NO_SECOND_FACTOR,
    PUBLIC,
    REQUIRED_ROLE,
    ContextDependency,
    Page,
    RequestContext,
    local_path,
)
from punchcard.app.sealed_cookies import delete_sealed_cookie, read_sealed_cookie
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.passkeys import PasskeyError
from punchcard.operations.two_factor import (
    Setup,
    TooManyCodesError,
    TwoFactor,
    WrongCodeError,
    turn_off_authenticator,
)
from punchcard.store.access.access_settings import REQUIRES_TWO_FACTOR, read_setting
from punchcard.store.access.operators import Operator, find_operator
from punchcard.store.access.passkeys import count_passkeys, list_passkeys
from punchcard.store.access.second_factors import count_recovery_codes, read_second_factor
from punchcard.store.access.sessions import end_other_sessions
from punchcard.store.access.token_store import Role

_TOO_LATE = "Sign in again: the code was not entered in time."
_OWN = {REQUIRED_ROLE: Role.READ_ONLY, NEEDS_NO_SECOND_FACTOR: True}


@get("/sign-in/code", opt={PUBLIC: True})
@run_in_executor
def show_code(context: ContextDependency) -> Page:
    """Show the form for the code, after the password was accepted."""
    operator = operator_of_first_step(context)
    if operator is None:
        return context.redirect("/sign-in")
    return code_page(context, operator)


@post("/sign-in/code", opt={PUBLIC: True}, status_code=200)
@run_in_executor
def enter_code(context: ContextDependency) -> Page:
    """Sign in with a code of the authenticator app, or a recovery code."""
    return _take_second_step(context, lambda operator: _two_factor(context).verify(operator, context.field("code")))


@post("/sign-in/code/passkey", opt={PUBLIC: True}, status_code=200)
@run_in_executor
def use_passkey(context: ContextDependency) -> Page:
    """Sign in with a passkey after the password."""
    state, response = context.field("state"), context.field("response")
    return _take_second_step(context, lambda operator: passkeys_of(context).sign_in(state, response, operator=operator))


def _take_second_step(context: RequestContext, verify: Callable[[Operator], object]) -> Page:
    """Sign in an operator who has entered the password, unless `verify` raises what is wrong with the second factor."""
    operator = operator_of_first_step(context)
    if operator is None:
        return context.redirect("/sign-in", notices=[_TOO_LATE])
    try:
        verify(operator)
    except (WrongCodeError, PasskeyError) as error:
        status = 429 if isinstance(error, TooManyCodesError) else 401
        return code_page(context, operator, status=status, error=error.message)
    values = read_sealed_cookie(context, SECOND_STEP_COOKIE) or {}
    response = open_session(context, operator, local_path(values.get("next", "")))
    return delete_sealed_cookie(response, SECOND_STEP_COOKIE)


@get("/settings/two-factor", opt=_OWN)
@run_in_executor
def show_two_factor(context: ContextDependency) -> Page:
    """Show whether two-factor authentication is on, and what can be done."""
    return _two_factor_page(context, FormErrors())


@post("/settings/two-factor/begin", status_code=200, opt=_OWN)
async def begin(context: ContextDependency) -> Page:
    """Show the QR code of a new secret. The password is required, so that nobody else at this browser sets it up."""
    operator = _signed_in(context)
    password = context.password_field("password")
    if operator.password and not await context.passwords.run(verify_password, operator.password, password):
        return await asyncio.to_thread(
            _two_factor_page, context, FormErrors(fields={"password": "This is not your password."})
        )
    return await asyncio.to_thread(_begin, context, operator)


def _begin(context: RequestContext, operator: Operator) -> Page:
    setup = _two_factor(context).begin_setup(operator, workspace=context.dependencies.workspace().name)
    return _setup_page(context, setup, FormErrors())


@post("/settings/two-factor/confirm", status_code=200, opt=_OWN)
@run_in_executor
def confirm(context: ContextDependency) -> Page:
    """Turn two-factor authentication on. Other sessions end; the recovery codes are shown in this response only."""
    operator = _signed_in(context)
    two_factor = _two_factor(context)
    try:
        codes = two_factor.confirm_setup(operator, context.field("code"), actor=context.actor)
    except WrongCodeError as error:
        setup = two_factor.pending_setup(operator, workspace=context.dependencies.workspace().name)
        if setup is None:
            return context.redirect("/settings/two-factor")
        return _setup_page(context, setup, FormErrors(fields={"code": error.message}))
    with context.dependencies.store.unit_of_work() as work:
        end_other_sessions(work, operator.id, context.secret)
    return _two_factor_page(context, FormErrors(), codes=codes)


@post("/settings/two-factor/codes", status_code=200, opt=_OWN)
@run_in_executor
def new_recovery_codes(context: ContextDependency) -> Page:
    """Replace the recovery codes. They are shown in this response only."""

    def replace(operator: Operator) -> Page:
        codes = _two_factor(context).replace_recovery_codes(operator, actor=context.actor)
        return _two_factor_page(context, FormErrors(), codes=codes)

    return _with_code(context, replace)


@post("/settings/two-factor/off", status_code=200, opt=_OWN)
@run_in_executor
def turn_off(context: ContextDependency) -> Page:
    """Turn two-factor authentication off, if the workspace does not require it."""
    operator = _signed_in(context)
    with context.dependencies.store.reading() as work:
        is_only_factor = not count_passkeys(work, operator.id)
    if is_only_factor and is_required(context):
        raise ConfigurationError("The workspace requires two-factor authentication.")

    def remove(operator: Operator) -> Page:
        with context.dependencies.store.unit_of_work() as work:
            turn_off_authenticator(work, operator, actor=context.actor, clock=context.dependencies.clock)
        return context.redirect("/settings/account", notices=["The authenticator app was removed."])

    return _with_code(context, remove)


def _with_code(context: RequestContext, change: Callable[[Operator], Page]) -> Page:
    """Make a change of the operator's own second factor, if the form has a valid code of it."""
    operator = _signed_in(context)
    try:
        _two_factor(context).verify(operator, context.field("code"))
    except WrongCodeError as error:
        return _two_factor_page(context, FormErrors(fields={"code": error.message}))
    return change(operator)


def code_page(context: RequestContext, operator: Operator, *, status: int = 200, error: str = "") -> Page:
    """Return the page of the second step: passkeys and codes of an operator who has entered the password."""
    with context.dependencies.store.reading() as work:
        factor = read_second_factor(work, operator.id)
        hosts = sorted({passkey.credential.rp_id for passkey in list_passkeys(work, operator.id)})
    passkeys = passkeys_of(context)
    return context.page(
        "sign_in_code.html",
        status=status,
        error=error,
        party=passkeys.party,
        ceremony=passkeys.offer_second_step(operator),
        has_app=factor is not None and factor.enabled_at is not None,
        hosts=hosts,
    )


def operator_of_first_step(context: RequestContext) -> Operator | None:
    """Return the operator who has entered the password, None if nobody has, or the password has changed since."""
    values = read_sealed_cookie(context, SECOND_STEP_COOKIE)
    if values is None:
        return None
    with context.dependencies.store.reading() as work:
        operator = find_operator(work, values["operator"])
    return operator if operator is not None and values["password"] == password_mark(operator) else None


def _signed_in(context: RequestContext) -> Operator:
    assert context.operator is not None
    return context.operator


def _two_factor(context: RequestContext) -> TwoFactor:
    dependencies = context.dependencies
    return TwoFactor(dependencies.store, dependencies.configuration.keyring, clock=dependencies.clock)


def is_required(context: RequestContext) -> bool:
    """Return whether the workspace requires a second factor."""
    with context.dependencies.store.reading() as work:
        return bool(read_setting(work, REQUIRES_TWO_FACTOR))


def _two_factor_page(context: RequestContext, errors: FormErrors, *, codes: Sequence[str] = ()) -> Page:
    operator = _signed_in(context)
    with context.dependencies.store.reading() as work:
        factor = read_second_factor(work, operator.id)
        codes_left = count_recovery_codes(work, operator.id)
        passkey_count = count_passkeys(work, operator.id)
    return context.page(
        "two_factor.html",
        status=422 if errors else 200,
        errors=errors,
        enabled_at=factor.enabled_at if factor else None,
        codes=codes,
        codes_left=codes_left,
        required=is_required(context),
        passkey_count=passkey_count,
        has_password=bool(operator.password),
    )


def _setup_page(context: RequestContext, setup: Setup, errors: FormErrors) -> Page:
    import segno  # not before a QR code is needed

    code = segno.make(setup.uri, error="m", micro=False)
    return context.page(
        "two_factor_setup.html",
        status=422 if errors else 200,
        errors=errors,
        setup=setup,
        picture=code.svg_inline(scale=5, border=2, light="#fff", dark="#000", omitsize=True),
    )


HANDLERS = (show_code, enter_code, use_passkey, show_two_factor, begin, confirm, new_recovery_codes, turn_off)
