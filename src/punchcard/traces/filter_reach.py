"""What a filter would have done to the events of the last week: a warning when it is saved."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.event_names import mapped_names
from punchcard.errors import PunchcardError
from punchcard.events.model import Event
from punchcard.events.parse import BATCH, read_request
from punchcard.filters.destination_filters import DestinationFilters, FilterDefinition
from punchcard.lake.reader import LakeReader
from punchcard.workspace.model import Destination, DestinationFilter, Workspace
from punchcard.workspace.part_names import destination_title

_DAYS = 7
_EVENTS_MAX = 100_000
_NAMES_SHOWN_MAX = 5


@dataclass(frozen=True, kw_only=True)
class FilterReach:
    """What one filter would have dropped of the mapped events of the last week.

    Attributes:
        destination: What people call it.
        dropped: How many, by event name.
        seen: How many mapped events there were, of which at most the newest 100,000 count.
    """

    destination: str
    title: str
    dropped: Counter[str]
    seen: int

    def __str__(self) -> str:
        most = sorted(self.dropped.items(), key=lambda pair: (-pair[1], pair[0]))[:_NAMES_SHOWN_MAX]
        names = [f'"{name}" {count:,}' for name, count in most]
        if len(self.dropped) > _NAMES_SHOWN_MAX:
            names.append("…")
        newest = "newest " if self.seen >= _EVENTS_MAX else ""
        return (
            f'Filter "{self.title}" of {self.destination} would have dropped {self.dropped.total():,} of the '
            f"{newest}{self.seen:,} mapped events of the last {_DAYS} days: {', '.join(names)}."
        )


def find_reach(before: Workspace, after: Workspace, *, lake: LakeReader, now: datetime) -> list[FilterReach]:
    """Return how many events that earn points each new or changed filter would have dropped; none if it drops none.

    Raises:
        StorageError: the lake cannot be read.
    """
    current = {destination.slug: destination for destination in before.destinations}
    filter_reaches: list[FilterReach] = []
    for destination in after.destinations:
        known = current[destination.slug].filters if destination.slug in current else ()
        matching_filters = [
            new_filter
            for new_filter in destination.filters
            if new_filter.enabled and not _stands(new_filter, known) and _drops(new_filter)
        ]
        if matching_filters and destination.enabled:
            filter_reaches += _reach(destination, matching_filters, lake, now)
    return filter_reaches


def tell_reach(before: Workspace, after: Workspace, *, lake: LakeReader, now: datetime) -> list[str]:
    """Return the same as sentences for the person who saves filters, also that the lake cannot be read."""
    try:
        return [str(reach) for reach in find_reach(before, after, lake=lake, now=now)]
    except Exception as error:  # noqa: BLE001  # a warning beside a change that is saved already must not fail it
        reason = error.message if isinstance(error, PunchcardError) else f"{type(error).__name__}: {error}"
        return [f"Whether filters would have dropped events of the last week is not known: {reason.rstrip('.')}."]


def _reach(
    destination: Destination, filters: Sequence[DestinationFilter], lake: LakeReader, now: datetime
) -> list[FilterReach]:
    names = _mapped_names(destination)
    if not names:
        return []
    compiled = [DestinationFilters([_definition(new_filter)]) for new_filter in filters]
    dropped: list[Counter[str]] = [Counter() for _ in filters]
    seen = 0
    since = now - timedelta(days=_DAYS)
    for row in lake.recent_events(names=names, sources=destination.sources, since=since, limit=_EVENTS_MAX):
        (event,) = read_request(
            b'{"batch":[%s]}' % row.payload, call=BATCH, received_at=row.received_at, position=row.log_position
        )
        if not isinstance(event, Event):
            continue
        seen += 1
        for candidate, counts in zip(compiled, dropped, strict=True):
            outcome = candidate.apply(event)
            if outcome is not None and outcome.event is None:
                counts[row.event or ""] += 1
    return [
        FilterReach(destination=destination_title(destination), title=new_filter.title, dropped=counts, seen=seen)
        for new_filter, counts in zip(filters, dropped, strict=True)
        if counts
    ]


def _mapped_names(destination: Destination) -> list[str]:
    """The event names that the destination's maps have."""
    partner = CATALOG.get(destination.type)
    if partner is None:
        return []
    return sorted(set(mapped_names(partner.definition, destination.settings)))


def _keys(value: object) -> Iterable[str]:
    return value.keys() if isinstance(value, dict) else ()


def _stands(new_filter: DestinationFilter, known: Sequence[DestinationFilter]) -> bool:
    return any(
        (old.condition, old.actions) == (new_filter.condition, new_filter.actions) and old.enabled for old in known
    )


def _drops(new_filter: DestinationFilter) -> bool:
    return any(action.get("type") in ("DROP", "SAMPLE") for action in new_filter.actions)


def _definition(new_filter: DestinationFilter) -> FilterDefinition:
    return FilterDefinition(title=new_filter.title, condition=new_filter.condition, actions=new_filter.actions)
