"""Sources: write keys, snippets, and requests with unknown write keys."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors, form_errors_from
from punchcard.app.paths import page_path
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.app.snippets import snippets_for
from punchcard.errors import ConfigurationError, LakeError
from punchcard.events.notes import (
    JSON_REPAIRED,
    TIME_CONVERTED,
    TIME_NOT_BELIEVED,
    TIME_UNREADABLE,
    VALUE_ABSENT,
    VALUE_CONVERTED,
    VALUE_NOT_FINITE,
)
from punchcard.filters.change_writer import TRANSFORMED
from punchcard.filters.transformation_definitions import NOT_COMPUTED
from punchcard.lake.listing import EventQuery
from punchcard.operations.executor import run_in_executor
from punchcard.routing.source_rules import SWITCHED_OFF
from punchcard.store.access.token_store import Role
from punchcard.store.delivery.counts import RECEIVED, CountQuery, Dimension, read_counts
from punchcard.store.ingest.rejected_requests import count_rejected_requests, read_rejected_requests
from punchcard.store.routing.note_counts import read_note_counts
from punchcard.workspace.controlled_properties import CONTROLLED
from punchcard.workspace.editing import (
    add_source,
    change_source,
    find_source,
    generate_write_key,
    remove_source,
    remove_write_key,
    suggest_slug,
)
from punchcard.workspace.model import Source
from punchcard.workspace.source_types import DEFAULT_SOURCE_TYPE, SOURCE_TYPES

_LATELY = timedelta(days=7)
_UNKNOWN_SHOWN = 20
# In display order: notes about lost information first.
NOTE_MEANINGS = {
    TIME_UNREADABLE: "Invalid time: time of receipt used",
    TIME_NOT_BELIEVED: "Time in the future: time of receipt used",
    VALUE_NOT_FINITE: "NaN or Infinity: replaced by null",
    JSON_REPAIRED: "Invalid JSON: repaired",
    TIME_CONVERTED: "Time not in ISO-8601: converted",
    VALUE_CONVERTED: "Value of another type: converted",
    VALUE_ABSENT: "Empty value: ignored",
    TRANSFORMED: "Changed by a transformation",
    NOT_COMPUTED: "Not set by a transformation: no value",
    CONTROLLED: "Property or trait dropped, masked or hashed",
    SWITCHED_OFF: "Property or trait switched off: removed",
}


@get("/sources")
@run_in_executor
def list_sources(context: ContextDependency) -> Page:
    """List sources with the number of events of the last 24 hours."""
    dependencies = context.dependencies
    now = dependencies.clock.now()
    with dependencies.store.reading() as work:
        received = read_counts(
            work,
            CountQuery(begin=now - timedelta(hours=24), end=now + timedelta(minutes=1), statuses=[RECEIVED]),
            by=[Dimension.SOURCE],
        )
        unknown = read_counts(
            work,
            CountQuery(begin=now - _LATELY, end=now + timedelta(minutes=1), reasons=["unknown_source"]),
            by=[],
        )
        rejected = read_rejected_requests(work, "")
        rejected_counts = count_rejected_requests(work, since=now - timedelta(hours=24))
    unknown_count = sum(unknown.values())
    query = EventQuery(status="failed_on_ingest", destination="", reason="unknown_source", begin=now - _LATELY)
    try:
        unknown_events = dependencies.browser.page(query, limit=_UNKNOWN_SHOWN).events if unknown_count else ()
    except LakeError:  # the rest of the page works without the lake
        unknown_events = None
    return context.page(
        "sources.html",
        sources=dependencies.workspace().sources,
        received={str(source): count for (source,), count in received.items()},
        types=SOURCE_TYPES,
        unknown_count=unknown_count,
        unknown_events=unknown_events,
        rejected=rejected,
        rejected_counts=rejected_counts,
    )


# No slug begins with `_`, so no source hides the form, nor the form a source.
@get("/sources/_new", opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def show_new(context: ContextDependency) -> Page:
    """Show the form for a new source."""
    return _new(context, {"type": context.query("type") or DEFAULT_SOURCE_TYPE}, FormErrors(), status=200)


@post("/sources/_new", status_code=200)
@run_in_executor
def create(context: ContextDependency) -> Page:
    """Create a source."""
    name, errors = context.field("name"), FormErrors()
    slug = context.field("slug") or suggest_slug(name)
    source = Source(slug=slug, name=name or slug, write_keys=(generate_write_key(),), type=context.field("type"))
    if not slug:
        errors.fields["name"] = "Enter a name with letters or digits."
    else:
        try:
            context.edit(add_source(source))
        except ConfigurationError as error:
            errors = form_errors_from(error)
    if errors:
        typed = {"name": name, "slug": context.field("slug"), "type": context.field("type")}
        return _new(context, typed, errors, status=422)
    return context.redirect(
        page_path("sources", slug), notices=[f"{source.name} was added. Copy a snippet to send events."]
    )


@get("/sources/{slug:str}")
@run_in_executor
def show_source(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show a source with its write keys and snippets."""
    return _shown(context, find_source(context.dependencies.workspace(), slug), FormErrors(), status=200)


