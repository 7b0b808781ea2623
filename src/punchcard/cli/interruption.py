"""What a command says when Ctrl-C ends it: what is done, what is not, and how to go on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from punchcard.cli.output import printable

INTERRUPTED: Final = 130
"""The exit status of a command that Ctrl-C has ended."""

NOTHING_CHANGED: Final = "Nothing was changed. Run the same command again."
"""The explanation of a command that only reads, or that has not begun to write."""

_OF_DUCKDB: Final = "Query interrupted"
_is_explained: ContextVar[bool] = ContextVar("is_explained", default=False)


@contextmanager
def explained_interruption(explanation: str) -> Iterator[None]:
    """Print a line on standard error if Ctrl-C ends the block, which ends the command with the status 130.

    Args:
        explanation: Sentences about the state that the block leaves. Of nested blocks, the innermost one explains.
    """
    try:
        yield
    except (KeyboardInterrupt, RuntimeError) as error:
        if is_interruption(error):
            explain_interruption(explanation)
        raise


def is_interruption(error: BaseException) -> bool:
    """Return whether an error is what Ctrl-C has become; DuckDB makes an error of its own of it during a query."""
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, RuntimeError) and str(error) == _OF_DUCKDB)


def explain_interruption(explanation: str) -> None:
    """Print the line on standard error, unless the interruption was explained before."""
    if not _is_explained.get():
        _is_explained.set(True)
        print(f"punchcard: Interrupted. {printable(explanation)}", file=sys.stderr)


def expect_interruption() -> None:
    """Begin a command: its interruption was not explained yet."""
    _is_explained.set(False)
