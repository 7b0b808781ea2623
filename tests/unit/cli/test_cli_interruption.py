"""What a command says when Ctrl-C ends it."""

import importlib
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import pytest

from punchcard.cli.confirmation import confirm
from punchcard.cli.interruption import expect_interruption
from punchcard.cli.running import run
from punchcard.errors import ConfigurationError
from punchcard.lake.writer import LakeWriter

UNCHANGED = "punchcard: Interrupted. Nothing was changed. Run the same command again.\n"


def interrupt(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "punchcard.db").touch()
    return tmp_path


def test_an_interrupted_command_says_what_is_left_and_how_to_continue(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = iter([3])

    def compact(_: LakeWriter) -> int:
        for number in merged:
            return number
        raise KeyboardInterrupt

    monkeypatch.setattr(LakeWriter, "compact", compact)
    assert run(["lake", "compact", "--data", str(data)]) == 130
    assert capsys.readouterr().err == (
        "3 files merged\n"
        "punchcard: Interrupted. What was merged stays, and no event is lost. Run the same command to continue.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "step"),
    [
        (["simulate"], "simulating.open_store"),
        (["check"], "configuring.run_check"),
        (["check", "--config", "punchcard.toml"], "configuring.read_file"),
        (["doctor"], "examining.diagnose"),
        (["audience", "preview", "x"], "audiences.open_store"),
        (["privacy", "export", "ann"], "regulating.open_store"),
    ],
    ids=" ".join,
)
def test_a_command_that_only_reads_says_that_nothing_was_changed(
    data: Path,
    arguments: list[str],
    step: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"punchcard.cli.{step}", interrupt)
    assert run([*arguments, "--data", str(data)]) == 130
    assert capsys.readouterr().err == UNCHANGED


@pytest.mark.parametrize(
    ("arguments", "step", "explanation"),
    [
        (["privacy", "export", "ann"], "regulating.open_store", UNCHANGED),
        (
            ["retry"],
            "retrying.open_store",
            "punchcard: Interrupted. Nothing is half done. Run the same command again.\n",
        ),
    ],
    ids=["explained", "other"],
)
def test_an_interrupted_query_is_an_interruption(
    data: Path,
    arguments: list[str],
    step: str,
    explanation: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def query(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Query interrupted")  # as DuckDB does

    monkeypatch.setattr(f"punchcard.cli.{step}", query)
    assert run([*arguments, "--data", str(data)]) == 130
    assert capsys.readouterr().err == explanation


def test_every_other_command_says_that_it_was_interrupted(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("punchcard.cli.retrying.open_store", interrupt)
    for _ in range(2):
        assert run(["retry", "--data", str(data)]) == 130
        assert capsys.readouterr().err == (
            "punchcard: Interrupted. Nothing is half done. Run the same command again.\n"
        )


def test_an_interrupted_question_has_changed_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", interrupt)
    expect_interruption()
    with pytest.raises(KeyboardInterrupt):
        confirm("Do it?")
    assert capsys.readouterr().err == UNCHANGED


@pytest.mark.parametrize(("typed", "is_yes"), [("y", True), (" YES ", True), ("", False), ("no", False), (None, False)])
def test_a_question_is_answered_by_yes_only(typed: str | None, is_yes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(_: str) -> str:
        if typed is None:
            raise EOFError
        return typed

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", reply)
    assert confirm("Do it?") is is_yes


def test_a_question_without_a_terminal_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(ConfigurationError, match=r"^Do it\? There is no terminal to answer at\. Add --yes\.$"):
        confirm("Do it?")
    with pytest.raises(ConfigurationError, match=r" Add --yes, or look at it again\.$"):
        confirm("Do it?", alternative="look at it again")


@pytest.mark.parametrize("module", ["punchcard.cli.help_pages", "punchcard.cli.running"])
def test_ctrl_c_while_modules_are_imported_is_explained_too(
    module: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupting(MetaPathFinder):
        def find_spec(self, fullname: str, *_: Any) -> None:
            if fullname == module:
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    monkeypatch.setattr(sys, "argv", ["punchcard", "trace", "m-1"])
    assert importlib.reload(importlib.import_module("punchcard.__main__")).main() == 130
    assert capsys.readouterr().err == UNCHANGED
