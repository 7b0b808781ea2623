"""Asks a person at the terminal before something is done."""

import sys

from punchcard.cli.interruption import NOTHING_CHANGED, explained_interruption
from punchcard.errors import ConfigurationError


@explained_interruption(NOTHING_CHANGED)
def confirm(question: str, *, alternative: str = "") -> bool:
    """Ask a question; return True for yes. Anything else is no, the end of the input (Ctrl-D) included.

    Args:
        alternative: What else than --yes answers the question without a terminal, for the message.

    Raises:
        ConfigurationError: There is no terminal.
    """
    if not sys.stdin.isatty():
        remedy = f"Add --yes, or {alternative}." if alternative else "Add --yes."
        raise ConfigurationError(f"{question} There is no terminal to answer at. {remedy}")
    try:
        typed = input(f"{question} [y/N] ")
    except EOFError:
        print()
        return False
    return typed.strip().lower() in ("y", "yes")
