"""The Event Tester: previews an event filter by filter, sends it, and follows it until it is delivered."""

import asyncio
import json
from collections.abc import Mapping, Sequence

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.request_context import REQUIRED_ROLE, SHOWS_AWARDS, ContextDependency, Page, RequestContext
from punchcard.app.tester_form import PROPERTY_PREFIX, TesterForm, compose_event, usual_form
from punchcard.destinations.catalog import CATALOG
from punchcard.errors import LakeError, PunchcardError
from punchcard.events.model import EventType
from punchcard.lake.listing import EventQuery
from punchcard.operations.executor import run_in_executor
from punchcard.operations.statuses import OPEN_STATUSES
from punchcard.operations.tester import EventTestResult, try_event
from punchcard.store.access.token_store import Role
from punchcard.store.source_schema.model import schema_key
from punchcard.store.source_schema.reading import ListedProperty, list_names, list_properties
from punchcard.traces.browse import SeenEvent
from punchcard.workspace.editing import find_destination
from punchcard.workspace.model import Destination
from punchcard.workspace.snapshot import Snapshot, SourceRoute

_EVENT_BYTES_MAX = 32 * 1024
_SAMPLES = 20


@get("/destinations/{slug:str}/tester", opt={SHOWS_AWARDS: True})
@run_in_executor
def show_tester(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show the form for an event: by its name, from a received event, or as JSON."""
    destination = find_destination(context.dependencies.workspace(), slug)
    samples = _newest_events(context, destination)
    message_id = context.query("event")
    chosen = next((sample for sample in samples if sample.event.message_id == message_id), None)
    name = context.request.query_params.get("name", "") or _usual_name(context, destination)
    form = _form_for(context, destination, name)
    text = ""
    if chosen or context.query("as") == "json":
        text = _sample(chosen) if chosen else _as_json(form)
    return _page(context, destination, form=form, text=text, samples=samples)


@post("/destinations/{slug:str}/tester/json", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
@run_in_executor
def edit_as_json(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show what was filled in as JSON."""
    destination = find_destination(context.dependencies.workspace(), slug)
    form = _form_for(context, destination, context.field("event_name"))
    return _page(
        context,
        destination,
        form=form,
        text=compose_event(context.form),
        samples=_newest_events(context, destination),
        source=context.field("source"),
    )


@post("/destinations/{slug:str}/tester", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY, SHOWS_AWARDS: True})
async def run_tester(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Preview the event, or send it if the send button was pressed."""
    sends = context.field("send") == "yes"
    if sends:
        context.require_role(Role.EDITOR)
    text = (context.field("event") if "event" in context.form else compose_event(context.form)).encode()
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
        slug=slug,
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


def _page(
    context: RequestContext,
    destination: Destination,
    *,
    form: TesterForm,
    text: str,
    samples: Sequence[SeenEvent],
    source: str = "",
) -> Page:
    """Render the tester: with the form, or with the event as JSON if there is a text."""
    with context.dependencies.store.reading() as work:
        names = list_names(work, destination.sources)
    mapped = _map_of(destination)
    return context.page(
        "tester.html",
        destination=destination,
        form=form,
        text=text,
        source=source,
        names=list(dict.fromkeys([*mapped, *names])),
        mapped=mapped.get(form.name, ""),
        samples=samples[:_SAMPLES],
        property_prefix=PROPERTY_PREFIX,
    )


def _map_of(destination: Destination) -> dict[str, str]:
    """Return the event map of the destination, empty if it has none."""
    partner = CATALOG.get(destination.type)
    field = None if partner is None else partner.definition.event_map
    values = None if field is None else destination.settings.get(field.key)
    return {str(name): str(value) for name, value in values.items()} if isinstance(values, Mapping) else {}


def _usual_name(context: RequestContext, destination: Destination) -> str:
    """Return the event that is tested first: the first mapped one, else the most frequent one."""
    mapped = _map_of(destination)
    if mapped:
        return next(iter(mapped))
    with context.dependencies.store.reading() as work:
        names = list_names(work, destination.sources, limit=1)
    return names[0] if names else "Order Completed"


def _form_for(context: RequestContext, destination: Destination, name: str) -> TesterForm:
    """Return the form for an event, with the properties that the destination's sources usually send."""
    properties: list[ListedProperty] = []
    with context.dependencies.store.reading() as work:
        for source in destination.sources:
            properties += list_properties(work, schema_key(source, EventType.TRACK.value, name))
    by_path: dict[str, ListedProperty] = {}
    for known in sorted(properties, key=lambda known: -known.count):
        by_path.setdefault(known.path, known)
    new_id = int(context.dependencies.clock.now().timestamp())
    defaults = {"email": "example@example.com"}
    if "order" in name.lower() and not properties:
        defaults = {"order_id": f"test-{new_id}", "revenue": "9.99", **defaults}
    return usual_form(name, list(by_path.values()), defaults=defaults, new_id=new_id)


def _as_json(form: TesterForm) -> str:
    """Return the event of the form, as it is filled in at first, as JSON."""
    fields = {f"{PROPERTY_PREFIX}{field.path}": [field.value] for field in form.fields}
    types = {f"type:{field.path}": [field.type] for field in form.fields}
    return compose_event({"event_name": [form.name], "user_id": [form.user_id], **fields, **types})


HANDLERS = (show_tester, edit_as_json, run_tester, follow)
