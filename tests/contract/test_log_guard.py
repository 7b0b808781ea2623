"""A store is routed from the log that it belongs to and from no other.

The promise: whenever and however a process ends, log and store are found to belong together; another log, or
an older copy of it, is refused before anything is taken in.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from punchcard.errors import StorageError
from punchcard.lake.reader import LakeReader
from punchcard.log.sqlite import SqliteEventLog
from punchcard.routing import log_guard
from punchcard.routing.generation_file import GenerationFile
from punchcard.routing.log_guard import OtherLogError
from punchcard.runtime.guard_thread import run_guard
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.log_installation import Installation, record
from punchcard.testing.waiting import wait_until


@pytest.fixture
def new(store_url: str, tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    """Makes installations, all of them on one store."""
    with closing(Store(store_url)) as store:
        made: list[Installation] = []

        def make(name: str = "first", *, is_private: bool = False) -> Installation:
            folder = tmp_path / name
            folder.mkdir()
            made.append(Installation(folder, store, ManualClock(), is_private))
            return made[-1]

        yield make
        for item in made:
            item.close_logs()


New = Callable[..., Installation]


def test_log_and_store_that_belong_together_open_again_and_again(new: New) -> None:
    installation = new()
    for _ in range(3):
        guard = installation.start()
        guard.check()
        guard.advance()
    assert installation.recovery() is None
    assert installation.binding().log_id == installation.log().identity().id


def test_a_store_of_before_takes_the_log_that_it_was_routed_from(new: New) -> None:
    installation = new()
    installation.append(5)
    installation.route(to=5)
    installation.fill_lake(4)
    installation.start().check()
    assert installation.recovery() is None


def test_a_store_of_before_does_not_take_a_log_that_it_was_never_routed_from(new: New) -> None:
    installation = new()
    installation.route(to=5)
    with pytest.raises(OtherLogError, match="through position 5"):
        installation.start()


class _CountedLake(LakeReader):
    """Counts how often the last position is asked for; may be away."""

    reads = 0
    is_away = False

    def last_position(self) -> int:
        self.reads += 1
        if self.is_away:
            raise StorageError("The lake is away.")
        return super().last_position()


@pytest.mark.parametrize(
    ("is_away", "seconds", "reads"),
    [(False, 5, 1), (False, 15, 2), (True, 5, 2)],
    ids=["at once", "hours later", "a lake that was away"],
)
def test_before_routing_the_lake_is_read_again_only_if_it_may_say_more(
    new: New, is_away: bool, seconds: float, reads: int
) -> None:
    installation = new()
    lake = _CountedLake(str(installation.folder / "lake"))
    lake.is_away = is_away
    guard = installation.guard(lake=lake)
    guard.open()
    lake.is_away = False
    installation.clock.advance(seconds)
    guard.reopen()
    assert lake.reads == reads


def test_a_store_that_is_exchanged_before_routing_is_noticed(new: New) -> None:
    installation = new()
    installation.start()
    older = installation.binding()
    guard = installation.start()
    installation.set_binding(older)
    guard.reopen()
    recovery = installation.recovery()
    assert recovery is not None
    assert recovery.reason == "generation"


@pytest.mark.parametrize("records", [0, 3])
def test_another_log_is_refused_with_the_cure(new: New, records: int) -> None:
    first, second = new("first"), new("second")
    first.start()
    before = first.binding()
    if records:
        second.append(records)
    with pytest.raises(OtherLogError, match=r"same data folder.*adopt-log"):
        second.start()
    assert first.binding() == before
    first.start().check()


@pytest.mark.parametrize(("records", "is_refused"), [(0, False), (3, True)])
def test_a_store_beside_its_log_takes_a_new_log_only_while_that_is_empty(
    new: New, records: int, is_refused: bool
) -> None:
    installation = new(is_private=True)
    installation.append(7)
    installation.start()
    installation.route(to=7)
    installation.close_logs()
    (installation.folder / "log.db").unlink()
    if records:
        installation.append(records)
    if is_refused:
        with pytest.raises(OtherLogError):
            installation.start()
        return
    installation.start().check()
    assert installation.append(1) > 7
    assert installation.recovery() is None


@pytest.mark.parametrize("is_private", [False, True])
def test_an_older_copy_of_the_log_gives_no_position_again(new: New, tmp_path: Path, is_private: bool) -> None:
    installation = new(is_private=is_private)
    installation.append(3)
    installation.start()
    copy = installation.copy_to(tmp_path / "copy")
    installation.append(4)
    installation.route(to=7)
    installation.start()
    installation.close_logs()
    for file in installation.folder.glob("log.db*"):
        file.unlink()
    shutil.copy(copy.folder / "log.db", installation.folder / "log.db")
    if not is_private:
        with pytest.raises(OtherLogError, match="older copy"):
            installation.start()
        return
    installation.start().check()
    assert installation.append(1) > 7
    assert installation.recovery() is None


def test_a_copy_of_the_folder_is_refused_while_the_first_is_used(new: New, tmp_path: Path) -> None:
    installation = new()
    installation.start()
    copy = installation.copy_to(tmp_path / "copy")
    guard = installation.start()  # as once a second
    with pytest.raises(OtherLogError, match="older copy"):
        copy.start()
    guard.check()


def test_of_two_copies_that_run_one_stops_and_takes_nothing_more(new: New, tmp_path: Path) -> None:
    installation = new()
    installation.start()
    copy = installation.copy_to(tmp_path / "copy")
    log = installation.log()
    guard = installation.guard(log)
    copy.start().check()
    with pytest.raises(OtherLogError):
        guard.check()
    assert guard.refusal is not None
    assert "adopt-log" in guard.refusal.message
    with pytest.raises(StorageError) as refused:
        log.append([record()])
    assert refused.value.code == "another_log"
    copy.close_logs()


@pytest.mark.parametrize("way", ["removed", "replaced"])
def test_a_log_that_is_removed_under_a_running_process_takes_nothing_more(new: New, way: str) -> None:
    installation = new(is_private=True)
    log = installation.log()
    guard = installation.guard(log)
    guard.open()
    for file in installation.folder.glob("log.db*"):
        file.unlink()
    if way == "replaced":
        SqliteEventLog(installation.folder / "log.db").close()
    with pytest.raises(StorageError) as refused:
        log.append([record()])
    assert refused.value.code == "log_replaced"
    with pytest.raises(OtherLogError, match="Restart Punchcard"):
        guard.check()
    assert guard.refusal is not None


class _EndError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("step", ["reserve_generation", "raise_generation", "confirm_generation", "write"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_ends_between_two_writes_is_no_restore(
    new: New, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    installation = new()
    guard = installation.start()
    owner: object = {
        "reserve_generation": SqliteEventLog,
        "confirm_generation": SqliteEventLog,
        "write": GenerationFile,
    }.get(step, "punchcard.routing.log_guard")
    place = log_guard if isinstance(owner, str) else owner
    done = getattr(place, step)

    def end(*arguments: object) -> object:
        if when == "after":
            done(*arguments)
        raise _EndError

    monkeypatch.setattr(place, step, end)
    with suppress(_EndError):
        guard.advance()
    monkeypatch.undo()
    installation.start().check()
    assert installation.recovery() is None


def test_what_is_sent_all_the_time_does_not_wait_for_generations(new: New) -> None:
    """Promise: nothing is sent under a generation that is older than a second, and the next is made in time."""
    installation = new()
    guard = installation.start()
    guard.allow_sending()
    first = installation.binding().generation
    installation.clock.advance(0.6)
    guard.allow_sending()
    assert not guard.renewal_due.is_set()
    installation.clock.advance(0.2)
    guard.allow_sending()
    assert guard.renewal_due.is_set()
    assert installation.binding().generation == first  # it was not made here
    guard.renewal_due.clear()
    guard.advance(at_once=True)
    second = installation.binding().generation
    assert second > first
    installation.clock.advance(0.9)
    guard.allow_sending()
    assert installation.binding().generation == second
    installation.clock.advance(0.1)
    guard.allow_sending()  # nobody has renewed it
    assert installation.binding().generation > second


def test_the_thread_of_the_guard_renews_what_is_due(new: New) -> None:
    installation = new()
    guard = installation.start()
    guard.allow_sending()
    generation = installation.binding().generation
    installation.clock.advance(0.8)
    with run_guard(guard):
        guard.renewal_due.set()
        wait_until(lambda: installation.binding().generation > generation)


def test_a_generation_that_is_due_is_made_once_however_often_it_is_requested(new: New) -> None:
    installation = new()
    guard = installation.start()
    guard.allow_sending()
    first = installation.binding().generation
    installation.clock.advance(0.8)
    guard.renew()
    second = installation.binding().generation
    guard.renew()  # requested by what was sent while the first renewal was written
    assert (second > first, installation.binding().generation) == (True, second)


def test_nothing_is_sent_while_a_generation_cannot_be_renewed(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = new()
    guard = installation.start()
    guard.allow_sending()

    def fail(*_: object) -> int:
        raise StorageError("The disk is full.")

    monkeypatch.setattr(SqliteEventLog, "reserve_generation", fail)
    installation.clock.advance(0.9)
    with suppress(StorageError):
        guard.advance(at_once=True)
    installation.clock.advance(0.1)
    with pytest.raises(StorageError, match="disk is full"):
        guard.allow_sending()


def test_a_log_is_adopted_with_all_that_waits_in_it(new: New) -> None:
    first, second = new("first"), new("second")
    first.append(7)
    first.start()
    first.route(to=7)
    second.append(3)
    with pytest.raises(OtherLogError):
        second.start()
    assert second.guard().adopt() == 3
    second.start().check()
    waiting = second.log().read(7, records_max=10, bytes_max=1_000)
    assert [item.received_at for item in waiting] == [0, 1, 2]
    assert second.append(1) > waiting[-1].position
    with pytest.raises(OtherLogError):
        first.start()


def test_a_log_of_before_gets_its_id_once(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    SqliteEventLog(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE identity")
        database.commit()
    with closing(SqliteEventLog(path)) as first, closing(SqliteEventLog(path)) as second:
        assert first.identity() == second.identity()
        assert first.identity().confirmed == 0
