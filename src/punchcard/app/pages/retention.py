"""Privacy, Retention: how long each kind of data is kept, and what another period would delete."""

from collections.abc import Mapping
from typing import Final

from litestar import get, post
from sqlalchemy import Connection

from punchcard.app.forms import FormErrors
from punchcard.app.paths import page_path
from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.retention import (
    DATA_SETS,
    Retention,
    change_retention,
    count_expired,
    list_retention,
    lock_periods,
    read_days,
)
from punchcard.store.access.token_store import Role

_SHOWN: Final = "shown."  # begins the names of the fields with the periods that the page of a form was made with


@get("/privacy/retention")
@run_in_executor
def show_retention(context: ContextDependency) -> Page:
    """Show the period of every data set."""
    return _page(context, FormErrors())


@post("/privacy/retention", status_code=200)
@run_in_executor
def edit_retention(context: ContextDependency) -> Page:
    """Count what the entered periods would delete, or save them."""
    context.require_role(Role.OWNER)
    dependencies = context.dependencies
    days: dict[str, int | None] = {}
    problems: dict[str, str] = {}
    for data_set in DATA_SETS:
        try:
            days[data_set.name] = read_days(data_set, context.field(data_set.name))
        except ConfigurationError as error:
            problems[data_set.name] = error.message
    if problems:
        return _page(context, FormErrors(fields=problems), status=422)
    now = dependencies.clock.now()
    if context.field("action") == "save":
        with dependencies.store.unit_of_work() as work:
            lock_periods(work)
            if changed := _changed_since(context, work):
                return _page(context, FormErrors(general=changed), status=422, is_change_shown=True)
            changes = [
                change_retention(work, data_set, days[data_set.name], actor=context.actor, now=now)
                for data_set in DATA_SETS
            ]
        notice = "The periods were saved." if any(changes) else "Nothing was changed."
        return context.redirect(page_path("privacy", "retention"), notices=[notice])
    expired: dict[str, int | None] = {}
    with dependencies.store.reading() as work:
        for data_set in DATA_SETS:
            entered = days[data_set.name]
            effective = dependencies.retention_days.get(data_set.setting, 0) if entered is None else entered
            expired[data_set.name] = count_expired(work, dependencies.lake.url, data_set, effective, now=now)
    return _page(context, FormErrors(), expired=expired)


def _changed_since(context: RequestContext, work: Connection) -> list[str]:
    """Return what somebody else has changed after the page of the form had been loaded, a sentence each."""
    sentences = []
    for period in list_retention(work, context.dependencies.retention_days):
        shown, stored = context.field(f"{_SHOWN}{period.data_set.name}"), _own_days(period)
        if f"{_SHOWN}{period.data_set.name}" in context.form and shown != stored:
            by = f" by {period.changed_by}" if period.changed_by else ""
            sentences.append(
                f"{period.data_set.title} was changed{by} after you opened this page: {shown or 'default'} → "
                f"{stored or 'default'}. Nothing was saved. Enter that period if you want to keep it: saving again "
                "replaces it with what this page shows."
            )
    return sentences


def _own_days(period: Retention) -> str:
    return str(period.days) if period.is_own else ""


def _page(
    context: RequestContext,
    errors: FormErrors,
    *,
    expired: Mapping[str, int | None] | None = None,
    status: int = 200,
    is_change_shown: bool = False,
) -> Page:
    with context.dependencies.store.reading() as work:
        periods = list_retention(work, context.dependencies.retention_days)
    is_entered = expired is not None or bool(errors)
    shown = {period.data_set.name: _own_days(period) for period in periods}
    if is_entered and not is_change_shown:  # what was typed belongs to the periods of the page before
        shown |= {name: context.field(f"{_SHOWN}{name}") for name in shown if f"{_SHOWN}{name}" in context.form}
    values = {
        period.data_set.name: context.field(period.data_set.name) if is_entered else _own_days(period)
        for period in periods
    }
    return context.page(
        "retention.html",
        status=status,
        errors=errors,
        periods=periods,
        values=values,
        shown=shown,
        expired=expired,
        defaults=context.dependencies.retention_days,
    )


HANDLERS = (show_retention, edit_retention)
