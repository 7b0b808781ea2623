"""Privacy, Inventory: every property and trait that sources send, how sensitive it is, and what is done with it."""

from collections.abc import Sequence
from typing import Final

from litestar import get, post

from punchcard.app.paths import page_path
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext, local_path
from punchcard.errors import ConfigurationError
from punchcard.filters.transformation_definitions import split_path
from punchcard.operations.executor import run_in_executor
from punchcard.operations.inventory import (
    Classification,
    InventoryItem,
    classify,
    covering_paths,
    find_item,
    needing_attention,
    read_classification,
    read_inventory,
)
from punchcard.operations.sentences import count_noun
from punchcard.store.access.token_store import Role
from punchcard.workspace.control_editing import list_controls
from punchcard.workspace.editing import NotFoundError

_ROWS_MAX: Final = 500
_COLORS: Final = {Classification.RED: "red", Classification.YELLOW: "orange", Classification.GREEN: "green"}
DONE: Final = {"drop": "dropped", "mask": "masked", "hash": "hashed"}


@get("/privacy/inventory")
@run_in_executor
def show_inventory(context: ContextDependency) -> Page:
    """List properties and traits, the most sensitive first; by status, classification, source and part of the path."""
    with context.dependencies.store.reading() as work:
        items = read_inventory(work)
    matches = select_items(context, items)
    controls: dict[tuple[str, ...], list[str]] = {}
    workspace = context.dependencies.workspace()
    names = {"source": context.source_name, "destination": context.destination_name}
    for control in list_controls(workspace):
        text = f"{DONE[control.action]} ({names[control.scope](control.slug)})"
        controls.setdefault(split_path(control.path), []).append(text)
    return context.page(
        "inventory.html",
        items=matches[:_ROWS_MAX],
        total=len(matches),
        is_empty=not items,
        new=sum(item.is_new for item in items),
        counts={member: sum(item.classification is member for item in items) for member in Classification},
        sources=sorted({slug for item in items for slug in item.sources}),
        colors=_COLORS,
        controls={
            item.name: list(
                dict.fromkeys(text for path in covering_paths(item.name) for text in controls.get(path, ()))
            )
            for item in matches[:_ROWS_MAX]
        },
        alarming={item.name for item in needing_attention(matches, workspace.sources)},
        members=list(Classification),
        values={
            "classification": context.query("classification").upper(),
            **{name: context.query(name) for name in ("source", "q", "status")},
        },
    )


def select_items(context: RequestContext, items: Sequence[InventoryItem]) -> list[InventoryItem]:
    """Return the items that the query of the page selects."""
    classification = context.query("classification").upper()
    source, text, status = context.query("source"), context.query("q").strip().lower(), context.query("status")
    return [
        item
        for item in items
        if (not classification or item.classification.name == classification)
        and (not source or source in item.sources)
        and (status not in ("new", "classified") or item.is_new is (status == "new"))
        and text in item.name.lower()
    ]


@post("/privacy/inventory", status_code=200, opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def classify_properties(context: ContextDependency) -> Page:
    """Classify the chosen properties."""
    path = local_path(context.field("return") or page_path("privacy", "inventory"))
    names, chosen = [name for name in context.fields("name") if name], context.field("as")
    if not names:
        return context.redirect(path, notices=["Choose at least one property."])
    try:
        with context.dependencies.store.unit_of_work() as work:
            now = context.dependencies.clock.now()
            if chosen == "proposed":
                items = {item.name: item for item in read_inventory(work)}
                changed = sum(
                    classify(work, [name], items[name].proposed, actor=context.actor, now=now)
                    for name in names
                    if name in items
                )
            else:
                value = None if chosen == "new" else read_classification(chosen)
                changed = classify(work, names, value, actor=context.actor, now=now)
    except ConfigurationError as error:
        return context.redirect(path, notices=[error.message])
    return context.redirect(path, notices=[f"{count_noun(changed, 'property', 'properties')} changed."])


@get("/privacy/inventory/property")
@run_in_executor
def show_property(context: ContextDependency) -> Page:
    """Show one property or trait: what it looks like, who sends it, and what is done with it where."""
    section, _, path = context.query("name").partition(".")
    with context.dependencies.store.reading() as work:
        try:
            item = find_item(work, section, path)
        except NotFoundError:
            raise NotFoundError(f"No source sends {context.query('name')[:200]}. It may have left the list.") from None
    workspace = context.dependencies.workspace()
    actions = {
        (control.scope, control.slug): control.action
        for control in list_controls(workspace)
        if control.path == item.name
    }
    places = [("source", part.slug, part.name) for part in workspace.sources if part.slug in item.sources]
    places += [
        ("destination", part.slug, part.name or part.slug)
        for part in workspace.destinations
        if set(part.sources) & set(item.sources)
    ]
    return context.page(
        "property.html",
        item=item,
        needs_attention=bool(needing_attention([item], workspace.sources)),
        colors=_COLORS,
        members=list(Classification),
        places=[(scope, slug, name, DONE.get(actions.get((scope, slug), ""), "")) for scope, slug, name in places],
    )


HANDLERS = (show_inventory, classify_properties, show_property)
