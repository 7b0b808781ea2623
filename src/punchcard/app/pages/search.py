"""The global search: a page of its own, and the results that the command palette shows."""

from litestar import get

from punchcard.app.request_context import ContextDependency, Page
from punchcard.app.search import search
from punchcard.operations.executor import run_in_executor

_PAGE_RESULTS = 20  # per group
_PALETTE_RESULTS = 5


@get("/search")
@run_in_executor
def show_search(context: ContextDependency) -> Page:
    """Show the search with its results; it needs no scripts."""
    text = context.query("q")
    return context.page("search.html", text=text, groups=search(context, text, limit=_PAGE_RESULTS))


@get("/search/results")
@run_in_executor
def list_results(context: ContextDependency) -> Page:
    """Return the results as options of the command palette."""
    text = context.query("q")
    groups = search(context, text, limit=_PALETTE_RESULTS)
    return context.fragment("search_results.html", text=text, groups=groups)


HANDLERS = (show_search, list_results)
