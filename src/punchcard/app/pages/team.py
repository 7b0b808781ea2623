"""Team: the operators with their roles and passwords."""

import asyncio
import json
import re

from litestar import get, post
from sqlalchemy import Connection

from punchcard.app.forms import FormErrors
from punchcard.app.passwords import LENGTH_MIN, hash_password, verify_password
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.store.access import audit
from punchcard.store.access.operators import (
    Operator,
    begin_session,
    change_operator,
    create_operator,
    find_operator,
    list_operators,
    remove_operator,
)
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import NotFoundError

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,185}\.[^@\s]{1,63}")


@get("/settings/team", opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def show_team(context: ContextDependency) -> Page:
    """List all operators."""
    return _team(context, FormErrors(), status=200)


@post("/settings/team", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
async def add_operator(context: ContextDependency) -> Page:
    """Add an operator with a temporary password."""
    errors = FormErrors()
    email, name, role, password = (context.field(field) for field in ("email", "name", "role", "password"))
    if not _EMAIL.fullmatch(email):
        errors.fields["email"] = "This is not an email address."
    if not name:
        errors.fields["name"] = "Enter a name."
    if role not in set(Role):
        errors.fields["role"] = "Choose a role."
    if len(password) < LENGTH_MIN:
        errors.fields["password"] = f"Use at least {LENGTH_MIN} characters."
    if errors:
        return await asyncio.to_thread(_team, context, errors, status=422)
    stored = await context.passwords.run(hash_password, password)
    return await asyncio.to_thread(_create_operator, context, email=email, name=name, role=Role(role), password=stored)


def _create_operator(context: RequestContext, *, email: str, name: str, role: Role, password: str) -> Page:
    try:
        with context.dependencies.store.unit_of_work() as work:
            operator = create_operator(
                work, email=email, name=name, role=role, password=password, clock=context.dependencies.clock
            )
            _record_audit_event(work, context, "add", operator.id, "role", None, role)
    except ConfigurationError as error:
        return _team(context, FormErrors(fields={"email": error.message}), status=422)
    return context.redirect("/settings/team", notices=[f"{name} was added and can sign in now."])


@post("/settings/team/role", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def change_role(context: ContextDependency) -> Page:
    """Change a role. It applies from the next request on."""
    id_, role = context.field("id"), context.field("role")
    if role not in set(Role):
        raise ConfigurationError("Choose a role.")
    with context.dependencies.store.unit_of_work() as work:
        operator = find_operator(work, id_)
        if operator is None:
            raise NotFoundError("There is no such operator.")
        change_operator(work, id_, role=Role(role))
        _record_audit_event(work, context, "change", id_, "role", operator.role, role)
    return context.redirect("/settings/team", notices=[f"The role of {operator.name} is {role.replace('_', ' ')} now."])


@post("/settings/team/remove", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def remove(context: ContextDependency) -> Page:
    """Remove an operator. Their sessions end immediately."""
    id_ = context.field("id")
    with context.dependencies.store.unit_of_work() as work:
        operator = find_operator(work, id_)
        if operator is None:
            raise NotFoundError("There is no such operator.")
        remove_operator(work, id_)
        _record_audit_event(work, context, "remove", id_, "role", operator.role, None)
    return context.redirect("/settings/team", notices=[f"{operator.name} was removed and cannot sign in any more."])


@get("/settings/password")
@run_in_executor
def show_password(context: ContextDependency) -> Page:
    """Show the form that changes one's own password."""
    return context.page("password.html", errors=FormErrors(), length_min=LENGTH_MIN)


@post("/settings/password", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
async def change_password(context: ContextDependency) -> Page:
    """Change one's own password. All other sessions end."""
    assert context.operator is not None
    errors = FormErrors()
    current = next(iter(context.form.get("current", ())), "")
    chosen = next(iter(context.form.get("new", ())), "")
    if not await context.passwords.run(verify_password, context.operator.password, current):
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
        secret = begin_session(work, operator, clock=context.dependencies.clock)
        _record_audit_event(work, context, "change", operator.id, "password", None, None)
    return context.set_session_cookie(context.redirect("/settings", notices=["Your password was changed."]), secret)


def _record_audit_event(
    work: Connection, context: RequestContext, kind: str, id: str, path: str, before: str | None, after: str | None
) -> None:
    audit.record(
        work,
        at=context.dependencies.clock.now(),
        actor=context.actor,
        kind=kind,
        resource_type="operator",
        resource_id=id,
        changes=json.dumps([{"path": path, "before": before, "after": after}]),
    )


def _team(context: RequestContext, errors: FormErrors, *, status: int) -> Page:
    with context.dependencies.store.reading() as work:
        operators = list_operators(work)
    return context.page(
        "team.html", status=status, errors=errors, operators=operators, roles=list(Role), length_min=LENGTH_MIN
    )


HANDLERS = (show_team, add_operator, change_role, remove, show_password, change_password)
