"""Progress display of an import on standard error: a bar on a terminal, otherwise a line now and then."""

import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from punchcard.cli.output import printable

_LINE_SECONDS = 10.0
_BAR_SECONDS = 0.1


@dataclass
class Counts:
    """Counts of an import.

    Attributes:
        read: Rows read.
        sent: Rows that the server accepted.
        refused: Rows that are not events, or that the server refused.
        sent_now: Rows accepted in this run.
    """

    read: int = 0
    sent: int = 0
    refused: int = 0
    sent_now: int = 0


class Display(Protocol):
    """Shows the progress of an import."""

    def show(self, position: int, counts: Counts) -> None:
        """Show the position in the file and the counts."""

    def say(self, text: str) -> None:
        """Print a message."""


def open_display(name: str, size: int) -> AbstractContextManager[Display]:
    """Return the display for a file of `size`: a bar if standard error is a terminal."""
    return _Bar(name, size) if sys.stderr.isatty() else _Lines(size)


class _Lines:
    def __init__(self, size: int) -> None:
        self._size = size
        self._begun = self._shown_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, position: int, counts: Counts) -> None:
        now = time.monotonic()
        if now - self._shown_at < _LINE_SECONDS:
            return
        self._shown_at = now
        seconds = now - self._begun
        done = position / self._size if self._size else 1.0
        left = f", about {seconds / done * (1 - done):.0f} s left" if done else ""
        self.say(f"{done:.0%}: {_format_counts(counts)}, {counts.sent_now / seconds:,.0f} rows/s{left}")

    def say(self, text: str) -> None:
        print(printable(text), file=sys.stderr, flush=True)


class _Bar:
    def __init__(self, name: str, size: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            TimeRemainingColumn(),
            console=Console(stderr=True, highlight=False),
        )
        self._task = self._progress.add_task(name, total=size, words="")
        self._size = size
        self._begun = time.monotonic()
        self._shown_at = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self._progress.stop()

    def show(self, position: int, counts: Counts) -> None:
        now = time.monotonic()
        if now - self._shown_at < _BAR_SECONDS and position < self._size:
            return
        self._shown_at = now
        rate = counts.sent_now / max(1e-3, now - self._begun)
        self._progress.update(self._task, completed=position, words=f"{_format_counts(counts)}, {rate:,.0f} rows/s")

    def say(self, text: str) -> None:
        self._progress.console.print(printable(text), markup=False)


def _format_counts(counts: Counts) -> str:
    return f"{counts.sent:,} sent" + (f", {counts.refused:,} refused" if counts.refused else "")
