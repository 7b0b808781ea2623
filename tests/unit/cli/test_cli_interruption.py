"""What a command says when Ctrl-C ends it."""

from pathlib import Path

import pytest

from punchcard.cli.running import run
from punchcard.lake.writer import LakeWriter


def test_an_interrupted_command_says_what_is_left_and_how_to_continue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = iter([3])

    def compact(_: LakeWriter) -> int:
        for number in merged:
            return number
        raise KeyboardInterrupt

    (tmp_path / "punchcard.db").touch()
    monkeypatch.setattr(LakeWriter, "compact", compact)
    assert run(["lake", "compact", "--data", str(tmp_path)]) == 130
    assert capsys.readouterr().err == (
        "3 files merged\n"
        "punchcard: Interrupted. What was merged stays, and no event is lost. Run the same command to continue.\n"
    )
