"""The live debugger of a source: its events as they come in, with what becomes of each."""

import asyncio
import json
from collections.abc import AsyncIterator

from litestar import get
from litestar.params import FromPath
from litestar.response import ServerSentEvent, ServerSentEventMessage

from punchcard.app.visit import Page, Visiting
from punchcard.lake.listing import EventQuestion
from punchcard.operations.threads import in_thread
from punchcard.workspace.editing import NotThereError, source_of

_SHOWN_FIRST = 50
_DIGITS_MAX = 19


@get("/sources/{slug:str}/debugger")
@in_thread
def show_debugger(visit: Visiting, slug: FromPath[str]) -> Page:
    """The newest events of a source, and from then on what comes in."""
    source = source_of(visit.parts.workspace(), slug)
    found = visit.parts.browser.page(EventQuestion(source=slug), limit=_SHOWN_FIRST)
    return visit.page("debugger.html", source=source, events=found.events)


@get("/sources/{slug:str}/live")
async def stream(visit: Visiting, slug: FromPath[str]) -> ServerSentEvent:
    """Server-sent events: each the rows of the table that are new or stand otherwise now, as a JSON text of HTML."""

    async def messages() -> AsyncIterator[ServerSentEventMessage]:
        yield ServerSentEventMessage(comment="watching", retry=1000)
        async for news in visit.parts.live.watch():
            own = [one for one in news if one.event.source == slug]
            if own:
                values = {"visit": visit, "events": own}
                rows = await asyncio.to_thread(visit.renderer.render, "debugger_rows.html", values)
                yield ServerSentEventMessage(data=json.dumps(rows), event="events")
            elif not news:
                yield ServerSentEventMessage(comment="still here")

    return ServerSentEvent(messages())


@get("/sources/{slug:str}/live/{place:str}")
@in_thread
def show_row(visit: Visiting, slug: FromPath[str], place: FromPath[str]) -> Page:
    """What a row of the debugger shows when it is opened: the event as it was received."""
    position, _, index = place.partition("-")
    if not (position.isdecimal() and index.isdecimal() and len(position) < _DIGITS_MAX):
        raise NotThereError("there is no such event")
    found = visit.parts.browser.at((int(position), int(index)))
    if found is None or found.event.source != slug:
        raise NotThereError("there is no such event")
    return visit.part("debugger_row_body.html", seen=found)


HANDLERS = (show_debugger, stream, show_row)
