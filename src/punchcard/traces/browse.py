"""Lists of events, newest first: those behind a number, and those of one customer."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection

from punchcard.clock import EPOCH
from punchcard.lake.listing import EventQuery
from punchcard.lake.person_query import PersonQuery
from punchcard.lake.reader import LakeEvent, LakeReader, LakeResult
from punchcard.log.port import EventLog
from punchcard.store.delivery.conflicts import conflicts_of
from punchcard.store.delivery.count_sums import DAY_MICROS
from punchcard.store.delivery.counts import FOR_EVER, CountQuery, Dimension, read_counts
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventStatus
from punchcard.store.routing.later_results import LaterResultQuery, places_with_later_result
from punchcard.traces.conflicts import conflict_to_show
from punchcard.traces.customer_events import CustomerIds, LateEvents, NamedCustomer, ids_in, ids_of
from punchcard.traces.event_matching import matches_person, matches_query, may_match, record_may_hold
from punchcard.traces.held import with_results_of_held
from punchcard.traces.replaced_results import skip_replaced
from punchcard.traces.replayed import with_results_of_replays
from punchcard.traces.stopped import waits_of
from punchcard.traces.tail import MayMatch, Tail
from punchcard.traces.trace import ResultTrace, effects_met, result_trace, with_wait
from punchcard.workspace.snapshot import Snapshot

_NAMING_MAX = 200  # events by which a customer is identified
_UNROUTED_MAX = 50  # records: a page shows no more events than these hold

EventPosition = tuple[int, int]
"""The place of an event: log position and index."""


@dataclass(frozen=True, kw_only=True)
class SeenEvent:
    """An event of a list, with its current results."""

    event: LakeEvent
    results: tuple[ResultTrace, ...]

    @property
    def place(self) -> EventPosition:
        """Its place in the log."""
        return self.event.log_position, self.event.event_index


@dataclass(frozen=True, kw_only=True)
class EventPage:
    """A page of events.

    Attributes:
        following: Where the next page begins, None on the last one.
    """

    events: Sequence[SeenEvent]
    following: EventPosition | None


class Listed(NamedTuple):
    """Which events a list holds, and how many."""

    matches: Callable[[LakeEvent], bool]
    limit: int


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Some events of a person in the order of a question.

    Attributes:
        following: Beyond which place the next ones lie, None if these are the last.
    """

    events: Sequence[LakeEvent]
    following: EventPosition | None


