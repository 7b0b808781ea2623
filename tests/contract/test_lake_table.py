"""The lake's promises on a real table: everything appended is found, each log range is in it once."""

import datetime
import os
import resource
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from punchcard.clock import SystemClock, from_micros
from punchcard.errors import ConfigurationError, InvariantError, LakeError, StorageError
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.events.notes import Note
from punchcard.lake.reader import LakeEvent, LakeReader, LakeResult
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter, RangeKnownError
from punchcard.testing.s3_server import lake_folder

MIDNIGHT = 1_767_312_000_000_000  # 2026-01-02T00:00:00Z
STATUSES = (
    '[{"destination":"perkville","status":"pending","reason":null,"detail":null,"effectKey":"SEG:website:ORDER:1"}]'
)
FAILED = '[{"destination":null,"status":"failed_on_ingest","reason":"invalid","detail":"no type","effectKey":null}]'


@dataclass(frozen=True)
class Failed:
    message_id: str
    raw: bytes
    notes: tuple[Note, ...] = ()


class Interrupted(SystemClock):
    """Somebody else acts once, after the writer has looked at the table and before it commits."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act: Callable[[], object] | None = act

    def new_id(self) -> str:
        act, self._act = self._act, None
        if act:
            act()
        return super().new_id()


@pytest.fixture
def url(lake_url: str) -> str:
    return lake_url


@pytest.fixture
def folder_url(tmp_path: Path) -> str:
    return str(tmp_path / "a lake")


def an_event(message_id: str, *, raw: bytes = b"{}") -> Event:
    wire = WireEvent(event="Order Completed", user_id="u-1")
    instant = from_micros(MIDNIGHT)
    return Event(EventType.TRACK, MessageId(message_id), instant, instant, wire, raw)


def rows_at(position: int, *items: Event | Failed, received_at: int = MIDNIGHT, results: str = STATUSES) -> LakeRows:
    rows = LakeRows()
    for index, item in enumerate(items):
        rows.add(item, source="website", received_at=received_at, position=position, index=index, results=results)
    return rows


def append(writer: LakeWriter, position: int, *message_ids: str) -> None:
    writer.append(rows_at(position, *map(an_event, message_ids)), first_position=position, last_position=position)


def all_ids(url: str) -> list[str]:
    return sorted(
        item.removeprefix("website ")
        for recent_message_key in LakeReader(url).recent_message_keys(10_000_000)
        for item in recent_message_key
    )


def data_files(url: str) -> list[Path]:
    return sorted(lake_folder(url).glob("day=*/*.parquet"))


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """As on a full disk, no file grows beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_event_is_read_back_as_it_was_appended(url: str) -> None:
    raw = b'{"type":"track","properties":{"revenue":9.99}}'
    LakeWriter(url).append(rows_at(3, an_event("m-1", raw=raw)), first_position=1, last_position=5)
    assert LakeReader(url).find("m-1") == [
        LakeEvent(
            message_id="m-1",
            type="track",
            event="Order Completed",
            user_id="u-1",
            anonymous_id=None,
            email=None,
            source="website",
            received_at=from_micros(MIDNIGHT),
            timestamp=from_micros(MIDNIGHT),
            log_position=3,
            event_index=0,
            payload=raw,
            results=(LakeResult("perkville", "pending", effect_key="SEG:website:ORDER:1"),),
        )
    ]


