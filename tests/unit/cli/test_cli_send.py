"""`punchcard send`: what leaves, and what is printed."""

import base64
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from punchcard.cli.running import run
from punchcard.testing.tracking_api import BREAK, RecordingTrackingApi


def send(api: RecordingTrackingApi, *arguments: str) -> int:
    return run(["send", "--write-key", "wk", "--url", api.url, *arguments])


@pytest.mark.parametrize(
    ("arguments", "path", "event"),
    [
        pytest.param(
            ["track", "Checked In", "--user-id", "ann", "--properties", '{"email": "ann@example.com"}'],
            "/v1/track",
            {"event": "Checked In", "userId": "ann", "properties": {"email": "ann@example.com"}},
            id="track",
        ),
        pytest.param(
            [
                "track",
                "X",
                "--anonymous-id",
                "7f",
                "--context",
                '{"ip": "1.1.1.1"}',
                "--integrations",
                '{"All": false}',
            ],
            "/v1/track",
            {"event": "X", "anonymousId": "7f", "context": {"ip": "1.1.1.1"}, "integrations": {"All": False}},
            id="track with everything else",
        ),
        pytest.param(
            ["identify", "--user-id", "ann", "--traits", '{"plan": "gold"}', "--timestamp", "2026-01-02T03:04:05Z"],
            "/v1/identify",
            {"userId": "ann", "traits": {"plan": "gold"}, "timestamp": "2026-01-02T03:04:05Z"},
            id="identify",
        ),
        pytest.param(["page", "Home", "--user-id", "a"], "/v1/page", {"name": "Home", "userId": "a"}, id="page"),
        pytest.param(["screen", "--user-id", "a"], "/v1/screen", {"userId": "a"}, id="screen without a name"),
        pytest.param(["group", "g", "--user-id", "a"], "/v1/group", {"groupId": "g", "userId": "a"}, id="group"),
        pytest.param(["alias", "a", "--previous-id", "b"], "/v1/alias", {"userId": "a", "previousId": "b"}, id="alias"),
    ],
)
def test_a_call_leaves_as_given_with_a_fresh_message_id(
    arguments: list[str],
    path: str,
    event: dict[str, Any],
    api: RecordingTrackingApi,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert send(api, *arguments) == 0
    printed = capsys.readouterr()
    message_id = str(UUID(printed.out.strip()))
    assert api.events() == [event | {"type": path.removeprefix("/v1/"), "messageId": message_id}]
    assert api.requests[0].path == path
    assert printed.err == ""


def test_credentials_are_basic_and_faults_are_requested_at_once(api: RecordingTrackingApi) -> None:
    assert send(api, "track", "X", "--user-id", "a") == 0
    headers = api.requests[0].headers
    assert base64.b64decode(headers["authorization"].removeprefix("Basic ")) == b"wk:"
    assert headers["x-punchcard-strict"] == "1"


@pytest.mark.parametrize(
    "number", ["9.99", "9.990", "1e2", "0.1000000000000000055511151231257827", "12345678901234567890"]
)
def test_numbers_leave_digit_by_digit(number: str, api: RecordingTrackingApi) -> None:
    assert send(api, "track", "X", "--user-id", "a", "--properties", f'{{"revenue": {number}}}') == 0
    assert f'"revenue": {number}}}' in api.requests[0].body


def test_a_message_id_of_ones_own_is_kept(api: RecordingTrackingApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert send(api, "track", "X", "--user-id", "a", "--message-id", "mine") == 0
    assert capsys.readouterr().out == "mine\n"
    assert api.events()[0]["messageId"] == "mine"
    assert api.requests[0].body.count("messageId") == 1


def test_text_of_any_kind_arrives(api: RecordingTrackingApi) -> None:
    name = 'Zoë said "hi"\n\t\\ 🎉'
    assert send(api, "track", name, "--user-id", "a") == 0
    assert api.events()[0]["event"] == name


@pytest.mark.parametrize("text", ["{", "[]", "9", '{"a": NaN}', "[" * 5000, '"x"'], ids=lambda text: text[:10])
def test_properties_that_are_no_json_object_are_a_wrong_call(
    text: str, api: RecordingTrackingApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert send(api, "track", "X", "--properties", text) == 2
    assert "--properties" in capsys.readouterr().err
    assert api.requests == []


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        pytest.param(401, "write key", id="unknown write key"),
        pytest.param(400, "was not accepted", id="bad event"),
        pytest.param(404, "no Tracking API", id="wrong address"),
        pytest.param(503, "503", id="nothing durable"),
        pytest.param(BREAK, "connection broke", id="broken connection"),
    ],
)
def test_what_the_server_does_not_take_is_reported_in_one_line(
    trouble: int, says: str, api: RecordingTrackingApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.failures = [trouble]
    assert send(api, "track", "X", "--user-id", "a") == 1
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert says in output.err


def test_nobody_listening_is_reported_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["send", "--write-key", "wk", "--url", "http://127.0.0.1:1", "track", "X"]) == 1
    assert "punchcard up" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        pytest.param('{"type":"track","event":"A","messageId":"m1"}\n\n{"type":"page","n":1.10}\n', id="json lines"),
        pytest.param('[{"type":"track","event":"A","messageId":"m1"}, {"type":"page","n":1.10}]', id="json array"),
        pytest.param(
            '\ufeff{"type":"track","event":"A","messageId":"m1"}\n{"type":"page","n":1.10}', id="byte order mark"
        ),
        pytest.param(
            '{"batch": [\n{"type":"track","event":"A","messageId":"m1"}, {"type":"page","n":1.10}]\n}', id="batch"
        ),
    ],
)
def test_a_file_of_events_leaves_as_a_batch(
    content: str, api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events"
    file.write_text(content, encoding="utf-8")
    assert send(api, "batch", str(file)) == 0
    first, second = capsys.readouterr().out.split()
    assert api.events() == [
        {"type": "track", "event": "A", "messageId": "m1"},
        {"type": "page", "n": 1.1, "messageId": second},
    ]
    assert (first, str(UUID(second))) == ("m1", second)
    assert '"n":1.10' in api.requests[0].body


def test_members_of_a_batch_beside_its_events_are_sent_with_them(api: RecordingTrackingApi, tmp_path: Path) -> None:
    file = tmp_path / "batch.json"
    event = {"type": "track", "event": "A", "messageId": "m1"}
    context = {"ip": "1.1.1.1", "n": 1.10}
    file.write_text(json.dumps({"context": context, "batch": [event] * 101, "integrations": {"All": False}}, indent=1))
    assert send(api, "batch", str(file)) == 0
    bodies = [json.loads(request.body) for request in api.requests]
    assert [len(body.pop("batch")) for body in bodies] == [100, 1]
    assert bodies == [{"context": context, "integrations": {"All": False}}] * 2


def test_an_event_of_several_lines_is_one_event(api: RecordingTrackingApi, tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps({"type": "track", "event": "A", "messageId": "m1"}, indent=1))
    assert send(api, "batch", str(file)) == 0
    assert [event["messageId"] for event in api.events()] == ["m1"]


@pytest.mark.parametrize("content", ["", " \n", "[]", '{"batch": []}'], ids=["empty", "blank", "list", "batch"])
def test_a_file_without_events_is_a_wrong_call(
    content: str, api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.json"
    file.write_text(content)
    assert send(api, "batch", str(file)) == 2
    assert capsys.readouterr().err.endswith("The file has no events.\n")


def test_the_event_that_is_not_accepted_is_named(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.refuses = lambda event: "It is refused." if event["event"] == "B" else None
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(['{"type": "track", "event": "A"}'] * 100 + ["", '{"type": "track", "event": "B"}']))
    assert send(api, "batch", str(file)) == 1
    assert "Event 102 was not accepted: It is refused." in capsys.readouterr().err


def test_a_long_file_leaves_in_bodies_that_the_limits_allow(api: RecordingTrackingApi, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    big = [{"type": "track", "event": "Big", "properties": {"text": "x" * 30_000}}] * 20
    small = [{"type": "track", "event": "Small"}] * 230
    file.write_text("\n".join(json.dumps(event) for event in [*big, *small]))
    assert send(api, "batch", str(file)) == 0
    assert len(api.events()) == 250
    assert all(len(request.body) < 500_000 for request in api.requests)
    assert len({event["messageId"] for event in api.events()}) == 250


def test_a_line_that_is_no_event_is_named(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"type": "track"}\n{"type":\n')
    assert send(api, "batch", str(file)) == 1
    assert "Event 2" in capsys.readouterr().err


def test_a_timestamp_that_cannot_be_read_is_a_wrong_call(
    api: RecordingTrackingApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert send(api, "track", "X", "--user-id", "a", "--timestamp", "yesterday") == 2
    assert "--timestamp" in capsys.readouterr().err
    assert api.requests == []
