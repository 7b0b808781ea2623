"""What the demo prints of an effect, and what it says of a part that does not start."""

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from punchcard.errors import PunchcardError
from punchcard.runtime import demo


@pytest.mark.parametrize(
    ("transaction", "text"),
    [
        pytest.param(
            {"perk": "123456", "quantity": "9.99", "email": "ann@example.com", "attributes": None},
            "    9.99 × perk 123456  ann@example.com        Order Completed",
            id="award",
        ),
        pytest.param(
            {"perk": "123456", "quantity": None, "email": "ann@example.com", "attributes": None},
            "       ? × perk 123456  ann@example.com        Order Completed",
            id="refund whose amount is not decided yet",
        ),
        pytest.param(
            {"perk": None, "quantity": None, "email": "ann@example.com", "attributes": {"regulars": True, "n": "a"}},
            'set regulars = true, n = "a" of ann@example.com',
            id="user property",
        ),
    ],
)
def test_every_kind_of_effect_has_its_line(transaction: dict[str, object], text: str) -> None:
    assert demo._effect_text({"transaction": transaction, "eventName": "Order Completed"}) == text


def _start(code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_a_part_that_ends_is_named_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "up.log"
    log.write_text("punchcard: port 8080 is taken\n")
    with _start("raise SystemExit(1)") as process, pytest.raises(PunchcardError) as caught:
        demo._wait_for_url(Console(), process, "is up", log)
    assert "`punchcard up` ended with exit status 1" in caught.value.message
    assert str(log) in caught.value.message
    assert "port 8080 is taken" in caught.value.message


def test_a_part_that_is_not_ready_in_time_is_named_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_START_SECONDS", 0.2)
    log = tmp_path / "sandbox.log"
    log.touch()
    with _start("import time; time.sleep(600)") as process, pytest.raises(PunchcardError) as caught:
        demo._wait_for_url(Console(), process, "http", log)
    assert "`punchcard sandbox` was not ready after" in caught.value.message
    assert str(log) in caught.value.message


def test_app_that_does_not_respond_is_named_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_tcp_port: int
) -> None:
    monkeypatch.setattr(demo, "_START_SECONDS", 0.2)
    running = demo._Running(f"http://127.0.0.1:{free_tcp_port}", tmp_path / "up.log")
    with pytest.raises(PunchcardError) as caught:
        demo._create_owner(running)
    assert "did not respond" in caught.value.message
    assert str(tmp_path / "up.log") in caught.value.message
