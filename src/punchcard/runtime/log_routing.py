"""Routes a log that is not divided, for as long as this process leads."""

import threading
from collections.abc import Callable
from typing import Final, Protocol

from punchcard.clock import Clock
from punchcard.errors import StorageError
from punchcard.log.port import EventLog
from punchcard.routing.router import PositionMovedError
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.store.leadership import Leadership

_RETRY_SECONDS: Final = 1.0
_LEADERSHIP_LOOK_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.004  # how soon a new log record is seen
_IDLE_POLL_SECONDS: Final = 0.02
_IDLE_AFTER_POLLS: Final = 2_000
_WAIT_SECONDS: Final = 0.5  # for a log that is notified of records: then a stop and held events are looked for


class SteppedRouter(Protocol):
    """What is needed of a Router."""

    @property
    def position(self) -> int:
        """The last log position with committed results."""

    @property
    def has_read_all(self) -> bool:
        """Whether the last step left nothing to do."""

    def step(self) -> int:
        """Route the next records; return how many."""


def route_log(
    router: SteppedRouter,
    log: EventLog,
    leadership: Leadership,
    *,
    clock: Clock,
    stopping: threading.Event,
    mark: Callable[[], None] = lambda: None,
) -> None:
    """Route until stopped, until another process leads or has routed; an unavailable log is waited for.

    Args:
        mark: Called on every round.

    Raises:
        StorageError: The role may be lost: another process may have routed meanwhile.
    """
    telemetry = RoutingTelemetry()
    idle_polls = 0
    look_at = 0.0
    while not stopping.is_set():
        mark()
        if clock.monotonic() >= look_at:
            look_at = clock.monotonic() + _LEADERSHIP_LOOK_SECONDS
            if not leadership.held():
                telemetry.leadership_lost()
                return
        try:
            routed = router.step()
        except PositionMovedError:
            telemetry.position_lost(position=router.position)
            return
        except StorageError as error:
            telemetry.storage_failed(error=error.message)
            stopping.wait(_RETRY_SECONDS)
            # If it was the store, the role may be lost, which raises. If it was the log, nobody else has routed: to
            # open everything again would only let awards wait longer once a broker is back.
            look_at = 0.0
            continue
        idle_polls = 0 if routed else idle_polls + 1
        # After few records nothing is left, as a rule: a read that finds nothing costs as much as one that does.
        if not routed or router.has_read_all:
            poll_seconds = _POLL_SECONDS if idle_polls < _IDLE_AFTER_POLLS else _IDLE_POLL_SECONDS
            log.wait(router.position, seconds=_WAIT_SECONDS, poll_seconds=poll_seconds)
