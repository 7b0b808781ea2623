"""Your account: password, second factors, and the sessions with their devices."""

import asyncio

from litestar import get, post

from punchcard.app.devices import device_name
from punchcard.app.forms import FormErrors
from punchcard.app.passwords import LENGTH_MIN, hash_password, verify_password
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.operations.executor import run_in_executor
from punchcard.store.access.audit import ChangedValue
from punchcard.store.access.operators import Operator, change_operator
from punchcard.store.access.passkeys import list_passkeys
from punchcard.store.access.second_factors import read_second_factor
from punchcard.store.access.sessions import (
    SignInMethod,
    end_other_sessions,
    list_sessions,
    revoke_session,
    session_id,
)
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import NotFoundError


@get("/settings/account")
@run_in_executor
def show_account(context: ContextDependency) -> Page:
    """Show the operator's own account, with its sessions."""
    assert context.operator is not None
    with context.dependencies.store.reading() as work:
        sessions = list_sessions(work, context.operator.id, clock=context.dependencies.clock)
        second_factor = read_second_factor(work, context.operator.id)
        passkeys = list_passkeys(work, context.operator.id)
    current = session_id(context.secret)
    return context.page(
        "account.html",
        sessions=[
            (session, device_name(session.user_agent))
            for session in sorted(sessions, key=lambda session: session.id != current)
        ],
        current=current,
        second_factor=second_factor,
        passkeys=passkeys,
        methods={SignInMethod.OIDC: "by single sign-on", SignInMethod.PASSKEY: "by passkey"},
    )


@post("/settings/account/sessions/revoke", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
@run_in_executor
def revoke(context: ContextDependency) -> Page:
    """End one of the operator's own sessions."""
    assert context.operator is not None
    id_ = context.field("id")
    with context.dependencies.store.unit_of_work() as work:
        if not revoke_session(work, context.operator.id, id_):
            raise NotFoundError("There is no such session. It may have ended: reload Settings > Your account.")
        context.record_operator_change(work, context.operator.id, ChangedValue("session"), kind="remove")
    if id_ == session_id(context.secret):
        return context.redirect("/sign-in")
    return context.redirect("/settings/account", notices=["The session has ended."])


@post("/settings/account/sessions/revoke-others", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
@run_in_executor
def revoke_others(context: ContextDependency) -> Page:
    """End all of the operator's sessions except this one."""
    assert context.operator is not None
    with context.dependencies.store.unit_of_work() as work:
        if end_other_sessions(work, context.operator.id, context.secret):
            context.record_operator_change(work, context.operator.id, ChangedValue("other_sessions"), kind="remove")
    return context.redirect("/settings/account", notices=["All other sessions have ended."])


@get("/settings/password")
@run_in_executor
def show_password(context: ContextDependency) -> Page:
    """Show the form that changes the operator's own password."""
    return context.page("password.html", errors=FormErrors(), length_min=LENGTH_MIN)


@post("/settings/password", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
async def change_password(context: ContextDependency) -> Page:
    """Change the operator's own password. All other sessions end."""
    assert context.operator is not None
    errors = FormErrors()
    chosen = context.password_field("new")
    if not await context.passwords.run(verify_password, context.operator.password, context.password_field("current")):
        errors.fields["current"] = "This is not your password."
    if len(chosen) < LENGTH_MIN:
        errors.fields["new"] = f"Use at least {LENGTH_MIN} characters."
    if errors:
        return context.page("password.html", status=422, errors=errors, length_min=LENGTH_MIN)
    stored = await context.passwords.run(hash_password, chosen)
    return await asyncio.to_thread(_store_password, context, context.operator, stored)


def _store_password(context: RequestContext, operator: Operator, password: str) -> Page:
    with context.dependencies.store.unit_of_work() as work:
        change_operator(work, operator.id, password=password)
        secret = context.begin_session(work, operator)
        context.record_operator_change(work, operator.id, ChangedValue("password"))
    response = context.redirect(
        "/settings/account", notices=["Your password was changed. All other sessions have ended."]
    )
    return context.set_session_cookie(response, secret)


HANDLERS = (show_account, revoke, revoke_others, show_password, change_password)
