"""The editor of a destination's event map, with received event names and possible values."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors, form_errors_from
from punchcard.app.paths import page_path
from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.app.setting_forms import read_map_rows
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import SettingField
from punchcard.destinations.event_names import find_map_warnings, near_names
from punchcard.destinations.port import LOOKS_LIKE_ORDER, MappingChoice
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.sentences import as_sentence, count_noun
from punchcard.store.delivery.counts import CountQuery, Dimension, read_counts, seen_names
from punchcard.store.routing.event_results import EventStatus
from punchcard.store.source_schema.reading import list_names
from punchcard.workspace.editing import NotFoundError, change_destination, find_destination, merge_settings
from punchcard.workspace.model import Destination
from punchcard.workspace.part_names import destination_title

_LATELY = timedelta(days=30)
_CLOCK_SKEW_MAX = timedelta(minutes=5)  # between this process and the one that counts
_UNMAPPED_SHOWN = 30


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the map.

    Attributes:
        seen: Number of such events in the last 30 days.
        order_like: Number of them that look like orders but were counted as 1 unit.
        error: Why the row cannot be saved, "" if it can.
    """

    name: str
    value: str
    seen: int
    warning: str = ""
    order_like: int = 0
    error: str = ""


@get("/destinations/{slug:str}/map")
async def show_map(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show the map, with the possible values read from the partner."""
    destination = await _destination(context, slug)
    return await _page(context, destination, _saved_rows(destination), FormErrors(), status=200)


@post("/destinations/{slug:str}/map", status_code=200)
async def save(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Save the map. It applies to all events routed from now on."""
    destination = await _destination(context, slug)
    field = _map_field(destination)
    rows = read_map_rows(context, field.key)
    row_errors = find_row_errors(rows, label=field.value_label)
    if any(row_errors):
        errors = FormErrors(fields={"map": "Not saved. Correct the lines below."})
        return await _page(context, destination, rows, errors, row_errors=row_errors, status=422)
    if not rows and _saved_rows(destination) and not context.field("confirmed"):
        errors = FormErrors(fields={"map": "Not saved. Without a line, no event earns points."})
        return await _page(context, destination, rows, errors, needs_confirmation=True, status=422)
    confirmed = set(_saved_rows(destination))  # a line that was saved before was confirmed then
    unusable = ["" if row in confirmed else _unusable(context, slug, *row) for row in rows]
    if any(unusable) and not context.field("confirmed"):
        errors = FormErrors(fields={"map": "Not saved. Some lines cannot award anything."})
        return await _page(context, destination, rows, errors, row_errors=unusable, needs_confirmation=True, status=422)
    try:
        await _save(context, slug, field.key, dict(rows))
    except ConfigurationError as error:
        if error.code == "not_found":
            raise
        errors = form_errors_from(error, names={f"settings.{field.key}": "map"})
        return await _page(context, destination, rows, errors, status=422)
    events = f"{count_noun(len(rows), 'event earns', 'events earn')} points"
    return context.redirect(
        page_path("destinations", slug, "map", saved="1"), notices=[f"The map was saved: {events} from now on."]
    )


def _saved_rows(destination: Destination) -> list[tuple[str, str]]:
    event_map = destination.settings.get(_map_field(destination).key)
    return [(str(name), str(value)) for name, value in event_map.items()] if isinstance(event_map, Mapping) else []


def find_row_errors(rows: Sequence[tuple[str, str]], *, label: str) -> list[str]:
    """Return for each row of a map why it cannot be saved, "" if it can.

    Args:
        rows: Event names with values.
        label: What the destination calls a value.
    """
    errors = []
    names: set[str] = set()
    for name, value in rows:
        if not name:
            errors.append("Enter an event name.")
        elif name in names:
            errors.append(f"“{name}” is mapped twice. Remove one of the lines.")
        elif not value:
            errors.append(f"Choose a {label} for this event.")
        else:
            errors.append("")
        names.add(name)
    return errors


def _unusable(context: RequestContext, slug: str, name: str, value: str) -> str:
    """Return why a value cannot be used for awards as far as that is known, "" if it can.

    The cached choices count: to save a map the partner need not be up.
    """
    choice = context.mapping_choices.choice(slug, value)
    if choice is None or not choice.note or _fits(name, choice):
        return ""
    return f"“{choice.title or value}” cannot award: {choice.note}."


@run_in_executor
def _destination(context: RequestContext, slug: str) -> Destination:
    return find_destination(context.dependencies.workspace(), slug)


@run_in_executor
def _save(context: RequestContext, slug: str, key: str, event_map: Mapping[str, str]) -> None:
    context.edit(
        change_destination(
            slug,
            lambda destination: replace(
                destination, settings=merge_settings(destination.settings, {key: dict(event_map)})
            ),
        )
    )


async def _page(
    context: RequestContext,
    destination: Destination,
    pairs: Sequence[tuple[str, str]],
    errors: FormErrors,
    *,
    status: int,
    row_errors: Sequence[str] = (),
    needs_confirmation: bool = False,
) -> Page:
    snapshot = await asyncio.to_thread(context.dependencies.current)
    routed = snapshot.destinations[destination.slug]
    mapping_choices, problem = await context.mapping_choices.read(
        routed, bypass_cache="refresh" in context.request.query_params
    )
    field = _map_field(destination)
    seen, order_like, names = await _count_events(context, destination)
    values = dict(pairs)
    known = {mapping_choice.value: mapping_choice for mapping_choice in mapping_choices}
    near = near_names(list(values), seen)
    unmapped = sorted(((name, count) for name, count in seen.items() if name not in values), key=lambda pair: -pair[1])
    rows = [
        Row(
            name=name,
            value=value,
            seen=seen.get(name, 0),
            warning="" if error else _warning(name, value, seen, near[name], known, field, routed.name),
            order_like=order_like.get(name, 0),
            error=error,
        )
        for (name, value), error in zip(pairs, row_errors or [""] * len(pairs), strict=True)
    ]
    return await asyncio.to_thread(
        context.page,
        "event_map.html",
        status=status,
        destination=destination,
        routed=routed,
        field=field,
        rows=rows,
        warnings=find_map_warnings(list(values)),
        mapping_choices=mapping_choices,
        problem=problem,
        unmapped=unmapped[:_UNMAPPED_SHOWN],
        names=list(dict.fromkeys([*names, *sorted(seen)])),
        added=context.query("add"),
        errors=errors,
        needs_confirmation=needs_confirmation,
    )


@run_in_executor
def _count_events(
    context: RequestContext, destination: Destination
) -> tuple[dict[str, int], dict[str, int], list[str]]:
    """Return the counts of recent events by name, of those that look like orders but were counted as 1 unit, and names.

    The names are those of the source schema, most frequent first: also of events that come less than once a month.
    """
    now = context.dependencies.clock.now()
    since = now - _LATELY
    looks_like_order = CountQuery(
        begin=since,
        end=now + _CLOCK_SKEW_MAX,
        destination=destination.slug,
        statuses=[EventStatus.PENDING],
        reasons=[LOOKS_LIKE_ORDER],
    )
    with context.dependencies.store.reading() as work:
        seen = seen_names(work, sources=destination.sources, since=since)
        counts = read_counts(work, looks_like_order, by=[Dimension.EVENT_NAME])
        names = list_names(work, destination.sources)
    return seen, {str(name): count for (name,), count in counts.items()}, names


def _warning(
    name: str,
    value: str,
    seen: Mapping[str, int],
    near: Sequence[str],
    known: Mapping[str, MappingChoice],
    field: SettingField,
    partner: str,
) -> str:
    """Return a warning about a row, "" for none."""
    notes = []
    if known and value not in known:
        notes.append(f"{partner} has no such {field.value_label}.")
    elif (choice := known.get(value)) is not None and choice.note and not _fits(name, choice):
        notes.append(choice.note)
    if not seen.get(name):
        notes.append("No such event was received in the last 30 days.")
    if near:
        notes.append(f"“{near[0]}” was received and is not mapped. Names must match exactly.")
    if "refund" in name.lower():
        notes.append("Points are taken back only if the event has an order_id.")
    return " ".join(as_sentence(note) for note in notes)


def _fits(name: str, choice: MappingChoice) -> bool:
    """Return True if the event is a refund and the value redeems points."""
    return "refund" in name.lower() and choice.note.startswith("redeems")


def _map_field(destination: Destination) -> SettingField:
    partner = CATALOG.get(destination.type)
    field = None if partner is None else partner.definition.event_map
    if field is None:
        raise NotFoundError(f"{destination_title(destination)} has no event map.")
    return field


HANDLERS = (show_map, save)
