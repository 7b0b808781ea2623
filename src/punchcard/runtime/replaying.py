"""Takes confirmed replays and forwarded violations on, in a thread of the process that leads routing."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from punchcard.clock import Clock
from punchcard.errors import StorageError
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.store.changes import StoreChanges
from punchcard.store.engine import Store

# A replay gives way to live events between any two of its portions.
_POLL_SECONDS: Final = 0.02
_IDLE_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 1.0


def run_replays(steps: Sequence[Callable[[], bool]], store: Store, clock: Clock, over: threading.Event) -> None:
    """Take steps in turn, whatever one of them meets, until this process routes no more.

    Args:
        steps: Each does a portion of its work, and returns whether there is more to do at once.
    """
    busy = False
    changes = StoreChanges(store, clock=clock)
    while not over.wait(_POLL_SECONDS if busy else _IDLE_SECONDS):
        if busy or changes.have_come():
            # Each of them takes a step, whatever the others return.
            busy = sum(_take_on(step, over, changes) for step in steps) > 0


def _take_on(step: Callable[[], bool], over: threading.Event, changes: StoreChanges) -> bool:
    """Take one step; True if there is more to do at once."""
    try:
        return step()
    except StorageError as error:
        RoutingTelemetry().storage_failed(error=error.message)
    except Exception as error:  # noqa: BLE001  # no defect around replays and violations may stop awards
        structlog.get_logger("punchcard.worker").error("replays_failed", exc_info=error)
    over.wait(_RETRY_SECONDS)
    changes.forget()
    return False