class EventBrowser:
    """Lists events from log and lake. Safe to use from several threads.

    Args:
        current: The configuration, which has the source of an event that waits for routing; None leaves it unknown.

    Attributes:
        tail: The end of the log that it lists.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        lake: LakeReader,
        store: Store,
        current: Callable[[], Snapshot] | None = None,
    ) -> None:
        self.tail = Tail(log=log, store=store, current=current)
        self._lake = lake
        self._store = store

    def page(self, query: EventQuery, *, limit: int, before: EventPosition | None = None) -> EventPage:
        """The newest events that match.

        Raises:
            StorageError: log, lake or store is away.
        """
        if query.status is None:
            return self._page(self._first_routed(query, limit=limit, before=before), limit=limit, before=before)
        query = replace(query, days=self._days_with(query))
        events = [
            *self._unchanged(query, limit=limit, before=before),
            *self._changed_later(query, limit=limit, before=before),
        ]
        return self._page(events, limit=limit, before=before)

    def _days_with(self, query: EventQuery) -> frozenset[date] | None:
        """Return the UTC days on which events with the status were received, by the counts of results."""
        if query.status in (None, EventStatus.PENDING):
            return None  # an event that was held is pending in the lake, and counts as what came of it
        counted = CountQuery(
            begin=query.begin or EPOCH,
            end=query.end or FOR_EVER,
            source=query.source,
            destination=query.destination,
            statuses=[str(query.status)],
            event_types=[] if query.type is None else [query.type],
            reasons=[] if query.reason is None else [query.reason],
        )
        with self._store.reading() as work:
            counts = read_counts(work, counted, by=[Dimension.TIME], width_micros=DAY_MICROS)
        return frozenset(day.date() for (day,) in counts if isinstance(day, datetime))

    def _unchanged(self, query: EventQuery, *, limit: int, before: EventPosition | None) -> list[LakeEvent]:
        """The newest events that had the status when they were first routed, and have it still."""
        matches: list[LakeEvent] = []
        while len(matches) <= limit:
            events = self._first_routed(query, limit=limit, before=before)
            matches += self._with_status(events, query)
            if len(events) <= limit:
                break
            before = min((event.log_position, event.event_index) for event in events)
            if before[0] <= self.tail.begin():
                before = skip_replaced(self._lake, self._store, query, before)
                if before is None:
                    break
        return matches

    def _changed_later(self, query: EventQuery, *, limit: int, before: EventPosition | None) -> list[LakeEvent]:
        """The newest events that got the status later: they were held when they were first routed, or were replayed."""
        matches: list[LakeEvent] = []
        later = LaterResultQuery(
            status=query.status or "", reason=query.reason, destination=query.destination, source=query.source
        )
        while len(matches) <= limit:
            with self._store.reading() as work:
                places = places_with_later_result(work, later, before=before, limit=limit + 1)
            matches += self._with_status(self._events_at(places), query)
            if len(places) <= limit:
                break
            before = places[-1]
        return matches

    def _with_status(self, events: Sequence[LakeEvent], query: EventQuery) -> list[LakeEvent]:
        """Those of the events that match by their current results, as they were first routed."""
        with self._store.reading() as work:
            current = _with_current_results(work, events)
        return [event for event, now in zip(events, current, strict=True) if matches_query(now, query)]

    def _events_at(self, places: Sequence[EventPosition]) -> list[LakeEvent]:
        """The events at these places of the log, without those that are not there any more."""
        if not places:
            return []
        positions = sorted({position for position, _ in places})
        begin = self.tail.begin()
        # The log first: an event that moves to the lake in between is then found twice, never not at all.
        events = self.tail.at([position for position in positions if position > begin])
        events += self._lake.at(positions)
        by_place = {(event.log_position, event.event_index): event for event in events}
        return [by_place[place] for place in places if place in by_place]

    def _first_routed(self, query: EventQuery, *, limit: int, before: EventPosition | None) -> list[LakeEvent]:
        """The newest events that match as they were first routed, at most one beyond the limit from each side."""
        # The log first: an event that moves to the lake in between is then found twice, never not at all.
        # An event that waits for routing has no result yet, so it does not match.
        unrouted_max = _UNROUTED_MAX if query.status in (None, EventStatus.PENDING) else 0
        listed = Listed(
            lambda event: (
                matches_query(event, query) and (before is None or (event.log_position, event.event_index) < before)
            ),
            limit=limit,
        )
        (events,) = self._late(
            listed,
            needles=[query.name] if query.name else (),
            unrouted_max=unrouted_max,
            may_match=lambda source, results: may_match(source, results, query),
        )
        if len(events) <= limit:
            events += self._lake.page(query, limit=limit + 1, before=before)
        newest = sorted({(event.log_position, event.event_index): event for event in events}.items(), reverse=True)
        return [event for _, event in newest[: limit + 1]]

    def find_customer(
        self,
        named: str,
        *,
        known: CustomerIds,
        limit: int,
        before: EventPosition | None = None,
        types: Sequence[str] | None = None,
    ) -> NamedCustomer:
        """Return who is meant, by the newest events that name them; for `events_of` with the same arguments.

        Args:
            named: An email, or a user id.
            known: Other ids of the customer that are known already.

        Raises:
            StorageError: log, lake or store is away.
        """
        named_ids = ids_of(named)
        naming, theirs = named_ids.query(), named_ids.joined(known).query(types)
        late_naming, late = self._late(
            Listed(lambda event: matches_person(event, naming, None), limit=_NAMING_MAX),
            Listed(lambda event: matches_person(event, theirs, before), limit=limit + 1),
            needles=[value for _, value in theirs.ids],
        )
        events = self._and_of_lake(late_naming, naming, limit=_NAMING_MAX, before=None)
        return NamedCustomer(
            ids=named_ids.joined(ids_in(events)),
            has_events=bool(events),
            late=LateEvents(query=theirs, limit=limit, before=before, events=late),
        )

    def events_of(
        self,
        person: CustomerIds,
        *,
        limit: int,
        before: EventPosition | None = None,
        types: Sequence[str] | None = None,
        late: LateEvents | None = None,
    ) -> EventPage:
        """The newest events of a customer: those with one of their ids, unless it has another's email or user id.

        A page may be short: two people may have used the same device.

        Args:
            types: Types of calls such as `track`, None for all.
            late: What `find_customer` read; it is used as far as it fits.

        Raises:
            StorageError: log, lake or store is away.
        """
        query = person.query(types)
        if late is not None and late.are_those_of(query, limit=limit, before=before):
            late_events = late.events
        else:
            listed = Listed(lambda event: matches_person(event, query, before), limit=limit + 1)
            (late_events,) = self._late(listed, needles=[value for _, value in query.ids])
        events = self._and_of_lake(late_events, query, limit=limit + 1, before=before)
        page = self._page(events, limit=limit, before=before)
        return replace(page, events=[seen for seen in page.events if person.owns(seen.event)])

    def routed_events_of(self, query: PersonQuery, *, limit: int, beyond: EventPosition | None = None) -> Timeline:
        """The first events that a question asks for, in its order, of all that has its results.

        What waits for routing is left out: it would come between pages that were read already.

        Raises:
            StorageError: log, lake or store is away.
        """
        routed = self.tail.routed_position()
        needles = [value for _, value in query.ids]
        # The log first: an event that moves to the lake in between is then found twice, never not at all.
        late = self.tail.events(may_hold=record_may_hold(needles)) if needles else ()
        newest_events = [
            event
            for event in itertools.takewhile(lambda event: event.log_position <= routed, late)
            if matches_person(event, query, beyond)
        ]
        newest_events += self._lake.events_of_person(query, limit=limit + 1, beyond=beyond)
        by_place = {(event.log_position, event.event_index): event for event in newest_events}
        places = sorted(by_place, reverse=not query.oldest_first)
        return Timeline(
            events=[by_place[place] for place in places[:limit]],
            following=places[limit - 1] if len(places) > limit else None,
        )

    def at(self, place: EventPosition) -> SeenEvent | None:
        """The event at a place of the log, None if there is none (any more).

        Raises:
            StorageError: log, lake or store is away.
        """
        position = place[0]
        # Both: it may move from the one to the other in between.
        late = [
            event for event in self.tail.events(after=position - 1, records_max=1) if event.log_position == position
        ]
        for event in (*self._lake.between(position, position), *late):
            if (event.log_position, event.event_index) == place:
                return self.with_results([event])[0]
        return None

    def in_lake(self, first_position: int, last_position: int) -> list[LakeEvent]:
        """The events of a stretch of the log, as far as the lake has come.

        Raises:
            StorageError: the lake cannot be read.
        """
        return self._lake.between(first_position, last_position)

    def with_results(self, events: Sequence[LakeEvent]) -> list[SeenEvent]:
        """Return the events with their current results."""
        with self._store.reading() as work:
            return _seen_events(work, events)

    def _and_of_lake(
        self, late: Sequence[LakeEvent], query: PersonQuery, *, limit: int, before: EventPosition | None
    ) -> Sequence[LakeEvent]:
        """Return late events and, unless they are enough, those of the lake."""
        if len(late) > limit:
            return late
        return [*late, *self._lake.events_of_person(query, limit=limit, beyond=before)]

    def _late(
        self,
        *lists: Listed,
        needles: Sequence[str],
        unrouted_max: int = _UNROUTED_MAX,
        may_match: MayMatch | None = None,
    ) -> list[list[LakeEvent]]:
        """The newest events of each list that may not be in the lake yet, no more than one beyond its limit.

        Args:
            needles: Such an event contains one of them, in any case; none for no such condition.
        """
        late = self.tail.newest(
            unrouted_max=unrouted_max,
            may_hold=record_may_hold(needles) if needles else lambda _: True,
            may_match=may_match,
        )
        events_of_lists: list[list[LakeEvent]] = [[] for _ in lists]
        for event in late:
            is_full = True
            for listed, events in zip(lists, events_of_lists, strict=True):
                if len(events) <= listed.limit and listed.matches(event):
                    events.append(event)
                is_full = is_full and len(events) > listed.limit
            if is_full:
                break
        return events_of_lists

    def _page(self, events: Iterable[LakeEvent], *, limit: int, before: EventPosition | None) -> EventPage:
        by_place = {(event.log_position, event.event_index): event for event in events}
        newest = sorted((place for place in by_place if before is None or place < before), reverse=True)[: limit + 1]
        shown = newest[:limit]
        return EventPage(
            events=self.with_results([by_place[place] for place in shown]),
            following=shown[-1] if len(newest) > limit else None,
        )


def _with_current_results(work: Connection, events: Sequence[LakeEvent]) -> list[LakeEvent]:
    return with_results_of_replays(work, with_results_of_held(work, events))


def _seen_events(work: Connection, events: Sequence[LakeEvent]) -> list[SeenEvent]:
    events = _with_current_results(work, events)
    met = effects_met(work, events)
    conflicts = conflicts_of(work, [effect.id for effect in met.values()]) if met else {}
    waits = waits_of(work, {slug for slug, _ in met})

    def current(event: LakeEvent, result: LakeResult) -> ResultTrace:
        trace = with_wait(result_trace(result, met, None), waits)
        effect = met.get((result.destination or "", result.effect_key or ""))
        if effect is None or trace.status is EventStatus.DUPLICATE:
            return trace
        return replace(trace, conflict=conflict_to_show(conflicts[effect.id], effect, event.message_id))

    return [
        SeenEvent(event=event, results=tuple(current(event, result) for result in event.results)) for event in events
    ]
