"""Asks a person at the terminal before something is done."""

import sys

from punchcard.cli.interruption import NOTHING_CHANGED, explained_interruption
from punchcard.errors import ConfigurationError


@explained_interruption(NOTHING_CHANGED)
def confirm(question: str, *, without_terminal: str) -> bool:
    """Ask a question; return True for yes. Anything else is no, the end of the input (Ctrl-D) included.

    Args:
        without_terminal: The message if there is no terminal to ask at.

    Raises:
        ConfigurationError: There is no terminal.
    """
    if not sys.stdin.isatty():
        raise ConfigurationError(without_terminal)
    try:
        typed = input(f"{question} [y/N] ")
    except EOFError:
        print()
        return False
    return typed.strip().lower() in ("y", "yes")
