"""The operator's own passkeys: list, creation, names and removal, and the recovery codes."""

import asyncio
from collections.abc import Sequence

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.devices import device_name
from punchcard.app.forms import FormErrors
from punchcard.app.pages.sign_in import passkeys_of
from punchcard.app.pages.two_factor import is_required
from punchcard.app.passwords import verify_password
from punchcard.app.request_context import (
    NEEDS_NO_SECOND_FACTOR,
    REQUIRED_ROLE,
    ContextDependency,
    Page,
    RequestContext,
)
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.passkeys import Ceremony, PasskeyError, change_passkey_name, delete_passkey
from punchcard.operations.two_factor import TwoFactor
from punchcard.store.access.operators import Operator
from punchcard.store.access.passkeys import NAME_CHARACTERS_MAX, Passkey, count_passkeys, find_passkey, list_passkeys
from punchcard.store.access.second_factors import count_recovery_codes, read_second_factor
from punchcard.store.access.sessions import end_other_sessions
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import NotFoundError

_OWN = {REQUIRED_ROLE: Role.READ_ONLY, NEEDS_NO_SECOND_FACTOR: True}
_PATH = "/settings/passkeys"


@get(_PATH, opt=_OWN)
@run_in_executor
def show_passkeys(context: ContextDependency) -> Page:
    """List the operator's passkeys."""
    return _list(context, FormErrors())


@post(f"{_PATH}/begin", status_code=200, opt=_OWN)
async def begin(context: ContextDependency) -> Page:
    """Show the page that creates a passkey. The password is required, so that nobody else at this browser adds one."""
    if not await _has_password(context):
        return await asyncio.to_thread(_list, context, FormErrors(fields={"password": "This is not your password."}))
    return await asyncio.to_thread(_new, context)


@post(f"{_PATH}/create", status_code=200, opt=_OWN)
@run_in_executor
def create(context: ContextDependency) -> Page:
    """Add the passkey that the browser has created. With the first second factor, all other sessions end."""
    operator, name = _signed_in(context), context.field("name")
    if not name:
        return _new(context, FormErrors(fields={"name": "Enter a name."}))
    try:
        created = passkeys_of(context).create(
            operator, context.field("state"), context.field("response"), name=name, actor=context.actor
        )
    except PasskeyError as error:
        return _new(context, FormErrors(general=[error.message]))
    if not created.recovery_codes:
        return context.redirect(_PATH, notices=[f"You can sign in with {created.passkey.name} now."])
    with context.dependencies.store.unit_of_work() as work:
        end_other_sessions(work, operator.id, context.secret)
    return _list(context, FormErrors(), codes=created.recovery_codes)


@post(f"{_PATH}/codes", status_code=200, opt=_OWN)
async def new_recovery_codes(context: ContextDependency) -> Page:
    """Replace the recovery codes. They are shown in this response only."""
    if not await _has_password(context):
        errors = FormErrors(fields={"codes_password": "This is not your password."})
        return await asyncio.to_thread(_list, context, errors)
    return await asyncio.to_thread(_replace_codes, context)


def _replace_codes(context: RequestContext) -> Page:
    operator, dependencies = _signed_in(context), context.dependencies
    with dependencies.store.reading() as work:
        if not count_passkeys(work, operator.id):
            raise ConfigurationError("You have no passkey. Add one first.")
    two_factor = TwoFactor(dependencies.store, dependencies.configuration.keyring, clock=dependencies.clock)
    return _list(context, FormErrors(), codes=two_factor.replace_recovery_codes(operator, actor=context.actor))


@get(f"{_PATH}/{{id:str}}", opt=_OWN)
@run_in_executor
def show_passkey(context: ContextDependency, id: FromPath[str]) -> Page:
    """Show a passkey with what can be done."""
    return _passkey_page(context, _find(context, id), FormErrors())


