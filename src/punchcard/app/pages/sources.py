"""Sources: write keys, snippets to copy, and what came in with keys that no source has."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.forms import Wrong, wrong_of
from punchcard.app.snippets import snippets_for
from punchcard.app.visit import NEEDS, Page, Visit, Visiting
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
from punchcard.lake.listing import EventQuestion
from punchcard.operations.threads import in_thread
from punchcard.store.counts import RECEIVED, CountQuestion, Dimension, read_counts
from punchcard.store.note_counts import read_note_counts
from punchcard.store.rejected_requests import count_rejected_requests, read_rejected_requests
from punchcard.store.tokens import Role
from punchcard.workspace.editing import (
    adding_source,
    changing_source,
    new_write_key,
    removing_source,
    slug_of,
    source_of,
    without_key,
)
from punchcard.workspace.model import Source
from punchcard.workspace.source_types import DEFAULT_SOURCE_TYPE, SOURCE_TYPES

_LATELY = timedelta(days=7)
_UNKNOWN_SHOWN = 20
# In the order in which they are shown: what loses something first.
NOTE_MEANINGS = {
    TIME_UNREADABLE: "Time could not be read: the time of receipt was used",
    TIME_NOT_BELIEVED: "Time in the future: the time of receipt was used",
    VALUE_NOT_FINITE: "NaN or Infinity: read as null",
    JSON_REPAIRED: "Text that JSON does not allow: repaired",
    TIME_CONVERTED: "Time in another form than ISO-8601: read",
    VALUE_CONVERTED: "Value of another type: converted",
    VALUE_ABSENT: "Empty value: counted as absent",
}


@get("/sources")
@in_thread
def list_sources(visit: Visiting) -> Page:
    """Every source, with how much came from it of late."""
    parts = visit.parts
    now = parts.clock.now()
    with parts.store.reading() as work:
        received = read_counts(
            work,
            CountQuestion(begin=now - timedelta(hours=24), end=now + timedelta(minutes=1), statuses=[RECEIVED]),
            by=[Dimension.SOURCE],
        )
        unknown = read_counts(
            work,
            CountQuestion(begin=now - _LATELY, end=now + timedelta(minutes=1), reasons=["unknown_source"]),
            by=[],
        )
        rejected = read_rejected_requests(work, "")
        rejected_counts = count_rejected_requests(work, since=now - timedelta(hours=24))
    strangers = sum(unknown.values())
    question = EventQuestion(status="failed_on_ingest", destination="", reason="unknown_source", begin=now - _LATELY)
    try:
        shown = parts.browser.page(question, limit=_UNKNOWN_SHOWN).events if strangers else ()
    except LakeError:  # this page is where people look for missing events: it says the rest without the lake
        shown = None
    return visit.page(
        "sources.html",
        sources=parts.workspace().sources,
        received={str(source): count for (source,), count in received.items()},
        types=SOURCE_TYPES,
        strangers=strangers,
        shown=shown,
        rejected=rejected,
        rejected_counts=rejected_counts,
    )


@get("/sources/new", opt={NEEDS: Role.EDITOR})
@in_thread
def show_new(visit: Visiting) -> Page:
    """The form for a new source."""
    return _new(visit, {"type": visit.query("type") or DEFAULT_SOURCE_TYPE}, Wrong(), status=200)


@post("/sources/new", status_code=200)
@in_thread
def create(visit: Visiting) -> Page:
    """Save the new source."""
    name, wrong = visit.field("name"), Wrong()
    slug = visit.field("slug") or slug_of(name)
    source = Source(slug=slug, name=name or slug, write_keys=(new_write_key(),), type=visit.field("type"))
    if not slug:
        wrong.fields["name"] = "give it a name of letters or digits"
    else:
        try:
            visit.edit(adding_source(source))
        except ConfigurationError as error:
            wrong = wrong_of(error)
            if error.code == "source_exists":
                wrong = Wrong(fields={"slug": error.message})
    if wrong:
        typed = {"name": name, "slug": visit.field("slug"), "type": visit.field("type")}
        return _new(visit, typed, wrong, status=422)
    return visit.redirect(f"/sources/{slug}", notices=[f"{source.name} was added. Copy a snippet, and send."])


@get("/sources/{slug:str}")
@in_thread
def show_source(visit: Visiting, slug: FromPath[str]) -> Page:
    """One source: its keys, and how to send with them."""
    return _shown(visit, source_of(visit.parts.workspace(), slug), Wrong(), status=200)


@post("/sources/{slug:str}", status_code=200)
@in_thread
def change(visit: Visiting, slug: FromPath[str]) -> Page:
    """Its name, and whether it is on."""
    name, enabled = visit.field("name"), visit.field("enabled") == "on"
    try:
        visit.edit(changing_source(slug, lambda one: replace(one, name=name, enabled=enabled)))
    except ConfigurationError as error:
        if error.code == "not_found":
            raise
        return _shown(visit, source_of(visit.parts.workspace(), slug), wrong_of(error), status=422)
    return visit.redirect(f"/sources/{slug}", notices=["Saved."])


@post("/sources/{slug:str}/keys", status_code=200)
@in_thread
def add_key(visit: Visiting, slug: FromPath[str]) -> Page:
    """One more write key, as when one is to be replaced."""
    visit.edit(changing_source(slug, lambda one: replace(one, write_keys=(*one.write_keys, new_write_key()))))
    return visit.redirect(
        f"/sources/{slug}", notices=["A write key was added. Both work until you remove the old one."]
    )


@post("/sources/{slug:str}/keys/remove", status_code=200)
@in_thread
def remove_key(visit: Visiting, slug: FromPath[str]) -> Page:
    """Events with this key are refused from now on."""
    visit.edit(changing_source(slug, without_key(visit.field("key"))))
    return visit.redirect(f"/sources/{slug}", notices=["The write key was removed."])


@post("/sources/{slug:str}/remove", status_code=200)
@in_thread
def remove(visit: Visiting, slug: FromPath[str]) -> Page:
    """Only a source that no destination gets events of."""
    visit.edit(removing_source(slug))
    return visit.redirect("/sources", notices=[f"{slug} was removed. Its events and awards stay on record."])


def _new(visit: Visit, typed: Mapping[str, str], wrong: Wrong, *, status: int) -> Page:
    return visit.page("source_new.html", status=status, typed=typed, wrong=wrong, types=SOURCE_TYPES)


def _shown(visit: Visit, source: Source, wrong: Wrong, *, status: int) -> Page:
    connected = [one for one in visit.parts.workspace().destinations if source.slug in one.sources]
    host = visit.parts.public_url or str(visit.request.base_url).rstrip("/")
    with visit.parts.store.reading() as work:
        rejected = read_rejected_requests(work, source.slug)
        notes = read_note_counts(work, source.slug, since=visit.parts.clock.now() - _LATELY)
    return visit.page(
        "source.html",
        status=status,
        source=source,
        type=SOURCE_TYPES[source.type],
        connected=connected,
        snippets=snippets_for(source, host=host),
        notes=[(NOTE_MEANINGS[reason], notes[reason]) for reason in NOTE_MEANINGS if reason in notes],
        rejected=rejected,
        wrong=wrong,
    )


HANDLERS = (list_sources, show_new, create, show_source, change, add_key, remove_key, remove)
