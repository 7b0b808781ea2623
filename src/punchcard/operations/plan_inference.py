"""A first tracking plan, from what a source sent in the last days."""

from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from punchcard.events.observed_properties import OTHER_ITEMS
from punchcard.store.source_schema.model import SchemaKey
from punchcard.store.source_schema.reading import ListedEvent, ListedProperty, list_events, list_properties
from punchcard.tracking_plans.model import RuleType, TrackingPlanRule
from punchcard.tracking_plans.table import DATE_TIME, TableRow, to_rules
from punchcard.workspace.tracking_plans import sort_rules

REQUIRED_SAMPLES_MIN: Final = 20
"""Sampled events that must all have a property before it is taken for required."""

_TYPES: Final = {
    "track": RuleType.TRACK,
    "identify": RuleType.IDENTIFY,
    "group": RuleType.GROUP,
    "page": RuleType.PAGE,
    "screen": RuleType.SCREEN,
}
_OPTIONAL_TYPES: Final = (RuleType.IDENTIFY, RuleType.GROUP)  # senders send only traits that have changed
_NAMED: Final = ("page", "screen")
_ENVELOPE: Final = frozenset({"name", "category"})  # of page and screen calls; analytics.js repeats them as properties


def infer_rules(work: Connection, source: str, *, since: datetime) -> list[TrackingPlanRule]:
    """Return a rule for each event that the source has sent since an instant.

    A property has the types that were seen. It is required if all sampled events have it, and there are enough of them.
    """
    rows: list[TableRow] = []
    for event in list_events(work, source, since=since):
        rule_type = _TYPES.get(event.key.event_type)
        if rule_type is None or event.is_other or not event.count or (rule_type is RuleType.TRACK and not _name(event)):
            continue
        rows.append(TableRow(event_type=rule_type, event=_name(event)))
        properties = list_properties(work, SchemaKey(*event.key))
        rows += [_row(event, known, properties, rule_type) for known in properties]
    return list(sort_rules(to_rules(rows)))


def _name(event: ListedEvent) -> str:
    return event.key.event_name if event.key.event_type == "track" else ""


def _row(event: ListedEvent, known: ListedProperty, properties: list[ListedProperty], rule_type: RuleType) -> TableRow:
    parent = known.path.rpartition(".")[0]
    is_item = "[]" in known.path
    samples = next((other.count for other in properties if other.path == parent), 0) if parent else event.sampled
    is_optional = (
        rule_type in _OPTIONAL_TYPES or is_item or (event.key.event_type in _NAMED and known.path in _ENVELOPE)
    )
    is_required = not is_optional and samples >= REQUIRED_SAMPLES_MIN and known.count >= samples
    has_objects = any(other.path.startswith(f"{known.path}[].") for other in properties)
    return TableRow(
        event_type=rule_type,
        event=_name(event),
        path=known.path,
        types=_types(known),
        required=is_required,
        has_other_items=has_objects and OTHER_ITEMS in known.formats,
    )


def _types(known: ListedProperty) -> tuple[str, ...]:
    types = set(known.types)
    if "number" in types:
        types.discard("integer")  # of a number that happens to be whole
    texts = known.types.get("string", 0)
    if texts and known.formats.get(DATE_TIME, 0) == texts:
        types = {DATE_TIME if type_ == "string" else type_ for type_ in types}
    return tuple(sorted(types))