@post(f"{_PATH}/{{id:str}}", status_code=200, opt=_OWN)
@run_in_executor
def rename(context: ContextDependency, id: FromPath[str]) -> Page:
    """Give a passkey another name."""
    passkey, name = _find(context, id), context.field("name")
    if not name:
        return _passkey_page(context, passkey, FormErrors(fields={"name": "Enter a name."}))
    with context.dependencies.store.unit_of_work() as work:
        if name != passkey.name:
            change_passkey_name(
                work, _signed_in(context), id, name, actor=context.actor, clock=context.dependencies.clock
            )
    return context.redirect(_PATH, notices=["Saved."])


@post(f"{_PATH}/{{id:str}}/remove", status_code=200, opt=_OWN)
async def remove(context: ContextDependency, id: FromPath[str]) -> Page:
    """Remove a passkey. The password is required, as for adding one."""
    has_password = await _has_password(context)
    return await asyncio.to_thread(_remove, context, id, has_password=has_password)


def _remove(context: RequestContext, id: str, *, has_password: bool) -> Page:
    operator, passkey = _signed_in(context), _find(context, id)
    if not has_password:
        return _passkey_page(context, passkey, FormErrors(fields={"password": "This is not your password."}))
    with context.dependencies.store.reading() as work:
        factor = read_second_factor(work, operator.id)
        is_last = count_passkeys(work, operator.id) == 1 and (factor is None or factor.enabled_at is None)
    if is_last and is_required(context):
        raise ConfigurationError(
            "The workspace requires two-factor authentication. Add another passkey or an authenticator app first."
        )
    with context.dependencies.store.unit_of_work() as work:
        delete_passkey(work, operator, id, actor=context.actor, clock=context.dependencies.clock)
    notice = f"{passkey.name} was removed. If its device is lost, also sign it out in Settings > Your account."
    return context.redirect(_PATH, notices=[notice])


def _signed_in(context: RequestContext) -> Operator:
    assert context.operator is not None
    return context.operator


async def _has_password(context: RequestContext) -> bool:
    """Return whether the form has the operator's password, or the operator has none."""
    stored = _signed_in(context).password
    return not stored or await context.passwords.run(verify_password, stored, context.password_field("password"))


def _find(context: RequestContext, id: str) -> Passkey:
    with context.dependencies.store.reading() as work:
        passkey = find_passkey(work, _signed_in(context).id, id)
    if passkey is None:
        raise NotFoundError("You have no such passkey. It may have been removed: see Settings > Your account.")
    return passkey


def _list(context: RequestContext, errors: FormErrors, *, codes: Sequence[str] = ()) -> Page:
    operator = _signed_in(context)
    with context.dependencies.store.reading() as work:
        passkeys = list_passkeys(work, operator.id)
        codes_left = count_recovery_codes(work, operator.id)
    return context.page(
        "passkeys.html",
        status=422 if errors else 200,
        errors=errors,
        passkeys=passkeys,
        party=passkeys_of(context).party,
        codes=codes,
        codes_left=codes_left,
        has_password=bool(operator.password),
        required=is_required(context),
    )


def _new(context: RequestContext, errors: FormErrors = FormErrors()) -> Page:  # noqa: B008  # never changed
    passkeys = passkeys_of(context)
    try:
        ceremony: Ceremony = passkeys.begin_creation(
            _signed_in(context), workspace=context.dependencies.workspace().name
        )
    except PasskeyError as error:
        return _list(context, FormErrors(general=[error.message]))
    return context.page(
        "passkey_new.html",
        status=422 if errors else 200,
        errors=errors,
        ceremony=ceremony,
        party=passkeys.party,
        name=context.field("name") or device_name(context.request.headers.get("user-agent", "")),
        characters_max=NAME_CHARACTERS_MAX,
    )


def _passkey_page(context: RequestContext, passkey: Passkey, errors: FormErrors) -> Page:
    return context.page(
        "passkey.html",
        status=422 if errors else 200,
        errors=errors,
        passkey=passkey,
        party=passkeys_of(context).party,
        has_password=bool(_signed_in(context).password),
    )


HANDLERS = (show_passkeys, begin, create, new_recovery_codes, show_passkey, rename, remove)
"""Own passkeys; `sign_in` and `two_factor` accept them."""
