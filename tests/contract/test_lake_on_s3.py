"""The lake's promises on a real S3 server: few requests, no commit lost, errors that say what to do."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from punchcard.clock import SystemClock, from_micros, to_micros
from punchcard.errors import ConfigurationError, LakeError
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.lake.location import LakeLocation
from punchcard.lake.object_store_errors import OBJECT_STORE_UNAVAILABLE
from punchcard.lake.object_table import ObjectTable
from punchcard.lake.query import run_query
from punchcard.lake.reader import LakeReader
from punchcard.lake.repair import repair_lake
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.store.engine import Store
from punchcard.store.routing.lake_status import read_lake_status
from punchcard.testing.clock import ManualClock
from punchcard.testing.installation import Installation, award
from punchcard.testing.s3_server import S3Server, lake_folder
from punchcard.testing.slow_proxy import slow_proxy

pytestmark = pytest.mark.long

MIDNIGHT = 1_767_312_000_000_000  # 2026-01-02T00:00:00Z
APPENDS = 120  # more than two checkpoints
REQUESTS_PER_APPEND_MAX = 8


def rows_at(position: int, *, events: int = 3) -> LakeRows:
    instant = from_micros(MIDNIGHT)
    rows = LakeRows()
    for index in range(events):
        message_id = MessageId(f"m-{position:03}-{index}")
        event = Event(EventType.TRACK, message_id, instant, instant, WireEvent(event="Visit"), b"{}")
        rows.add(event, source="web", received_at=MIDNIGHT, position=position, index=index, results="[]")
    return rows


def append(writer: LakeWriter, position: int) -> None:
    writer.append(rows_at(position), first_position=position, last_position=position)


def message_ids(url: str) -> list[str]:
    _, rows = run_query(url, "SELECT message_id FROM events ORDER BY 1", limit=10**6)
    return [row[0] for row in rows]


def expected_ids(through: int) -> list[str]:
    return [f"m-{position:03}-{index}" for position in range(1, through + 1) for index in range(3)]


@pytest.fixture
def url(s3_server: S3Server) -> str:
    return s3_server.new_lake()


@pytest.fixture
def installation(tmp_path: Path, sqlite_url: str, url: str) -> Iterator[Installation]:
    with closing(Store(sqlite_url)) as store:
        made = Installation(tmp_path, store, lake_url=url)
        yield made
        made.close()


def test_an_append_makes_few_requests_checkpoints_included(s3_server: S3Server, url: str) -> None:
    writer = LakeWriter(url)
    append(writer, 1)
    before = len(s3_server.requests(url))
    append(writer, 2)
    *looks, data, commit = s3_server.requests(url)[before:]
    assert sorted(request.method for request in looks) == ["GET", "HEAD"]  # ahead and back, at once
    assert [request.method for request in (data, commit)] == ["PUT", "PUT"]
    before = len(s3_server.requests(url))
    for position in range(3, APPENDS + 1):
        append(writer, position)
    assert (len(s3_server.requests(url)) - before) / (APPENDS - 2) < REQUESTS_PER_APPEND_MAX / 1.5
    assert len(list((lake_folder(url) / "_delta_log").glob("*.checkpoint.parquet"))) == 2
    assert message_ids(url) == expected_ids(APPENDS)


def test_a_repeated_query_reads_no_footer_again(s3_server: S3Server, url: str) -> None:
    writer, reader = LakeWriter(url), LakeReader(url)
    for position in range(1, 11):
        append(writer, position)
    assert len(reader.find("m-007-1")) == 1
    before = len(s3_server.requests(url))
    assert reader.find("m-000-0") == []
    assert statuses(s3_server, url, before) == [200, 404]  # the log has nothing new


def statuses(s3_server: S3Server, url: str, before: int) -> list[int]:
    """Return the statuses of the requests for a lake after the first ones, sorted: some were sent at once."""
    return sorted(request.status for request in s3_server.requests(url)[before:])


_FILES = 8


def test_a_worker_that_starts_reads_the_log_once_and_each_small_file_with_one_request(
    s3_server: S3Server, url: str
) -> None:
    """It asks for the last position, for the guard of the event log, and then for the recent message ids."""
    writer, reader = LakeWriter(url), LakeReader(url)
    for position in range(1, _FILES + 1):
        append(writer, position)
    before = len(s3_server.requests(url))
    assert reader.last_position() == _FILES
    hint, log, *commits = s3_server.requests(url)[before:]
    assert (hint.status, log.query.startswith("list-type=2"), len(commits)) == (404, True, _FILES + 1)
    before = len(s3_server.requests(url))
    keys = [key for part in reader.recent_message_keys(10_000) for key in part]
    assert sorted(keys) == sorted(f"web {message_id}" for message_id in expected_ids(_FILES))
    assert statuses(s3_server, url, before) == [200, *[206] * _FILES, 404]


def test_a_refresh_asks_for_each_new_commit_and_the_next_one(s3_server: S3Server, url: str) -> None:
    """Whether the known commit is still there is only asked without a newer one."""
    writer, reader = LakeWriter(url), LakeReader(url)
    append(writer, 1)
    assert reader.last_position() == 1
    for positions in ((2,), (3, 4, 5), ()):
        for position in positions:
            append(writer, position)
        before = len(s3_server.requests(url))
        reader.last_position()
        requests = s3_server.requests(url)[before:]
        look_back = [] if positions else [("HEAD", 200)]
        expected = [*[("GET", 200)] * len(positions), ("GET", 404), *look_back]
        assert sorted((request.method, request.status) for request in requests) == sorted(expected)


def test_a_worker_that_starts_waits_for_a_slow_s3_five_times(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slow_proxy(s3_server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        url = s3_server.new_lake()
        writer, reader = LakeWriter(url), LakeReader(url)
        for position in range(1, _FILES + 1):
            append(writer, position)
        proxy.delays = (1.0, 1.0)
        begun = time.monotonic()
        assert reader.last_position() == _FILES
        keys = [key for part in reader.recent_message_keys(10_000) for key in part]
        assert len(keys) == 3 * _FILES
        assert 5 <= time.monotonic() - begun < 10  # one after the other, these requests take 21 seconds


@pytest.mark.parametrize("limit", [1, 3, 4, 11, 3 * _FILES])
def test_the_newest_message_ids_of_several_files_are_read_at_once(url: str, limit: int) -> None:
    writer = LakeWriter(url)
    for position in range(1, _FILES + 1):
        append(writer, position)
    keys = [key for part in LakeReader(url).recent_message_keys(limit) for key in part]
    newest = [f"web m-{position:03}-{index}" for position in range(_FILES, 0, -1) for index in (2, 1, 0)]
    assert keys == newest[:limit]


def test_a_file_that_is_missing_costs_only_its_own_message_ids(url: str) -> None:
    writer = LakeWriter(url)
    for position in range(1, _FILES + 1):
        append(writer, position)
    next(path for path in lake_folder(url).glob("day=*/*") if path.name.startswith(f"{3:020}")).unlink()
    damages: list[LakeError] = []
    keys = [key for part in LakeReader(url).recent_message_keys(10_000, on_damage=damages.append) for key in part]
    assert len(damages) == 1
    assert sorted(keys) == sorted(f"web {id_}" for id_ in expected_ids(_FILES) if not id_.startswith("m-003"))
    with pytest.raises(LakeError):
        list(LakeReader(url).recent_message_keys(10_000))


def test_two_machines_see_one_lake(url: str) -> None:
    """Each with a view of its own; a commit of one is never overwritten by the other."""
    first, second, reader = LakeWriter(url), LakeWriter(url), LakeReader(url)
    for position in range(1, 21):
        append(first if position % 2 else second, position)
        assert len(reader.find(f"m-{position:03}-0")) == 1
    assert first.last_position() == 19
    assert first.compact() > 0
    append(second, 21)
    assert message_ids(url) == expected_ids(21)


def test_the_table_is_read_by_other_delta_readers(url: str) -> None:
    from deltalake import DeltaTable

    writer = LakeWriter(url)
    for position in range(1, 61):
        append(writer, position)
    writer.compact()
    # The objects of the test server are files: deltalake's own view of the table that it has not written.
    table = DeltaTable(str(lake_folder(url)))
    assert table.transaction_version("punchcard") == 60
    assert sum(table.get_add_actions(flatten=True).column("num_records").to_pylist()) == 180


_WRITER = """
import sys
from punchcard.lake.writer import LakeWriter
sys.path.insert(0, sys.argv[2])
from test_lake_on_s3 import append
writer = LakeWriter(sys.argv[1])
while True:
    position = writer.last_position() + 1
    append(writer, position)
    if position % 8 == 0:
        writer.compact()
    print(position, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_no_gap_no_double_and_no_part(s3_server: S3Server, url: str) -> None:
    acknowledged = 0
    for round_ in range(4):
        command = [sys.executable, "-c", _WRITER, url, str(Path(__file__).parent)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        with writer.stdout as output:
            while acknowledged < 20 * (round_ + 1):
                acknowledged = int(output.readline())
            time.sleep(0.013 * round_)  # at another moment of an append or a merge
            writer.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *(int(line) for line in output if line.endswith("\n"))])
        writer.wait()
        last = LakeWriter(url).last_position()
        assert last >= acknowledged
        assert message_ids(url) == expected_ids(last)
    LakeWriter(url).check()
    # An object is uploaded by one request: nothing of it is left if that is cut off.
    assert not any("uploads" in request.query for request in s3_server.requests(url))
    assert not [path for path in (s3_server.objects / ".sgwtmp").rglob("*") if path.is_file()]


