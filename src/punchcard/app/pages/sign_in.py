"""Signing in and out, and the first visit of all: making the owner."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from litestar import get, post

from punchcard.app.forms import Wrong
from punchcard.app.passwords import LENGTH_MIN, PasswordsBusyError, hashed, is_right
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
    remove_failures,
)
from punchcard.store.tokens import Role, verify_token
from punchcard.workspace.editing import naming

# By an email from one address, and by an address with whatever emails: enough for typing errors, too few for guessing.
_FAILURES_BY_BOTH_MAX = 8
_FAILURES_BY_ADDRESS_MAX = 40
_BUSY_RETRY_SECONDS = 5
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
async def make_owner(visit: Visiting) -> Page:
    """Make the owner, name the workspace, and sign in."""
    refusal = await asyncio.to_thread(_refuse_owner, visit)
    if refusal is not None:
        return refusal
    password = await visit.passwords.run(hashed, visit.field("password"))
    return await asyncio.to_thread(_create_owner, visit, password)


def _refuse_owner(visit: Visit) -> Page | None:
    """Return the page that says why no owner is made of the form, None if one can be."""
    if _has_owner(visit):
        return visit.redirect("/sign-in")
    wrong = Wrong()
    if not _EMAIL.fullmatch(visit.field("email")):
        wrong.fields["email"] = "This is not an email address."
    if not visit.field("name"):
        wrong.fields["name"] = "Enter your name."
    if len(visit.field("password")) < LENGTH_MIN:
        wrong.fields["password"] = f"Use at least {LENGTH_MIN} characters; three or four words do well."
    if visit.field("timezone") not in TIMEZONES:
        wrong.fields["timezone"] = "Choose a time zone from the list."
    if not visit.field("workspace"):
        wrong.fields["workspace"] = "Enter a name, such as your company's."
    if _needs_code(visit) and not _is_code(visit, visit.field("code")):
        wrong.fields["code"] = "This is not the admin token of this Punchcard."
    return _welcome(visit, wrong, status=422) if wrong else None


def _create_owner(visit: Visit, password: str) -> Page:
    with visit.parts.store.unit_of_work() as work:
        operator = create_operator(
            work,
            email=visit.field("email"),
            name=visit.field("name"),
            role=Role.OWNER,
            password=password,
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
    visit.parts.edit_as(naming(visit.field("workspace"), visit.field("timezone")), f"operator {operator.email}")
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
async def sign_in(visit: Visiting) -> Page:
    """Check the password; too many wrong ones make the next wait."""
    attempt = await asyncio.to_thread(_begin_attempt, visit)
    if attempt is None:
        return _sign_in_page(visit, 429, "Too many attempts. Wait a quarter of an hour, then try again.")
    # As typed: a blank at the end of a password is a part of it.
    password = next(iter(visit.form.get("password", ())), "")
    stored = attempt.operator.password if attempt.operator else None
    try:
        is_accepted = await visit.passwords.run(is_right, stored, password)
    except PasswordsBusyError as error:
        await asyncio.to_thread(_withdraw_attempt, visit, attempt)  # nobody has looked at the password
        page = _sign_in_page(visit, 503, error.message)
        page.headers["Retry-After"] = str(_BUSY_RETRY_SECONDS)
        return page
    if attempt.operator is None or not is_accepted:
        return _sign_in_page(visit, 401, "This email and this password do not belong together.")
    return await asyncio.to_thread(_accept_attempt, visit, attempt, attempt.operator)


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """One attempt to sign in, counted as failed until it succeeds.

    Attributes:
        operator: Who has this email, None if nobody has.
        subject: Email and address, under which failures are counted.
        address: The client's address, under which failures with whatever emails are counted.
        counted: The ids of the failures that this attempt was counted as.
    """

    operator: Operator | None
    subject: str
    address: str
    counted: Sequence[int]


def _begin_attempt(visit: Visit) -> _Attempt | None:
    """Count the attempt as a failure before the password is checked, so that attempts at once count too.

    Returns:
        None if too many have failed already.
    """
    clock = visit.parts.clock
    email = visit.field("email").lower()
    address = visit.request.client.host if visit.request.client else ""
    subject = f"{email} {address}"
    with visit.parts.store.unit_of_work() as work:
        if (
            count_failures(work, subject, clock=clock) >= _FAILURES_BY_BOTH_MAX
            or count_failures(work, address, clock=clock) >= _FAILURES_BY_ADDRESS_MAX
        ):
            return None
        counted = note_failure(work, [subject, address], clock=clock)
        return _Attempt(operator=operator_by_email(work, email), subject=subject, address=address, counted=counted)


def _withdraw_attempt(visit: Visit, attempt: _Attempt) -> None:
    with visit.parts.store.unit_of_work() as work:
        remove_failures(work, attempt.counted)


def _accept_attempt(visit: Visit, attempt: _Attempt, operator: Operator) -> Page:
    with visit.parts.store.unit_of_work() as work:
        forget_failures(work, attempt.subject)
        remove_failures(work, attempt.counted)
    return _signed_in(visit, operator, local_path(visit.field("next")))


def _sign_in_page(visit: Visit, status: int, wrong: str) -> Page:
    following = local_path(visit.field("next"))
    return visit.page(
        "sign_in.html", status=status, wrong=wrong, email=visit.field("email").lower(), following=following
    )


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
