"""`punchcard simulate`: what it prints in each format, what it refuses, and that it changes nothing."""

import csv
import io
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from punchcard.cli.running import run
from punchcard.testing.product import command
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website"]
[destinations.settings]
apiKey = "a-secret-that-nobody-sees"
businessId = "41"
locationId = "7"
eventToPerkMap = {map}
[destinations.options]
apiBaseUrl = "http://127.0.0.1:9"

[[destinations]]
slug = "hooks"
type = "webhooks"
sources = ["website"]
enabled = false
[destinations.settings]
url = "https://hooks.example.com/"
"""
CURRENT = CONFIG.format(map='{ "Checked In" = "123457" }')


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with four events, of which one has earned something."""
    folder = tmp_path_factory.mktemp("data")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CURRENT) as server:
        # The command uses the machine's clock.
        server.clock.set_wall_clock(by=(datetime.now(UTC) - server.clock.now()).total_seconds() - 3_600)
        for number, (name, email) in enumerate(
            [("Checked In", "ann"), ("Sauna Visited", "ann"), ("Sauna Visited", "bob"), ("Page Viewed", "bob")]
        ):
            properties = {"email": f"{email}@example.com"}
            server.send({"messageId": f"m{number}", "userId": email, "event": name, "properties": properties})
        server.route()
        server.deliver(rounds=2)
        server.feed_lake()
    return folder


def simulate(data: Path, *options: str) -> str:
    """Run the command in a process of its own: it forks others, which a test's process must not."""
    done = command("simulate", "--data", str(data), "--destination", "perkville", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_map_is_tried_and_nothing_is_changed(data: Path) -> None:
    before = _stored(data)
    document: dict[str, Any] = json.loads(
        simulate(data, "--since", "1d", "--map", "Sauna Visited=123460", "--format", "json")
    )["data"]["simulation"]
    rows = {row["event"]: row for row in document["byEvent"]}
    assert set(rows) == {"Checked In", "Sauna Visited"}
    assert (rows["Sauna Visited"]["awards"], rows["Sauna Visited"]["customers"]) == (2, 2)
    assert (rows["Sauna Visited"]["actualQuantity"], rows["Checked In"]["actualQuantity"]) == ("0", "1")
    assert document["refused"] == {"not_allowlisted": 1}
    assert sorted(change["email"] for change in document["gaining"]) == ["ann@example.com", "bob@example.com"]
    assert _stored(data) == before


def test_a_config_file_is_tried_as_csv(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    file.write_text(CONFIG.format(map='{ "Page Viewed" = "123456" }'))
    rows = list(csv.DictReader(io.StringIO(simulate(data, "--since", "1d", "--config", str(file), "--format", "csv"))))
    assert [(row["event"], row["awards"], row["actual_awards"]) for row in rows] == [
        ("Checked In", "0", "1"),
        ("Page Viewed", "1", "0"),
    ]


def test_a_filter_is_tried_as_a_table(data: Path) -> None:
    text = simulate(data, "--since", "1d", "--filter", "contains( properties.email, 'ann' )")
    assert "Perkville, events received since" in text
    assert "nothing is changed" in text
    assert "Customers who lose most:" in text
    assert "ann@example.com  1 → 0 (-1)" in text
    assert "FILTERED_BY_RULES: 1" in text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        pytest.param(["--format", "xml"], "table, json, csv", id="format"),
        pytest.param(["--destination", "nothing"], "nothing", id="unknown destination"),
        pytest.param(["--destination", "hooks"], "added up", id="no amounts"),
        pytest.param(["--map", "Sauna Visited"], "EVENT=PERK", id="map"),
        pytest.param(["--filter", "properties.x >"], "--filter", id="filter"),
        pytest.param(["--since", "tomorrow"], "--since", id="time"),
        pytest.param(["--since", "2999-01-01"], "past", id="future"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(
    data: Path, capsys: pytest.CaptureFixture[str], options: list[str], text: str
) -> None:
    assert run(["simulate", "--data", str(data), *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert text in printed.err
    assert len(printed.err.strip().splitlines()) == 1


def test_a_config_file_without_the_destination_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.toml"
    file.write_text('[[sources]]\nslug = "website"\nwrite_key = "wk_website"\n')
    assert run(["simulate", "--data", str(data), "--config", str(file)]) == 2
    assert "no destination perkville" in capsys.readouterr().err


def _stored(data: Path) -> list[str]:
    with closing(sqlite3.connect(data / "punchcard.db")) as connection:
        return list(connection.iterdump())
