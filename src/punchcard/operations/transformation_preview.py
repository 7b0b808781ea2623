"""What a transformation would make of the events of the last days, and of what they earn. Changes nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Final

from punchcard.clock import Clock
from punchcard.destinations.port import Intent
from punchcard.events.model import Event
from punchcard.filters.change_sets import Transformed
from punchcard.filters.transformations import Transformations
from punchcard.lake.lake_event import LakeEvent
from punchcard.lake.reader import LakeReader
from punchcard.lake.selection import EventSelection
from punchcard.operations.backtest import as_enabled
from punchcard.routing.lake_events import read_lake_event
from punchcard.routing.planning import plan_at
from punchcard.store.routing.event_results import EventResult, is_stopped_by_rules
from punchcard.workspace.model import Transformation
from punchcard.workspace.snapshot import RoutedDestination, Snapshot
from punchcard.workspace.transformation_settings import to_definition

PREVIEW_DAYS: Final = 7
EVENTS_MAX: Final = 20_000
_SAMPLES: Final = 5


@dataclass(frozen=True, kw_only=True)
class ChangedEvent:
    """An event that the transformation would change.

    Attributes:
        before: JSON text as it is now.
        after: The same afterwards, None if the event would be dropped.
        changes: What was changed, a sentence each.
    """

    message_id: str
    before: bytes
    after: bytes | None
    changes: Sequence[str]


@dataclass(kw_only=True)
class AwardChange:
    """Awards of the examined events at one destination, before and after.

    Attributes:
        quantity_before: Units that they earn together; so is `quantity_after`.
    """

    destination: str
    awards_before: int = 0
    awards_after: int = 0
    quantity_before: Decimal = Decimal(0)
    quantity_after: Decimal = Decimal(0)

    @property
    def is_changed(self) -> bool:
        """True if the awards would differ in number or size."""
        return (self.awards_before, self.quantity_before) != (self.awards_after, self.quantity_after)

    def add(self, before: Intent | EventResult, after: Intent | EventResult | None) -> None:
        """Count what one event plans before and after; None if it is dropped."""
        if isinstance(before, Intent):
            self.awards_before += 1
            self.quantity_before += before.quantity or 0
        if isinstance(after, Intent):
            self.awards_after += 1
            self.quantity_after += after.quantity or 0


@dataclass(kw_only=True)
class TransformationPreview:
    """The effect of a transformation on past events.

    Attributes:
        days: Events received in so many days were examined, at most `EVENTS_MAX` of them, oldest first.
        events: Number of examined events.
        changed: Number of events that it would change, or drop.
        samples: Some of them.
        awards: By destination, of the changed events only.
    """

    days: int = PREVIEW_DAYS
    events: int = 0
    changed: int = 0
    dropped: int = 0
    samples: list[ChangedEvent] = field(default_factory=list)
    awards: list[AwardChange] = field(default_factory=list)


def preview_on_events(
    transformation: Transformation, *, snapshot: Snapshot, lake: LakeReader, clock: Clock
) -> TransformationPreview:
    """Apply a transformation to the events of the last days that its source has received.

    Events are examined as they are stored: as the rules of their source have left them.

    Raises:
        ConfigurationError: The transformation is invalid.
        StorageError: The lake is unavailable.
    """
    compiled = Transformations([to_definition(transformation)])
    destinations = [as_enabled(destination) for destination in _destinations(transformation, snapshot)]
    awards = {destination.slug: AwardChange(destination=destination.slug) for destination in destinations}
    result = TransformationPreview(awards=list(awards.values()))
    for row, event in recent_events([transformation.source], lake=lake, clock=clock):
        result.events += 1
        transformed = compiled.apply(event)
        if transformed is not None:
            _add(result, row, event, transformed)
            if transformed.event is event:
                continue  # a value could not be computed, and nothing else was to change
            for destination in destinations:
                plan = partial(plan_at, destination=destination, source=row.source or "", zone=snapshot.zone)
                after = None if transformed.event is None else plan(transformed.event)
                awards[destination.slug].add(plan(event), after)
    return result


def recent_events(sources: Sequence[str], *, lake: LakeReader, clock: Clock) -> Iterator[tuple[LakeEvent, Event]]:
    """Yield the valid events of the last days that the rules of their source have not stopped, oldest first.

    Args:
        sources: Slugs of the sources; at most `EVENTS_MAX` of their rows are read.
    """
    selection = EventSelection(sources=sources, begin=clock.now() - timedelta(days=PREVIEW_DAYS))
    left = EVENTS_MAX
    for _, rows in lake.select(selection, through=lake.last_position()):
        for row in rows[:left]:
            event = None if is_stopped_by_rules(row.results) else read_lake_event(row)
            if event is not None:
                yield row, event
        left -= len(rows)
        if left <= 0:
            return


def _destinations(transformation: Transformation, snapshot: Snapshot) -> list[RoutedDestination]:
    return [
        destination
        for destination in snapshot.destinations.values()
        if transformation.source in destination.destination.sources
        and transformation.destination in ("", destination.slug)
        and destination.invalid is None
    ]


def _add(result: TransformationPreview, row: LakeEvent, event: Event, transformed: Transformed) -> None:
    result.changed += transformed.event is not event
    result.dropped += transformed.event is None
    if len(result.samples) < _SAMPLES:
        changes = [note.detail for note in transformed.notes] or [transformed.detail]
        after = None if transformed.event is None else transformed.event.raw
        result.samples.append(ChangedEvent(message_id=row.message_id, before=event.raw, after=after, changes=changes))
