"""What a command says when Ctrl-C ends it: what is done, what is not, and how to go on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from punchcard.cli.output import printable


@contextmanager
def explained_interruption(explanation: str) -> Iterator[None]:
    """Print a line on standard error if Ctrl-C ends the block, which ends the command with the status 130.

    Args:
        explanation: Sentences about the state that the block leaves.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"punchcard: Interrupted. {printable(explanation)}", file=sys.stderr)
        raise
