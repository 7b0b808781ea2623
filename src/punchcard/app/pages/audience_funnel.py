"""The funnel of an audience, counted when somebody asks for it."""

from litestar import get
from litestar.params import FromPath

from punchcard.app.request_context import ContextDependency, Page
from punchcard.computations.printer import to_text
from punchcard.engage.funnel_counts import FunnelCounts
from punchcard.errors import StorageError
from punchcard.operations.computation_status import find_computation_status
from punchcard.operations.executor import run_in_executor
from punchcard.operations.funnels import count_funnel, funnel_of


@get("/audiences/{key:str}/funnel")
@run_in_executor
def show_funnel(context: ContextDependency, key: FromPath[str]) -> Page:
    """Count the steps of an audience's funnel."""
    dependencies = context.dependencies
    status = find_computation_status(dependencies.store, dependencies.workspace(), key)
    funnel = funnel_of(status.computation)
    if funnel is None:
        return context.fragment("audience_funnel.html", problem="This definition has no funnel. Reload the page.")
    try:
        counts = count_funnel(dependencies.store, status, clock=dependencies.clock)
        problem = counts.error
    except StorageError as error:
        counts, problem = FunnelCounts(), error.message
    return context.fragment(
        "audience_funnel.html",
        problem=problem,
        rows=list(zip(funnel.steps, counts.people, strict=not problem)),
        filters=[to_text(condition) for condition in funnel.filters],
    )


HANDLERS = (show_funnel,)
