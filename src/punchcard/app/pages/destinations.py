"""The list of destinations."""

from datetime import timedelta

from litestar import get

from punchcard.app.request_context import ContextDependency, Page
from punchcard.operations.executor import run_in_executor
from punchcard.operations.overview import read_pipeline
from punchcard.store.delivery.pauses import pause_of


@get("/destinations")
@run_in_executor
def list_destinations(context: ContextDependency) -> Page:
    """List destinations with the numbers of the last 24 hours."""
    dependencies = context.dependencies
    now = dependencies.clock.now()
    snapshot = dependencies.current()
    rows = []
    with dependencies.store.reading() as work:
        for slug, routed in snapshot.destinations.items():
            pipeline = read_pipeline(
                work,
                destination=slug,
                sources=routed.destination.sources,
                begin=now - timedelta(hours=24),
                end=now + timedelta(minutes=1),
            )
            rows.append((routed, pipeline, pause_of(work, slug)))
    return context.page("destinations.html", rows=rows)


HANDLERS = (list_destinations,)
