"""Live events: one reader follows the end of the log while at least one client watches."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from itertools import islice

import structlog

from punchcard.errors import StorageError
from punchcard.lake.reader import LakeEvent
from punchcard.operations.statuses import OPEN_STATUSES
from punchcard.traces.browse import EventBrowser, EventPosition, SeenEvent
from punchcard.traces.tail import NOT_ROUTED, Tail

_POLL_SECONDS_MIN = 0.25
_POLL_SECONDS_MAX = 0.8
_IDLE_PER_WORK = 9
_EVENTS_MAX = 500  # as many as Segment's debugger keeps; of a larger burst only the newest are shown
_QUEUE_MAX = 64


class LiveEvents:
    """Follows the log while at least one client watches. Bound to one event loop."""

    def __init__(self, *, tail: Tail, browser: EventBrowser) -> None:
        self._tail = tail
        self._browser = browser
        self._watchers: set[asyncio.Queue[Sequence[SeenEvent]]] = set()
        self._task: asyncio.Task[None] | None = None
        self._after = 0
        self._open: OrderedDict[EventPosition, LakeEvent] = OrderedDict()  # events with results that may change

    def position(self) -> int:
        """Return the log position behind which to watch, for a page that is read from now on.

        Raises:
            StorageError: Store or log is unavailable.
        """
        return min(self._tail.last_position(), self._tail.routed_position())

    async def watch(self, *, after: int) -> AsyncIterator[Sequence[SeenEvent]]:
        """Yield new events and events with changed results, oldest first; an empty batch when nothing has changed.

        Args:
            after: The log position from `position`. Of the events since then, the newest come first.

        Raises:
            StorageError: Store or log is unavailable.
        """
        queue: asyncio.Queue[Sequence[SeenEvent]] = asyncio.Queue(_QUEUE_MAX)
        self._watchers.add(queue)
        try:
            if self._task is None or self._task.done():
                self._after = after
                self._task = asyncio.create_task(self._follow())
            else:
                # From here on the queue gets what is new. What another watcher was shown before is read again.
                yield await asyncio.to_thread(lambda: self._browser.with_results(self._newest(after)))
            while True:
                try:
                    yield await asyncio.wait_for(queue.get(), timeout=15)
                except TimeoutError:
                    yield ()
        finally:
            self._watchers.discard(queue)

    async def _follow(self) -> None:
        self._open.clear()
        last_states: dict[EventPosition, str] = {}
        while self._watchers:
            started = time.monotonic()
            try:
                seen = await asyncio.to_thread(self._step)
            except StorageError as error:
                structlog.get_logger("punchcard.app").warning("debugger_waits", error=error.message)
                seen = []
            changed_events = [event for event in seen if last_states.get(event.place) != _state(event)]
            last_states |= {event.place: _state(event) for event in changed_events}
            for position in list(last_states)[: max(0, len(last_states) - 4 * _EVENTS_MAX)]:
                del last_states[position]
            if changed_events:
                for queue in list(self._watchers):
                    if queue.full():  # the client does not read: drop its oldest batch
                        queue.get_nowait()
                    queue.put_nowait(changed_events)
            # Polling takes at most a tenth of the time, however many events arrive.
            elapsed = time.monotonic() - started
            await asyncio.sleep(min(max(_POLL_SECONDS_MIN, elapsed * _IDLE_PER_WORK), _POLL_SECONDS_MAX))

    def _step(self) -> list[SeenEvent]:
        self._read_new()
        self._refresh_unrouted()
        seen = self._browser.with_results(list(self._open.values()))
        for event in seen:
            if not _is_unrouted(event.event) and all(result.status not in OPEN_STATUSES for result in event.results):
                self._open.pop(event.place, None)
        return seen

    def _read_new(self) -> None:
        """Read the events since the last poll, at most the newest `_EVENTS_MAX`."""
        last = self._tail.last_position()
        if last <= self._after:
            return
        lake_events = self._newest(self._after)
        self._after = max(last, *(event.log_position for event in lake_events)) if lake_events else last
        for event in lake_events:
            self._open[event.log_position, event.event_index] = event
        while len(self._open) > _EVENTS_MAX:
            self._open.popitem(last=False)

    def _newest(self, after: int) -> list[LakeEvent]:
        """Return the newest events behind a log position, oldest first."""
        return list(islice(self._tail.newest(after=after), _EVENTS_MAX))[::-1]

    def _refresh_unrouted(self) -> None:
        """Read events again that were not routed when they were read: their results are in the store or the lake."""
        routed = self._tail.routed_position()
        waiting = [event for event in self._open.values() if _is_unrouted(event) and event.log_position <= routed]
        if not waiting:
            return
        refreshed = self._tail.routed_again(waiting)
        if len(refreshed) < len(waiting):
            refreshed_positions = {event.log_position for event in refreshed}
            missing_positions = [
                event.log_position for event in waiting if event.log_position not in refreshed_positions
            ]
            refreshed += self._browser.in_lake(min(missing_positions), max(missing_positions))
        for event in refreshed:
            if (position := (event.log_position, event.event_index)) in self._open:
                self._open[position] = event


def _is_unrouted(event: LakeEvent) -> bool:
    return any(result.reason == NOT_ROUTED.reason for result in event.results)


def _state(seen: SeenEvent) -> str:
    return "|".join(f"{result.destination}:{result.status}:{result.reason}" for result in seen.results)
