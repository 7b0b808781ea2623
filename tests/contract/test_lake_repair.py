"""The promise about a damaged lake: awards go on, a repair brings back what anybody still has, each event once."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from punchcard.clock import SystemClock, to_micros
from punchcard.errors import LakeError
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.lake.compaction import merge_files
from punchcard.lake.listing import EventQuery
from punchcard.lake.location import LakeLocation
from punchcard.lake.reader import LakeReader
from punchcard.lake.repair import repair_lake
from punchcard.lake.schema import LakeRows
from punchcard.lake.table import LakeTable
from punchcard.lake.writer import LakeWriter
from punchcard.routing.lake_repair import LakeRepair, repair
from punchcard.routing.router import PositionMovedError
from punchcard.store.engine import Store
from punchcard.store.routing.lake_status import read_lake_status
from punchcard.testing.clock import ManualClock
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.installation import Installation, award
from punchcard.testing.s3_server import lake_folder

RESULTS = '[{"destination":null,"status":"refused","reason":"x","detail":null,"effectKey":null}]'
EVENTS = 130  # more than the commits of one checkpoint
Damage = Callable[[Path], object]


@pytest.fixture
def installation(tmp_path: Path, sqlite_url: str) -> Iterator[Installation]:
    store = Store(sqlite_url)
    made = Installation(tmp_path, store)
    yield made
    made.close()
    store.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with a lake that took events one at a time; tests copy it."""
    folder = tmp_path_factory.mktemp("filled")
    store = Store(with_tables(f"sqlite:///{folder / 'store.db'}"))
    made = Installation(folder, store)
    for number in range(1, EVENTS + 1):
        made.send(award(f"m-{number}"))
        made.route()
        made.feed.recover() if number == 1 else made.feed.flush()
        if number == 40:
            made.feed.tidy()
    made.close()
    store.close()
    return folder


@pytest.fixture
def damaged(filled: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Installation]:
    """A copy of it; on S3 if the test has a parameter `place` that says so."""
    folder = tmp_path / "copy"
    shutil.copytree(filled, folder)
    store = Store(with_tables(f"sqlite:///{folder / 'store.db'}"))
    lake_url = ""
    if hasattr(request.node, "callspec") and request.node.callspec.params.get("place") == "S3":
        lake_url = request.getfixturevalue("s3_server").new_lake()
        shutil.copytree(folder / "lake", lake_folder(lake_url), ignore=shutil.ignore_patterns(".lock", ".repaired"))
        shutil.rmtree(folder / "lake")
    made = Installation(folder, store, lake_url=lake_url)
    yield made
    made.close()
    store.close()


def data_files(lake: Path) -> list[Path]:
    named = [table_file.path for table_file in _table_files(lake)]
    return sorted(lake / item for item in named)


def _table_files(lake: Path) -> list[object]:
    writer = LakeWriter(str(lake))
    writer.last_position()
    return writer._table.files()


def commits(lake: Path) -> list[Path]:
    return sorted((lake / "_delta_log").glob("*.json"))


def checkpoint(lake: Path) -> Path:
    return sorted((lake / "_delta_log").glob("*.checkpoint.parquet"))[-1]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribble(path: Path) -> None:
    """Damage in the midst that leaves size and footer as they are."""
    content = bytearray(path.read_bytes())
    content[200:1200] = os.urandom(1000)
    path.write_bytes(content)


DAMAGES: dict[str, Damage] = {
    "a data file is gone": lambda lake: data_files(lake)[-3].unlink(),
    "a merged data file is gone": lambda lake: max(
        data_files(lake), key=lambda data_file: data_file.stat().st_size
    ).unlink(),
    "a data file is cut": lambda lake: cut(data_files(lake)[-3]),
    "a data file is empty": lambda lake: data_files(lake)[3].write_bytes(b""),
    "a data file is scribbled over": lambda lake: scribble(
        max(data_files(lake), key=lambda data_file: data_file.stat().st_size)
    ),
    "many data files are gone": lambda lake: [data_file.unlink() for data_file in data_files(lake)[::2]],
    "the newest commit is gone": lambda lake: commits(lake)[-1].unlink(),
    "the newest commit is garbage": lambda lake: commits(lake)[-1].write_bytes(b"garbage"),
    "the newest commit is empty": lambda lake: commits(lake)[-1].write_bytes(b""),
    "a commit is gone": lambda lake: commits(lake)[-5].unlink(),
    "a commit is cut": lambda lake: cut(commits(lake)[-5]),
    "a commit is empty": lambda lake: commits(lake)[-5].write_bytes(b""),
    "all commits are garbage": lambda lake: [commit.write_bytes(b"{}") for commit in commits(lake)],
    "the checkpoint is gone": lambda lake: checkpoint(lake).unlink(),
    "the checkpoint is garbage": lambda lake: checkpoint(lake).write_bytes(b"garbage"),
    "checkpoint and a commit before it are gone": lambda lake: (checkpoint(lake).unlink(), commits(lake)[20].unlink()),
    "the log is gone": lambda lake: shutil.rmtree(lake / "_delta_log"),
    "the log is empty": lambda lake: [path.unlink() for path in (lake / "_delta_log").iterdir()],
    "the log is a file": lambda lake: (shutil.rmtree(lake / "_delta_log"), (lake / "_delta_log").write_text("?")),
    "the lake is gone": shutil.rmtree,
}
# What can happen to objects: they are deleted, or replaced by others. They are never written in part.
ON_S3 = (
    "a merged data file is gone",
    "many data files are gone",
    "a data file is empty",
    "the newest commit is gone",
    "the newest commit is garbage",
    "a commit is gone",
    "all commits are garbage",
    "the checkpoint is gone",
    "checkpoint and a commit before it are gone",
    "the log is empty",
    "the lake is gone",
)
CASES = [("folder", damage) for damage in DAMAGES] + [("S3", damage) for damage in ON_S3]
NO_DAMAGE_LEFT = {"the lake is gone", "the newest commit is gone"}  # what is missing is appended again by itself


