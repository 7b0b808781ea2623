"""What is gathered of events and properties between two writes, and how properties are merged."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from punchcard.events.observed_properties import Observation
from punchcard.store.values import storable

FREQUENT_TRACKED_MAX: Final = 20
"""Values tracked for each property."""

NAME_CHARACTERS_MAX: Final = 256
DAY_MICROS: Final = 86_400_000_000


class SchemaKey(NamedTuple):
    """What a source sends: an event name, or one of the other calls.

    Attributes:
        source: Slug.
        event_type: One of the six calls.
        event_name: Of a track call, "" for any other.
    """

    source: str
    event_type: str
    event_name: str


def schema_key(source: str, event_type: str, event_name: str) -> SchemaKey:
    """Return a key as both engines can store it; a longer name is cut."""
    return SchemaKey(source, event_type, storable(event_name[:NAME_CHARACTERS_MAX]))


@dataclass(slots=True)
class DayCounts:
    """Numbers of one UTC day.

    Attributes:
        count: Events received.
        planned: Effects planned at all destinations.
        filtered: Results of destination filters.
    """

    count: int = 0
    planned: int = 0
    filtered: int = 0


@dataclass(slots=True)
class EventDelta:
    """What was received of an event since the last write; instants in microseconds since 1970."""

    first_seen: int
    last_seen: int
    days: dict[int, DayCounts] = field(default_factory=dict)
    sampled: int = 0

    @property
    def count(self) -> int:
        """Events received."""
        return sum(day.count for day in self.days.values())

    @property
    def planned(self) -> int:
        """Effects planned."""
        return sum(day.planned for day in self.days.values())

    def day(self, instant: int) -> DayCounts:
        """Return the numbers of the day of an instant, and note that the event was seen then."""
        self.first_seen = min(self.first_seen, instant)
        self.last_seen = max(self.last_seen, instant)
        return self.days.setdefault(instant - instant % DAY_MICROS, DayCounts())


@dataclass(slots=True)
class PropertyDelta:
    """What sampled events had of a property since the last write."""

    first_seen: int
    last_seen: int
    count: int = 0
    types: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    personal: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)

    def add(self, observation: Observation, instant: int) -> None:
        """Add one value."""
        self.first_seen = min(self.first_seen, instant)
        self.last_seen = max(self.last_seen, instant)
        self.count += observation.is_first
        self.types[observation.type.value] += 1
        if observation.format:
            self.formats[observation.format] += 1
        if observation.personal is not None:
            self.personal[observation.personal.value] += 1
        if observation.value is not None:
            self.values[observation.value] += 1


class FrequentValue(NamedTuple):
    """A value and how often sampled events had it: at least `count_min`, at most `count_max`.

    Attributes:
        value: JSON text.
        error: How many of the counted events may have had another value.
    """

    value: str
    count_max: int
    error: int

    @property
    def count_min(self) -> int:
        """Events that had the value for certain."""
        return self.count_max - self.error


def merge_frequent(tracked: list[FrequentValue], values: Counter[str]) -> list[FrequentValue]:
    """Add counted values to the tracked ones, by the Space-Saving algorithm: most frequent first.

    A new value takes the place of the rarest one and inherits its count as the possible error, so that counts are
    bounded on both sides, and a value with more than a twentieth of all occurrences is never lost.
    """
    counts = {value: (count, error) for value, count, error in tracked}
    for value, number in values.most_common():
        if value in counts:
            count, error = counts[value]
            counts[value] = (count + number, error)
        elif len(counts) < FREQUENT_TRACKED_MAX:
            counts[value] = (number, 0)
        else:
            rarest = min(counts, key=lambda known: counts[known][0])
            floor, _ = counts.pop(rarest)
            counts[value] = (floor + number, floor)
    merged = [FrequentValue(value, count, error) for value, (count, error) in counts.items()]
    return sorted(merged, key=lambda known: (-known.count_max, known.error))
