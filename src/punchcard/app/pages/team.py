"""The people who sign in: their roles and passwords."""

import asyncio
import json
import re

from litestar import get, post
from sqlalchemy import Connection

from punchcard.app.forms import Wrong
from punchcard.app.passwords import LENGTH_MIN, hashed, is_right
from punchcard.app.visit import NEEDS, Page, Visit, Visiting
from punchcard.errors import ConfigurationError
from punchcard.operations.threads import in_thread
from punchcard.store import audit
from punchcard.store.operators import (
    Operator,
    begin_session,
    change_operator,
    create_operator,
    find_operator,
    list_operators,
    remove_operator,
)
from punchcard.store.tokens import Role
from punchcard.workspace.editing import NotThereError

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,185}\.[^@\s]{1,63}")


@get("/settings/team", opt={NEEDS: Role.OWNER})
@in_thread
def show_team(visit: Visiting) -> Page:
    """Everybody."""
    return _team(visit, Wrong(), status=200)


@post("/settings/team", status_code=200, opt={NEEDS: Role.OWNER})
async def add_operator(visit: Visiting) -> Page:
    """Somebody new, with a temporary password that the owner tells them."""
    wrong = Wrong()
    email, name, role, password = (visit.field(field) for field in ("email", "name", "role", "password"))
    if not _EMAIL.fullmatch(email):
        wrong.fields["email"] = "This is not an email address."
    if not name:
        wrong.fields["name"] = "Enter a name."
    if role not in set(Role):
        wrong.fields["role"] = "Choose a role."
    if len(password) < LENGTH_MIN:
        wrong.fields["password"] = f"Use at least {LENGTH_MIN} characters."
    if wrong:
        return await asyncio.to_thread(_team, visit, wrong, status=422)
    stored = await visit.passwords.run(hashed, password)
    return await asyncio.to_thread(_create_operator, visit, email=email, name=name, role=Role(role), password=stored)


def _create_operator(visit: Visit, *, email: str, name: str, role: Role, password: str) -> Page:
    try:
        with visit.parts.store.unit_of_work() as work:
            made = create_operator(work, email=email, name=name, role=role, password=password, clock=visit.parts.clock)
            _write_down(work, visit, "add", made.id, "role", None, role)
    except ConfigurationError as error:
        return _team(visit, Wrong(fields={"email": error.message}), status=422)
    return visit.redirect("/settings/team", notices=[f"{name} can sign in now."])


@post("/settings/team/role", status_code=200, opt={NEEDS: Role.OWNER})
@in_thread
def change_role(visit: Visiting) -> Page:
    """Another role, from the next request on."""
    id_, role = visit.field("id"), visit.field("role")
    if role not in set(Role):
        raise ConfigurationError("choose a role")
    with visit.parts.store.unit_of_work() as work:
        standing = find_operator(work, id_)
        if standing is None:
            raise NotThereError("there is no such operator")
        change_operator(work, id_, role=Role(role))
        _write_down(work, visit, "change", id_, "role", standing.role, role)
    return visit.redirect("/settings/team", notices=[f"{standing.name} is {role.replace('_', ' ')} now."])


@post("/settings/team/remove", status_code=200, opt={NEEDS: Role.OWNER})
@in_thread
def remove(visit: Visiting) -> Page:
    """Their sessions end at once."""
    id_ = visit.field("id")
    with visit.parts.store.unit_of_work() as work:
        standing = find_operator(work, id_)
        if standing is None:
            raise NotThereError("there is no such operator")
        remove_operator(work, id_)
        _write_down(work, visit, "remove", id_, "role", standing.role, None)
    return visit.redirect("/settings/team", notices=[f"{standing.name} cannot sign in any more."])


@get("/settings/password")
@in_thread
def show_password(visit: Visiting) -> Page:
    """The form for one's own password."""
    return visit.page("password.html", wrong=Wrong(), length_min=LENGTH_MIN)


@post("/settings/password", status_code=200, opt={NEEDS: Role.READ_ONLY})
async def change_password(visit: Visiting) -> Page:
    """Another password; all other sessions end."""
    assert visit.operator is not None
    wrong = Wrong()
    current = next(iter(visit.form.get("standing", ())), "")
    chosen = next(iter(visit.form.get("fresh", ())), "")
    if not await visit.passwords.run(is_right, visit.operator.password, current):
        wrong.fields["standing"] = "This is not your password."
    if len(chosen) < LENGTH_MIN:
        wrong.fields["fresh"] = f"Use at least {LENGTH_MIN} characters."
    if wrong:
        return visit.page("password.html", status=422, wrong=wrong, length_min=LENGTH_MIN)
    stored = await visit.passwords.run(hashed, chosen)
    return await asyncio.to_thread(_store_password, visit, visit.operator, stored)


def _store_password(visit: Visit, operator: Operator, password: str) -> Page:
    with visit.parts.store.unit_of_work() as work:
        change_operator(work, operator.id, password=password)
        secret = begin_session(work, operator, clock=visit.parts.clock)
        _write_down(work, visit, "change", operator.id, "password", None, None)
    return visit.with_session(visit.redirect("/settings", notices=["Your password is changed."]), secret)


def _write_down(
    work: Connection, visit: Visit, kind: str, id: str, path: str, before: str | None, after: str | None
) -> None:
    audit.record(
        work,
        at=visit.parts.clock.now(),
        actor=visit.actor,
        kind=kind,
        resource_type="operator",
        resource_id=id,
        changes=json.dumps([{"path": path, "before": before, "after": after}]),
    )


def _team(visit: Visit, wrong: Wrong, *, status: int) -> Page:
    with visit.parts.store.reading() as work:
        everybody = list_operators(work)
    return visit.page(
        "team.html", status=status, wrong=wrong, everybody=everybody, roles=list(Role), length_min=LENGTH_MIN
    )


HANDLERS = (show_team, add_operator, change_role, remove, show_password, change_password)
