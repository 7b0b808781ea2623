"""The loop that routes a log while its process leads: what ends it, and what it waits for."""

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from punchcard.errors import StorageError
from punchcard.log.sqlite import SqliteEventLog
from punchcard.routing.router import PositionMovedError
from punchcard.runtime import log_routing
from punchcard.runtime.log_routing import route_log
from punchcard.testing.clock import ManualClock

LOG_AWAY = StorageError("the log is away")
ROLE_LOST = StorageError("the store was away")


class ScriptedRouter:
    """A router with given steps: an error to raise, or the number of records that it routes."""

    position = 0
    has_read_all = False

    def __init__(self, *steps: Exception | int, after: Callable[[], object]) -> None:
        self._steps = list(steps)
        self._after = after
        self.taken = 0

    def step(self) -> int:
        self.taken += 1
        step = self._steps.pop(0)
        if not self._steps:
            self._after()
        if isinstance(step, Exception):
            raise step
        return step


class ScriptedLeadership:
    """A role of which is given what each look finds: whether it is held, or an error; the last one for ever."""

    def __init__(self, *looks: Exception | bool) -> None:
        self._looks = list(looks)
        self.count = 0

    def held(self) -> bool:
        self.count += 1
        look = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        if isinstance(look, Exception):
            raise look
        return look


@pytest.fixture(autouse=True)
def without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_routing, "_RETRY_SECONDS", 0.0)


def route(tmp_path: Path, leadership: ScriptedLeadership, *steps: Exception | int) -> int:
    """Route until the steps are over; return how many were taken."""
    stopping = threading.Event()
    router = ScriptedRouter(*steps, after=stopping.set)
    with closing(SqliteEventLog(tmp_path / "log.db")) as log:
        route_log(router, log, leadership, clock=ManualClock(), stopping=stopping)
    return router.taken


def test_a_log_that_is_away_is_waited_for_while_the_role_is_held(tmp_path: Path) -> None:
    """Promise: once a broker is back, the next step is routed; nothing is opened again before."""
    leadership = ScriptedLeadership(True)
    assert route(tmp_path, leadership, 1, LOG_AWAY, LOG_AWAY, 1) == 4
    assert leadership.count == 3  # at the beginning, and after each failure


def test_a_role_that_is_lost_with_the_store_ends_routing_before_another_step(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the store was away"):
        route(tmp_path, ScriptedLeadership(True, ROLE_LOST), LOG_AWAY, 1)


@pytest.mark.parametrize(
    ("leadership", "steps"),
    [
        pytest.param(ScriptedLeadership(True, False), (LOG_AWAY, 1), id="another process leads"),
        pytest.param(ScriptedLeadership(True), (PositionMovedError("moved"), 1), id="another process has routed"),
    ],
)
def test_another_process_ends_routing(
    tmp_path: Path, leadership: ScriptedLeadership, steps: tuple[Exception | int, ...]
) -> None:
    assert route(tmp_path, leadership, *steps) == 1
