"""Privacy, Inventory: every property and trait that sources send, and which look like personal data."""

from typing import Final

from litestar import get

from punchcard.app.request_context import ContextDependency, Page
from punchcard.operations.executor import run_in_executor
from punchcard.operations.inventory import Classification, read_inventory

_ROWS_MAX: Final = 500
_COLORS: Final = {Classification.RED: "red", Classification.YELLOW: "yellow", Classification.GREEN: "green"}


@get("/privacy/inventory")
@run_in_executor
def show_inventory(context: ContextDependency) -> Page:
    """List properties and traits, the most sensitive first; by classification, source and a part of the path."""
    classification = context.query("classification").upper()
    source, text = context.query("source"), context.query("q").strip().lower()
    with context.dependencies.store.reading() as work:
        items = read_inventory(work)
    matches = [
        item
        for item in items
        if (not classification or item.classification.name == classification)
        and (not source or source in item.sources)
        and text in f"{item.section}.{item.path}".lower()
    ]
    return context.page(
        "inventory.html",
        items=matches[:_ROWS_MAX],
        total=len(matches),
        is_empty=not items,
        counts={member: sum(item.classification is member for item in items) for member in Classification},
        sources=sorted({slug for item in items for slug in item.sources}),
        colors=_COLORS,
        values={"classification": classification, "source": source, "q": context.query("q")},
    )


HANDLERS = (show_inventory,)
