"""What people's files really look like: their own headings, their own amounts, their own JSON."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from punchcard.cli.importing.amounts import AmbiguousAmountsError, detect_format, read_amount
from punchcard.cli.running import run
from punchcard.testing.tracking_api import RecordingTrackingApi


def import_(api: RecordingTrackingApi, file: Path, *more: str) -> int:
    return run(["import", str(file), "--write-key", "wk", "--url", api.url, *more])


def written(folder: Path, content: str | bytes, *, name: str = "x.csv") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


# --- amounts

AMOUNTS = [
    ("9.99", "9.99", None),
    ("9,99", None, "9.99"),
    ("1.234,56", None, "1234.56"),
    ("1,234.56", "1234.56", None),
    ("1 234,56", None, "1234.56"),
    ("1\u00a0234,56 €", None, "1234.56"),
    ("1\u202f234\u202f567,8", None, "1234567.8"),
    ("1'234.50", "1234.50", None),
    ("CHF 1’234.50", "1234.50", None),
    ("$1,234", "1234", "1.234"),
    ("1.234", "1.234", "1234"),
    ("1,234,567", "1234567", None),
    ("€ 12", "12", "12"),
    ("12 EUR", "12", "12"),
    ("-12,50 kr", None, "-12.50"),
    ("(12.50)", "-12.50", None),
    ("12.50-", "-12.50", None),
    ("−5", "-5", "-5"),
    ("$-5.00", "-5.00", None),
    ("-$5.00", "-5.00", None),
    ("007", "7", "7"),
    ("12,34,567", None, None),
    ("1.234.56", None, None),
    ("1,2,3", None, None),
    ("--5", None, None),
    ("(5", None, None),
    ("free", None, None),
    ("", None, None),
    ("12 apples", None, None),
    ("1e3", None, None),
]


@pytest.mark.parametrize(("cell", "with_point", "with_comma"), AMOUNTS)
def test_an_amount_is_read_by_its_decimal_sign(cell: str, with_point: str | None, with_comma: str | None) -> None:
    assert (read_amount(cell, decimal="."), read_amount(cell, decimal=",")) == (with_point, with_comma)


@pytest.mark.parametrize(
    ("cells", "decimal"),
    [
        (["9.99", "1.234", "12"], None),
        ([], None),
        (["free", "none"], None),
        (["9,99", "1.234,50"], ","),
        (["$9.99", "$1,234"], "."),
        (["1,234", "9,5"], ","),
        (["1,234", "9.50"], "."),
        (["€ 5", "€ 12"], "."),
        (["12 €", "9,99 €", "free"], ","),
    ],
)
def test_a_column_says_its_decimal_sign(cells: list[str], decimal: str | None) -> None:
    detected = detect_format(cells)
    assert (None if detected is None else detected.decimal) == decimal


@pytest.mark.parametrize("cells", [["1,234"], ["$1.234"], ["9,99", "9.99"], ["1.234,5", "1,234.5"]])
def test_a_column_that_could_mean_two_things_is_not_guessed(cells: list[str]) -> None:
    with pytest.raises(AmbiguousAmountsError):
        detect_format(cells)


EURO = (
    "event;userId;properties.order_id;properties.revenue\nOrder Completed;ann;1;1.234,56 €\nOrder Completed;ben;2;9,5\n"
)


def test_decimal_commas_are_shown_and_read_when_they_are_confirmed(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, EURO)
    assert import_(api, file) == 2
    output = capsys.readouterr()
    assert "'1.234,56 €' as 1234.56" in output.err
    assert "--yes" in output.err
    assert api.requests == []
    saved = tmp_path / "mapping.toml"
    assert import_(api, file, "--yes", "--save-mapping", str(saved)) == 0
    assert [event["properties"]["revenue"] for event in api.events()] == [1234.56, 9.5]
    assert import_(api, file, "--mapping", str(saved), "--restart") == 0, "the sign is saved, and nothing is asked"
    assert api.events()[2:] == api.events()[:2]
    assert '"revenue":1234.56' in api.requests[0].body


def test_an_ambiguous_column_wants_the_decimal_sign_stated(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, 'event,userId,properties.revenue\nA,ann,"1,234"\n')
    assert import_(api, file, "--yes") == 2
    assert "--decimal comma" in capsys.readouterr().err
    assert import_(api, file, "--decimal", "point") == 0
    assert import_(api, file, "--decimal", "comma") == 0
    assert [event["properties"]["revenue"] for event in api.events()] == [1234, 1.234]
    assert len({event["messageId"] for event in api.events()}) == 1
    assert import_(api, file, "--decimal", "dot") == 2


def test_an_amount_that_does_not_fit_its_column_is_a_bad_row(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"A;u{number};{number},50\n" for number in range(3)) + "A;bad;1,2,3\nA;free;free\n"
    assert import_(api, written(tmp_path, "event;userId;properties.revenue\n" + rows), "--yes") == 1
    assert "row 5: properties.revenue: '1,2,3' is not an amount" in capsys.readouterr().err
    assert [event["properties"]["revenue"] for event in api.events()] == [0.5, 1.5, 2.5, "free"]


def test_order_ids_are_no_amounts(api: RecordingTrackingApi, tmp_path: Path) -> None:
    file = written(tmp_path, 'event,userId,properties.order_id\nA,ann,"1,234"\n')
    assert import_(api, file) == 0
    assert api.events()[0]["properties"] == {"order_id": "1,234"}


# --- columns

SALES = "Order No,Customer,Total,Note\n1001,Ann@Example.com,9.99,x\n"
MAPPED = [
    "--map",
    "Order No=properties.order_id",
    "--map",
    "Customer=properties.email",
    "--map",
    "Total=properties.total",
]
SALE = {
    "type": "track",
    "event": "Order Completed",
    "userId": "ann@example.com",
    "properties": {"order_id": "1001", "email": "Ann@Example.com", "total": 9.99},
}


def without_id(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "messageId"}


def test_columns_are_mapped_left_out_and_saved(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, saved = written(tmp_path, SALES), tmp_path / "sales.toml"
    options = [*MAPPED, "--map", "Note=", "--event", "Order Completed", "--save-mapping", str(saved)]
    assert import_(api, file, *options) == 0
    assert "1 row without a user id: the email address was used" in capsys.readouterr().out
    assert import_(api, file, "--mapping", str(saved), "--restart") == 0
    first, again = api.events()
    assert first == again
    assert without_id(first) == SALE
    assert import_(api, file, "--mapping", str(saved), "--map", "Total=properties.value", "--restart") == 0
    assert api.events()[2]["properties"]["value"] == 9.99


def test_unknown_columns_are_reported_in_one_line(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heading = ",".join(["event", *(f"Column {number}" for number in range(30))])
    assert import_(api, written(tmp_path, f"{heading}\n")) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "30 columns are unknown" in line
    assert "'Column 19' and 10 more" in line
    assert "--map 'Column 0='" in line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--map", "Nobody=userId"], "no column 'Nobody'"),
        (["--map", "Order No"], "COLUMN=FIELD"),
        (["--map", "Order No=order"], "not a field"),
        ([*MAPPED, "--map", "Note=properties.total"], "mapped to the same field"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(
    options: list[str], says: str, api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert import_(api, written(tmp_path, SALES), *options) == 2
    assert says in capsys.readouterr().err
    assert api.requests == []


@pytest.mark.parametrize(
    "content",
    ["columns = 7", "other = 1", "[columns]\na = 1", 'decimal = ";"', "event = 7", "not TOML", b"\xff\xfe\x00"],
)
def test_a_mapping_file_that_cannot_be_is_refused(
    content: str | bytes, api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = written(tmp_path, content, name="mapping.toml")
    assert import_(api, written(tmp_path, SALES), "--mapping", str(saved)) == 2
    assert "--mapping" in capsys.readouterr().err


WAREHOUSE = (
    "id,received_at,uuid_ts,anonymous_id,context_ip,context_library_name,context_page_url,context_user_agent,"
    "context_traits_email,context_consent_category_preferences_ads,event,event_text,original_timestamp,sent_at,"
    "timestamp,user_id,order_id,revenue\n"
    "ajs-1,2023-05-01 10:00:02 UTC,2023-05-01 10:10:00 UTC,a-1,203.0.113.9,analytics.js,https://x.example/,Mozilla,"
    "ann@example.com,true,order_completed,Order Completed,2023-05-01 10:00:00 UTC,2023-05-01 10:00:01 UTC,"
    "2023-05-01 10:00:01.5 UTC,u-1,1001,9.990\n"
)


def test_a_warehouse_table_is_known_by_its_columns(api: RecordingTrackingApi, tmp_path: Path) -> None:
    file = written(tmp_path, WAREHOUSE)
    assert import_(api, file) == 0
    assert import_(api, file, "--restart") == 0
    first, again = api.events()
    assert first == again, "a second run brings the same message id"
    assert first == {
        "type": "track",
        "event": "Order Completed",
        "messageId": "ajs-1",
        "userId": "u-1",
        "anonymousId": "a-1",
        "timestamp": "2023-05-01 10:00:01.5 UTC",
        "context": {
            "ip": "203.0.113.9",
            "library": {"name": "analytics.js"},
            "page": {"url": "https://x.example/"},
            "userAgent": "Mozilla",
            "traits": {"email": "ann@example.com"},
            "consent": {"categoryPreferences": {"ads": True}},
        },
        "properties": {"order_id": "1001", "revenue": 9.99},
    }


def test_a_warehouse_table_with_the_original_timestamp_alone_keeps_its_time(
    api: RecordingTrackingApi, tmp_path: Path
) -> None:
    file = written(tmp_path, "id,original_timestamp,user_id,event\nm1,2023-05-01 10:00:00+00,u1,checked_in\n")
    assert import_(api, file) == 0
    (event,) = api.events()
    assert (event["timestamp"], event["event"]) == ("2023-05-01 10:00:00+00", "checked_in")


# --- encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_files_come_in_many_encodings(
    encoding: str, separator: str, api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = separator.join(["event", "userId", "name"]) + "\r\n" + separator.join(["A", "1", "Zoë “x”"]) + "\r\n"
    assert import_(api, written(tmp_path, text.encode(encoding))) == 0
    assert api.events()[0]["name"] == "Zoë “x”"
    assert ("Windows-1252" in capsys.readouterr().err) == (encoding == "cp1252")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_comes_in_many_encodings(encoding: str, api: RecordingTrackingApi, tmp_path: Path) -> None:
    text = '{"event": "Zoë", "userId": "1"}\r\n{"event": "B", "userId": "2"}\r\n'
    assert import_(api, written(tmp_path, text.encode(encoding), name="x.jsonl")) == 0
    assert [event["event"] for event in api.events()] == ["Zoë", "B"]


# --- JSON

A, B = {"event": "A", "userId": "1", "properties": {"text": "}{]["}}, {"event": "B", "userId": "2"}
BATCH = {"batch": [A, B], "context": {"locale": "en"}, "sentAt": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(json.dumps(A, indent=2) + "\n" + json.dumps(B, indent=2), id="pretty-printed objects"),
        pytest.param(json.dumps(A, indent=2) + "\n\n\n" + json.dumps(B), id="pretty-printed and plain"),
        pytest.param(json.dumps([A, B], indent=2), id="pretty-printed array"),
        pytest.param(json.dumps([A, B]), id="array"),
        pytest.param("\n" + json.dumps([A, B]), id="array behind an empty line"),
        pytest.param(json.dumps({"batch": [A, B]}), id="batch"),
        pytest.param(json.dumps({"batch": [A, B]}, indent=1), id="pretty-printed batch"),
        pytest.param(json.dumps({"batch": [A]}) + "\n" + json.dumps({"batch": [B]}), id="a batch a line"),
        pytest.param(json.dumps([{"batch": [A, B]}]), id="array of batches"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_json_comes_in_many_forms(packed: bool, content: str, api: RecordingTrackingApi, tmp_path: Path) -> None:
    file = written(tmp_path, gzip.compress(content.encode()) if packed else content, name="x.json" + ".gz" * packed)
    assert import_(api, file) == 0
    assert import_(api, file, "--restart") == 0
    assert [event["event"] for event in api.events()] == ["A", "B", "A", "B"]
    assert api.events()[0]["properties"] == A["properties"]
    assert set(Counter(event["messageId"] for event in api.events()).values()) == {2}


def test_the_context_of_a_batch_counts_for_its_events(api: RecordingTrackingApi, tmp_path: Path) -> None:
    assert import_(api, written(tmp_path, json.dumps(BATCH), name="x.json")) == 0
    assert [event["context"] for event in api.events()] == [{"locale": "en"}] * 2


def test_a_broken_object_among_pretty_printed_ones_costs_no_neighbour(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.dumps(A) + '\n{"event": "broken",\n' + json.dumps(B, indent=1) + "\n" + json.dumps(A)
    assert import_(api, written(tmp_path, content, name="x.jsonl")) == 1
    assert [event["event"] for event in api.events()] == ["A", "B", "A"]
    assert "row 2: Is not a JSON object" in capsys.readouterr().err


def test_values_that_json_does_not_have_are_null_and_reported(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = '{"event":"A","userId":"1","properties":{"x":NaN}}\n'
    assert import_(api, written(tmp_path, content, name="x.jsonl")) == 0
    assert api.events()[0]["properties"] == {"x": None}
    assert "row 1: properties.x was NaN" in capsys.readouterr().err


def test_without_a_token_the_summary_says_where_to_look(
    api: RecordingTrackingApi, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUNCHCARD_DATA", str(tmp_path / "nothing"))
    assert import_(api, written(tmp_path, json.dumps(A), name="x.json")) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 rows read, 1 sent, 0 refused (")
    assert "--token" in out
