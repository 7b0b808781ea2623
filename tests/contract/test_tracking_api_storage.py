"""When nothing can be made durable the Tracking API says 503 and when to come again; nothing is taken halfway."""

import asyncio
import itertools
import resource
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from punchcard.errors import StorageError
from punchcard.ingest.app import TrackingApp
from punchcard.log.bodies import decompress
from punchcard.log.group_commit import GroupCommit
from punchcard.log.port import NewRecord
from punchcard.log.sqlite import SqliteEventLog
from punchcard.testing.clock import ManualClock

EVENT = {"userId": "ann", "event": "Checked In", "properties": {"note": "x" * 5_000}}
SIZE_MAX = 128 * 1024


@contextmanager
def no_room_for_files_above(size: int) -> Iterator[None]:
    """What a full disk does to a file that would grow: the write fails. Python ignores the signal that goes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def assert_retryable(reply: Any) -> None:
    assert reply.status == 503
    assert int(reply.headers["retry-after"]) >= 1
    assert reply.headers["access-control-allow-origin"] == "*"
    content = reply.json()
    assert content["success"] is False
    assert content["code"] == "storage_unavailable"
    assert content["message"]


@pytest.mark.parametrize("call", ["track", "t", "batch", "import"])
def test_a_full_disk_is_reported_and_only_what_was_acknowledged_is_stored(tracking: Any, call: str) -> None:
    """Promise: 200 and recorded are the same thing."""
    body = {"batch": [{**EVENT, "type": "track"}]} if call in ("batch", "import") else EVENT
    acknowledged = 0
    with no_room_for_files_above(SIZE_MAX):
        for _ in range(100):
            response = tracking.post(call, {**body, "messageId": f"m{acknowledged}"})
            if response.status != 200:
                assert_retryable(response)
                break
            acknowledged += 1
        assert_retryable(tracking.post(call, body))
        assert len(tracking.recorded()) == acknowledged
    assert tracking.post(call, body).status == 200
    assert len(tracking.recorded()) == acknowledged + 1


def test_a_full_disk_is_no_reason_for_a_500_to_those_who_ask_for_something_else(tracking: Any) -> None:
    with no_room_for_files_above(32 * 1024):
        assert_retryable(tracking.post("track", EVENT))
        assert_retryable(tracking.request("GET", "/v1/pixel/track?userId=ann&event=x&writeKey=wk_website"))
        assert tracking.post("track", b"{").status == 400
        assert tracking.request("GET", "/v1/projects/wk_website/settings").status == 200
        assert tracking.post("m", {}).status == 200
    assert tracking.recorded() == []


def test_somebody_who_writes_to_the_log_for_a_moment_is_waited_for(tracking: Any, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:

        async def send_and_let_go() -> int:
            sending = asyncio.create_task(asyncio.to_thread(tracking.post, "track", EVENT))
            await asyncio.sleep(0.3)
            assert not sending.done()
            other.execute("ROLLBACK")
            return int((await sending).status)

        assert asyncio.run(send_and_let_go()) == 200
    finally:
        other.close()
    assert len(tracking.recorded()) == 1


class _Held:
    """The real log behind a gate: a disk that does not answer."""

    def __init__(self, log: SqliteEventLog) -> None:
        self._log = log
        self.gate = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        asyncio.run_coroutine_threadsafe(self.gate.wait(), self._loop).result()
        return self._log.append(records)


def test_a_disk_that_hangs_fills_no_memory_and_a_stop_takes_no_more(tmp_path: Path) -> None:
    """Promise: waiting calls are bounded; a call above the bound is refused at once; the others get true answers."""
    log = SqliteEventLog(tmp_path / "log.db")

    async def trace() -> None:
        held = _Held(log)
        commit = GroupCommit(held, records_max=64, bytes_max=1 << 20, queue_bytes_max=50_000)  # type: ignore[arg-type]
        app = TrackingApp(commit, keys=lambda _: True, clock=ManualClock(), body_seconds=5)
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://x", auth=("wk_website", "")) as client:
            sending = [asyncio.create_task(client.post("/v1/track", json=EVENT)) for _ in range(40)]
            at_once = itertools.islice(asyncio.as_completed(sending), 10)
            refused = [await item for item in at_once]
            assert {item.status_code for item in refused} == {503}
            assert {item.json()["code"] for item in refused} == {"overloaded"}
            assert all(item.headers["retry-after"] for item in refused)
            held.gate.set()
            statuses = [(await item).status_code for item in sending]
            assert len(everything(log)) == statuses.count(200) > 0
            assert (await client.post("/v1/track", json=EVENT)).status_code == 200
            await asyncio.to_thread(commit.stop)
            response = await client.post("/v1/track", json=EVENT)
            assert (response.status_code, response.json()["code"]) == (503, "stopping")
            assert len(everything(log)) == statuses.count(200) + 1

    try:
        asyncio.run(trace())
    finally:
        log.close()


class _Failing:
    """The real log on a disk that is full for a while."""

    def __init__(self, log: SqliteEventLog) -> None:
        self._log = log
        self.is_full = True

    def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        self.check_writes()
        return self._log.append(records)

    def check_writes(self) -> None:
        if self.is_full:
            raise StorageError("The disk is full.")
        self._log.check_writes()


def test_a_failed_commit_is_known_until_a_write_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SqliteEventLog(tmp_path / "log.db")
    record = NewRecord(0, "wk_website", "track", "identity", b"{}", "")

    async def fill() -> None:
        failing = _Failing(log)
        commit = GroupCommit(failing, records_max=64, bytes_max=1 << 20, queue_bytes_max=50_000)  # type: ignore[arg-type]
        failing.is_full = False
        assert commit.proof.failure() is None
        failing.is_full = True
        with pytest.raises(StorageError):
            await commit.submit(record)
        failing.is_full = False
        failure = commit.proof.failure()
        assert failure is not None
        assert failure.message == "The disk is full."
        with monkeypatch.context() as later:
            later.setattr("punchcard.log.write_proof.FAILURE_SECONDS", 0.0)
            assert commit.proof.failure() is None
        commit.proof.note(failure)
        await commit.submit(record)
        assert commit.proof.failure() is None
        await asyncio.to_thread(commit.stop)

    try:
        asyncio.run(fill())
    finally:
        log.close()


def everything(log: SqliteEventLog) -> list[bytes]:
    return [decompress(item) for item in log.read(0, records_max=10_000, bytes_max=1 << 40)]
