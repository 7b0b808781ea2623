"""Promise: Engage on another machine goes on from the newest snapshot of its facts, not from the whole lake."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from punchcard.engage.computation_engine import ComputationEngine
from punchcard.engage.demand import ERASED, POSITION, STAMP
from punchcard.engage.fact_opening import shard_paths
from punchcard.engage.fact_snapshots import FOLDER, FactSnapshots, open_newest_facts
from punchcard.lake.lake_event import LakeEvent
from punchcard.lake.location import LakeLocation
from punchcard.lake.reader import LakeReader
from punchcard.store.engine import Store
from punchcard.store.routing.positions import note_position, position_of
from punchcard.testing.engage_world import EngageWorld

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
BUYERS = "event('Order Completed').count() >= 2"


class CountingReader(LakeReader):
    """Counts the events that it returns."""

    read = 0

    def after(self, position: int, *, limit: int) -> list[LakeEvent]:
        events = super().after(position, limit=limit)
        self.read += len(events)
        return events


class Machines:
    """Engage on several machines: one store and one lake, and facts in the data folder of each."""

    def __init__(self, folder: Path, store: Store, *, url: str, shards: int) -> None:
        self.world = EngageWorld(folder, store, BEGIN)
        self.world.configure(self.world.audience("buyers", BUYERS, include_anonymous=True))
        self.folder, self.store, self.url, self.shards = folder, store, url, shards
        self.events_read = 0

    def snapshots(self) -> FactSnapshots:
        return FactSnapshots(self.url, clock=self.world.clock, interval_seconds=0)

    def send(self, *people: str) -> None:
        for person in people:
            self.world.advance(seconds=1)
            at = self.world.clock.now().isoformat()
            call = {
                "type": "track",
                "event": "Order Completed",
                "messageId": f"m{self.world.position}",
                "timestamp": at,
            }
            ids = {"anonymousId": person, "userId": "ann"} if person == "a" else {"anonymousId": person}
            self.world.receive([{**call, **ids}])

    def lead(self, machine: str, *, writes_snapshot: bool = False) -> dict[int, str]:
        """Lead Engage on a machine until it is idle; return the members of the audience."""
        snapshots = self.snapshots()
        with self.store.reading() as work:
            stamp, position, erased = (position_of(work, consumer) for consumer in (STAMP, POSITION, ERASED))
        facts = open_newest_facts(self.paths(machine), snapshots, stamp=stamp, position=position, erased=erased)
        lake = CountingReader(str(self.folder / "lake"))
        engine = ComputationEngine(
            store=self.store, lake=lake, facts=facts, clock=self.world.clock, current=self.world.current
        )
        while engine.step():
            continue
        assert engine.check() == 0
        if writes_snapshot:
            snapshots.write_if_due(facts)
            snapshots.finish()
        self.events_read = lake.read
        sql = "SELECT profile, json FROM traits WHERE name = 'buyers' AND computation <> ''"
        values = {profile: value for profile, value in facts.rows(sql) if value == "true"}
        facts.close()
        return values

    def paths(self, machine: str) -> list[Path]:
        return shard_paths(self.folder / machine / "engage.duckdb", self.shards)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.long)])  # `make test` builds no S3 server
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "lake")
    return str(request.getfixturevalue("s3_server").new_lake())


@pytest.fixture(params=[1, 2], ids=["one shard", "two shards"])
def machines(request: pytest.FixtureRequest, tmp_path: Path, sqlite_url: str, url: str) -> Iterator[Machines]:
    store = Store(sqlite_url)
    yield Machines(tmp_path, store, url=url, shards=request.param)
    store.close()


def test_another_machine_reads_only_the_events_since_the_snapshot(machines: Machines) -> None:
    machines.send("a", "b", "c", "a", "b")
    assert len(machines.lead("first", writes_snapshot=True)) == 2
    machines.send("c", "d")
    members = machines.lead("first")
    assert len(members) == 3
    assert machines.lead("second") == members
    assert machines.events_read == 2, "the rest was in the snapshot"
    machines.send("d")
    assert len(machines.lead("second")) == 4


def test_the_files_of_a_machine_are_used_if_they_are_newer(machines: Machines) -> None:
    machines.send("a", "b")
    machines.lead("first", writes_snapshot=True)
    machines.send("a", "c")
    machines.lead("first")
    machines.send("c")
    assert len(machines.lead("second")) == 2
    machines.lead("first")
    assert machines.events_read == 1


def test_only_the_newest_snapshot_is_retained_and_the_lake_leaves_it(machines: Machines) -> None:
    machines.send("a", "b", "a")
    machines.lead("first", writes_snapshot=True)
    former = files(machines.url)
    machines.send("b")
    machines.lead("first", writes_snapshot=True)
    newest = files(machines.url)
    assert not set(former) & set(newest)
    assert sum(path.endswith(".json") for path in newest) == 1
    machines.world.writer.vacuum()
    assert files(machines.url) == newest


@pytest.mark.sample(4)
@pytest.mark.parametrize("damage", ["cut off", "piece lost", "not described"])
def test_a_damaged_snapshot_is_not_used(machines: Machines, damage: str) -> None:
    machines.send("a", "b", "a", "b")
    members = machines.lead("first", writes_snapshot=True)
    location = LakeLocation(machines.url)
    piece = next(path for path in files(machines.url) if path.endswith(".part"))
    if damage == "cut off":
        with location.open(piece) as file:
            content = bytes(file.read())[:-100]
        sink = location.create(piece)
        sink.write(content)
        location.publish(piece, sink)
    else:
        suffix = ".part" if damage == "piece lost" else ".json"
        location.remove(next(path for path in files(machines.url) if path.endswith(suffix)))
    assert machines.lead("second") == members
    assert machines.events_read == 4


def test_facts_of_before_a_deletion_are_used_by_no_machine(machines: Machines) -> None:
    machines.send("a", "b", "a", "b")
    machines.lead("first", writes_snapshot=True)
    machines.lead("second")
    with machines.store.unit_of_work() as work:
        note_position(work, ERASED, position_of(work, STAMP) + 1)
        note_position(work, STAMP, position_of(work, STAMP) + 1)
    for machine in ("second", "third"):
        machines.lead(machine)
        assert machines.events_read == 4, "neither the file nor the snapshot was used"


def test_a_snapshot_of_a_store_that_was_restored_since_is_deleted(machines: Machines) -> None:
    machines.send("a", "b", "a", "b")
    machines.lead("first", writes_snapshot=True)
    facts = open_newest_facts(machines.paths("second"), machines.snapshots(), stamp=1, position=1, erased=0)
    assert facts.meta().position == 0
    facts.close()
    assert files(machines.url) == []


def test_discarding_leaves_nothing(machines: Machines) -> None:
    machines.send("a")
    machines.lead("first", writes_snapshot=True)
    assert files(machines.url)
    machines.snapshots().discard()
    assert files(machines.url) == []
    assert [path.name for path in machines.paths("first")[0].parent.glob("*.snapshot")] == []


def test_a_snapshot_of_another_number_of_shards_is_not_used(machines: Machines) -> None:
    machines.send("a", "b", "b")
    members = machines.lead("first", writes_snapshot=True)
    machines.shards = 3
    assert machines.lead("second") == members
    assert machines.events_read == 3


def files(url: str) -> Sequence[str]:
    """Return the paths of everything that belongs to snapshots."""
    location = LakeLocation(url)
    if location.objects is not None:
        return sorted(item.path for item in location.objects.objects(FOLDER))
    assert location.folder is not None
    return sorted(path.relative_to(location.folder).as_posix() for path in location.folder.glob(f"{FOLDER}/*"))
