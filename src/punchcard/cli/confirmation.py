"""Asks a person at the terminal before something is done."""

from punchcard.cli.interruption import NOTHING_CHANGED, explained_interruption


@explained_interruption(NOTHING_CHANGED)
def confirm(question: str) -> bool:
    """Ask a question; return True for yes. Anything else is no, the end of the input (Ctrl-D) included."""
    try:
        typed = input(f"{question} [y/N] ")
    except EOFError:
        print()
        return False
    return typed.strip().lower() in ("y", "yes")
