"""What every event log promises, asked of each one that there is: durable, in order, nothing lost, nothing twice."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from punchcard.errors import StorageError
from punchcard.log.port import EventLog, LogRecord, NewRecord
from punchcard.log.sqlite import SqliteEventLog, decompress

EVERYTHING = {"records_max": 1_000_000, "bytes_max": 1 << 40}


class Opener(Protocol):
    """Opens the test's log; twice is the same log."""

    def __call__(self) -> EventLog: ...


@pytest.fixture(params=["sqlite"])
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    opened: list[EventLog] = []
    makers: dict[str, Callable[[], EventLog]] = {"sqlite": lambda: SqliteEventLog(tmp_path / "log.db")}

    def opening() -> EventLog:
        opened.append(makers[request.param]())
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
    assert log.last_position() == 0
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


APPENDING = """
import sys
from pathlib import Path
from punchcard.log.port import NewRecord
from punchcard.log.sqlite import SqliteEventLog

log = SqliteEventLog(Path(sys.argv[1]))
number = 0
while True:
    bodies = [b'{"n":%d,"part":%d,"padding":"%s"}' % (number, part, b"x" * 700) for part in range(4)]
    for position in log.append([NewRecord(1, "wk", "track", "identity", body, "") for body in bodies]):
        print(position, number, flush=True)
    number += 1
"""


@pytest.mark.parametrize("acknowledged_min", [4, 200, 1_000])
def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(tmp_path: Path, acknowledged_min: int) -> None:
    path = tmp_path / "log.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", APPENDING, str(path)], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert writer.stdout is not None
    reported = [writer.stdout.readline() for _ in range(acknowledged_min)]
    writer.send_signal(signal.SIGKILL)
    reported += writer.stdout.readlines()
    writer.wait()
    writer.stdout.close()
    acknowledged = {
        int(position): int(number) for position, number in (line.split() for line in reported if "\n" in line)
    }
    log = SqliteEventLog(path)
    try:
        result = {item.position: decompress(item) for item in log.read(0, **EVERYTHING)}
        assert all(b'{"n":%d,' % number in result[position] for position, number in acknowledged.items())
        # A commit is whole or not at all, and the log goes on.
        assert len(result) % 4 == 0
        assert log.append(numbered(0, 1))[0] > max(result)
    finally:
        log.close()
