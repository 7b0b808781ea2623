"""The Event Tester: previews an event filter by filter, sends it, and follows it until it is delivered."""

import asyncio
import json

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.event_names import mapped_names
from punchcard.errors import LakeError, PunchcardError
from punchcard.lake.listing import EventQuery
from punchcard.operations.executor import run_in_executor
from punchcard.operations.statuses import OPEN_STATUSES
from punchcard.operations.tester import EventTestResult, try_event
from punchcard.store.access.token_store import Role
from punchcard.traces.browse import SeenEvent
from punchcard.workspace.editing import find_destination
from punchcard.workspace.model import Destination
from punchcard.workspace.snapshot import Snapshot, SourceRoute

_EVENT_BYTES_MAX = 32 * 1024
_SAMPLES = 20


@get("/destinations/{slug:str}/tester")
@run_in_executor
def show_tester(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show the form with an example event."""
    destination = find_destination(context.dependencies.workspace(), slug)
    samples = _newest_events(context, destination)
    message_id = context.query("event")
    chosen = next((sample for sample in samples if sample.event.message_id == message_id), None)
    return context.page(
        "tester.html",
        destination=destination,
        text=_sample(chosen) if chosen else _example(destination),
        samples=samples[:_SAMPLES],
    )


@post("/destinations/{slug:str}/tester", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
async def run_tester(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Preview the event, or send it if the send button was pressed."""
    sends = context.field("send") == "yes"
    if sends:
        context.require_role(Role.EDITOR)
    text = context.field("event").encode()
    try:
        tested = await asyncio.to_thread(_try, context, slug, text)
    except (PunchcardError, _InvalidInputError) as error:
        return context.fragment("tester_error.html", message=str(getattr(error, "message", error)))
    if sends and tested.message_id is not None:
        await context.dependencies.append(tested.record(context.dependencies.clock))
        destination = find_destination(await asyncio.to_thread(context.dependencies.workspace), slug)
        return await asyncio.to_thread(
            context.fragment,
            "tester_sent.html",
            slug=slug,
            destination=destination,
            message_id=tested.message_id,
            trace=None,
        )
    return await asyncio.to_thread(
        context.fragment,
        "tester_result.html",
        tested=tested,
        results=[result for result in tested.results if result.destination in (None, slug)],
        others=[result for result in tested.results if result.destination not in (None, slug)],
    )


@get("/destinations/{slug:str}/tester/sent")
@run_in_executor
def follow(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show the progress of the sent event. The page polls until it is completed."""
    message_id = context.query("id")
    trace = context.dependencies.traces.trace(message_id)
    is_unfinished = trace is None or any(result.status in OPEN_STATUSES for result in trace.results)
    destination = find_destination(context.dependencies.workspace(), slug)
    return context.fragment(
        "tester_sent.html",
        slug=slug,
        destination=destination,
        message_id=message_id,
        trace=trace,
        is_unfinished=is_unfinished,
    )


class _InvalidInputError(Exception):
    """The input cannot be tested. The message is shown beside the form."""


def _try(context: RequestContext, slug: str, text: bytes) -> EventTestResult:
    if len(text) > _EVENT_BYTES_MAX:
        raise _InvalidInputError("An event has at most 32 KB.")
    snapshot = context.dependencies.current()
    route = _route(snapshot, slug, context.field("source"))
    return try_event(text, route, store=context.dependencies.store, clock=context.dependencies.clock, snapshot=snapshot)


def _route(snapshot: Snapshot, slug: str, source: str) -> SourceRoute:
    for route in snapshot.by_write_key.values():
        if route.source.slug == source and any(destination.slug == slug for destination in route.destinations):
            return route
    raise _InvalidInputError("Choose a source that is connected to this destination.")


def _newest_events(context: RequestContext, destination: Destination) -> list[SeenEvent]:
    """Return the newest events of the destination's sources; none while the lake cannot be read."""
    try:
        samples = [
            sample
            for source in destination.sources
            for sample in context.dependencies.browser.page(
                EventQuery(source=source, type="track"), limit=_SAMPLES
            ).events
        ]
    except LakeError:  # samples are optional
        return []
    return sorted(samples, key=lambda sample: sample.place, reverse=True)


def _sample(seen: SeenEvent) -> str:
    """Return a received event as a new one, without its ids and times."""
    try:
        event = json.loads(seen.event.payload)
    except ValueError:
        return seen.event.payload.decode(errors="replace")
    for name in ("messageId", "writeKey", "sentAt", "originalTimestamp", "timestamp", "receivedAt"):
        event.pop(name, None)
    return json.dumps(event, indent=2, ensure_ascii=False)


def _example(destination: Destination) -> str:
    """Return an example event with the first mapped name."""
    partner = CATALOG.get(destination.type)
    names = [] if partner is None else mapped_names(partner.definition, destination.settings)
    name = names[0] if names else "Order Completed"
    properties: dict[str, object] = {"email": "example@example.com"}
    if "order" in name.lower():
        properties = {"order_id": "test-1001", "revenue": 9.99, **properties}
    event = {"type": "track", "event": name, "userId": "test-user", "properties": properties}
    return json.dumps(event, indent=2)


HANDLERS = (show_tester, run_tester, follow)
