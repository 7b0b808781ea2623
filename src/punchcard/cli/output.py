"""The end of a command's output."""

import os
import sys

FAILED = 1


def open_closed_streams() -> None:
    """Open standard streams that the caller has closed, so that what is written to them is discarded.

    Otherwise Python has none of them, and the next file that is opened gets their number.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, so this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def end_output(status: int, text: str = "") -> int:
    """Write a last text and all that waits; returns the exit status, a failure if the output cannot be written."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # At exit, Python would flush again and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # Nothing is printed if the reader has exited (`punchcard export | head`), or if the command has failed already.
        if not status and not isinstance(error, BrokenPipeError):
            print(f"punchcard: Standard output: {error.strerror}", file=sys.stderr)
        return status or FAILED
    return status


def printable(text: str) -> str:
    """Return the text without control characters: text from senders and files must not control the terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)
