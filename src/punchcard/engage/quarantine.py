"""Quarantine of events that Engage fails on: found by trying each alone, saved with the cause, left out of profiles."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.engage.isolation import is_isolated
from punchcard.engage.person_events import PersonEvents, read_events
from punchcard.engage.telemetry import EngageTelemetry
from punchcard.events.sequence import seq_of
from punchcard.lake.reader import LakeEvent
from punchcard.profiles.external_ids import IdReader
from punchcard.store.engine import Store
from punchcard.store.routing.quarantine import QuarantinedRecord, add_quarantined

TRIED_ALONE_MAX = 100
"""Events that are tried one after the other; a larger step is reduced first."""

_REASON = "internal_error"
_CALL = "engage"


class EventQuarantine:
    """The events that the next step leaves out.

    Args:
        write: Plans and writes the profile changes of events; called in a unit of work that is rolled back.
    """

    def __init__(self, store: Store, clock: Clock, *, write: Callable[[Connection, PersonEvents], None]) -> None:
        self._store = store
        self._clock = clock
        self._write = write
        self._failing: dict[int, tuple[LakeEvent, Exception]] = {}

    def without(self, events: Sequence[LakeEvent]) -> list[LakeEvent]:
        """Return the events that are not quarantined."""
        return [event for event in events if _place(event) not in self._failing]

    def find(self, events: Sequence[LakeEvent], ids: IdReader) -> bool:
        """Quarantine the events that fail alone; False if none does.

        Raises:
            StorageError: The store is not available.
        """
        failing: Mapping[int, tuple[LakeEvent, Exception]] = {
            _place(event): (event, error)
            for event in self.without(events)
            if (error := self._failure(event, ids)) is not None
        }
        self._failing.update(failing)
        for event, error in failing.values():
            EngageTelemetry().event_not_read(message_id=event.message_id, error=error)
        return bool(failing)

    def keep(self, work: Connection, now: datetime) -> None:
        """Save the quarantined events, in the unit of work that processes the others."""
        add_quarantined(
            work,
            [
                QuarantinedRecord(
                    position=event.log_position,
                    event_index=event.event_index,
                    message_id=event.message_id,
                    received_at=event.received_at,
                    quarantined_at=now,
                    source=event.source,
                    destination=None,
                    reason=_REASON,
                    detail=f"Engage cannot assign this event to a profile: {error}.",
                    write_key="",
                    call=_CALL,
                    encoding="identity",
                    ip="",
                    body=event.payload,
                )
                for event, error in self._failing.values()
            ],
        )

    def clear(self) -> None:
        """Forget the events, because the step without them is committed."""
        self._failing.clear()

    def _failure(self, event: LakeEvent, ids: IdReader) -> Exception | None:
        try:
            with self._store.trial() as work:
                self._write(work, read_events([event], ids))
        except Exception as error:
            if not is_isolated(error):
                raise
            return error
        return None


def _place(event: LakeEvent) -> int:
    return seq_of(event.log_position, event.event_index)
