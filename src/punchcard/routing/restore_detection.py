"""Sees that the store was restored from an older copy, and puts in doubt what it does not know to have been sent.

The lake follows the store, so a store that is behind the lake is older than it. A store that has not reached the
generation that log and store have reached together is, too.
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.errors import StorageError
from punchcard.log.port import EventLog
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.store.access import audit
from punchcard.store.delivery.recoveries import RecoveryReason, newest_recovery, start_recovery
from punchcard.store.routing.log_binding import LogBinding
from punchcard.store.routing.positions import ROUTING, furthest_position

# How long the copies of what was sent by a run that nobody remembers may still come: order ids do not age, but senders
# repeat within days, and every award costs two requests as long as this lasts.
_DOUBT: Final = timedelta(days=30)
_ACTOR: Final = "restore"


class LakePositions(Protocol):
    """Which log positions the lake holds."""

    def first_position(self) -> int:
        """The log position before which the lake holds nothing, or nothing any more."""

    def last_position(self) -> int:
        """The highest log position that the lake holds, 0 if none."""


class RestoreDetector:
    """Compares the store with log and lake. For one thread at a time.

    Args:
        landing_seconds: How long a request may still arrive at a partner after its sender has ended.
    """

    def __init__(
        self, *, log: EventLog, lake: LakePositions, clock: Clock, landing_seconds: Callable[[], float]
    ) -> None:
        self._log = log
        self._lake = lake
        self._clock = clock
        self._landing_seconds = landing_seconds
        self._telemetry = RoutingTelemetry()

    def lake_last(self) -> int | None:
        """Return the highest log position that the lake holds, None if it cannot be read.

        To be called before log and store are read: the lake follows them all the time.
        """
        try:
            return self._lake.last_position()
        except StorageError as error:
            # A damaged lake must not keep events out; awards that are only in it are planned once it can be read.
            self._telemetry.lake_failed(error)
            return None

    def detect(
        self,
        work: Connection,
        binding: LogBinding,
        *,
        known_generation: int,
        routed: int,
        lake_last: int,
        is_log_lost: bool,
    ) -> None:
        """Start a recovery if the store is older than what has happened since.

        Args:
            known_generation: The highest one that log and store are known to have reached.
            routed: The log position through which the store was routed.
            is_log_lost: Whether the log is a new one, or an older copy.
        """
        reason = _reason_of_doubt(binding, known_generation, is_behind_lake=lake_last > routed)
        earlier = newest_recovery(work)
        if reason is RecoveryReason.LAKE and earlier is not None and earlier.routed_at is None:
            return  # that is being put right
        if reason is not None:
            self.start_recovery(work, reason, routed=routed, lake_last=lake_last, is_log_lost=is_log_lost)

    def start_recovery(
        self, work: Connection, reason: RecoveryReason, *, routed: int, lake_last: int, is_log_lost: bool
    ) -> dict[str, int]:
        """Put every open effect in doubt, and what is missing too; return the number of effects by destination."""
        now = self._clock.now()
        last = self._log.last_position()
        doubt_until = now + _DOUBT if is_log_lost or self._is_something_missing(routed, lake_last, last) else None
        earlier = newest_recovery(work)
        begin, through = routed, max(last, lake_last, furthest_position(work, ROUTING))
        if earlier is not None and earlier.finished_at is None:
            begin, through = min(begin, earlier.from_position), max(through, earlier.through_position)
        if earlier is not None and earlier.doubt_until is not None:
            doubt_until = max(doubt_until or earlier.doubt_until, earlier.doubt_until)
        by_destination = start_recovery(
            work,
            reason=reason,
            from_position=begin,
            through_position=through,
            read_back_from=now + timedelta(seconds=self._landing_seconds()),
            doubt_until=doubt_until,
            now=now,
        )
        recovery = newest_recovery(work)
        if recovery is not None:
            self._telemetry.older_store_found(recovery, by_destination=by_destination)
        changes = [
            {"path": f"effects read back at {slug}", "before": None, "after": count}
            for slug, count in sorted(by_destination.items())
        ]
        write_audit(work, [{"path": "database restored", "before": None, "after": reason.value}, *changes], now)
        return by_destination

    def _is_something_missing(self, routed: int, lake_last: int, last: int) -> bool:
        """Whether events behind the store's position are neither in the log nor in the lake."""
        if last < lake_last:
            return True  # the log is an older copy too, and was perhaps ahead of the lake
        oldest = self._log.read(0, records_max=1, bytes_max=1)
        log_begins = oldest[0].position if oldest else last + 1
        if log_begins <= max(routed, lake_last) + 1:
            return lake_last > routed and log_begins > routed + 1 and self._lake.first_position() > routed + 1
        return True


def write_audit(work: Connection, changes: Sequence[object], now: datetime) -> None:
    """Record in the audit trail what was found, or decided, about log and store."""
    audit.record(
        work,
        at=now,
        actor=_ACTOR,
        kind="change",
        resource_type="workspace",
        resource_id="workspace",
        changes=json.dumps(list(changes)),
    )


def _reason_of_doubt(binding: LogBinding, known_generation: int, *, is_behind_lake: bool) -> RecoveryReason | None:
    """Return how the store is seen to be older than what has happened since, None if it is not."""
    if binding.generation < known_generation:
        return RecoveryReason.GENERATION if binding.generation else RecoveryReason.UNBOUND
    return RecoveryReason.LAKE if is_behind_lake else None
