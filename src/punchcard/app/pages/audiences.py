"""Audiences and computed traits: the list, one with its members, and the editor with its builder and live count."""

from dataclasses import replace
from typing import Any

from litestar import get, post
from litestar.params import FromPath

from punchcard.app import audience_lines as said
from punchcard.app.audience_form import lines_of_form
from punchcard.app.audience_lines import Lines
from punchcard.app.audience_reading import lines_of
from punchcard.app.audience_writing import text_of
from punchcard.app.forms import Wrong, wrong_of
from punchcard.app.sparkline import sparkline
from punchcard.app.visit import NEEDS, Page, Visit, Visiting
from punchcard.computations.keys import key_of
from punchcard.engage.requests import Preview, PreviewRequest
from punchcard.errors import ConfigurationError, StorageError
from punchcard.operations import engagement
from punchcard.operations.threads import in_thread
from punchcard.operations.trends import trends
from punchcard.store.counts import seen_names
from punchcard.store.profile_search import names_of_traits
from punchcard.store.tokens import Role
from punchcard.workspace.model import Computation

_SHOWN = 50
_NAMES = 200
_RHYTHMS = ("real-time", "every 15 minutes", "every hour", "every 2 hours", "every 8 hours", "every day")


@get("/audiences")
@in_thread
def list_all(visit: Visiting) -> Page:
    """Every audience and computed trait with its size, how that has changed, and what is still to be told."""
    parts = visit.parts
    found = engagement.standing_of(parts.store, parts.workspace(), rates=engagement.rates_of(parts.current()))
    sizes = {one.computation.key: one.state.size for one in found if one.state is not None}
    grown = trends(parts.store, sizes, clock=parts.clock)
    return visit.page(
        "audiences.html",
        trends=grown,
        lines={key: sparkline(one) for key, one in grown.items()},
        audiences=[one for one in found if one.computation.kind == "audience"],
        traits=[one for one in found if one.computation.kind == "computed_trait"],
    )


@get("/audiences-new", opt={NEEDS: Role.EDITOR})
@in_thread
def show_new(visit: Visiting) -> Page:
    """The editor, empty."""
    kind = "computed_trait" if visit.query("kind") == "computed_trait" else "audience"
    slugs = tuple(one.slug for one in visit.parts.workspace().destinations)
    fresh = Computation(kind=kind, key="", name="", definition="", destinations=slugs if len(slugs) == 1 else ())
    return _editor(visit, fresh, Wrong(), is_new=True)


@post("/audiences-new", status_code=200)
@in_thread
def create(visit: Visiting) -> Page:
    """Save a new one; it is live within seconds."""
    kind = "computed_trait" if visit.field("kind") == "computed_trait" else "audience"
    fresh = _read(visit, Computation(kind=kind, key="", name="", definition=""))
    fresh = replace(fresh, key=visit.field("key") or key_of(fresh.name))
    try:
        warnings = visit.edit(engagement.adding(fresh))
    except ConfigurationError as error:
        return _editor(visit, fresh, wrong_of(error), is_new=True, status=422)
    return visit.redirect(
        f"/audiences/{fresh.key}", notices=[f"“{fresh.name}” was saved: it is live in a moment.", *warnings]
    )


@get("/audiences/{key:str}")
@in_thread
def show_one(visit: Visiting, key: FromPath[str]) -> Page:
    """How it stands, who is in it, who came and went, and what destinations were told."""
    parts = visit.parts
    one = engagement.with_outcomes(parts.store, _one(visit, key))
    members = engagement.members(parts.store, key, limit=_SHOWN, clock=parts.clock)
    chart = None
    if members.sizes and one.state is not None:
        sizes = [*members.sizes, (parts.clock.now(), one.state.size)]
        chart = {
            "zone": parts.workspace().timezone,
            "times": [int(at.timestamp()) for at, _ in sizes],
            "series": [{"label": "people", "values": [size for _, size in sizes]}],
        }
    return visit.page("audience.html", one=one, members=members, chart=chart)


@get("/audiences/{key:str}/edit", opt={NEEDS: Role.EDITOR})
@in_thread
def show_edit(visit: Visiting, key: FromPath[str]) -> Page:
    """The editor with one."""
    return _editor(visit, _one(visit, key).computation, Wrong(), is_new=False)


@post("/audiences/{key:str}/edit", status_code=200)
@in_thread
def change(visit: Visiting, key: FromPath[str]) -> Page:
    """Save a changed one; its key stays."""
    fresh = _read(visit, _one(visit, key).computation)
    try:
        warnings = visit.edit(engagement.changing(key, lambda _: fresh))
    except ConfigurationError as error:
        return _editor(visit, fresh, wrong_of(error), is_new=False, status=422)
    return visit.redirect(f"/audiences/{key}", notices=[f"“{fresh.name}” was saved.", *warnings])


@post("/audiences/{key:str}/remove", status_code=200)
@in_thread
def remove(visit: Visiting, key: FromPath[str]) -> Page:
    """Its last values stay on profiles as custom traits."""
    name = _one(visit, key).computation.name
    visit.edit(engagement.removing(key))
    return visit.redirect("/audiences", notices=[f"“{name}” was deleted; its last values stay on profiles."])


@post("/audiences/{key:str}/resync", status_code=200)
@in_thread
def resync(visit: Visiting, key: FromPath[str]) -> Page:
    """Tell destinations of everybody again."""
    parts = visit.parts
    count = engagement.resync(
        parts.store,
        _one(visit, key),
        destination=visit.field("destination") or None,
        actor=visit.actor,
        clock=parts.clock,
    )
    return visit.redirect(f"/audiences/{key}", notices=[f"{count:,} people wait to be told of again."])


