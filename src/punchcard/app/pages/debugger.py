"""The live debugger of a source: its events as they arrive, with their results."""

import asyncio
import json
from collections.abc import AsyncIterator

from litestar import get
from litestar.params import FromPath
from litestar.response import ServerSentEvent, ServerSentEventMessage

from punchcard.app.paths import page_path
from punchcard.app.request_context import ContextDependency, Page
from punchcard.lake.listing import EventQuery
from punchcard.operations.executor import run_in_executor
from punchcard.operations.row_ids import is_row_id
from punchcard.workspace.editing import NotFoundError, find_source

_SHOWN_FIRST = 50


@get("/sources/{slug:str}/debugger")
@run_in_executor
def show_debugger(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show the newest events of a source; new ones are streamed."""
    source = find_source(context.dependencies.workspace(), slug)
    position = context.dependencies.live.position()  # before the events are read: none may fall between
    page = context.dependencies.browser.page(EventQuery(source=slug), limit=_SHOWN_FIRST)
    destinations = context.dependencies.workspace().destinations
    taking = [destination.slug for destination in destinations if slug in destination.sources]
    return context.page(
        "debugger.html",
        source=source,
        events=page.events,
        position=position,
        replay_paths=[
            (taker, page_path("destinations", taker, "replays", source=slug, time="24h")) for taker in taking
        ],
    )


@get("/sources/{slug:str}/live")
async def stream(context: ContextDependency, slug: FromPath[str]) -> ServerSentEvent:
    """Stream server-sent events, each with new or changed rows of the table as HTML in a JSON string.

    The query parameter `after` is the log position that the page has shown; without it, only what comes now is shown.
    """
    live, text = context.dependencies.live, context.query("after")
    after = int(text) if is_row_id(text) else await asyncio.to_thread(live.position)

    async def messages() -> AsyncIterator[ServerSentEventMessage]:
        yield ServerSentEventMessage(comment="watching", retry=1000)
        async for batch in live.watch(after=after):
            own = [seen for seen in batch if seen.event.source == slug]
            if own:
                values = {"context": context, "events": own}
                rows = await asyncio.to_thread(context.renderer.render, "debugger_rows.html", values)
                yield ServerSentEventMessage(data=json.dumps(rows), event="events")
            elif not batch:
                yield ServerSentEventMessage(comment="keep-alive")

    return ServerSentEvent(messages())


@get("/sources/{slug:str}/live/{place:str}")
@run_in_executor
def show_row(context: ContextDependency, slug: FromPath[str], place: FromPath[str]) -> Page:
    """Return the body of an opened row: the event as it was received."""
    position, _, index = place.partition("-")
    if not (is_row_id(position) and is_row_id(index)):
        raise NotFoundError("The debugger does not have this event any more. Search for it in Events.")
    seen = context.dependencies.browser.at((int(position), int(index)))
    if seen is None or seen.event.source != slug:
        raise NotFoundError("The debugger does not have this event any more. Search for it in Events.")
    return context.fragment("debugger_row_body.html", seen=seen)


HANDLERS = (show_debugger, stream, show_row)
