"""Workers that share partitions while the log is slow or not divided yet: who counts on whom."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from punchcard.errors import StorageError
from punchcard.routing.router import PositionMovedError
from punchcard.store.routing.positions import partition_positions
from punchcard.testing.partition_world import PartitionWorld

_PARTITIONS = 4
_LATE_SECONDS = 6.0  # as long as brokers that do not answer are waited for, about


@pytest.fixture
def world(postgres_url: str, tmp_path: Path) -> Iterator[PartitionWorld]:
    world = PartitionWorld(postgres_url, tmp_path, _PARTITIONS)
    world.divide()
    yield world
    world.close()


def test_a_worker_balances_before_each_partition_that_is_waited_for(
    world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that reported only after all of them would be forgotten by the others meanwhile."""
    worker = world.start_worker()
    world.step(worker)
    tried: list[int] = []
    balance = worker.routing.balance
    balanced_before: list[int] = []

    def fail_late(partition: int, *_: object, **__: object) -> None:
        tried.append(partition)
        world.clock.advance(_LATE_SECONDS)
        raise StorageError("the brokers do not answer in time")

    def note_and_balance() -> None:
        balanced_before.append(len(tried))
        balance()

    with monkeypatch.context() as patch:
        patch.setattr(worker.log, "read_partition", fail_late)
        patch.setattr(worker.routing, "balance", note_and_balance)
        for _ in range(_PARTITIONS):
            with pytest.raises(StorageError):
                world.step(worker)
    assert sorted(tried) == list(range(_PARTITIONS))  # each is tried in its turn
    assert balanced_before == [1, 2, 3]
    world.send()
    world.drain()
    world.check_exactly_once()


def test_a_partition_that_fails_keeps_no_other_from_being_routed(
    world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = world.start_worker()
    world.step(worker)
    for _ in range(40):
        world.send()
    read = worker.log.read_partition

    def fail_for_first(partition: int, after: int, *, records_max: int, bytes_max: int) -> object:
        if partition == 0:
            world.clock.advance(_LATE_SECONDS)
            raise StorageError("the brokers do not answer in time")
        return read(partition, after, records_max=records_max, bytes_max=bytes_max)

    with monkeypatch.context() as patch:
        patch.setattr(worker.log, "read_partition", fail_for_first)
        for _ in range(20):
            with suppress(StorageError):
                world.step(worker)
    with world.store.reading() as work:
        positions = partition_positions(work)
    assert {partition for partition, position in positions.items() if position == world.log.last_position()} == {
        1,
        2,
        3,
    }
    world.drain()
    world.check_exactly_once()


def test_a_worker_that_waits_for_more_partitions_is_left_none_of_the_current_ones(world: PartitionWorld) -> None:
    first = world.start_worker()
    raised = replace(world, count=_PARTITIONS + 2, seed=1, workers=[], sent=[])  # workers are named by the seed
    try:
        waiting = raised.start_worker()
        assert raised.step(waiting) == 0
        world.step(first)
        assert first.routing.partitions == list(range(_PARTITIONS))
        first.routing.release_all()
        assert raised.divide()
        world.clock.advance(2.0)
        world.step(first)  # with the lower number it takes none any more, and is left none
        assert first.routing.partitions == []
        raised.clock.advance(2.0)
        raised.step(waiting)
        assert waiting.routing.partitions == list(range(_PARTITIONS + 2))
    finally:
        raised.close()


def test_a_partition_that_is_given_back_in_a_step_is_logged(
    world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was frozen has routed its partition once more: that of this one is where the other left it."""
    first, second = world.start_worker(), world.start_worker()
    while len(first.routing.partitions) != 2 or len(second.routing.partitions) != 2:
        world.step(first)
        world.step(second)
    lost, other = second.routing.partitions
    with structlog.testing.capture_logs() as lines:
        with monkeypatch.context() as patch:
            patch.setattr(second.routing.router_of(lost), "step", raise_position_moved)
            while lost in second.routing.partitions:
                world.step(second)
        third = world.start_worker()
        while lost not in third.routing.partitions:
            world.step(third)
        for _ in range(20):
            world.step(second)
    assert second.routing.partitions == [other]
    assert [other] in [line["partitions"] for line in lines if line["event"] == "partitions_changed"]


def raise_position_moved() -> int:
    raise PositionMovedError("another worker has routed")
