"""Logs go to standard error, whatever that is."""

import subprocess
import sys
from pathlib import Path

import pytest

LOGGING = """
import structlog
from punchcard.runtime.logs import configure_logs

configure_logs(level="info", format="{format}")
log = structlog.get_logger("punchcard.test")
for number in range(3):
    log.error("event_log_append_failed", number=number)
    log.debug("not_said")
    log.error("storage_failed", error="away")
    token = "tok" + "en-of-somebody"
    try:
        raise ValueError(f"why {{number}}")
    except ValueError:
        log.exception("attempt_failed")
print("went on")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_line_that_cannot_be_written_stops_nothing(form: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", LOGGING.format(format=form)], stdout=subprocess.PIPE, stderr=full, check=False
        )
    assert done.stdout == b"went on\n"


@pytest.mark.parametrize("form", ["json", "console"])
def test_lines_of_the_level_and_above_are_written(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", LOGGING.format(format=form)], capture_output=True, check=True)
    text = done.stderr.decode()
    assert text.count("event_log_append_failed") == 3
    assert text.count("attempt_failed") == 3
    assert text.count("storage_failed") == 1, "the same line once"
    assert "ValueError: why 2" in text
    assert "not_said" not in text
    assert "token-of-somebody" not in text, "no values of variables"
