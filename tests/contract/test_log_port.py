"""What every event log promises, asked of each one that there is: durable, in order, nothing lost, nothing twice."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import pytest

from punchcard.errors import StorageError
from punchcard.log.bodies import decompress
from punchcard.log.opening import open_event_log
from punchcard.log.partitions import PartitionedLog, layout_of
from punchcard.log.port import EventLog, LogRecord, NewRecord
from punchcard.testing.waiting import PATIENCE_SECONDS

EVERYTHING = {"records_max": 1_000_000, "bytes_max": 1 << 40}


class Opener(Protocol):
    """Opens the test's log; twice is the same log."""

    def __call__(self) -> EventLog: ...


@pytest.fixture(
    params=[
        "sqlite",
        "postgresql",
        pytest.param("kafka", marks=pytest.mark.kafka),
        pytest.param("kafka in 3 partitions", marks=pytest.mark.kafka),
    ]
)
def log_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'log.db'}"
    if request.param == "postgresql":
        return str(request.getfixturevalue("empty_postgres_url"))
    url = str(request.getfixturevalue("kafka").url())
    if request.param != "kafka":
        with closing(open_event_log(url)) as log:
            assert isinstance(log, PartitionedLog)
            log.set_partitions(3)
            log.trim(log.last_position(), records_max=1)  # the place of the division, which has a position
    return url


@pytest.fixture
def open_log(log_url: str) -> Iterator[Opener]:
    opened: list[EventLog] = []

    def opening() -> EventLog:
        opened.append(open_event_log(log_url))
        return opened[-1]

    yield opening
    for log in opened:
        log.close()


@pytest.fixture
def log(open_log: Opener) -> EventLog:
    return open_log()


def record(body: bytes = b"{}", **values: object) -> NewRecord:
    known: dict[str, object] = {
        "received_at": 1_767_323_045_000_000,
        "write_key": "wk_website",
        "call": "track",
        "encoding": "identity",
        "ip": "",
    }
    return NewRecord(**{**known, **values}, body=body)  # type: ignore[arg-type]


def numbered(first: int, count: int) -> list[NewRecord]:
    return [record(b'{"n":%d}' % number) for number in range(first, first + count)]


def content(log_record: LogRecord) -> tuple[object, ...]:
    return (log_record.received_at, log_record.write_key, log_record.call, log_record.ip, decompress(log_record))


