"""The list of destinations."""

from datetime import timedelta

from litestar import get

from punchcard.app.visit import Page, Visiting
from punchcard.operations.overview import read_pipeline
from punchcard.operations.threads import in_thread
from punchcard.store.pauses import pause_of


@get("/destinations")
@in_thread
def list_destinations(visit: Visiting) -> Page:
    """Every destination, with how the last day went."""
    parts = visit.parts
    now = parts.clock.now()
    snapshot = parts.current()
    rows = []
    with parts.store.reading() as work:
        for slug, one in snapshot.destinations.items():
            pipeline = read_pipeline(
                work,
                destination=slug,
                sources=one.destination.sources,
                begin=now - timedelta(hours=24),
                end=now + timedelta(minutes=1),
            )
            rows.append((one, pipeline, pause_of(work, slug)))
    return visit.page("destinations.html", rows=rows)


HANDLERS = (list_destinations,)
