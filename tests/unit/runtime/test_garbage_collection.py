import gc
from collections.abc import Iterator

import pytest

from punchcard.runtime.garbage_collection import collect_rarely


@pytest.fixture(autouse=True)
def default_collection() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_a_worker_leaves_its_loaded_code_out_of_collections() -> None:
    collect_rarely()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] > 10_000


def test_cycles_are_still_collected() -> None:
    collect_rarely()
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.isenabled()
    assert gc.collect() >= 1