def test_an_empty_log_has_nothing_to_read(log: EventLog) -> None:
    assert list(log.read(0, **EVERYTHING)) == []
    assert log.last_position() == layout_of(log).changed_after + (layout_of(log).count > 1)
    assert log.trim(10, records_max=10) == 0


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{}", id="short"),
        pytest.param(b'{"note":"' + b"x" * 40_000 + b'"}', id="long and even"),
        pytest.param(os.urandom(400_000), id="long and random"),
        pytest.param('{"name":"Ännchen 🎉"}'.encode(), id="beyond ASCII"),
        pytest.param(b"\x00\xff\xfe", id="any bytes"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_record_is_read_as_it_was_appended(log: EventLog, body: bytes) -> None:
    given = record(body, write_key="wk'\"; DROP TABLE records", call="batch", ip="203.0.113.9")
    (position,) = log.append([given])
    (item,) = log.read(0, **EVERYTHING)
    assert item.position == position
    assert content(item) == (given.received_at, given.write_key, given.call, given.ip, body)


def test_what_came_packed_is_given_back_unpacked_to_the_reader(log: EventLog) -> None:
    import gzip

    log.append([record(gzip.compress(b'{"a":1}'), encoding="gzip")])
    (item,) = log.read(0, **EVERYTHING)
    assert decompress(item) == b'{"a":1}'


def test_positions_rise_in_the_order_of_appending(log: EventLog) -> None:
    first = log.append(numbered(0, 3))
    second = log.append(numbered(3, 2))
    positions = [*first, *second]
    assert positions == sorted(set(positions))
    assert log.last_position() == positions[-1]
    result = log.read(0, **EVERYTHING)
    assert [item.position for item in result] == positions
    assert [decompress(item) for item in result] == [b'{"n":%d}' % number for number in range(5)]


def test_reading_goes_on_behind_a_position(log: EventLog) -> None:
    positions = log.append(numbered(0, 5))
    assert [item.position for item in log.read(positions[2], **EVERYTHING)] == list(positions[3:])
    assert list(log.read(positions[-1], **EVERYTHING)) == []


def test_reading_is_limited_by_number(log: EventLog) -> None:
    positions = log.append(numbered(0, 5))
    assert [item.position for item in log.read(0, records_max=2, bytes_max=1 << 40)] == list(positions[:2])


def test_reading_is_limited_by_what_senders_wrote_but_never_stuck(log: EventLog) -> None:
    positions = log.append([record(b"x" * 10_000) for _ in range(5)])
    assert [item.position for item in log.read(0, records_max=9, bytes_max=25_000)] == list(positions[:3])
    assert [item.position for item in log.read(0, records_max=9, bytes_max=1)] == [positions[0]]


def test_a_reopened_log_is_the_same_log(open_log: Opener) -> None:
    before = open_log()
    positions = before.append(numbered(0, 3))
    before.close()
    after = open_log()
    assert [item.position for item in after.read(0, **EVERYTHING)] == list(positions)
    assert after.append(numbered(3, 1))[0] > positions[-1]


def test_a_reader_opened_before_sees_what_is_appended_elsewhere(open_log: Opener) -> None:
    reading, writing = open_log(), open_log()
    assert list(reading.read(0, **EVERYTHING)) == []
    positions = writing.append(numbered(0, 2))
    assert [item.position for item in reading.read(0, **EVERYTHING)] == list(positions)
    assert reading.last_position() == positions[-1]


def test_trimmed_records_are_gone_and_their_positions_never_come_again(open_log: Opener) -> None:
    log = open_log()
    positions = log.append(numbered(0, 5))
    assert log.trim(positions[3], records_max=3) == 3
    assert [item.position for item in log.read(0, **EVERYTHING)] == list(positions[3:])
    assert log.trim(positions[-1], records_max=100) == 2
    assert log.last_position() == positions[-1]
    log.close()
    again = open_log()
    assert again.last_position() == positions[-1]
    assert again.append(numbered(5, 1))[0] > positions[-1]


def test_a_lost_log_goes_on_behind_what_was_routed_of_it(open_log: Opener) -> None:
    log = open_log()
    log.continue_after(40)
    assert log.last_position() == 40
    assert list(log.append([record()])) == [41]
    log.continue_after(7)
    assert list(log.append([record()])) == [42]
    assert [item.position for item in log.read(40, records_max=10, bytes_max=10**6)] == [41, 42]


def test_many_appenders_lose_and_mix_nothing(open_log: Opener) -> None:
    logs = [open_log(), open_log()]
    positions: dict[int, bytes] = {}

    def append(worker: int) -> None:
        for number in range(25):
            bodies = [b'{"worker":%d,"n":%d,"part":%d}' % (worker, number, part) for part in range(3)]
            given = logs[worker % 2].append([record(body) for body in bodies])
            positions.update(zip(given, bodies, strict=True))

    threads = [threading.Thread(target=append, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result = {item.position: decompress(item) for item in logs[0].read(0, **EVERYTHING)}
    assert len(positions) == 6 * 25 * 3
    assert result == positions


def test_a_closed_log_says_so(log: EventLog) -> None:
    log.append(numbered(0, 1))
    log.close()
    with pytest.raises(StorageError):
        log.append(numbered(1, 1))
    with pytest.raises(StorageError):
        log.read(0, **EVERYTHING)


def test_a_write_key_of_any_characters_is_stored_and_matches_no_other(log: EventLog) -> None:
    """Promise: a strange write key does not disturb other requests of the same commit."""
    keys = ["wk\0", "wk\ud800", "wk\u202e🎉", "wk"]
    log.append([record(write_key=key) for key in keys])
    stored = [item.write_key for item in log.read(0, **EVERYTHING)]
    assert stored[2:] == keys[2:]
    assert not {"wk", "wk?"} & set(stored[:2])


def test_waiting_ends_when_a_record_is_appended_elsewhere(open_log: Opener) -> None:
    reading, writing = open_log(), open_log()
    reading.wait(0, seconds=0.01, poll_seconds=0.001)
    ended = threading.Event()

    def wait() -> None:
        while not reading.read(0, **EVERYTHING):
            reading.wait(0, seconds=PATIENCE_SECONDS, poll_seconds=PATIENCE_SECONDS)
        ended.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    writing.append(numbered(0, 1))
    assert ended.wait(PATIENCE_SECONDS / 2)
    waiting.join()


def test_waiting_does_not_miss_what_was_appended_before_it_began(open_log: Opener) -> None:
    reading, writing = open_log(), open_log()
    (position,) = writing.append(numbered(0, 1))
    begun = time.monotonic()
    reading.wait(position - 1, seconds=PATIENCE_SECONDS, poll_seconds=0.001)
    assert time.monotonic() - begun < PATIENCE_SECONDS / 2


def test_identity_and_generations_are_shared_and_survive(open_log: Opener) -> None:
    first, second = open_log(), open_log()
    assert first.identity() == second.identity()
    reserved = first.reserve_generation(5)
    assert reserved > 5
    assert second.reserve_generation(0) > reserved
    second.confirm_generation(reserved)
    first.confirm_generation(1)
    first.close()
    identity = open_log().identity()
    assert identity.confirmed == reserved
    assert identity.reserved > reserved


def test_moved_records_keep_their_order_behind_the_position(log: EventLog) -> None:
    positions = log.append(numbered(0, 4))
    log.trim(positions[0], records_max=1)
    assert log.move_after(100) == 3
    records = log.read(100, **EVERYTHING)
    assert [decompress(item) for item in records] == [b'{"n":%d}' % number for number in (1, 2, 3)]
    assert log.last_position() == records[-1].position
    assert log.append(numbered(4, 1))[0] > records[-1].position


def test_a_log_that_refuses_takes_no_more_and_can_be_read(log: EventLog) -> None:
    log.append(numbered(0, 1))
    log.refuse(StorageError("It belongs to another database.", code="another_log"))
    with pytest.raises(StorageError, match="another database"):
        log.append(numbered(1, 1))
    assert len(log.read(0, **EVERYTHING)) == 1


APPENDING = """
import sys
from punchcard.log.opening import open_event_log
from punchcard.log.partitions import PartitionedLog, layout_of
from punchcard.log.port import NewRecord

log = open_event_log(sys.argv[1])
number = 0
while number < int(sys.argv[3]):
    padding = b"x" * (number % 7 * 300)
    bodies = [b'{"by":"%s","n":%d,"part":%d,"padding":"%s"}' % (sys.argv[2].encode(), number, part, padding)
              for part in range(4)]
    for position in log.append([NewRecord(1, "wk", "track", "identity", body, "") for body in bodies]):
        print(position, number, flush=True)
    number += 1
log.close()
"""


class Appender:
    """A process that appends groups of four records and reports their positions."""

    def __init__(self, url: str, name: str, groups: int = 1_000_000) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-c", APPENDING, url, name, str(groups)], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self._lines: list[str] = []

    def wait_for(self, records: int) -> None:
        self._lines += [self._output.readline() for _ in range(records)]

    def end(self, *, kill: bool) -> dict[int, int]:
        """Return the number of the group by acknowledged position."""
        if kill:
            self._process.send_signal(signal.SIGKILL)
        self._lines += self._output.readlines()
        status = self._process.wait()
        self._output.close()
        assert kill or status == 0
        pairs = [line.split() for line in self._lines if line.endswith("\n")]
        return {int(position): int(number) for position, number in pairs}


@pytest.mark.parametrize("acknowledged_min", [4, 1_000])
def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(
    log_url: str, log: EventLog, acknowledged_min: int
) -> None:
    writer = Appender(log_url, "writer")
    writer.wait_for(acknowledged_min)
    acknowledged = writer.end(kill=True)
    result = {item.position: decompress(item) for item in log.read(0, **EVERYTHING)}
    assert all(b'"n":%d,' % number in result[position] for position, number in acknowledged.items())
    # A commit is whole or not at all, except in Kafka. The log goes on.
    assert len(result) % 4 == 0 or log_url.startswith("kafka:")
    assert log.append(numbered(0, 1))[0] > max(result)


def test_a_reader_misses_nothing_while_processes_append_are_killed_and_the_log_is_trimmed(
    log_url: str, open_log: Opener
) -> None:
    """Promise: who continues after the last position that it saw reads every acknowledged record, once, in order."""
    log, trimming = open_log(), open_log()
    appenders = [Appender(log_url, f"lasting-{number}", groups=120) for number in range(3)]
    killed = Appender(log_url, "killed")
    seen: list[LogRecord] = []
    acknowledged: dict[int, str] = {}
    ended = threading.Event()

    def read_on() -> None:
        after = 0
        while True:
            is_last = ended.is_set()
            records = log.read(after, records_max=97, bytes_max=50_000)
            seen.extend(records)
            if records:
                after = records[-1].position
                trimming.trim(after - 50, records_max=40)
            elif is_last:
                return
            else:
                log.wait(after, seconds=0.1, poll_seconds=0.001)

    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        killed.wait_for(200)
        acknowledged.update(dict.fromkeys(killed.end(kill=True), killed.name))
        for appender in appenders:
            acknowledged.update(dict.fromkeys(appender.end(kill=False), appender.name))
    finally:
        ended.set()
        reader.join()
    positions = [item.position for item in seen]
    assert positions == sorted(set(positions))
    by_position = {item.position: decompress(item) for item in seen}
    assert all(name.encode() in by_position.get(position, b"") for position, name in acknowledged.items())
    assert len(acknowledged) >= 3 * 120 * 4 + 200