@post("/sources/{slug:str}", status_code=200)
@run_in_executor
def change(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Change name and status of a source."""
    name, enabled = context.field("name"), context.field("enabled") == "on"
    try:
        context.edit(change_source(slug, lambda source: replace(source, name=name, enabled=enabled)))
    except ConfigurationError as error:
        if error.code == "not_found":
            raise
        return _shown(context, find_source(context.dependencies.workspace(), slug), form_errors_from(error), status=422)
    return context.redirect(page_path("sources", slug), notices=["The source was saved."])


@post("/sources/{slug:str}/keys", status_code=200)
@run_in_executor
def add_key(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Add a write key, for example to replace another one."""
    context.edit(
        change_source(slug, lambda source: replace(source, write_keys=(*source.write_keys, generate_write_key())))
    )
    return context.redirect(
        page_path("sources", slug), notices=["A write key was added. Both work until you remove the old one."]
    )


@post("/sources/{slug:str}/keys/remove", status_code=200)
@run_in_executor
def remove_key(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Remove a write key. Events with this key are refused from now on."""
    context.edit(change_source(slug, remove_write_key(context.field("key"))))
    return context.redirect(page_path("sources", slug), notices=["The write key was removed."])


@post("/sources/{slug:str}/remove", status_code=200)
@run_in_executor
def remove(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Delete a source without connected destinations."""
    name = find_source(context.dependencies.workspace(), slug).name
    context.edit(remove_source(slug))
    return context.redirect("/sources", notices=[f"{name} was deleted. Its events and awards are kept."])


def _new(context: RequestContext, typed: Mapping[str, str], errors: FormErrors, *, status: int) -> Page:
    return context.page("source_new.html", status=status, typed=typed, errors=errors, types=SOURCE_TYPES)


def _shown(context: RequestContext, source: Source, errors: FormErrors, *, status: int) -> Page:
    connected = [
        destination
        for destination in context.dependencies.workspace().destinations
        if source.slug in destination.sources
    ]
    host = context.base_url
    with context.dependencies.store.reading() as work:
        rejected = read_rejected_requests(work, source.slug)
        notes = read_note_counts(work, source.slug, since=context.dependencies.clock.now() - _LATELY)
    return context.page(
        "source.html",
        status=status,
        source=source,
        type=SOURCE_TYPES[source.type],
        connected=connected,
        snippets=snippets_for(source, host=host),
        notes=[(NOTE_MEANINGS[reason], notes[reason]) for reason in NOTE_MEANINGS if reason in notes],
        rejected=rejected,
        errors=errors,
    )


HANDLERS = (list_sources, show_new, create, show_source, change, add_key, remove_key, remove)
