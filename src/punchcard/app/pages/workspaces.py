"""Settings of the workspace, API tokens, and the audit log."""

import json
import zoneinfo

from litestar import get, post

from punchcard.app.forms import FormErrors, form_errors_from
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.app.timezones import TIMEZONES
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.row_ids import is_row_id
from punchcard.operations.token_actions import make_token, remove_token
from punchcard.store.access import audit
from punchcard.store.access.operators import list_operators
from punchcard.store.access.token_store import Role, list_tokens
from punchcard.workspace.editing import change_workspace
from punchcard.workspace.export import export

_AUDIT_ROWS = 50
_FIELDS = ("name", "timezone", "point_cost", "currency")
_NETWORKS = "networks"
_FIELD_NAMES = {"pointCost": "point_cost", "webhookAllowedNetworks": _NETWORKS}  # by the key of the config file


@get("/settings")
@run_in_executor
def show_settings(context: ContextDependency) -> Page:
    """Show the settings of the workspace, and the configuration as a file."""
    return _settings(context, FormErrors(), status=200)


@post("/settings", status_code=200)
@run_in_executor
def save_settings(context: ContextDependency) -> Page:
    """Save name, time zone, cost of a point and, by an owner, the private networks that webhooks may reach."""
    values: dict[str, str | tuple[str, ...]] = {key: context.field(key) for key in _FIELDS if key in context.form}
    if _NETWORKS in context.form:
        context.require_role(Role.OWNER)
        values["webhook_allowed_networks"] = tuple(context.field(_NETWORKS).replace(",", " ").split())
    try:
        context.edit(change_workspace(**values))
    except ConfigurationError as error:
        return _settings(context, form_errors_from(error, names=_FIELD_NAMES, prefix_keys=1), status=422)
    return context.redirect("/settings", notices=["The settings were saved."])


@get("/settings/tokens", opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def show_tokens(context: ContextDependency) -> Page:
    """List the tokens of the Public API."""
    return _tokens(context, FormErrors(), secret="", status=200)


@post("/settings/tokens", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def create_token(context: ContextDependency) -> Page:
    """Create a token. Its secret is shown in this response only."""
    with context.dependencies.store.unit_of_work() as work:
        try:
            _, secret = make_token(
                work,
                context.field("name"),
                context.field("role"),
                actor=context.actor,
                clock=context.dependencies.clock,
            )
        except ConfigurationError as error:
            return _tokens(
                context, FormErrors(fields={str(error.context.get("field", "name")): error.message}), "", 422
            )
    return _tokens(context, FormErrors(), secret=secret, status=200)


@post("/settings/tokens/revoke", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def revoke_token(context: ContextDependency) -> Page:
    """Revoke a token. It is refused from the next request on."""
    with context.dependencies.store.unit_of_work() as work:
        remove_token(work, context.field("id"), actor=context.actor, clock=context.dependencies.clock)
    return context.redirect("/settings/tokens", notices=["The token was revoked."])


@get("/settings/audit")
@run_in_executor
def show_audit(context: ContextDependency) -> Page:
    """List changes, newest first."""
    before = context.query("before")
    query = audit.AuditQuery(resource_type=context.query("type") or None, resource_id=context.query("resource") or None)
    with context.dependencies.store.reading() as work:
        rows = audit.list_events(
            work, query, count=_AUDIT_ROWS + 1, before_id=int(before) if is_row_id(before) else None
        )
        emails = {operator.id: operator.email for operator in list_operators(work)}
    page_rows = rows[:_AUDIT_ROWS]
    return context.page(
        "audit.html",
        rows=[(event, json.loads(event.changes)) for event in page_rows],
        emails=emails,
        following=str(page_rows[-1].id) if len(rows) > _AUDIT_ROWS else "",
    )


def _settings(context: RequestContext, errors: FormErrors, *, status: int) -> Page:
    workspace = context.dependencies.workspace()
    timezone = context.field("timezone") or workspace.timezone
    shows_write_keys = context.may(Role.OWNER) and context.query("write_keys") == "shown"
    return context.page(
        "settings.html",
        status=status,
        errors=errors,
        name=context.field("name") if errors else workspace.name,
        point_cost=context.field("point_cost") if errors else workspace.point_cost,
        currency=context.field("currency") if errors else workspace.currency,
        networks=context.field(_NETWORKS) if errors else "\n".join(workspace.webhook_allowed_networks),
        timezone=timezone,
        timezones=TIMEZONES if timezone in TIMEZONES else (timezone, *TIMEZONES),
        file=export(
            workspace, managed=context.dependencies.current().managed_by_file, includes_write_keys=shows_write_keys
        ),
        shows_write_keys=shows_write_keys,
        known=timezone in zoneinfo.available_timezones(),
    )


def _tokens(context: RequestContext, errors: FormErrors, secret: str, status: int) -> Page:
    with context.dependencies.store.reading() as work:
        tokens = list_tokens(work)
    return context.page(
        "tokens.html",
        status=status,
        tokens=tokens,
        errors=errors,
        secret=secret,
        name="" if secret else context.field("name"),
        role=context.field("role") or Role.READ_ONLY,
        roles=list(Role),
    )


HANDLERS = (show_settings, save_settings, show_tokens, create_token, revoke_token, show_audit)
