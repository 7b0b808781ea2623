"""A loop that waits for requests looks at the store only when something was committed, or now and then."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from punchcard.store.changes import StoreChanges
from punchcard.store.engine import Store
from punchcard.store.routing.positions import note_position
from punchcard.testing.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(sqlite_url: str) -> Iterator[Store]:
    with closing(Store(sqlite_url)) as opened:
        yield opened


@pytest.fixture
def changes(store: Store, clock: ManualClock) -> StoreChanges:
    opened = StoreChanges(store, clock=clock)
    assert opened.have_come()
    return opened


def commit(store: Store, position: int = 1) -> None:
    with store.unit_of_work() as work:
        note_position(work, "engage", position)


def test_nothing_has_changed(changes: StoreChanges, store: Store) -> None:
    with store.reading():
        assert not changes.have_come()
    assert not changes.have_come()


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["this process", "another process"])
def test_each_commit_is_a_change(changes: StoreChanges, store: Store, sqlite_url: str, *, is_elsewhere: bool) -> None:
    with closing(Store(sqlite_url)) as other:
        for position in range(1, 4):
            commit(other if is_elsewhere else store, position)
            assert changes.have_come()
            assert not changes.have_come()


def test_what_was_rolled_back_is_no_change(changes: StoreChanges, store: Store) -> None:
    def fail(work: Connection) -> None:
        note_position(work, "engage", 1)
        raise ValueError

    with pytest.raises(ValueError), store.unit_of_work() as work:
        fail(work)
    assert not changes.have_come()


def test_a_look_that_failed_is_repeated(changes: StoreChanges) -> None:
    changes.forget()
    assert changes.have_come()
    assert not changes.have_come()


def test_time_alone_is_a_reason_to_look(changes: StoreChanges, clock: ManualClock) -> None:
    clock.advance(4)
    assert not changes.have_come()
    clock.advance(1)
    assert changes.have_come()
    assert not changes.have_come()


def test_a_file_that_cannot_be_read_is_looked_at(store: Store, clock: ManualClock) -> None:
    path = Path(str(store.sqlite_path))
    changes = StoreChanges(store, clock=clock)
    assert changes.have_come()
    store.commits.close()
    path.rename(path.with_suffix(".away"))
    path.mkdir()
    assert changes.have_come()
    assert changes.have_come()
    path.rmdir()
    path.with_suffix(".away").rename(path)


def test_loops_of_a_process_share_a_connection_and_see_each_change_themselves(
    changes: StoreChanges, store: Store, clock: ManualClock
) -> None:
    others = [StoreChanges(store, clock=clock) for _ in range(3)]
    assert all(other.have_come() for other in others)
    commit(store)
    assert all(look.have_come() for look in (changes, *others))
    assert not any(look.have_come() for look in (changes, *others))


def test_a_server_is_always_looked_at(postgres_url: str, clock: ManualClock) -> None:
    with closing(Store(postgres_url)) as store:
        changes = StoreChanges(store, clock=clock)
        assert changes.have_come()
        assert changes.have_come()
