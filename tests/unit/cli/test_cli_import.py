"""`punchcard import`: every row arrives once, whatever happens meanwhile, and what does not arrive is named."""

import json
from collections import Counter
from pathlib import Path

import pytest

from punchcard.cli.importing import sender
from punchcard.cli.running import run
from punchcard.testing.tracking_api import BREAK, LOSE_RESPONSE, RecordingTrackingApi

HEADING = "event,userId,timestamp,properties.order_id,properties.revenue"


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_FIRST_WAIT_SECONDS", 0.001)


def orders(folder: Path, rows: int, *, name: str = "orders.csv") -> Path:
    file = folder / name
    lines = [f"Order Completed,u{number},2026-01-02T03:04:05Z,{number:06},{number}.10" for number in range(rows)]
    file.write_text("\n".join([HEADING, *lines]) + "\n")
    return file


def import_(api: RecordingTrackingApi, file: Path, *more: str, write_key: str = "wk") -> int:
    return run(["import", str(file), "--write-key", write_key, "--url", api.url, *more])


def test_every_row_arrives_in_order_over_one_connection(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert import_(api, orders(tmp_path, 450)) == 0
    assert [event["userId"] for event in api.events()] == [f"u{number}" for number in range(450)]
    assert len({event["messageId"] for event in api.events()}) == 450
    assert len(api.connections) == 1
    assert capsys.readouterr().out.startswith("450 rows read, 450 sent, 0 refused")


def test_an_event_is_what_its_row_says(api: RecordingTrackingApi, tmp_path: Path) -> None:
    assert import_(api, orders(tmp_path, 8)) == 0
    event = api.events()[7]
    assert event.pop("messageId").startswith("import-")
    assert event == {
        "type": "track",
        "event": "Order Completed",
        "userId": "u7",
        "timestamp": "2026-01-02T03:04:05Z",
        "properties": {"order_id": "000007", "revenue": 7.1},
    }
    assert '"revenue":7.10' in api.requests[0].body
    assert "sentAt" not in api.requests[0].body


def test_importing_again_brings_the_same_message_ids(api: RecordingTrackingApi, tmp_path: Path) -> None:
    file = orders(tmp_path, 250)
    assert (import_(api, file), import_(api, file)) == (0, 0)
    assert set(Counter(event["messageId"] for event in api.events()).values()) == {2}


def test_rows_added_at_the_end_are_all_that_is_new(api: RecordingTrackingApi, tmp_path: Path) -> None:
    assert import_(api, orders(tmp_path, 150)) == 0
    assert import_(api, orders(tmp_path, 160)) == 0
    counts = Counter(event["messageId"] for event in api.events())
    assert (len(counts), counts.total()) == (160, 310)


def test_two_rows_that_say_the_same_are_two_events(api: RecordingTrackingApi, tmp_path: Path) -> None:
    file = tmp_path / "visits.csv"
    file.write_text("event,userId,timestamp\n" + "Checked In,ann,2026-01-02\n" * 2)
    assert import_(api, file) == 0
    assert len({event["messageId"] for event in api.events()}) == 2


def test_a_repaired_row_is_all_that_is_new(api: RecordingTrackingApi, tmp_path: Path) -> None:
    file = orders(tmp_path, 5)
    assert import_(api, file) == 0
    file.write_text(file.read_text().replace(",u3,", ",u33,"))
    assert import_(api, file) == 0
    counts = Counter(event["messageId"] for event in api.events())
    assert sorted(counts.values()) == [1, 1, 2, 2, 2, 2]


def test_rows_without_a_time_are_new_in_another_file(api: RecordingTrackingApi, tmp_path: Path) -> None:
    today, tomorrow = tmp_path / "today.jsonl", tmp_path / "tomorrow.jsonl"
    today.write_text('{"event": "Checked In", "userId": "ann"}\n')
    tomorrow.write_text('{"event": "Checked In", "userId": "ann"}\n{"event": "Checked In", "userId": "ben"}\n')
    assert (import_(api, today), import_(api, tomorrow), import_(api, tomorrow)) == (0, 0, 0)
    assert len({event["messageId"] for event in api.events()}) == 3


def test_another_source_gets_events_of_its_own(api: RecordingTrackingApi, tmp_path: Path) -> None:
    file = orders(tmp_path, 1)
    assert (import_(api, file), import_(api, file, write_key="wk_other")) == (0, 0)
    assert len({event["messageId"] for event in api.events()}) == 2


@pytest.mark.parametrize(
    "troubles",
    [
        pytest.param([503, 503, 503], id="nothing durable"),
        pytest.param([BREAK, BREAK], id="connection broken"),
        pytest.param([LOSE_RESPONSE], id="answer lost"),
        pytest.param([200, 429, 500, BREAK, LOSE_RESPONSE, 502], id="all of it, half-way"),
    ],
)
def test_troubles_are_waited_out(
    troubles: list[int], api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.failures = troubles
    assert import_(api, orders(tmp_path, 300)) == 0
    assert {event["userId"] for event in api.events()} == {f"u{number}" for number in range(300)}
    assert len({event["messageId"] for event in api.events()}) == 300
    output = capsys.readouterr()
    assert output.out.startswith("300 rows read, 300 sent, 0 refused")
    assert "Retrying in" in output.err


def test_a_server_that_stays_away_is_given_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_GIVE_UP_AT_START_SECONDS", 0.05)
    assert run(["import", str(orders(tmp_path, 1)), "--write-key", "wk", "--url", "http://127.0.0.1:1"]) == 1
    assert "Run the same command again" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("trouble", "says"), [pytest.param(401, "write key", id="key"), pytest.param(404, "no Tracking API", id="address")]
)
def test_a_server_that_never_will_take_it_ends_the_import(
    trouble: int, says: str, api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.failures = [trouble]
    assert import_(api, orders(tmp_path, 5)) == 1
    assert says in capsys.readouterr().err
    assert api.requests == []


@pytest.mark.parametrize("tells_index", [True, False])
def test_a_refused_event_costs_its_neighbours_nothing(
    tells_index: bool, api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.reports_index = tells_index
    api.refuses = lambda event: "no such luck" if event["userId"] in ("u0", "u57", "u58", "u249") else None
    assert import_(api, orders(tmp_path, 250)) == 1
    output = capsys.readouterr()
    assert output.out.startswith("250 rows read, 246 sent, 4 refused")
    assert [line.partition(":")[0] for line in output.err.splitlines()] == ["row 2", "row 59", "row 60", "row 251"]
    assert "no such luck (invalid_request)" in output.err
    assert Counter(event["messageId"] for event in api.events()).most_common(1)[0][1] == 1
    refused = {0, 57, 58, 249}
    assert [event["userId"] for event in api.events()] == [f"u{n}" for n in range(250) if n not in refused]


BAD_LINES = [
    '{"event": "A", "userId": "1", "timestamp": "2026-01-01T00:00:00Z"}',
    '{"event": "A"',
    '{"userId": "1"}',
    '{"event": "A", "userId": "1", "timestamp": "31.12.2025"}',
    '{"event": "A", "userId": "1", "timestamp": 1767225600}',
    json.dumps({"event": "A", "userId": "1", "properties": {"text": "x" * 33_000}}),
    "[1]",
    "",
    '{"event": "B", "userId": "1", "timestamp": "2026-01-01T00:00:00Z"}',
]


def test_bad_rows_are_reported_by_number_and_the_rest_arrives(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(BAD_LINES))
    assert import_(api, file) == 1
    output = capsys.readouterr()
    assert output.out.startswith("8 rows read, 3 sent, 5 refused")
    assert [line.partition(":")[0] for line in output.err.splitlines()] == [
        f"row {number}" for number in (2, 3, 4, 6, 7)
    ]
    assert [event["event"] for event in api.events()] == ["A", "A", "B"]


def test_strict_stops_at_the_first_bad_row_with_all_before_it_sent(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(BAD_LINES))
    assert import_(api, file, "--strict") == 1
    output = capsys.readouterr()
    assert output.out.startswith("2 rows read, 1 sent, 1 refused")
    assert "row 2" in output.err
    assert [event["event"] for event in api.events()] == ["A"]


def test_strict_stops_when_the_server_refuses_a_row(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.refuses = lambda event: "no such \x1b[1mluck" if event["userId"] == "u150" else None
    assert import_(api, orders(tmp_path, 500), "--strict") == 1
    assert "row 152: no such �[1mluck" in capsys.readouterr().err
    assert len(api.events()) < 250


def test_a_file_of_bad_rows_only_is_read_to_its_end(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("no\n" * 250)
    assert import_(api, file) == 1
    assert capsys.readouterr().out.startswith("250 rows read, 0 sent, 250 refused")


def stopped_half_way(api: RecordingTrackingApi, file: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Import until three batches stand, then Ctrl-C; how many events stood then."""

    def interrupt(_event: object) -> None:
        if len(api.requests) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        send = sender.Sender.send

        def send_or_stop(self: sender.Sender, rows: list[sender.ReadyRow]) -> object:
            interrupt(rows)
            return send(self, rows)

        patch.setattr(sender.Sender, "send", send_or_stop)
        assert import_(api, file) == 130
    return len(api.events())


def test_a_stopped_import_goes_on_where_it_was(
    api: RecordingTrackingApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.instance = "one"
    file = orders(tmp_path, 500)
    assert stopped_half_way(api, file, monkeypatch) == 300
    assert import_(api, file) == 0
    assert [event["userId"] for event in api.events()] == [f"u{number}" for number in range(500)]
    output = capsys.readouterr()
    assert "Continuing after row 301" in output.err
    assert output.out.startswith("500 rows read, 500 sent, 0 refused")


@pytest.mark.parametrize(
    ("instance", "more"),
    [
        pytest.param("another", [], id="other storage"),
        pytest.param(None, [], id="storage unknown"),
        pytest.param("one", ["--restart"], id="asked to"),
    ],
)
def test_a_stopped_import_begins_again(
    instance: str | None,
    more: list[str],
    api: RecordingTrackingApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api.instance = "one"
    file = orders(tmp_path, 500)
    stopped_half_way(api, file, monkeypatch)
    api.instance = instance
    assert import_(api, file, *more) == 0
    counts = Counter(event["messageId"] for event in api.events())
    assert (len(counts), counts.total()) == (500, 800)


def test_rows_refused_before_a_stop_still_count_at_the_end(
    api: RecordingTrackingApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.instance = "one"
    file = orders(tmp_path, 500)
    broken = file.read_text().replace("Order Completed,u5,", ",u5,")
    file.write_text(broken)
    stopped_half_way(api, file, monkeypatch)
    assert import_(api, file) == 1
    assert capsys.readouterr().out.startswith("500 rows read, 499 sent, 1 refused")


def test_a_finished_import_leaves_nothing_behind(
    api: RecordingTrackingApi, tmp_path: Path, state_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.instance = "one"
    file = orders(tmp_path, 500)
    stopped_half_way(api, file, monkeypatch)
    assert [path for path in state_home.rglob("*") if path.is_file()] != []
    assert import_(api, file) == 0
    assert [path for path in state_home.rglob("*") if path.is_file()] == []


def test_an_archive_of_segment_keeps_its_times(api: RecordingTrackingApi, tmp_path: Path) -> None:
    file = tmp_path / "archive.jsonl"
    archived = {
        "type": "track",
        "event": "A",
        "userId": "1",
        "messageId": "kept",
        "timestamp": "2020-01-01T00:00:00Z",
        "originalTimestamp": "2020-01-01T00:00:05Z",
        "sentAt": "2020-01-01T00:00:06Z",
        "receivedAt": "2020-01-01T00:00:01Z",
    }
    late = {"event": "B", "userId": "1", "messageId": "m", "originalTimestamp": "2020-01-01T00:00:05Z"}
    file.write_text(json.dumps(archived) + "\n" + json.dumps(late))
    assert import_(api, file) == 0
    assert api.events() == [
        {"type": "track", "event": "A", "userId": "1", "messageId": "kept", "timestamp": "2020-01-01T00:00:00Z"},
        {"type": "track", "event": "B", "userId": "1", "messageId": "m", "timestamp": "2020-01-01T00:00:05Z"},
    ]
