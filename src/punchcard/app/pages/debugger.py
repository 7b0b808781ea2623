"""The live debugger of a source: its events as they come in, with what becomes of each."""

import json
from collections.abc import AsyncIterator

from litestar import get
from litestar.params import FromPath
from litestar.response import ServerSentEvent, ServerSentEventMessage

from punchcard.app.visit import Page, Visiting
from punchcard.lake.reader import EventQuestion
from punchcard.operations.threads import in_thread
from punchcard.workspace.editing import source_of

_SHOWN_FIRST = 50


@get("/sources/{slug:str}/debugger")
@in_thread
def show_debugger(visit: Visiting, slug: FromPath[str]) -> Page:
    """The newest events of a source, and from then on what comes in."""
    source = source_of(visit.parts.workspace(), slug)
    found = visit.parts.browser.page(EventQuestion(source=slug), limit=_SHOWN_FIRST)
    return visit.page("debugger.html", source=source, events=found.events)


@get("/sources/{slug:str}/live")
async def stream(visit: Visiting, slug: FromPath[str]) -> ServerSentEvent:
    """Server-sent events: each a list of `{"id", "html"}`, a row of the table that is new or stands otherwise now."""

    async def messages() -> AsyncIterator[ServerSentEventMessage]:
        yield ServerSentEventMessage(comment="watching", retry=1000)
        async for news in visit.parts.live.watch():
            rows = [
                {
                    "id": f"event-{one.event.log_position}-{one.event.event_index}",
                    "html": visit.renderer.render("debugger_row.html", {"visit": visit, "seen": one}),
                }
                for one in news
                if one.event.source == slug
            ]
            yield ServerSentEventMessage(data=json.dumps(rows), event="events") if rows else _KEEP_ALIVE

    return ServerSentEvent(messages())


_KEEP_ALIVE = ServerSentEventMessage(comment="still here")
HANDLERS = (show_debugger, stream)