def repaired(installation: Installation, *, dry_run: bool = False) -> LakeRepair:
    lake, log, store = installation.lake_url, installation.log, installation.store
    return repair(lake, log=log, store=store, clock=SystemClock(), dry_run=dry_run)


def catch_up(installation: Installation) -> None:
    while installation.feed.is_behind:
        installation.feed.flush()
    installation.feed.flush()


def assert_whole(installation: Installation, *, until: int) -> None:
    catch_up(installation)
    seen = Counter(item.message_id for item in installation.in_lake())
    assert seen == Counter(f"m-{number}" for number in range(1, until + 1))
    LakeWriter(installation.lake_url).check()


@pytest.mark.sample(8)
@pytest.mark.parametrize(("place", "damage"), CASES)
def test_events_are_awarded_on_a_damaged_lake_and_a_repair_restores_it(
    damaged: Installation, place: str, damage: str
) -> None:
    """Damaged while nothing runs; the events come before the repair and behind it."""
    lake = damaged.lake_folder
    DAMAGES[damage](lake)
    damaged.send(award(f"m-{EVENTS + 1}"))
    assert damaged.route() == 1
    try:
        damaged.feed.check()
        damaged.feed.flush()
    except LakeError:
        with damaged.store.reading() as work:
            status = read_lake_status(work)
        assert status.failing_since is not None
        assert status.detail
    before = sorted((path, path.stat().st_mtime_ns) for path in lake.rglob("*")) if lake.exists() else []
    planned = repaired(damaged, dry_run=True)
    assert before == (sorted((path, path.stat().st_mtime_ns) for path in lake.rglob("*")) if lake.exists() else [])
    # On S3 the log is read from an earlier checkpoint if the newest one is gone.
    is_whole = damage in NO_DAMAGE_LEFT or (place == "S3" and "checkpoint" in damage)
    assert planned.report.is_whole == is_whole
    done = repaired(damaged)
    assert (done.report.lost_events, done.lost_positions) == (0, None)
    assert done.report.restored_events == planned.report.restored_events
    damaged.send(award(f"m-{EVENTS + 2}"))
    assert damaged.route() == 1
    assert_whole(damaged, until=EVENTS + 2)
    assert len(damaged.effect_keys()) == EVENTS + 2
    assert repaired(damaged).report.is_whole
    with damaged.store.reading() as work:
        assert read_lake_status(work).failing_since is None


@pytest.mark.sample(8)
@pytest.mark.parametrize(("place", "damage"), CASES)
def test_a_lake_is_damaged_and_repaired_while_a_worker_has_it_open(
    damaged: Installation, place: str, damage: str
) -> None:
    catch_up(damaged)
    DAMAGES[damage](damaged.lake_folder)
    for number in range(EVENTS + 1, EVENTS + 4):
        damaged.send(award(f"m-{number}"))
        assert damaged.route() == 1
        try:
            damaged.feed.flush()
        except LakeError:
            continue
    repaired(damaged)
    damaged.send(award(f"m-{EVENTS + 4}"))
    assert damaged.route() == 1
    assert_whole(damaged, until=EVENTS + 4)
    assert repaired(damaged).report.is_whole


@pytest.mark.parametrize("place", ["folder", "S3"])
@pytest.mark.parametrize("damage", sorted(NO_DAMAGE_LEFT))
def test_newest_commits_that_are_gone_leave_no_gap_behind_a_running_worker(
    damaged: Installation, place: str, damage: str
) -> None:
    """A table cannot detect a missing commit as damage: only its position differs."""
    catch_up(damaged)
    DAMAGES[damage](damaged.lake_folder)
    damaged.send(award(f"m-{EVENTS + 1}"))
    damaged.route()
    damaged.feed.flush()
    assert_whole(damaged, until=EVENTS + 1)


