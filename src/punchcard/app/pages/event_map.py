"""The editor of a destination's event map: beside the names that come in, and the values that there are."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors, form_errors_from
from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.app.setting_forms import read_map
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import SettingField
from punchcard.destinations.event_names import find_map_warnings, near_names
from punchcard.destinations.port import LOOKS_LIKE_ORDER, MappingChoice
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.store.counts import CountQuery, Dimension, read_counts, seen_names
from punchcard.store.event_results import EventStatus
from punchcard.workspace.editing import NotFoundError, change_destination, find_destination, merge_settings
from punchcard.workspace.model import Destination

_LATELY = timedelta(days=30)
_CLOCKS_DIFFER = timedelta(minutes=5)  # of the process that counted, and of this one
_UNMAPPED_SHOWN = 30


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the map, with what is known of it.

    Attributes:
        seen: How many such events came in the last 30 days.
        order_like: How many of them look like orders and earned 1.
    """

    name: str
    value: str
    seen: int
    warning: str = ""
    order_like: int = 0


@get("/destinations/{slug:str}/map")
async def show_map(context: ContextDependency, slug: FromPath[str]) -> Page:
    """The map as it stands; its values are read from the destination."""
    destination = await _destination(context, slug)
    standing = destination.settings.get(_map_field(destination).key)
    return await _shown(
        context, destination, standing if isinstance(standing, Mapping) else {}, FormErrors(), status=200
    )


@post("/destinations/{slug:str}/map", status_code=200)
async def save(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Save the map; it is in force for events that are routed from now on."""
    destination = await _destination(context, slug)
    key = _map_field(destination).key
    wanted = read_map(context, key)
    try:
        await _save(context, slug, key, wanted)
    except ConfigurationError as error:
        if error.code == "not_found":
            raise
        errors = form_errors_from(error, names={f"settings.{key}": "map"})
        return await _shown(context, destination, wanted, errors, status=422)
    events = f"{len(wanted)} {'event earns' if len(wanted) == 1 else 'events earn'} points"
    return context.redirect(f"/destinations/{slug}/map", notices=[f"Saved: {events} from now on."])


@run_in_executor
def _destination(context: RequestContext, slug: str) -> Destination:
    return find_destination(context.dependencies.workspace(), slug)


@run_in_executor
def _save(context: RequestContext, slug: str, key: str, wanted: Mapping[str, str]) -> Sequence[str]:
    return context.edit(
        change_destination(slug, lambda one: replace(one, settings=merge_settings(one.settings, {key: dict(wanted)})))
    )


async def _shown(
    context: RequestContext,
    destination: Destination,
    standing: Mapping[str, object],
    errors: FormErrors,
    *,
    status: int,
) -> Page:
    snapshot = await asyncio.to_thread(context.dependencies.current)
    routed = snapshot.destinations[destination.slug]
    mapping_choices, problem = await context.mapping_choices.read(
        routed, bypass_cache="refresh" in context.request.query_params
    )
    seen, order_like = await _seen(context, destination)
    values = {str(name): str(value) for name, value in standing.items()}
    known = {mapping_choice.value: mapping_choice for mapping_choice in mapping_choices}
    near = near_names(list(values), seen)
    unmapped = sorted(((name, count) for name, count in seen.items() if name not in values), key=lambda pair: -pair[1])
    rows = [
        Row(
            name=name,
            value=value,
            seen=seen.get(name, 0),
            warning=_warning(name, value, seen, near[name], known, label=_map_field(destination).value_label),
            order_like=order_like.get(name, 0),
        )
        for name, value in values.items()
    ]
    return await asyncio.to_thread(
        context.page,
        "event_map.html",
        status=status,
        destination=destination,
        routed=routed,
        field=_map_field(destination),
        rows=rows,
        warnings=find_map_warnings(list(values)),
        mapping_choices=mapping_choices,
        problem=problem,
        unmapped=unmapped[:_UNMAPPED_SHOWN],
        names=sorted(seen),
        added=context.query("add"),
        errors=errors,
    )


@run_in_executor
def _seen(context: RequestContext, destination: Destination) -> tuple[dict[str, int], dict[str, int]]:
    """How many events of each name came in lately, and how many of those look like orders and earned 1."""
    now = context.dependencies.clock.now()
    since = now - _LATELY
    looks_like_order = CountQuery(
        begin=since,
        end=now + _CLOCKS_DIFFER,
        destination=destination.slug,
        statuses=[EventStatus.PENDING],
        reasons=[LOOKS_LIKE_ORDER],
    )
    with context.dependencies.store.reading() as work:
        seen = seen_names(work, sources=destination.sources, since=since)
        counts = read_counts(work, looks_like_order, by=[Dimension.EVENT_NAME])
    return seen, {str(name): count for (name,), count in counts.items()}


def _warning(
    name: str,
    value: str,
    seen: Mapping[str, int],
    near: Sequence[str],
    known: Mapping[str, MappingChoice],
    *,
    label: str,
) -> str:
    """What the operator should know of a line, "" if nothing."""
    notes = []
    if known and value not in known:
        notes.append(f"this {label} was not found at the partner")
    elif (choice := known.get(value)) is not None and choice.note and not _fits(name, choice):
        notes.append(choice.note)
    if not seen.get(name):
        notes.append("never seen in 30 days")
    if near:
        notes.append(f"“{near[0]}” was seen and is not mapped: names must be the same to the letter")
    if "refund" in name.lower():
        notes.append("takes points away only with an order_id")
    return "; ".join(notes)


def _fits(name: str, choice: MappingChoice) -> bool:
    """Whether a value that redeems is what the event needs."""
    return "refund" in name.lower() and choice.note.startswith("redeems")


def _map_field(destination: Destination) -> SettingField:
    partner = CATALOG.get(destination.type)
    field = None if partner is None else partner.definition.event_map
    if field is None:
        raise NotFoundError(f"{destination.slug} has nothing to map events to")
    return field


HANDLERS = (show_map, save)
