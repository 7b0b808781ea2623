"""Privacy: regulations and their progress, new ones, and what is stored about a person."""

import re
from typing import Any, Final

from litestar import Response, get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors
from punchcard.app.paths import page_path
from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError
from punchcard.operations.access_request import PersonReader, to_html, to_json
from punchcard.operations.downloads import FileStream
from punchcard.operations.executor import run_in_executor
from punchcard.operations.regulations import (
    NewRegulation,
    cancel_regulation,
    create_regulation,
    get_regulation,
    named_subjects,
    read_regulation_type,
    read_subject_type,
)
from punchcard.operations.row_ids import is_row_id
from punchcard.store.access.token_store import Role
from punchcard.store.privacy.regulations import (
    RegulationQuery,
    RegulationStatus,
    RegulationType,
    SubjectType,
    count_regulations,
    list_regulations,
)
from punchcard.store.privacy.suppressions import count_suppressed
from punchcard.workspace.editing import NotFoundError, find_source

_ROWS: Final = 50
_ACTIONS: Final = {
    RegulationType.SUPPRESS_WITH_DELETE: "Delete all data, and refuse new events",
    RegulationType.DELETE_ONLY: "Delete all data; new events are accepted",
    RegulationType.SUPPRESS_ONLY: "Refuse new events; stored data stays",
    RegulationType.UNSUPPRESS: "Accept new events again",
    RegulationType.SUPPRESS_WITH_DELETE_INTERNAL: "Delete all data in Punchcard only, and refuse new events",
    RegulationType.DELETE_INTERNAL: "Delete all data in Punchcard only",
    RegulationType.DELETE_ARCHIVE_ONLY: "Delete the events of one source in Punchcard only",
}
_LABELS: Final = {
    SubjectType.USER_ID: "User id",
    SubjectType.EMAIL: "Email",
    SubjectType.ANONYMOUS_ID: "Anonymous id",
}
# The fields of the form, by those of the Public API.
_FIELDS: Final = {"regulationType": "type", "subjectType": "by", "subjectIds": "subjects"}
_COLORS: Final = {
    RegulationStatus.FINISHED: "green",
    RegulationStatus.FAILED: "red",
    RegulationStatus.PARTIAL_SUCCESS: "orange",
    RegulationStatus.NOT_SUPPORTED: "orange",
}


@get("/privacy")
@run_in_executor
def show_privacy(context: ContextDependency) -> Page:
    """List regulations, newest first, with the form for a new one."""
    return _list(context, FormErrors(), status=200)


@post("/privacy", status_code=200)
@run_in_executor
def regulate(context: ContextDependency) -> Page:
    """Create a regulation."""
    context.require_role(Role.OWNER)
    source = context.field("source")
    try:
        if source:
            find_source(context.dependencies.workspace(), source)
        request = NewRegulation(
            type=read_regulation_type(context.field("type")),
            subject_type=read_subject_type(context.field("by")),
            subjects=[line for line in context.field("subjects").splitlines() if line.strip()],
            source=source,
        )
        with context.dependencies.store.unit_of_work() as work:
            id = create_regulation(
                work,
                context.dependencies.configuration.subjects,
                request,
                actor=context.actor,
                now=context.dependencies.clock.now(),
            )
    except NotFoundError as error:
        return _list(context, FormErrors(fields={"source": error.message}), status=422)
    except ConfigurationError as error:
        field = _FIELDS.get(str(error.context.get("field")), "subjects")
        return _list(context, FormErrors(fields={field: error.message}), status=422)
    return context.redirect(page_path("privacy", str(id)), notices=["The regulation was created."])


@get("/privacy/{id:str}")
@run_in_executor
def show_regulation(context: ContextDependency, id: FromPath[str]) -> Page:
    """Show a regulation with its progress."""
    with context.dependencies.store.reading() as work:
        regulation = get_regulation(work, _read_id(id))
        subjects = named_subjects(work, context.dependencies.configuration.subjects, [regulation])[regulation.id]
    return context.page(
        "regulation.html",
        regulation=regulation,
        subjects=subjects,
        names=_ACTIONS,
        labels=_LABELS,
        colors=_COLORS,
    )


@post("/privacy/{id:str}/remove", status_code=200)
@run_in_executor
def remove_regulation(context: ContextDependency, id: FromPath[str]) -> Page:
    """Remove a regulation that has not begun."""
    context.require_role(Role.OWNER)
    notice = "The regulation was removed."
    try:
        with context.dependencies.store.unit_of_work() as work:
            cancel_regulation(work, _read_id(id), actor=context.actor, now=context.dependencies.clock.now())
    except NotFoundError:
        raise
    except ConfigurationError as error:
        notice = error.message
    return context.redirect("/privacy", notices=[notice])


@post("/privacy/export", status_code=200)
@run_in_executor
def export_person(context: ContextDependency) -> Response[Any]:
    """Return everything that is stored about a person as a file."""
    context.require_role(Role.OWNER)
    subject = context.field("subject")
    dependencies = context.dependencies
    reader = PersonReader(
        store=dependencies.store,
        lake=dependencies.lake,
        lake_url=dependencies.lake.url,
        tail=dependencies.browser.tail,
        vault=dependencies.configuration.subjects,
        clock=dependencies.clock,
    )
    try:
        person = reader.read(read_subject_type(context.field("by")), subject)
    except ConfigurationError as error:
        return _list(context, FormErrors(fields={"subject": error.message}), status=422)
    is_json = context.field("format") == "json"
    name = re.sub(r"[^A-Za-z0-9.@_-]+", "-", subject)[:80] + (".json" if is_json else ".html")
    return FileStream(
        to_json(person) if is_json else to_html(person),
        media_type="application/json" if is_json else "text/html",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


def _list(context: RequestContext, errors: FormErrors, *, status: int) -> Page:
    before = context.query("before")
    with context.dependencies.store.reading() as work:
        regulations = list_regulations(
            work, RegulationQuery(), count=_ROWS + 1, before_id=int(before) if is_row_id(before) else None
        )
        shown = regulations[:_ROWS]
        subjects = named_subjects(work, context.dependencies.configuration.subjects, shown)
        total, suppressed = count_regulations(work, RegulationQuery()), count_suppressed(work)
    return context.page(
        "privacy.html",
        status=status,
        errors=errors,
        regulations=shown,
        subjects=subjects,
        total=total,
        suppressed=suppressed,
        following=str(shown[-1].id) if len(regulations) > _ROWS else "",
        actions=_ACTIONS,
        names=_ACTIONS,
        labels=_LABELS,
        colors=_COLORS,
        sources=[(source.slug, source.name) for source in context.dependencies.workspace().sources],
        values={name: context.field(name) for name in ("type", "by", "source", "subjects", "subject")},
    )


def _read_id(text: str) -> int:
    if not is_row_id(text):
        raise NotFoundError("There is no regulation with this id. Privacy lists all of them.")
    return int(text)


HANDLERS = (show_privacy, regulate, export_person, show_regulation, remove_regulation)