def test_what_nobody_has_any_more_is_counted_and_named(damaged: Installation) -> None:
    catch_up(damaged)
    later = to_micros(damaged.clock.now() + timedelta(days=9))
    while damaged.feed.trim_log(older_than_micros=later):
        continue
    lost = sorted(_table_files(damaged.lake_folder), key=lambda table_file: table_file.rows)[-1]  # type: ignore[attr-defined]
    (damaged.lake_folder / lost.path).unlink()  # type: ignore[attr-defined]
    shutil.rmtree(damaged.lake_folder / "_none", ignore_errors=True)
    for path in set(damaged.lake_folder.glob("day=*/*")) - set(data_files(damaged.lake_folder)):
        path.unlink()  # what was merged away long ago
    done = repaired(damaged)
    assert done.report.lost_events == lost.rows  # type: ignore[attr-defined]
    assert done.report.lost_days == [lost.day]  # type: ignore[attr-defined]
    with damaged.store.reading() as work:
        status = read_lake_status(work)
    assert status.lost_events == lost.rows  # type: ignore[attr-defined]
    assert len(damaged.in_lake()) == EVENTS - lost.rows  # type: ignore[attr-defined]
    assert len(damaged.effect_keys()) == EVENTS


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("merged", "deleted", "lost"),
    [
        ((1, 20), range(1, 21), 0),
        ((5, 20), range(5, 21), 0),
        ((5, 20), [1, 2, *range(5, 21)], 2),
        ((5, 8), [3, *range(5, 9)], 1),  # no position of the merge is behind the log's state
        ((11, 20), [3, *range(11, 21)], 1),  # as many rows behind the log's state replace none before it
        ((5, 20), [7, 8], 0),  # files of the merge are left before and behind what only the merge holds
        ((5, 20), [2, 7, 9, *range(11, 21)], 1),
        ((5, 8), [4, 6], 1),
    ],
)
def test_only_rows_that_no_file_holds_are_lost_when_the_log_lost_a_merge(
    tmp_path: Path, merged: tuple[int, int], deleted: Sequence[int], lost: int
) -> None:
    """The readable log ends at position 10, the files are of 20 positions and a merge, and nobody can restore rows."""
    lake, clock = tmp_path / "lake", ManualClock()
    writer, table = LakeWriter(str(lake)), LakeTable(LakeLocation(str(lake)))
    day = clock.now().date()
    for position in range(1, 21):
        rows = LakeRows()
        wire = WireEvent(event="Order Completed", user_id="u-1")
        event = Event(EventType.TRACK, MessageId(f"m-{position}"), clock.now(), clock.now(), wire, b"{}")
        rows.add(
            event, source="website", received_at=to_micros(clock.now()), position=position, index=0, results=RESULTS
        )
        writer.append(rows, first_position=position, last_position=position)
    table.refresh()
    files = {file.last_position: file for file in table.files()}
    replaced = [files[position] for position in range(merged[0], merged[1] + 1)]
    table.commit(
        [merge_files(replaced, table.location, name="merged")],
        removed=replaced,
        through_position=None,
        clock=clock,
    )
    for position in deleted:
        (lake / files[position].path).unlink()
    commits(lake)[11].write_bytes(b"garbage")
    plan, report = (
        repair_lake(str(lake), restore=lambda _is_missing, _through: iter(()), clock=clock, dry_run=dry_run)
        for dry_run in (True, False)
    )
    assert (report.lost_events, report.lost_days) == (lost, [day] if lost else [])
    assert (plan.lost_events, plan.lost_days) == (report.lost_events, report.lost_days)
    stored = [event.message_id for event in LakeReader(str(lake)).page(EventQuery(), limit=99)]
    absent = {position for position in deleted if not merged[0] <= position <= merged[1]}
    assert len(absent) == lost
    assert sorted(stored) == sorted(f"m-{position}" for position in files if position not in absent)
    LakeWriter(str(lake)).check()


def test_trace_finds_an_event_in_the_log_while_the_lake_cannot_be_read(damaged: Installation) -> None:
    commits(damaged.lake_folder)[-5].write_bytes(b"garbage")
    trace = damaged.trace("m-7")
    assert trace is not None
    assert [result.status for result in trace.results] == ["pending"]
    with pytest.raises(LakeError, match="data lake"):
        damaged.trace("never-sent")


def test_a_lake_that_may_not_be_written_stops_no_award(installation: Installation) -> None:
    installation.lake_folder.write_text("in the way")
    for number in range(1, 4):
        installation.send(award(f"m-{number}"))
        assert installation.route() == 1
        with pytest.raises(LakeError):
            installation.feed.flush()
    installation.start()  # a restart
    installation.send(award("m-4"))
    assert installation.route() == 1
    assert len(installation.effect_keys()) == 4
    installation.lake_folder.unlink()
    assert_whole(installation, until=4)


def test_two_workers_that_both_believe_to_lead_append_each_event_once(
    installation: Installation, tmp_path: Path
) -> None:
    other = Installation(tmp_path, installation.store, clock=installation.clock)
    for number in range(1, 40):
        first, second = (installation, other) if number % 3 else (other, installation)
        installation.send(award(f"m-{number}"))
        for worker in (first, second):
            try:
                worker.route()
            except PositionMovedError:
                worker.start()
            worker.feed.flush()
    assert_whole(installation, until=39)
    assert len(installation.effect_keys()) == 39
    other.close()
