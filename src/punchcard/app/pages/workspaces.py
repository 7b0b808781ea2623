"""Settings of the workspace, tokens of the API, and the audit log."""

import json
import zoneinfo
from collections.abc import Mapping

from litestar import get, post

from punchcard.app.forms import Wrong, wrong_of
from punchcard.app.timezones import TIMEZONES
from punchcard.app.visit import NEEDS, Page, Visit, Visiting
from punchcard.errors import ConfigurationError
from punchcard.operations.threads import in_thread
from punchcard.operations.tokens import make_token, remove_token
from punchcard.store import audit
from punchcard.store.tokens import Role, list_tokens
from punchcard.workspace.editing import naming
from punchcard.workspace.export import export

_AUDIT_ROWS = 50


@get("/settings")
@in_thread
def show_settings(visit: Visiting) -> Page:
    """Name, time zone, and the whole configuration as a file."""
    return _settings(visit, Wrong(), status=200)


@post("/settings", status_code=200)
@in_thread
def save_settings(visit: Visiting) -> Page:
    """Save name and time zone."""
    try:
        visit.edit(naming(visit.field("name"), visit.field("timezone")))
    except ConfigurationError as error:
        return _settings(visit, _named(wrong_of(error)), status=422)
    return visit.redirect("/settings", notices=["Saved."])


@get("/settings/tokens", opt={NEEDS: Role.OWNER})
@in_thread
def show_tokens(visit: Visiting) -> Page:
    """The tokens of the Public API."""
    return _tokens(visit, Wrong(), secret="", status=200)


@post("/settings/tokens", status_code=200, opt={NEEDS: Role.OWNER})
@in_thread
def create_token(visit: Visiting) -> Page:
    """A new token; it is shown on this answer, and never again."""
    with visit.parts.store.unit_of_work() as work:
        try:
            _, secret = make_token(
                work, visit.field("name"), visit.field("role"), actor=visit.actor, clock=visit.parts.clock
            )
        except ConfigurationError as error:
            return _tokens(visit, Wrong(fields={str(error.context.get("field", "name")): error.message}), "", 422)
    return _tokens(visit, Wrong(), secret=secret, status=200)


@post("/settings/tokens/revoke", status_code=200, opt={NEEDS: Role.OWNER})
@in_thread
def revoke_token(visit: Visiting) -> Page:
    """It is refused from the next request on."""
    with visit.parts.store.unit_of_work() as work:
        remove_token(work, visit.field("id"), actor=visit.actor, clock=visit.parts.clock)
    return visit.redirect("/settings/tokens", notices=["The token was revoked."])


@get("/settings/audit")
@in_thread
def show_audit(visit: Visiting) -> Page:
    """Who changed what, newest first."""
    before = visit.query("before")
    question = audit.AuditQuestion(
        resource_type=visit.query("type") or None, resource_id=visit.query("resource") or None
    )
    with visit.parts.store.reading() as work:
        rows = audit.list_events(
            work, question, count=_AUDIT_ROWS + 1, before_id=int(before) if before.isdecimal() else None
        )
    shown = rows[:_AUDIT_ROWS]
    return visit.page(
        "audit.html",
        rows=[(one, json.loads(one.changes)) for one in shown],
        following=str(shown[-1].id) if len(rows) > _AUDIT_ROWS else "",
    )


def _settings(visit: Visit, wrong: Wrong, *, status: int) -> Page:
    workspace = visit.parts.workspace()
    timezone = visit.field("timezone") or workspace.timezone
    return visit.page(
        "settings.html",
        status=status,
        wrong=wrong,
        name=visit.field("name") if wrong else workspace.name,
        timezone=timezone,
        timezones=TIMEZONES if timezone in TIMEZONES else (timezone, *TIMEZONES),
        file=export(workspace),
        known=timezone in zoneinfo.available_timezones(),
    )


def _named(wrong: Wrong) -> Wrong:
    """`workspace.name` has one key less than the parts of lists."""
    fields: Mapping[str, str] = {name.rpartition(".")[2]: said for name, said in wrong.fields.items()}
    for said in list(wrong.others):
        path, found, message = said.partition(": ")
        if found and path.startswith("workspace."):
            fields = {**fields, path.removeprefix("workspace."): message}
            wrong.others.remove(said)
    return Wrong(fields=dict(fields), others=wrong.others)


def _tokens(visit: Visit, wrong: Wrong, secret: str, status: int) -> Page:
    with visit.parts.store.reading() as work:
        tokens = list_tokens(work)
    return visit.page(
        "tokens.html",
        status=status,
        tokens=tokens,
        wrong=wrong,
        secret=secret,
        name="" if secret else visit.field("name"),
        role=visit.field("role") or Role.READ_ONLY,
        roles=list(Role),
    )


HANDLERS = (show_settings, save_settings, show_tokens, create_token, revoke_token, show_audit)
