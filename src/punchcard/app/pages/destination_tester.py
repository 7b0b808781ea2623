"""The Event Tester: what an event would do, filter by filter; then it is really sent, and followed until it arrives."""

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
from punchcard.operations.tester import EventTestResult, try_event
from punchcard.store.event_results import EventStatus
from punchcard.store.token_store import Role
from punchcard.traces.browse import SeenEvent
from punchcard.workspace.editing import find_destination
from punchcard.workspace.model import Destination
from punchcard.workspace.snapshot import Snapshot, SourceRoute

_EVENT_BYTES_MAX = 32 * 1024
_SAMPLES = 20
_GOING_ON = frozenset({EventStatus.PENDING, EventStatus.RETRYING, EventStatus.UNKNOWN})


@get("/destinations/{slug:str}/tester")
@run_in_executor
def show_tester(context: ContextDependency, slug: FromPath[str]) -> Page:
    """The form, with an event to begin with."""
    destination = find_destination(context.dependencies.workspace(), slug)
    samples = _newest_events(context, destination)
    wanted = context.query("event")
    chosen = next((sample for sample in samples if sample.event.message_id == wanted), None)
    return context.page(
        "tester.html",
        destination=destination,
        text=_sample(chosen) if chosen else _example(destination),
        samples=samples[:_SAMPLES],
    )


@post("/destinations/{slug:str}/tester", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
async def run_tester(context: ContextDependency, slug: FromPath[str]) -> Page:
    """What the event would do; with the button that sends, it is really taken in."""
    sends = context.field("send") == "yes"
    if sends:
        context.require_role(Role.EDITOR)
    text = context.field("event").encode()
    try:
        tested = await asyncio.to_thread(_try, context, slug, text)
    except (PunchcardError, _WrongEvent) as error:
        return context.fragment("tester_wrong.html", said=str(getattr(error, "message", error)))
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
        shown=[result for result in tested.results if result.destination in (None, slug)],
        others=[result for result in tested.results if result.destination not in (None, slug)],
    )


@get("/destinations/{slug:str}/tester/sent")
@run_in_executor
def follow(context: ContextDependency, slug: FromPath[str]) -> Page:
    """How far the sent event has come; asked again until it has arrived."""
    message_id = context.query("id")
    trace = context.dependencies.traces.trace(message_id)
    goes_on = trace is None or any(result.status in _GOING_ON for result in trace.results)
    destination = find_destination(context.dependencies.workspace(), slug)
    return context.fragment(
        "tester_sent.html", slug=slug, destination=destination, message_id=message_id, trace=trace, goes_on=goes_on
    )


class _WrongEvent(Exception):  # noqa: N818  # said beside the form, no error of the product
    """What was typed cannot be tried."""


def _try(context: RequestContext, slug: str, text: bytes) -> EventTestResult:
    if len(text) > _EVENT_BYTES_MAX:
        raise _WrongEvent("one event has at most 32 KB")
    snapshot = context.dependencies.current()
    route = _route(snapshot, slug, context.field("source"))
    return try_event(text, route, store=context.dependencies.store, clock=context.dependencies.clock, snapshot=snapshot)


def _route(snapshot: Snapshot, slug: str, source: str) -> SourceRoute:
    for route in snapshot.by_write_key.values():
        if route.source.slug == source and any(destination.slug == slug for destination in route.destinations):
            return route
    raise _WrongEvent("choose a source that this destination gets events of")


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
    except LakeError:  # they are only suggestions: the form works without them
        return []
    return sorted(samples, key=lambda sample: sample.place, reverse=True)


def _sample(seen: SeenEvent) -> str:
    """A real event as a new one: without what would make it the same one again."""
    try:
        event = json.loads(seen.event.payload)
    except ValueError:
        return seen.event.payload.decode(errors="replace")
    for name in ("messageId", "writeKey", "sentAt", "originalTimestamp", "timestamp", "receivedAt"):
        event.pop(name, None)
    return json.dumps(event, indent=2, ensure_ascii=False)


def _example(destination: Destination) -> str:
    """An event of the first mapped name, as the destination's page shows one."""
    partner = CATALOG.get(destination.type)
    names = [] if partner is None else mapped_names(partner.definition, destination.settings)
    name = names[0] if names else "Order Completed"
    properties: dict[str, object] = {"email": "example@example.com"}
    if "order" in name.lower():
        properties = {"order_id": "test-1001", "revenue": 9.99, **properties}
    event = {"type": "track", "event": name, "userId": "test-user", "properties": properties}
    return json.dumps(event, indent=2)


HANDLERS = (show_tester, run_tester, follow)