def test_a_view_from_before_a_repair_is_read_again(url: str) -> None:
    writer = LakeWriter(url)
    for position in range(1, 7):
        append(writer, position)
    view, log = ObjectTable(LakeLocation(url)), lake_folder(url) / "_delta_log"
    assert view.refresh()
    (lost,) = (file for file in view.files() if file.last_position == 5)
    (lake_folder(url) / lost.path).unlink()
    (log / f"{3:020}.json").write_bytes(b"this is no commit")
    report = repair_lake(url, restore=lambda _is_missing, _through: iter(()), clock=SystemClock(), dry_run=False)
    assert (report.lost_events, report.is_log_damaged) == (0, True)  # the log that could be read did not know of it
    repaired = ObjectTable(LakeLocation(url))
    assert repaired.refresh()
    assert view.refresh()
    assert view.files() == repaired.files()
    assert lost not in view.files()
    assert message_ids(url) == [each for each in expected_ids(6) if not each.startswith("m-005")]


def test_a_vacuum_keeps_what_readers_and_the_current_version_need(url: str) -> None:
    clock = ManualClock()
    writer = LakeWriter(url, clock=clock)
    for position in range(1, 21):
        append(writer, position)
    before = sorted(lake_folder(url).glob("day=*/*.parquet"))
    reader = LakeReader(url)
    assert len(reader.find("m-001-0")) == 1
    assert writer.compact() == 19
    for path in before:  # as if they had been written long ago; the merged file is new
        _set_age(path, timedelta(hours=5))
    assert writer.vacuum() == 0  # they were removed from the table just now: readers have lists with them
    clock.advance(timedelta(minutes=59).total_seconds())
    assert writer.vacuum() == 0
    clock.advance(timedelta(minutes=2).total_seconds())
    assert LakeWriter(url, clock=clock).vacuum() == len(before)
    assert message_ids(url) == expected_ids(20)
    _set_age(next(lake_folder(url).glob("day=*/*.parquet")), timedelta(days=9))
    append(writer, 21)
    assert LakeWriter(url, clock=clock).vacuum() == 0
    assert message_ids(url) == expected_ids(21)


