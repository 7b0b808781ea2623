"""Signing in and out, and the first visit of all: making the owner."""

import re

from litestar import get, post

from punchcard.app.forms import Wrong
from punchcard.app.passwords import LENGTH_MIN, hashed, is_right
from punchcard.app.timezones import TIMEZONES
from punchcard.app.visit import NEEDS, OPEN, SESSION_COOKIE, Page, Visit, Visiting, local_path
from punchcard.operations.threads import in_thread
from punchcard.store import audit
from punchcard.store.operators import (
    Operator,
    begin_session,
    count_failures,
    count_operators,
    create_operator,
    end_session,
    forget_failures,
    note_failure,
    operator_by_email,
)
from punchcard.store.tokens import Role, verify_token
from punchcard.workspace.editing import naming

# By an email from one address, and by an address with whatever emails: enough for typing errors, too few for guessing.
_FAILURES_BY_BOTH_MAX = 8
_FAILURES_BY_ADDRESS_MAX = 40
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,185}\.[^@\s]{1,63}")
_LOOPBACK = frozenset({"127.0.0.1", "::1"})


@get("/welcome", opt={OPEN: True})
@in_thread
def show_welcome(visit: Visiting) -> Page:
    """The first page of a new Punchcard."""
    if _has_owner(visit):
        return visit.redirect("/")
    return _welcome(visit, Wrong(), status=200)


@post("/welcome", opt={OPEN: True}, status_code=200)
@in_thread
def make_owner(visit: Visiting) -> Page:
    """Make the owner, name the workspace, and sign in."""
    if _has_owner(visit):
        return visit.redirect("/sign-in")
    wrong = Wrong()
    email, password, timezone = visit.field("email"), visit.field("password"), visit.field("timezone")
    if not _EMAIL.fullmatch(email):
        wrong.fields["email"] = "this is no email address"
    if not visit.field("name"):
        wrong.fields["name"] = "say what the others should call you"
    if len(password) < LENGTH_MIN:
        wrong.fields["password"] = f"at least {LENGTH_MIN} characters; three or four words do well"
    if timezone not in TIMEZONES:
        wrong.fields["timezone"] = "choose one of the list"
    if not visit.field("workspace"):
        wrong.fields["workspace"] = "the name of your business, say"
    if _needs_code(visit) and not _is_code(visit, visit.field("code")):
        wrong.fields["code"] = "this is not the token that `punchcard up` has printed"
    if wrong:
        return _welcome(visit, wrong, status=422)
    with visit.parts.store.unit_of_work() as work:
        operator = create_operator(
            work,
            email=email,
            name=visit.field("name"),
            role=Role.OWNER,
            password=hashed(password),
            clock=visit.parts.clock,
            is_first=True,
        )
        audit.record(
            work,
            at=visit.parts.clock.now(),
            actor=f"operator {operator.email}",
            kind="add",
            resource_type="operator",
            resource_id=operator.id,
            changes="[]",
        )
    visit.parts.edit_as(naming(visit.field("workspace"), timezone), f"operator {operator.email}")
    return _signed_in(visit, operator, "/")


@get("/sign-in", opt={OPEN: True})
@in_thread
def show_sign_in(visit: Visiting) -> Page:
    """Who are you?"""
    if visit.operator is not None:
        return visit.redirect(local_path(visit.query("next")))
    if not _has_owner(visit):
        return visit.redirect("/welcome")
    return visit.page("sign_in.html", wrong="", email="", following=local_path(visit.query("next")))


@post("/sign-in", opt={OPEN: True}, status_code=200)
@in_thread
def sign_in(visit: Visiting) -> Page:
    """Check the password; too many wrong ones make the next wait."""
    store, clock = visit.parts.store, visit.parts.clock
    email, following = visit.field("email").lower(), local_path(visit.field("next"))
    address = visit.request.client.host if visit.request.client else ""
    both = f"{email} {address}"
    with store.reading() as work:
        is_slowed = (
            count_failures(work, both, clock=clock) >= _FAILURES_BY_BOTH_MAX
            or count_failures(work, address, clock=clock) >= _FAILURES_BY_ADDRESS_MAX
        )
        operator = operator_by_email(work, email)
    if is_slowed:
        return visit.page(
            "sign_in.html",
            status=429,
            wrong="Too many attempts. Wait a quarter of an hour, then try again.",
            email=email,
            following=following,
        )
    # As typed: a blank at the end of a password is a part of it.
    password = next(iter(visit.form.get("password", ())), "")
    if not is_right(operator.password if operator else None, password) or operator is None:
        with store.unit_of_work() as work:
            note_failure(work, [both, address], clock=clock)
        return visit.page(
            "sign_in.html",
            status=401,
            wrong="This email and this password do not belong together.",
            email=email,
            following=following,
        )
    with store.unit_of_work() as work:
        forget_failures(work, both)
    return _signed_in(visit, operator, following)


@post("/sign-out", status_code=200, opt={NEEDS: Role.READ_ONLY})
@in_thread
def sign_out(visit: Visiting) -> Page:
    """End the session."""
    with visit.parts.store.unit_of_work() as work:
        end_session(work, visit.secret)
    response = visit.redirect("/sign-in")
    response.delete_cookie(SESSION_COOKIE, path="/")
    return response


def _signed_in(visit: Visit, operator: Operator, path: str) -> Page:
    # A new secret each time: one that somebody has put into the browser before is worth nothing.
    with visit.parts.store.unit_of_work() as work:
        if visit.secret:
            end_session(work, visit.secret)
        secret = begin_session(work, operator, clock=visit.parts.clock)
    return visit.with_session(visit.redirect(path), secret)


def _welcome(visit: Visit, wrong: Wrong, *, status: int) -> Page:
    workspace = visit.parts.workspace()
    return visit.page(
        "welcome.html",
        status=status,
        wrong=wrong,
        needs_code=_needs_code(visit),
        timezones=TIMEZONES,
        workspace=visit.field("workspace") or ("" if workspace.name == "My workspace" else workspace.name),
        timezone=visit.field("timezone") or workspace.timezone,
        length_min=LENGTH_MIN,
    )


def _has_owner(visit: Visit) -> bool:
    with visit.parts.store.reading() as work:
        return count_operators(work) > 0


def _needs_code(visit: Visit) -> bool:
    """Who comes from elsewhere must show that the server is theirs; who sits at it need not."""
    client = visit.request.client
    return client is None or client.host not in _LOOPBACK or "x-forwarded-for" in visit.request.headers


def _is_code(visit: Visit, text: str) -> bool:
    with visit.parts.store.reading() as work:
        token = verify_token(work, text) if text else None
    return token is not None and token.role is Role.OWNER


HANDLERS = (show_welcome, make_owner, show_sign_in, sign_in, sign_out)
