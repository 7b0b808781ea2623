"""Bounds how many event names are counted by themselves: anybody can send an event with any name.

A website's write key is public, and events with an unknown write key are counted too. Each new name adds rows to the
store for every minute in which it comes, so each source has so many names an hour; the events of further names are
counted together. Names that earn something are always counted by themselves: there are as many as are mapped.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from punchcard.store.delivery.count_sums import HOUR_MICROS
from punchcard.store.delivery.counts import OTHER_NAMES, CountKey, counted_names
from punchcard.store.routing.event_results import EventStatus

_NAMES_MAX = 500
_NAMES_OF_UNKNOWN_SOURCES_MAX = 20
# Hours that are remembered: the present one, the one before where a backlog is routed, of some hundred sources.
_REMEMBERED_MAX = 512

_Hour = tuple[str, int]  # a source's slug, "" for unknown ones; when the hour begins, microseconds since 1970


class CountedNames:
    """The names counted of late, by source and hour of receipt. What it forgets it reads again from the store."""

    def __init__(self, *, names_max: int = _NAMES_MAX, unknown_max: int = _NAMES_OF_UNKNOWN_SOURCES_MAX) -> None:
        self._names_max = names_max
        self._unknown_max = unknown_max
        self._names: dict[_Hour, set[str]] = {}

    def limit(self, work: Connection, counts: Mapping[CountKey, int]) -> Counter[CountKey]:
        """Return the counts with names beyond the limit replaced by `OTHER_NAMES`.

        Args:
            work: The unit of work in which they will be added.
            counts: What a batch counts.
        """
        earning = {(key.source, key.event_name) for key in counts if key.status == EventStatus.PENDING}
        limited: Counter[CountKey] = Counter()
        for key, count in counts.items():
            name = key.event_name
            if name and (key.source, name) not in earning and not self._admit(work, key):
                key = key._replace(event_name=OTHER_NAMES)
            limited[key] += count
        return limited

    def _admit(self, work: Connection, key: CountKey) -> bool:
        hour = (key.source, key.bucket - key.bucket % HOUR_MICROS)
        names = self._names.get(hour)
        if names is None:
            self._forget(keep=_REMEMBERED_MAX - 1)
            names = self._names[hour] = self._stored(work, hour)
        if key.event_name in names:
            return True
        if len(names) >= (self._names_max if key.source else self._unknown_max):
            return False
        # If the unit of work fails, the name stays here without a row until the same batch is tried again.
        names.add(key.event_name)
        return True

    def _stored(self, work: Connection, hour: _Hour) -> set[str]:
        source, begin = hour
        names: Iterable[str] = counted_names(work, source=source, begin=begin, end=begin + HOUR_MICROS)
        return {name for name in names if name and name != OTHER_NAMES}

    def _forget(self, *, keep: int) -> None:
        for hour in sorted(self._names, key=lambda known: known[1])[: max(0, len(self._names) - keep)]:
            del self._names[hour]