def _set_age(path: Path, age: timedelta) -> None:
    import os

    instant = (SystemClock().now() - age).timestamp()
    os.utime(path, (instant, instant))


def test_a_commit_that_was_prepared_too_long_ago_is_given_up(url: str) -> None:
    """A process that was frozen must not name files that a vacuum has deleted meanwhile."""
    clock = ManualClock()

    class Frozen(ManualClock):
        def new_id(self) -> str:
            self.advance(3_600.0)
            return super().new_id()

    append(LakeWriter(url, clock=clock), 1)
    with pytest.raises(LakeError, match="prepared for 3600 seconds"):
        append(LakeWriter(url, clock=Frozen()), 2)
    assert message_ids(url) == expected_ids(1)
    assert len(list(lake_folder(url).glob("day=*/*.parquet"))) == 1


@pytest.mark.parametrize("away", ["refusing", "frozen"])
def test_a_store_that_is_away_delays_no_award_and_loses_nothing(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    monkeypatch.setattr("punchcard.lake.object_store._TIMEOUT", timedelta(seconds=1))
    monkeypatch.setattr("punchcard.lake.object_store._RETRY_TIMEOUT", timedelta(seconds=1))
    server = S3Server(tmp_path / "server")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    with closing(Store(sqlite_url)) as store:
        installation = Installation(tmp_path, store, lake_url=server.new_lake())
        installation.send(award("m-1"))
        installation.route()
        installation.feed.recover()
        server.stop() if away == "refusing" else server.freeze()
        for number in range(2, 7):
            installation.send(award(f"m-{number}"))
            assert installation.route() == 1  # the award is planned
            with pytest.raises(LakeError) as failure:
                installation.feed.flush()
            assert failure.value.code == OBJECT_STORE_UNAVAILABLE
            assert "cannot be reached" in failure.value.message
        installation.start()  # a worker that is started meanwhile
        installation.send(award("m-7"))
        assert installation.route() == 1
        assert len(installation.effect_keys()) == 7
        with pytest.raises(LakeError):  # what only the log has is not trimmed
            installation.feed.trim_log(older_than_micros=to_micros(installation.clock.now() + timedelta(days=9)))
        with store.reading() as work:
            status = read_lake_status(work)
        assert status.failing_since is not None
        assert "AWS_ENDPOINT_URL" in status.detail
        server.start() if away == "refusing" else server.thaw()
        while installation.feed.is_behind:
            installation.feed.flush()
        assert [event.message_id for event in installation.in_lake()] == [f"m-{number}" for number in range(1, 8)]
        installation.close()
    server.stop()


@pytest.mark.parametrize(
    ("variables", "url", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "s3://events/x", "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "unknown"}, "s3://events/x", "AWS_ACCESS_KEY_ID"),
        ({}, "s3://no-such-bucket/x", "create it"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://events/x", "AWS_ENDPOINT_URL"),
    ],
    ids=["secret key", "access key", "bucket", "endpoint"],
)
def test_a_refusal_says_what_to_do(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    uses: list[Callable[[], object]] = [LakeWriter(url).last_position, lambda: LakeReader(url).find("m-1")]
    for use in uses:
        with pytest.raises(LakeError, match=message) as failure:
            use()
        assert failure.value.code == OBJECT_STORE_UNAVAILABLE
        assert "Signature" not in failure.value.message
        assert len(failure.value.message) < 300


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("gs://bucket/lake", "s3://bucket/prefix"),
        ("s3://key:secret@bucket/lake", "without credentials"),
        ("s3://bucket/lake?region=x", "without credentials and options"),
        ("s3:///lake", "s3://bucket/prefix"),
        ("s3://[bucket/lake", "s3://bucket/prefix"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_at_once(s3_server: S3Server, url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as failure:
        LakeWriter(url)
    assert "secret" not in failure.value.message


def test_missing_credentials_are_refused_at_once(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is requested from the address at which a cloud would have some."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigurationError, match="set AWS_ACCESS_KEY_ID"):
        LakeReader("s3://events/x")


def test_a_query_can_read_nothing_but_the_lake(url: str) -> None:
    append(LakeWriter(url), 1)
    for sql in ("SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM 'punchcardlake://9/_delta_log/x.parquet'"):
        with pytest.raises(ConfigurationError):
            run_query(url, sql, limit=1)


def test_traces_and_lists_read_from_s3(installation: Installation) -> None:
    installation.send(award("m-1"))
    installation.route()
    installation.feed.recover()
    trace = installation.trace("m-1")
    assert trace is not None
    assert [result.status for result in trace.results] == ["pending"]
