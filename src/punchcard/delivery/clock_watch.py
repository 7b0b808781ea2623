"""Sees that the wall clock was set, and corrects the waits that were written down by it.

Within a process nothing waits by the wall clock: requests, rates, checks and what is in flight are measured by a clock
that never goes back. What must survive a restart, the due time of an effect, is an instant of the wall clock; when that
is set, due times are corrected in the very unit of work that claims, before anything is claimed. From time to time,
waits end there that a partner has requested and that others of the destination have shown to be needless.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from punchcard.clock import EPOCH, Clock
from punchcard.delivery.retry import LONGEST_WAIT_TRIES, longest_wait_seconds, wait_after_others_seconds
from punchcard.destinations.port import DeliveryOptions
from punchcard.store.delivery.due_times import correct_waits, end_far_waits, end_requested_waits

# Two clocks are not read at one instant, and a network's time moves the clock by less. A lost request that may land
# within `unknownWaitSeconds` has a margin of seconds.
_TOLERANCE_SECONDS = 1.0
_FAR_WAITS_EVERY_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class ClockReading:
    """The readings of both clocks at one moment.

    Attributes:
        was_set: True if the wall clock was set since the last look, or if nobody has looked before.
        is_due: True if it is time to look for waits that are too long.
    """

    now: datetime
    elapsed: float
    was_set: bool
    is_due: bool


class ClockWatch:
    """The watch of one destination by the process that leads its deliveries. A new leader has a new one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: ClockReading | None = None
        self._far_waits_ended_at = 0.0

    def read(self) -> ClockReading:
        """Look at the clocks; says the same of a change until `done` says that it was dealt with."""
        now, elapsed = self._clock.now(), self._clock.monotonic()
        was_set = self._last is None or abs(_offset(now, elapsed) - _offset(self._last.now, self._last.elapsed)) > (
            _TOLERANCE_SECONDS
        )
        is_due = elapsed - self._far_waits_ended_at >= _FAR_WAITS_EVERY_SECONDS
        return ClockReading(now=now, elapsed=elapsed, was_set=was_set, is_due=is_due)

    def correct(self, work: Connection, destination: str, reading: ClockReading, options: DeliveryOptions) -> int:
        """End needless waits, and correct them if the clock was set; returns how many were corrected.

        May be repeated if the unit of work fails.
        """
        if reading.is_due:
            end_requested_waits(
                work,
                destination,
                now=reading.now,
                longest_by_tries=[
                    timedelta(seconds=wait_after_others_seconds(tries, options=options))
                    for tries in range(LONGEST_WAIT_TRIES + 1)
                ],
            )
        correct = correct_waits if reading.was_set else end_far_waits if reading.is_due else None
        if correct is None:
            return 0
        return correct(
            work,
            destination,
            now=reading.now,
            unknown_due_at=reading.now + timedelta(seconds=options.unknown_wait_seconds),
            longest=timedelta(seconds=longest_wait_seconds(options)),
        )

    def done(self, reading: ClockReading) -> None:
        """What a reading has led to is durable."""
        if reading.was_set or reading.is_due:
            self._far_waits_ended_at = reading.elapsed
        self._last = reading


def _offset(now: datetime, elapsed: float) -> float:
    return (now - EPOCH).total_seconds() - elapsed