@post("/audiences/{key:str}/pause", status_code=200)
@in_thread
def pause(visit: Visiting, key: FromPath[str]) -> Page:
    """Tell a destination nothing, or go on; for all audiences and traits at once. Its awards go on."""
    destination = visit.field("destination")
    if visit.field("resume"):
        engagement.resume(visit.parts.store, destination)
        return visit.redirect(f"/audiences/{key}", notices=[f"{destination} is told again."])
    engagement.pause(visit.parts.store, destination, actor=visit.actor, clock=visit.parts.clock)
    return visit.redirect(f"/audiences/{key}", notices=[f"{destination} is told nothing until somebody resumes it."])


@post("/audiences-builder", status_code=200, opt={NEEDS: Role.READ_ONLY})
@in_thread
def build(visit: Visiting) -> Page:
    """The builder after a change: lines say the text, or the text says lines."""
    kind = visit.field("kind")
    if visit.field("said") == "text":
        return _builder(visit, kind, visit.field("definition"), Wrong())
    lines, fresh = lines_of_form(visit)
    wrong = Wrong()
    text = visit.field("definition")
    try:
        text = text_of(lines, kind=kind)
    except ConfigurationError as error:
        wrong.others.append(error.message)
    if visit.field("said") == "line":
        # Only the text: a line in which somebody types is not taken from under their hands.
        return visit.part("audience_text.html", kind=kind, definition=text, wrong=wrong)
    return _builder(visit, kind, text, wrong, lines=lines, fresh=fresh)


@post("/audiences-preview", status_code=200, opt={NEEDS: Role.READ_ONLY})
@in_thread
def preview(visit: Visiting) -> Page:
    """How many people the definition in the form would hold now, and some of them."""
    text = visit.field("definition")
    found, problem = Preview(), ""
    if text:
        request = PreviewRequest(visit.field("kind"), text, visit.field("include_anonymous") == "on")
        try:
            found = engagement.preview(visit.parts.store, request, clock=visit.parts.clock)
            problem = found.error
        except (ConfigurationError, StorageError) as error:
            problem = error.message
    return visit.part("audience_preview.html", untold=not text, problem=problem, found=found, kind=visit.field("kind"))


def _one(visit: Visit, key: str) -> engagement.Standing:
    parts = visit.parts
    found = engagement.standing_of(parts.store, parts.workspace(), rates=engagement.rates_of(parts.current()))
    for one in found:
        if one.computation.key == key:
            return one
    return engagement.one_standing(parts.store, parts.workspace(), key)  # says that there is none


def _read(visit: Visit, standing: Computation) -> Computation:
    """The computation of the form."""
    return replace(
        standing,
        name=visit.field("name"),
        description=visit.field("description"),
        definition=_definition(visit, standing.kind),
        enabled=visit.field("enabled") == "on",
        destinations=tuple(one for one in visit.fields("destinations") if one),
        send=tuple(one for one in visit.fields("send") if one),
        sync=visit.field("sync") or standing.sync,
        include_anonymous=visit.field("include_anonymous") == "on",
        include_history=visit.field("history") != "none",
        when_removed=visit.field("when_removed") or standing.when_removed,
    )


def _definition(visit: Visit, kind: str) -> str:
    """The definition of the form: its text, unless only the lines were changed since the text was written for them."""
    text, rendered = (visit.field(name).replace("\r\n", "\n") for name in ("definition", "rendered"))
    if text != rendered or not visit.fields("line"):
        return text
    try:
        return text_of(lines_of_form(visit)[0], kind=kind) or text
    except ConfigurationError:
        return text  # what is wrong with a line is said beside it


def _builder(visit: Visit, kind: str, text: str, wrong: Wrong, *, lines: Lines | None = None, fresh: str = "") -> Page:
    values = _builder_values(visit, kind, text, wrong, lines=lines, fresh=fresh)
    return visit.part("audience_builder.html", **values)


def _builder_values(
    visit: Visit, kind: str, text: str, wrong: Wrong, *, lines: Lines | None = None, fresh: str = ""
) -> dict[str, Any]:
    workspace = visit.parts.workspace()
    own = visit.field("own_key") or str(visit.request.path_params.get("key", ""))
    audiences = {one.key: one.name for one in workspace.computations if one.kind == "audience" and one.key != own}
    with visit.parts.store.reading() as work:
        names = seen_names(
            work,
            sources=[one.slug for one in workspace.sources],
            since=visit.parts.clock.now().replace(year=visit.parts.clock.now().year - 1, day=1),
        )
        # As a definition writes them: a dot would lead inside.
        traits = [name.replace(".", "\\.") for name in names_of_traits(work, limit=_NAMES)]
    return {
        "kind": kind,
        "definition": text,
        "wrong": wrong,
        "own_key": own,
        "fresh": fresh,
        "lines": lines if lines is not None else lines_of(text, kind=kind, audiences=audiences),
        "names": sorted(names, key=lambda name: -names[name])[:_NAMES],
        "traits": sorted({*traits, *(one.key for one in workspace.computations)} - {own, *audiences}),
        "audiences": audiences,
        "sources": {one.slug: one.name or one.slug for one in workspace.sources},
        "said": said,
    }


def _editor(visit: Visit, shown: Computation, wrong: Wrong, *, is_new: bool, status: int = 200) -> Page:
    rhythms = _RHYTHMS if shown.sync in _RHYTHMS else (*_RHYTHMS, shown.sync)
    return visit.page(
        "audience_edit.html",
        status=status,
        shown=shown,
        is_new=is_new,
        rhythms=rhythms,
        destinations=visit.parts.workspace().destinations,
        **_builder_values(visit, shown.kind, shown.definition, wrong),
    )


HANDLERS = (list_all, show_new, create, show_one, show_edit, change, remove, resync, pause, build, preview)
