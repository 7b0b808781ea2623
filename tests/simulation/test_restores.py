"""The promise holds across restores: a store that is restored from an older copy doubles nothing and loses nothing.

As in `test_simulation`, but copies of the store are made and put back among everything else that happens, and the log
forgets what the lake holds.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from punchcard.errors import InvariantError
from punchcard.routing.log_guard import LogGuard
from punchcard.routing.recovery import LakeReplay
from punchcard.store.delivery.recoveries import Recovery
from punchcard.testing.examples import examples
from punchcard.testing.oracle import BrokenPromiseError
from punchcard.testing.restored_world import RestoredWorld, copy_and_restore
from punchcard.testing.simulation import simulate

STEPS = 300


def tell(folder: Path, seed: int) -> RestoredWorld:
    return simulate(folder, seed=seed, steps=STEPS, make_world=RestoredWorld, also=copy_and_restore)


@pytest.mark.parametrize("seed", range(examples(8, part=4)))
def test_every_event_has_one_effect_whatever_copy_of_the_store_is_put_back(tmp_path: Path, seed: int) -> None:
    tell(tmp_path, seed)


def notice_nothing(patch: pytest.MonkeyPatch) -> None:
    """An older store is taken for the newest."""
    patch.setattr("punchcard.routing.restore_detection._reason_of_doubt", lambda *_, **__: None)


def leave_the_lake_alone(patch: pytest.MonkeyPatch) -> None:
    """What only the lake holds is not planned again."""
    patch.setattr(LakeReplay, "run", lambda *_, **__: True)


def doubt_nothing_new(patch: pytest.MonkeyPatch) -> None:
    """What is planned again is sent without reading back."""
    patch.setattr(Recovery, "is_in_doubt", lambda *_: False)


def keep_the_generation(patch: pytest.MonkeyPatch) -> None:
    """Nothing tells a copy of a moment ago from the store of now, but the positions."""
    patch.setattr(LogGuard, "advance", lambda *_, **__: None)


# Each with a seed that shows it at once.
@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("sabotage", "first_seed"),
    [(notice_nothing, 0), (leave_the_lake_alone, 0), (doubt_nothing_new, 26), (keep_the_generation, 27)],
)
def test_the_simulation_notices_what_a_restore_would_double_or_lose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sabotage: Callable[[pytest.MonkeyPatch], None], first_seed: int
) -> None:
    sabotage(monkeypatch)

    def tell_traces() -> None:
        for seed in range(first_seed, first_seed + 60):
            tell(tmp_path / str(seed), seed)

    with pytest.raises((BrokenPromiseError, InvariantError)) as caught:
        tell_traces()
    assert "in the run of seed" in caught.value.__notes__[0]
