"""Help that is finished beforehand: the same text as the commands', without importing them."""

import subprocess
import sys

import pytest

from punchcard.cli.help_pages import build_pages, find_page, read_pages
from punchcard.cli.running import run


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_the_file_holds_the_help_of_every_command() -> None:
    """`make docs` writes it."""
    assert read_pages() == build_pages()


@pytest.mark.parametrize("path", [[], ["up"], ["send"], ["send", "track"], ["import"]])
def test_a_finished_page_is_what_the_command_prints(path: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == 0
    assert find_page([*path, "--help"]) == capsys.readouterr().out


def test_no_arguments_ask_for_help() -> None:
    assert find_page([]) == find_page(["--help"]) is not None


@pytest.mark.parametrize(
    ("arguments", "columns"),
    [
        pytest.param(["up"], "80", id="a command"),
        pytest.param(["--version"], "80", id="another option"),
        pytest.param(["unknown", "--help"], "80", id="an unknown command"),
        pytest.param(["up", "--port", "1", "--help"], "80", id="further options"),
        pytest.param(["up", "--help"], "79", id="a narrow terminal"),
    ],
)
def test_everything_else_is_left_to_the_commands(
    arguments: list[str], columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert find_page(arguments) is None


def test_help_imports_no_command() -> None:
    code = (
        "import sys; sys.argv = ['punchcard', 'up', '--help']; from punchcard.__main__ import main; main()\n"
        "print(sorted({'typer', 'pathlib', 'dataclasses', 'punchcard.cli.app'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "80", "PYTHONPATH": "src"},
    )
    assert done.stderr == "[]\n"
    assert done.stdout.startswith("Usage: punchcard up")
