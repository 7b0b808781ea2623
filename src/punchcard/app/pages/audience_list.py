"""The list of audiences and computed traits, with a search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from litestar import get

from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.app.sparkline import draw_sparkline
from punchcard.operations.computation_status import ComputationStatus, list_computation_statuses, request_rates
from punchcard.operations.executor import run_in_executor
from punchcard.operations.row_ids import is_row_id
from punchcard.operations.trends import compute_trends

_ROWS = 25  # of each kind on a page: each is drawn with its trend


@dataclass(frozen=True, kw_only=True)
class ListPart:
    """The computations of one kind, a page of them shown.

    Attributes:
        kind: `audience` or `computed_trait`.
        begin: Number of computations before the first shown one.
        matching: Number of those that match the search.
        total: Number of all of this kind.
    """

    kind: str
    statuses: Sequence[ComputationStatus]
    begin: int
    matching: int
    total: int

    @property
    def earlier(self) -> int | None:
        """The `begin` of the page before, None on the first one."""
        return max(self.begin - _ROWS, 0) if self.begin else None

    @property
    def later(self) -> int | None:
        """The `begin` of the page behind, None on the last one."""
        end = self.begin + len(self.statuses)
        return end if end < self.matching else None


@get("/audiences")
@run_in_executor
def list_audiences(context: ContextDependency) -> Page:
    """List audiences and computed traits with size, trend and pending syncs."""
    dependencies, search = context.dependencies, context.query("q")
    statuses = list_computation_statuses(
        dependencies.store, dependencies.workspace(), rates=request_rates(dependencies.current())
    )
    audiences = _part(context, statuses, "audience", begin=context.query("from"))
    traits = _part(context, statuses, "computed_trait", begin=context.query("traits_from"))
    shown = (*audiences.statuses, *traits.statuses)
    sizes = {status.computation.key: status.state.size for status in shown if status.state is not None}
    trends = compute_trends(dependencies.store, sizes, clock=dependencies.clock)
    return context.page(
        "audiences.html",
        search=search,
        is_searchable=bool(search) or len(statuses) > len(shown),
        trends=trends,
        lines={key: draw_sparkline(status) for key, status in trends.items()},
        audiences=audiences,
        traits=traits,
    )


def _part(context: RequestContext, statuses: Sequence[ComputationStatus], kind: str, *, begin: str) -> ListPart:
    own = [status for status in statuses if status.computation.kind == kind]
    search = context.query("q").casefold()
    matching = [status for status in own if _matches(status, search, name=context.destination_name)]
    first = int(begin) if is_row_id(begin) else 0
    if first >= len(matching):
        first = 0
    return ListPart(
        kind=kind,
        statuses=matching[first : first + _ROWS],
        begin=first,
        matching=len(matching),
        total=len(own),
    )


def _matches(status: ComputationStatus, search: str, *, name: Callable[[str], str]) -> bool:
    """Return True if the search occurs in what the list shows of a computation, or in a key.

    Args:
        name: Returns the name of a destination by its slug.
    """
    computation = status.computation
    texts = (computation.name, computation.key, computation.description, computation.definition, status.status)
    names = map(name, computation.destinations)
    return any(search in text.casefold() for text in (*texts, *computation.destinations, *names))


HANDLERS = (list_audiences,)
