"""A disk without room is noticed by writing, before an event or an award needs the room."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from punchcard.errors import StorageError
from punchcard.log.opening import open_event_log
from punchcard.log.write_proof import WriteProof
from punchcard.store.engine import Store
from punchcard.testing.full_disk import fill

_NO_ROOM = "No space left on device|disk is full"


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Leave no room on a disk for the length of the block."""
    ballast = disk / "ballast"
    fill(ballast)
    try:
        yield
    finally:
        ballast.unlink()


def assert_full_disk_is_noticed(store_url: str, log_url: str, disk: Path) -> None:
    with closing(Store(store_url)) as store, closing(open_event_log(log_url)) as log:
        for _ in range(3):  # again without anything left behind
            store.ping()
            log.check_writes()
            with full(disk):
                log.identity()  # what is there can be read
                with pytest.raises(StorageError, match=_NO_ROOM):
                    store.ping()
                with pytest.raises(StorageError, match=_NO_ROOM):
                    log.check_writes()
        store.ping()
        log.check_writes()


@pytest.mark.cluster
def test_postgresql_on_a_full_disk_is_noticed(postgres_on_small_disk: Any) -> None:
    server, disk = postgres_on_small_disk
    assert_full_disk_is_noticed(server.url, server.url, disk)


def test_a_data_folder_on_a_full_disk_is_noticed(
    tmp_path: Path, small_disk: Callable[..., AbstractContextManager[None]]
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, megabytes=8):
        assert_full_disk_is_noticed(f"sqlite:///{disk / 'punchcard.db'}", f"sqlite:///{disk / 'log.db'}", disk)


class _Disk:
    """Counts how often it is written to, and may be full."""

    def __init__(self) -> None:
        self.writes = 0
        self.is_full = False

    def write(self) -> None:
        self.writes += 1
        if self.is_full:
            raise StorageError("The disk is full.")


def test_many_questions_cost_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = _Disk()
    proof = WriteProof(disk.write)
    assert [proof.failure() for _ in range(5)] == [None] * 5
    assert disk.writes == 1
    disk.is_full = True
    assert proof.failure() is None
    monkeypatch.setattr("punchcard.log.write_proof.SUCCESS_SECONDS", 0.0)
    failures = {str(proof.failure()) for _ in range(5)}
    assert failures == {"The disk is full."}
    assert disk.writes == 2


def test_a_write_that_ends_during_a_proof_counts() -> None:
    failure = StorageError("The disk is full.")
    proof = WriteProof(lambda: proof.note(failure))
    assert proof.failure() is failure
