"""The end of a command's output."""

import os
import sys

FAILED = 1


def end_output(status: int, text: str = "") -> int:
    """Write a last text and all that waits; returns the exit status, which is 1 if the reader has gone."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has exited (`punchcard export | head`). At exit, Python would flush again and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status
