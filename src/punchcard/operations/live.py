"""The newest events as they come in: read from the log's end while somebody watches, one reader for all who do."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence

import structlog

from punchcard.errors import StorageError
from punchcard.lake.reader import LakeEvent
from punchcard.store.event_results import EventStatus
from punchcard.traces.browse import EventBrowser, EventPosition, SeenEvent
from punchcard.traces.tail import NOT_ROUTED, Tail

_POLL_SECONDS_MIN = 0.25
_POLL_SECONDS_MAX = 0.8
_IDLE_PER_WORK = 9
_EVENTS_MAX = 500  # as many as Segment's debugger keeps; of more at once only the newest are shown
_QUEUE_MAX = 64
_UNFINISHED = frozenset({EventStatus.PENDING, EventStatus.RETRYING, EventStatus.UNKNOWN})


class LiveEvents:
    """Follows the log while anybody watches. For one event loop."""

    def __init__(self, *, tail: Tail, browser: EventBrowser) -> None:
        self._tail = tail
        self._browser = browser
        self._watchers: set[asyncio.Queue[Sequence[SeenEvent]]] = set()
        self._task: asyncio.Task[None] | None = None
        self._after = 0
        self._open: OrderedDict[EventPosition, LakeEvent] = OrderedDict()  # those whose results may still change

    async def watch(self) -> AsyncIterator[Sequence[SeenEvent]]:
        """What is new, and what stands elsewhere than before, oldest first, as it happens; empty when nothing does."""
        queue: asyncio.Queue[Sequence[SeenEvent]] = asyncio.Queue(_QUEUE_MAX)
        self._watchers.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow())
        try:
            while True:
                try:
                    yield await asyncio.wait_for(queue.get(), timeout=15)
                except TimeoutError:
                    yield ()
        finally:
            self._watchers.discard(queue)

    async def _follow(self) -> None:
        self._open.clear()
        self._after = await asyncio.to_thread(self._tail.last_position)
        shown: dict[EventPosition, str] = {}
        while self._watchers:
            begun = time.monotonic()
            try:
                seen = await asyncio.to_thread(self._step)
            except StorageError as error:
                structlog.get_logger("punchcard.app").warning("debugger_waits", error=error.message)
                seen = []
            news = [one for one in seen if shown.get(one.place) != _state(one)]
            shown |= {one.place: _state(one) for one in news}
            for place in list(shown)[: max(0, len(shown) - 4 * _EVENTS_MAX)]:
                del shown[place]
            if news:
                for queue in list(self._watchers):
                    if queue.full():  # a browser that does not read: it gets the newest when it does
                        queue.get_nowait()
                    queue.put_nowait(news)
            # A look takes no more than a tenth of the time, however much comes in.
            took = time.monotonic() - begun
            await asyncio.sleep(min(max(_POLL_SECONDS_MIN, took * _IDLE_PER_WORK), _POLL_SECONDS_MAX))

    def _step(self) -> list[SeenEvent]:
        self._read_new()
        self._refresh_unrouted()
        seen = self._browser.told(list(self._open.values()))
        for told in seen:
            if not _is_unrouted(told.event) and all(result.status not in _UNFINISHED for result in told.results):
                self._open.pop(told.place, None)
        return seen

    def _read_new(self) -> None:
        """What came since the last look; of a flood the newest."""
        last = self._tail.last_position()
        if last <= self._after:
            return
        lake_events: list[LakeEvent] = []
        for one in self._tail.newest(after=self._after):
            if len(lake_events) == _EVENTS_MAX:
                break
            lake_events.append(one)
        self._after = max(last, *(one.log_position for one in lake_events)) if lake_events else last
        for one in reversed(lake_events):
            self._open[one.log_position, one.event_index] = one
        while len(self._open) > _EVENTS_MAX:
            self._open.popitem(last=False)

    def _refresh_unrouted(self) -> None:
        """Events that were read before they were routed have their results by now: in the store, or in the lake."""
        routed = self._tail.routed_position()
        waiting = [one for one in self._open.values() if _is_unrouted(one) and one.log_position <= routed]
        if not waiting:
            return
        found = self._tail.routed_again(waiting)
        if len(found) < len(waiting):
            there = {one.log_position for one in found}
            gone = [one.log_position for one in waiting if one.log_position not in there]
            found += self._browser.in_lake(min(gone), max(gone))
        for one in found:
            if (place := (one.log_position, one.event_index)) in self._open:
                self._open[place] = one


def _is_unrouted(event: LakeEvent) -> bool:
    return any(result.reason == NOT_ROUTED.reason for result in event.results)


def _state(seen: SeenEvent) -> str:
    return "|".join(f"{result.destination}:{result.status}:{result.reason}" for result in seen.results)
