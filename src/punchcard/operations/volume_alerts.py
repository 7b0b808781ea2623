"""Alerts about events that do not come as usual. They compare with a week, so they are looked for less often."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from punchcard.operations.alert_model import Alert, Condition
from punchcard.store.delivery.counts import OTHER_NAMES, RECEIVED, CountQuery, Dimension, read_counts
from punchcard.workspace.alert_rules import AlertKind
from punchcard.workspace.computations import OWN_SOURCES
from punchcard.workspace.snapshot import Snapshot

_DAY: Final = timedelta(days=1)
_DAYS: Final = 7
_BUSY_DAYS_MIN: Final = 5  # of the last seven; the same weekday must be one of them, so that closing days are known
_BUSY_EVENTS_MIN: Final = 10  # in the hours that are compared
_USUAL_EVENTS_MIN: Final = 100  # a day: fewer vary by themselves

SourceEvent = tuple[str, str]
"""A source and the name of an event."""


def find_silent_sources(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find sources that have sent nothing for some hours which were busy on most of the last days."""
    hours = max(1, round(snapshot.alert_rules[AlertKind.SOURCE_SILENT].threshold))
    # Counts of older days are kept by the hour, so whole hours are compared; the present one is looked at as well.
    end = now.replace(minute=0, second=0, microsecond=0)
    begin = end - timedelta(hours=hours)
    received = _received(work, begin, now + timedelta(minutes=1))
    days = [_received(work, begin - day * _DAY, end - day * _DAY) for day in range(1, _DAYS + 1)]
    enabled = {route.source.slug for route in snapshot.by_write_key.values() if route.source.enabled}
    for source in sorted(enabled):
        busy = [counts.get(source, 0) >= _BUSY_EVENTS_MIN for counts in days]
        if not received.get(source) and busy[-1] and sum(busy) >= _BUSY_DAYS_MIN:
            usual = sum(counts.get(source, 0) for counts in days) // _DAYS
            yield Alert(kind=AlertKind.SOURCE_SILENT, subject=source, count=usual, since=begin, value=hours)


def find_unusual_volumes(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find events that came far more or less often in the last day than in the week before."""
    factor = max(snapshot.alert_rules[AlertKind.VOLUME].threshold, 1.0)
    last = _by_event(work, now - _DAY, now + timedelta(minutes=1))
    before = _by_event(work, now - (_DAYS + 1) * _DAY, now - _DAY)
    # What is new has no usual volume yet.
    first = _by_event(work, now - (_DAYS + 1) * _DAY, now - _DAYS * _DAY)
    for place in sorted(before.keys() & first.keys()):
        usual = before[place] / _DAYS
        count = last.get(place, 0)
        if max(usual, count) < _USUAL_EVENTS_MIN or usual < 1:
            continue
        if count >= factor * usual or factor * count <= usual:
            source, name = place
            yield Alert(kind=AlertKind.VOLUME, subject=name, sources=(source,), reason=source, count=count, value=usual)


VOLUME_CONDITIONS: Final = (
    Condition(kinds=frozenset({AlertKind.SOURCE_SILENT}), find=find_silent_sources),
    Condition(kinds=frozenset({AlertKind.VOLUME}), find=find_unusual_volumes),
)
"""What is looked at every few minutes."""


def _received(work: Connection, begin: datetime, end: datetime) -> Mapping[str, int]:
    query = CountQuery(begin=begin, end=end, destination="", statuses=[RECEIVED])
    return {str(source): count for (source,), count in read_counts(work, query, by=[Dimension.SOURCE]).items()}


def _by_event(work: Connection, begin: datetime, end: datetime) -> Mapping[SourceEvent, int]:
    query = CountQuery(begin=begin, end=end, destination="", statuses=[RECEIVED], event_types=["track"])
    counts = read_counts(work, query, by=[Dimension.SOURCE, Dimension.EVENT_NAME])
    return {
        (str(source), str(name)): count
        for (source, name), count in counts.items()
        if name != OTHER_NAMES and source and not str(source).startswith(OWN_SOURCES)
    }
