"""Replays among live events, crashes between any two writes and lost answers: at most one award per key, none lost.

Each seed is one run: a destination that is switched off and on while events arrive, operators who replay everything,
pause, resume and cancel that, and a process that ends at any moment. At the end everything is replayed twice: then
every event has exactly one effect, the second replay adds nothing, and each event is counted once.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from punchcard.errors import InvariantError
from punchcard.log.port import NewRecord
from punchcard.operations.replay_planning import ReplayCandidate
from punchcard.operations.replay_runner import ReplayRunner
from punchcard.routing import batch
from punchcard.store.operations.replays import Replay
from punchcard.testing.examples import examples
from punchcard.testing.oracle import BrokenPromiseError
from punchcard.testing.replay_world import simulate_replays

STEPS = 250


@pytest.mark.parametrize("seed", range(examples(6, part=3)))
def test_replays_award_every_event_once_whatever_happens(tmp_path: Path, seed: int) -> None:
    world = simulate_replays(tmp_path, seed=seed, steps=STEPS)
    assert world.partner.book
    assert any(record.call == "replay" for record in world_records(tmp_path))


def world_records(folder: Path) -> Sequence[NewRecord]:
    from punchcard.log.sqlite import SqliteEventLog

    log = SqliteEventLog(folder / "log.db")
    try:
        return log.read(0, records_max=10**6, bytes_max=10**9)
    finally:
        log.close()


def note_before_appending(patch: pytest.MonkeyPatch) -> None:
    """A portion's records reach the log with the next portion, after its place was noted."""
    real = ReplayRunner._append
    late: list[tuple[Replay, Sequence[ReplayCandidate]]] = []

    def later(self: ReplayRunner, replay: Replay, candidates: Sequence[ReplayCandidate]) -> int:
        earlier, late[:] = list(late), [(replay, candidates)]
        return max((real(self, *portion) for portion in earlier), default=0)

    patch.setattr(ReplayRunner, "_append", later)


def count_again(patch: pytest.MonkeyPatch) -> None:
    """A replayed event is counted without taking its old result away."""
    from punchcard.routing import replayed_events

    real = replayed_events.keep_replayed
    from punchcard.routing import router

    patch.setattr(router, "keep_replayed", lambda *given, **named: +real(*given, **named))


def show_again(patch: pytest.MonkeyPatch) -> None:
    """A replayed event gets a row of the lake of its own."""
    real = batch.result_batch

    def with_replays(of: batch.Batch) -> object:
        replays, of.replays = of.replays, {}
        try:
            return real(of)
        finally:
            of.replays = replays

    from punchcard.routing import router

    patch.setattr(router, "result_batch", with_replays)


@pytest.mark.parametrize("sabotage", [note_before_appending, count_again, show_again])
def test_the_simulation_notices_what_would_lose_or_double(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sabotage: object
) -> None:
    assert callable(sabotage)
    sabotage(monkeypatch)

    def simulate_seeds() -> None:
        for seed in range(20):
            simulate_replays(tmp_path / str(seed), seed=seed, steps=STEPS)

    with pytest.raises((BrokenPromiseError, InvariantError)):
        simulate_seeds()