def test_an_open_reader_finds_what_was_committed_within_one_tick_of_the_clock_of_files(folder_url: str) -> None:
    """The time of the folder tells it whether there are commits, and two of them may have the same."""
    writer, reader = LakeWriter(folder_url), LakeReader(folder_url)
    log = lake_folder(folder_url) / "_delta_log"
    append(writer, 1, "m-1")
    before = log.stat()
    assert reader.last_position() == 1
    assert reader.last_position() == 1
    append(writer, 2, "m-2")
    os.utime(log, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert reader.last_position() == 2
    assert [event.message_id for event in reader.find("m-2")] == ["m-2"]


def test_an_open_table_notices_that_its_newest_commit_was_written_over(folder_url: str) -> None:
    """Otherwise a process that runs would write on top of damage that only the next start finds."""
    writer, reader = LakeWriter(folder_url), LakeReader(folder_url)
    append(writer, 1, "m-1")
    append(writer, 2, "m-2")
    assert reader.last_position() == 2
    newest = max((lake_folder(folder_url) / "_delta_log").glob("*.json"))
    newest.write_bytes(b"garbage")
    with pytest.raises(LakeError):
        reader.last_position()
    with pytest.raises(LakeError):
        append(writer, 3, "m-3")


def test_what_is_no_valid_event_is_found_too(url: str) -> None:
    rows = rows_at(1, Failed("derived", b"[1,2]"), results=FAILED)
    LakeWriter(url).append(rows, first_position=1, last_position=1)
    (item,) = LakeReader(url).find("derived")
    assert (item.type, item.timestamp, item.payload, item.results[0].reason) == ("", None, b"[1,2]", "invalid")


@pytest.mark.parametrize(
    ("message_id", "raw"),
    [
        ("m'; --", b"{}"),
        ("nul\x00inside", b'{"a":"\x00"}'),
        ("ключ-🏋", '{"имя":"Анна"}'.encode()),
        ("long", b'"' + b"x" * 32_766 + b'"'),
        ("", b""),
        ("surrogate", b'{"a":"\\ud800"}'),
    ],
    ids=["quotes", "NUL", "not ASCII", "32 KB", "empty", "escaped surrogate"],
)
def test_odd_content_comes_back_unchanged(url: str, message_id: str, raw: bytes) -> None:
    rows = rows_at(1, an_event("before"), an_event(message_id, raw=raw), an_event("after"))
    LakeWriter(url).append(rows, first_position=1, last_position=1)
    (item,) = LakeReader(url).find(message_id)
    assert (item.message_id, item.payload) == (message_id, raw)


def test_all_copies_of_a_message_id_are_found_oldest_first(url: str) -> None:
    writer = LakeWriter(url)
    append(writer, 1, "twice", "once")
    append(writer, 2, "other", "twice")
    assert [(item.log_position, item.event_index) for item in LakeReader(url).find("twice")] == [(1, 0), (2, 1)]


def test_a_lake_that_is_not_there_holds_nothing(url: str) -> None:
    assert LakeReader(url).find("m-1") == []
    assert list(LakeReader(url).recent_message_keys(10)) == []
    assert LakeWriter(url).last_position() == 0
    assert not lake_folder(url).exists()


def test_rows_of_two_days_go_into_two_partitions_in_one_commit(url: str) -> None:
    rows = rows_at(1, an_event("before"), received_at=MIDNIGHT - 1)
    rows.extend(rows_at(2, an_event("after")))
    LakeWriter(url).append(rows, first_position=1, last_position=2)
    assert [file.parent.name for file in data_files(url)] == ["day=2026-01-01", "day=2026-01-02"]
    assert all_ids(url) == ["after", "before"]


def test_the_newest_message_ids_come_first_and_without_failures(url: str) -> None:
    writer = LakeWriter(url)
    for position in range(1, 5):
        append(writer, position, f"a-{position}", f"b-{position}")
    writer.append(rows_at(5, Failed("no event", b"?"), results=FAILED), first_position=5, last_position=5)
    newest = [item for recent_message_key in LakeReader(url).recent_message_keys(3) for item in recent_message_key]
    assert newest == ["website b-4", "website a-4", "website b-3"]


@pytest.mark.parametrize(
    ("first", "last", "error"),
    [
        (1, 10, RangeKnownError),
        (10, 10, RangeKnownError),
        (5, 20, RangeKnownError),
        (0, 3, InvariantError),
        (12, 11, InvariantError),
    ],
    ids=["same", "end", "overlap", "zero", "reversed"],
)
def test_a_range_that_is_known_or_none_is_refused(url: str, first: int, last: int, error: type[Exception]) -> None:
    writer = LakeWriter(url)
    writer.append(rows_at(10, an_event("m-1")), first_position=1, last_position=10)
    with pytest.raises(error):
        writer.append(rows_at(max(first, 1), an_event("m-2")), first_position=first, last_position=last)
    assert (writer.last_position(), all_ids(url)) == (10, ["m-1"])


def test_rows_outside_of_their_range_are_refused(url: str) -> None:
    with pytest.raises(InvariantError):
        LakeWriter(url).append(rows_at(7, an_event("m-1")), first_position=1, last_position=6)


def test_a_range_without_events_is_remembered(url: str) -> None:
    LakeWriter(url).append(LakeRows(), first_position=1, last_position=9)
    assert LakeWriter(url).last_position() == 9
    assert LakeReader(url).find("m-1") == []


def test_a_second_writer_cannot_append_the_range_of_the_first(url: str) -> None:
    first, second = LakeWriter(url), LakeWriter(url)
    append(first, 1, "m-1")
    assert second.last_position() == 1
    append(first, 2, "m-2")
    with pytest.raises(RangeKnownError):
        append(second, 2, "m-2")
    assert (second.last_position(), all_ids(url)) == (2, ["m-1", "m-2"])


def test_of_two_writers_in_the_midst_of_the_same_range_one_commits(url: str) -> None:
    """Both have seen that the range is free: only the commit itself can tell."""
    first = LakeWriter(url)
    append(first, 1, "m-1")
    second = LakeWriter(url, clock=Interrupted(lambda: append(first, 2, "m-2")))
    with pytest.raises(RangeKnownError):
        append(second, 2, "m-2")
    assert (second.last_position(), all_ids(url)) == (2, ["m-1", "m-2"])
    assert len(data_files(url)) == 2  # what the second wrote in vain is gone


def test_a_writer_goes_on_when_a_merge_comes_in_between(url: str) -> None:
    first = LakeWriter(url)
    for position in range(1, 21):
        append(first, position, f"m-{position:02}")
    append(LakeWriter(url, clock=Interrupted(first.compact)), 21, "m-21")
    assert len(LakeReader(url).find("m-21")) == 1
    assert all_ids(url) == [f"m-{position:02}" for position in range(1, 22)]


def test_writers_that_race_append_each_range_once(url: str) -> None:
    done: list[int] = []

    def race() -> None:
        writer = LakeWriter(url)
        position = 1
        while position < 16:
            try:
                append(writer, position, f"m-{position:02}")
                done.append(position)
            except RangeKnownError:
                position += 1
            except StorageError:
                continue

    racers = [threading.Thread(target=race) for _ in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(done) == list(range(1, 16))
    assert all_ids(url) == [f"m-{position:02}" for position in range(1, 16)]


def test_a_full_disk_refuses_the_append_and_the_next_one_succeeds(folder_url: str) -> None:
    writer = LakeWriter(folder_url)
    append(writer, 1, "m-1")
    rows = rows_at(2, *(an_event(str(uuid.uuid4())) for _ in range(2_000)))
    with files_at_most(20_000), pytest.raises(StorageError):
        writer.append(rows, first_position=2, last_position=2)
    assert (writer.last_position(), all_ids(folder_url), len(data_files(folder_url))) == (1, ["m-1"], 1)
    writer.append(rows, first_position=2, last_position=2)
    assert (LakeWriter(folder_url).last_position(), len(all_ids(folder_url))) == (2, 2_001)


@pytest.mark.parametrize("existing", [True, False], ids=["table exists", "first append"])
def test_a_commit_that_cannot_be_written_leaves_nothing(folder_url: str, existing: bool) -> None:
    writer = LakeWriter(folder_url)
    if existing:
        append(writer, 1, "m-1")
    with files_at_most(10), pytest.raises(StorageError):
        writer.append(LakeRows(), first_position=2, last_position=2)
    assert LakeWriter(folder_url).last_position() == int(existing)
    append(writer, 2, "m-2")
    assert LakeWriter(folder_url).last_position() == 2


def test_events_are_found_while_others_are_appended_and_merged(url: str) -> None:
    """A reader never fails and never loses sight of an event, whatever the writer does."""
    writer, reader = LakeWriter(url), LakeReader(url)
    append(writer, 1, "m-1")
    failures: list[str] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            position = writer_at[0]
            if [item.log_position for item in reader.find(f"m-{position}")] != [position]:
                failures.append(f"m-{position}")

    writer_at = [1]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    for position in range(2, 70):
        append(writer, position, f"m-{position}")
        writer_at[0] = position
        if position % 20 == 0:
            writer.compact()
    stop.set()
    for thread in readers:
        thread.join()
    assert failures == []


def test_merging_keeps_rows_order_and_the_position(url: str) -> None:
    writer = LakeWriter(url)
    for position in range(1, 41):
        append(writer, position, f"m-{position:02}", f"n-{position:02}")
    assert writer.compact() == 39
    assert writer.compact() == 0
    assert writer.last_position() == LakeWriter(url).last_position() == 40
    newest = [item for recent_message_key in LakeReader(url).recent_message_keys(3) for item in recent_message_key]
    assert newest == ["website n-40", "website m-40", "website n-39"]
    assert len(all_ids(url)) == 80
    append(writer, 41, "m-41")
    assert [item.log_position for item in LakeReader(url).find("m-07")] == [7]


def test_a_merge_that_loses_the_race_changes_nothing(url: str) -> None:
    first = LakeWriter(url)
    for position in range(1, 21):
        append(first, position, f"m-{position:02}")
    second = LakeWriter(url, clock=Interrupted(lambda: append(first, 21, "m-21")))
    assert second.compact() == 0
    assert len(data_files(url)) == 21
    assert LakeWriter(url).compact() == 20
    append(first, 22, "m-22")
    assert all_ids(url) == [f"m-{position:02}" for position in range(1, 23)]


def test_a_vacuum_deletes_old_files_that_no_commit_names(url: str) -> None:
    writer = LakeWriter(url)
    append(writer, 1, "m-1")
    left_by_a_crash = data_files(url)[0].with_name("crashed.parquet")
    being_written = data_files(url)[0].with_name("being-written.parquet")
    for path in (left_by_a_crash, being_written):
        path.write_bytes(b"PAR1")
    os.utime(left_by_a_crash, (1_000_000_000, 1_000_000_000))
    assert writer.vacuum() == 1
    assert being_written.exists()
    assert not left_by_a_crash.exists()
    append(writer, 2, "m-2")
    assert all_ids(url) == ["m-1", "m-2"]


def test_the_log_stays_short_and_old_views_find_their_way(url: str) -> None:
    """Checkpoints replace old commits; writers and readers with a view older than those go on."""
    writer, late_writer, reader = LakeWriter(url), LakeWriter(url), LakeReader(url)
    append(writer, 1, "m-001")
    assert late_writer.last_position() == 1
    assert len(reader.find("m-001")) == 1
    log = lake_folder(url) / "_delta_log"
    for position in range(2, 110):
        append(writer, position, f"m-{position:03}")
        if position == 99:
            for path in log.iterdir():
                os.utime(path, (1_000_000_000, 1_000_000_000))
    assert len(list(log.glob("*.json"))) < 30
    assert [item.log_position for item in reader.find("m-105")] == [105]
    append(late_writer, 110, "m-110")
    assert len(all_ids(url)) == 110


def test_a_lake_that_cannot_be_read_is_a_storage_error(url: str) -> None:
    append(LakeWriter(url), 1, "m-1")
    for path in data_files(url):
        path.write_bytes(b"damaged")
    with pytest.raises(StorageError):
        LakeReader(url).find("m-1")
    shutil.rmtree(lake_folder(url) / "_delta_log")
    (lake_folder(url) / "_delta_log").mkdir()
    (lake_folder(url) / "_delta_log" / f"{0:020}.json").write_text("damaged")
    with pytest.raises(StorageError):
        LakeWriter(url).last_position()


def test_no_table_is_created_beside_data_files_without_a_log(url: str) -> None:
    append(LakeWriter(url), 1, "m-1")
    files = data_files(url)
    shutil.rmtree(lake_folder(url) / "_delta_log")
    with pytest.raises(LakeError, match="punchcard lake repair"):
        append(LakeWriter(url), 2, "m-2")
    assert data_files(url) == files
    assert not (lake_folder(url) / "_delta_log").exists()


@pytest.mark.parametrize("prefix", ["", "file://"], ids=["path", "file URL"])
def test_a_folder_may_be_given_as_path_or_url(tmp_path: Path, prefix: str) -> None:
    append(LakeWriter(f"{prefix}{tmp_path}/lake"), 1, "m-1")
    assert all_ids(str(tmp_path / "lake")) == ["m-1"]


@pytest.mark.parametrize("url", ["s3://[bucket/lake", "file://[host/lake"])
def test_a_url_that_cannot_be_read_is_refused_with_its_form(url: str) -> None:
    with pytest.raises(ConfigurationError, match="in a folder or at s3://bucket/prefix"):
        LakeWriter(url)


def test_a_folder_name_that_delta_cannot_handle_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="%"):
        LakeWriter(str(tmp_path / "100%25"))


def test_a_process_that_only_might_need_the_lake_stays_small(tmp_path: Path) -> None:
    program = (
        "import sys; from punchcard.lake.reader import LakeReader; from punchcard.lake.writer import LakeWriter;"
        "LakeWriter(sys.argv[1]).last_position(); LakeReader(sys.argv[1]).find('m-1');"
        "sys.exit(', '.join({'pyarrow', 'deltalake', 'duckdb'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_days_gone_by_are_dropped_and_the_position_stays(url: str) -> None:
    writer = LakeWriter(url)
    reader = LakeReader(url)
    day = 86_400_000_000
    begin = 1_767_312_000_000_000  # 2026-01-02T00:00:00Z
    for number in range(3):
        rows = LakeRows()
        at = from_micros(begin)
        item = Event(EventType.TRACK, MessageId(f"m-{number}"), at, at, WireEvent(event="A"), b"{}")
        rows.add(item, source="web", received_at=begin + number * day, position=number + 1, index=0, results="[]")
        writer.append(rows, first_position=number + 1, last_position=number + 1)
    assert writer.drop_before(datetime.date(2026, 1, 4)) == 2
    assert [len(reader.find(f"m-{number}")) for number in range(3)] == [0, 0, 1]
    assert writer.last_position() == 3
    assert writer.drop_before(datetime.date(2026, 1, 4)) == 0
