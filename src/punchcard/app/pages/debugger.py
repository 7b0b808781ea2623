"""The live debugger of a source: its events as they come in, with what becomes of each."""

import asyncio
import json
from collections.abc import AsyncIterator

from litestar import get
from litestar.params import FromPath
from litestar.response import ServerSentEvent, ServerSentEventMessage

from punchcard.app.request_context import ContextDependency, Page
from punchcard.lake.listing import EventQuery
from punchcard.operations.executor import run_in_executor
from punchcard.workspace.editing import NotFoundError, find_source

_SHOWN_FIRST = 50
_DIGITS_MAX = 19


@get("/sources/{slug:str}/debugger")
@run_in_executor
def show_debugger(context: ContextDependency, slug: FromPath[str]) -> Page:
    """The newest events of a source, and from then on what comes in."""
    source = find_source(context.dependencies.workspace(), slug)
    found = context.dependencies.browser.page(EventQuery(source=slug), limit=_SHOWN_FIRST)
    return context.page("debugger.html", source=source, events=found.events)


@get("/sources/{slug:str}/live")
async def stream(context: ContextDependency, slug: FromPath[str]) -> ServerSentEvent:
    """Server-sent events: each the rows of the table that are new or stand otherwise now, as a JSON text of HTML."""

    async def messages() -> AsyncIterator[ServerSentEventMessage]:
        yield ServerSentEventMessage(comment="watching", retry=1000)
        async for news in context.dependencies.live.watch():
            own = [one for one in news if one.event.source == slug]
            if own:
                values = {"context": context, "events": own}
                rows = await asyncio.to_thread(context.renderer.render, "debugger_rows.html", values)
                yield ServerSentEventMessage(data=json.dumps(rows), event="events")
            elif not news:
                yield ServerSentEventMessage(comment="still here")

    return ServerSentEvent(messages())


@get("/sources/{slug:str}/live/{place:str}")
@run_in_executor
def show_row(context: ContextDependency, slug: FromPath[str], place: FromPath[str]) -> Page:
    """What a row of the debugger shows when it is opened: the event as it was received."""
    position, _, index = place.partition("-")
    if not (position.isdecimal() and index.isdecimal() and len(position) < _DIGITS_MAX):
        raise NotFoundError("there is no such event")
    found = context.dependencies.browser.at((int(position), int(index)))
    if found is None or found.event.source != slug:
        raise NotFoundError("there is no such event")
    return context.fragment("debugger_row_body.html", seen=found)


HANDLERS = (show_debugger, stream, show_row)
