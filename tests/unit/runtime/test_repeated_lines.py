"""Equal warnings and errors are logged once in a while, with their count."""

from contextlib import suppress

import pytest
import structlog

from punchcard.runtime import repeated_lines
from punchcard.runtime.repeated_lines import INTERVAL_SECONDS, RepeatedLines


class Log:
    """Lines as they would be written, at a time that the test sets."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.lines: list[dict[str, object]] = []
        self._processor = RepeatedLines(lambda: self.seconds)

    def write(self, method: str, **fields: object) -> None:
        with suppress(structlog.DropEvent):
            self.lines.append(dict(self._processor(None, method, dict(fields))))


@pytest.fixture
def log() -> Log:
    return Log()


def test_an_equal_line_is_left_out_until_the_interval_is_over_and_counted_then(log: Log) -> None:
    for _ in range(4):
        log.write("error", event="lake_failed", error="away")
        log.seconds += INTERVAL_SECONDS / 3
    log.write("error", event="lake_failed", error="away")
    assert log.lines == [
        {"event": "lake_failed", "error": "away"},
        {"event": "lake_failed", "error": "away", "repeated": 2},
    ]


def test_the_count_is_of_the_lines_since_the_last_one(log: Log) -> None:
    log.write("error", event="lake_failed")
    log.write("error", event="lake_failed")
    for _ in range(2):
        log.seconds += INTERVAL_SECONDS
        log.write("error", event="lake_failed")
    assert [line.get("repeated") for line in log.lines] == [None, 1, None]


def test_lines_that_differ_in_a_field_or_an_error_are_all_written(log: Log) -> None:
    log.write("error", event="lake_failed", error="away")
    log.write("error", event="lake_failed", error="full")
    log.write("error", event="storage_failed", error="away")
    for text in ("one", "other"):
        log.write("error", event="attempt_failed", exc_info=ValueError(text))
        try:
            raise ValueError(text)
        except ValueError:
            log.write("error", event="cycle_failed", exc_info=True)
    assert len(log.lines) == 7


def test_information_is_always_written(log: Log) -> None:
    for _ in range(3):
        log.write("info", event="lake_moved_on")
    assert len(log.lines) == 3


def test_memory_is_bounded(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated_lines, "_LINES_MAX", 2)
    for number in (1, 2, 3, 1, 3):
        log.write("warning", event="settlement_failed", effect=number)
    assert [line["effect"] for line in log.lines] == [1, 2, 3, 1]
