"""Promise: without its storage, a command ends at once with status 1, and one line that says what to check.

Commands are found in the command line itself, so a new one is tested too. Processes wait instead: see
`tests/e2e/test_storage_comes_up_later.py`.
"""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from punchcard.cli.app import app
from punchcard.cli.running import run
from punchcard.store.engine import Store

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website_0001"
"""
# What is given for required parameters, and for options without which some commands are called wrongly.
ARGUMENTS = {
    "apply": "{config}",
    "audience upload": "regulars {members}",
    "audience preview": "event('x').count()>=1",
    "destination new": "fitness --folder {folder}",
    "plan import": "{plan}",
    "plan codegen": "{plan} --language python",
    "plan check": "shop --source website",
    "plan attach": "shop website",
    "privacy classify": "RED properties.phone",
    "privacy controls set": "mask context.ip --source website",
    "privacy controls preview": "mask context.ip --source website",
    "privacy controls remove": "context.ip --source website",
    "replay": "--destination perkville",
    "retention preview": "lake 90",
    "retention set": "lake 90",
    "lake query": "SELECT+1",
}
# They wait for their storage, or have none of their own.
PROCESSES = {"up", "serve", "worker", "engage", "demo", "sandbox"}
# They talk to a server, write files, or read settings before anything else.
WITHOUT_STORE = {"import", "destination new", "plan codegen", "secrets rotate", "secrets finish"}
OF_THE_LAKE_ALONE = {"lake query", "lake compact"}
OF_THE_LOG = {"check", "doctor", "trace", "recover", "adopt-log", "events list", "lake repair"}
OF_THE_LAKE = {"check", "doctor", "trace", "events list", "privacy export", "lake query", "lake compact", "lake repair"}


def commands(group: Any, *path: str) -> Iterator[tuple[str, Any]]:
    for name, child in group.commands.items():
        if hasattr(child, "commands"):
            yield from commands(child, *path, name)
        else:
            yield " ".join([*path, name]), child


ALL = {
    name: command
    for name, command in commands(typer.main.get_command(app))
    if name not in PROCESSES | WITHOUT_STORE and not name.startswith("send ")
}


@pytest.fixture
def nowhere() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in {
        "config.toml": CONFIG,
        "members.csv": "user_id\nann\n",
        "plan.json": '{"title": "Checked In", "properties": {}}',
    }.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "data").mkdir(mode=0o700)
    monkeypatch.setenv("PUNCHCARD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PUNCHCARD_LAKE_URL", str(tmp_path / "lake"))
    monkeypatch.setenv("PUNCHCARD_SECRET_KEY", "correct horse battery staple")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def line_of(name: str, folder: Path) -> list[str]:
    """Return the arguments of a call of the command that is right, as far as can be known without storage."""
    parameters = ALL[name].params
    given = ARGUMENTS.get(name) or " ".join("1" for each in parameters if each.required)
    named = given.format(
        config=folder / "config.toml", members=folder / "members.csv", plan=folder / "plan.json", folder=folder
    )
    confirmed = ["--yes"] if any("--yes" in each.opts for each in parameters) else []
    return [*name.split(), *(part.replace("+", " ") for part in named.split()), *confirmed]


def refusal(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the line with which a command ends without its storage."""
    capsys.readouterr()
    status = run(line_of(name, folder))
    output = capsys.readouterr()
    assert status == 1, f"{name}: {status}, {output.err or output.out}"
    assert "Traceback" not in output.err + output.out
    if name in ("check", "doctor"):
        lines = [line for line in (output.out + output.err).splitlines() if "cannot be" in line or "does not" in line]
        return " ".join([*lines, output.out])
    (line,) = [line for line in output.err.splitlines() if not line.startswith("{")]
    return line


@pytest.mark.parametrize("name", sorted(ALL.keys() - OF_THE_LAKE_ALONE))
def test_a_command_says_that_the_database_is_away(
    folder: Path, nowhere: int, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql://punchcard@127.0.0.1:{nowhere}/punchcard"
    monkeypatch.setenv("PUNCHCARD_DATABASE_URL", url)
    monkeypatch.setenv("PUNCHCARD_LOG_URL", url)
    line = refusal(name, folder, capsys)
    assert str(nowhere) in line
    assert "PUNCHCARD_DATABASE_URL" in line
    assert "Connection refused" in line
    assert "Is the server running" not in line


@pytest.mark.parametrize("name", sorted(OF_THE_LOG))
def test_a_command_says_that_the_brokers_are_away(
    folder: Path,
    nowhere: int,
    postgres_url: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PUNCHCARD_DATABASE_URL", postgres_url)
    Store(postgres_url).close()
    monkeypatch.setenv("PUNCHCARD_LOG_URL", f"kafka://127.0.0.1:{nowhere}/visits")
    line = refusal(name, folder, capsys)
    assert f"127.0.0.1:{nowhere}: Connection refused." in line
    assert "Check that the brokers run, and PUNCHCARD_LOG_URL." in line
    assert "in state" not in line


@pytest.mark.parametrize("name", sorted(OF_THE_LAKE))
def test_a_command_says_that_the_object_store_is_away(
    folder: Path,
    nowhere: int,
    sqlite_url: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["apply", str(folder / "config.toml")]) == 0
    run(["adopt-log", "--yes"])  # makes the log
    for variable, value in {
        "PUNCHCARD_LAKE_URL": "s3://bucket/lake",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{nowhere}",
        "AWS_ACCESS_KEY_ID": "lake-writer",
        "AWS_SECRET_ACCESS_KEY": "lake-writer-secret",
    }.items():
        monkeypatch.setenv(variable, value)
    line = refusal(name, folder, capsys)
    assert "s3://bucket/lake cannot be reached" in line
    assert "check AWS_ENDPOINT_URL and the network" in line
    assert "lake repair" not in line
