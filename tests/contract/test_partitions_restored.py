"""A divided log after damage: an older store and a lake that has lost files get back what each partition has routed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from punchcard.routing.lake_repair import repair
from punchcard.routing.recovery import LakeReplay
from punchcard.store.delivery.counts import RECEIVED
from punchcard.store.delivery.recoveries import RecoveryReason, newest_recovery, start_recovery
from punchcard.store.engine import Store
from punchcard.store.routing.positions import note_position, results_between
from punchcard.testing.partition_world import PartitionWorld


@pytest.fixture
def new(postgres_url: str, tmp_path: Path) -> Iterator[Callable[..., PartitionWorld]]:
    worlds: list[PartitionWorld] = []

    def make(count: int = 4, seed: int = 0) -> PartitionWorld:
        worlds.append(PartitionWorld(postgres_url, tmp_path, count, seed))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


New = Callable[..., PartitionWorld]


def restore_older_copy(store: Store) -> None:
    """Set the store back as by an older copy, in which the partitions stood at different places."""
    with store.unit_of_work() as work:
        ends = work.execute(text("SELECT partition, last_position FROM result_batches ORDER BY last_position")).all()
        # When the copy was made, partition 0 had routed two batches, partition 1 none and partition 2 one.
        batches = {number: [end for partition, end in ends if partition == number] for number in range(3)}
        behind = {0: batches[0][1], 1: 0, 2: batches[2][0]}
        for partition, position in behind.items():
            forget = text(
                "DELETE FROM effects WHERE log_position IN (SELECT position FROM event_log_records "
                "WHERE bucket % 3 = :partition AND position > :position)"
            )
            work.execute(forget, {"partition": partition, "position": position})
            note_position(work, f"routing/{partition}", position)
            lost = text("DELETE FROM result_batches WHERE partition = :partition AND last_position > :position")
            work.execute(lost, {"partition": partition, "position": position})


def declare_restored(world: PartitionWorld, *, through: int) -> None:
    now = world.clock.now()
    with world.store.unit_of_work() as work:
        start_recovery(
            work,
            reason=RecoveryReason.LAKE,
            from_position=0,
            through_position=through,
            read_back_from=now,
            doubt_until=None,
            now=now,
        )


def test_an_older_store_plans_again_what_each_partition_has_lost(new: New) -> None:
    world = new(count=3, seed=5)
    world.divide()
    world.start_worker()
    for _ in range(4):
        for _ in range(15):
            world.send()
        world.drain()
    expected = {key for key, *_ in world.effects()}
    world.kill(world.workers[0])
    restore_older_copy(world.store)
    end = world.log.last_position()
    for _ in range(10):
        world.send(repeat_share=0)
    declare_restored(world, through=end)
    waiting = world.start_worker()
    for _ in range(5):
        assert world.step(waiting) == 0  # routed from the log, these events would be known by their message ids
    with world.store.reading() as work:
        routed = {record.position for batch in results_between(work, 1, end) for record in batch.records}
    assert routed
    received = count_received(world.store)
    replay = LakeReplay(
        store=world.store, log=world.log, lake=world.lake(), clock=world.clock, current=lambda: world.configuration
    )
    assert replay.run(stopping=lambda: False)
    assert count_received(world.store) == received + end - len(routed)
    assert {key for key, *_ in world.effects()} == expected
    world.drain()
    assert {key for key, *_ in world.effects()} == expected | {f"SEG:partner:ORDER:{e.order_id}" for e in world.sent}
    assert world.lake().last_position() == world.log.last_position()
    with world.store.reading() as work:
        recovery = newest_recovery(work)
    assert recovery is not None
    assert recovery.routed_at is not None


def count_received(store: Store) -> int:
    with store.reading() as work:
        counted = work.scalar(text("SELECT sum(count) FROM result_counts WHERE status = :status"), {"status": RECEIVED})
        return int(counted)


def test_a_damaged_lake_is_repaired_from_the_results_of_all_partitions(new: New) -> None:
    world = new(count=3, seed=2)
    world.divide()
    for _ in range(3):
        world.start_worker()
    for _ in range(40):
        world.send()
    world.drain()
    rows = world.lake().between(1, world.log.last_position())
    damaged = next(Path(world.lake_url).rglob("*.parquet"))
    damaged.unlink()
    outcome = repair(world.lake_url, log=world.log, store=world.store, clock=world.clock, dry_run=False)
    assert (outcome.report.restored_events, outcome.report.lost_events) == (len(rows), 0)
    world.drain()
    assert world.lake().between(1, world.log.last_position()) == rows
