"""The help of each command as finished text: building it imports the whole command line, which takes much longer.

`help_pages.txt` is written by `make docs`, and a test compares it with the commands.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

PROGRAM: Final = "punchcard"
_FILE: Final = os.path.join(os.path.dirname(__file__), "help_pages.txt")  # pathlib takes a while
_SEPARATOR: Final = "\f"
_COLUMNS: Final = 80  # wider terminals get the same text, narrower ones another
_OPTION: Final = "--help"
_COMPLETION: Final = "_PUNCHCARD_COMPLETE"  # the variable of Typer


def find_page(arguments: Sequence[str]) -> str | None:
    """Return the help that a command line asks for, None if it asks for something else or must be built."""
    if _COMPLETION in os.environ:
        return None  # a shell asks for completions, without arguments
    path = list(arguments) or [_OPTION]
    if path[-1] != _OPTION or _terminal_columns() < _COLUMNS:
        return None
    return read_pages().get(" ".join([PROGRAM, *path[:-1]]))


def read_pages() -> dict[str, str]:
    """Return the text of each command by its full name, such as `punchcard send track`."""
    try:
        with open(_FILE, encoding="utf-8") as file:
            pages = file.read().split(_SEPARATOR)
    except OSError:
        return {}
    return {name: text for name, _, text in (page.partition("\n") for page in pages)}


def write_pages() -> None:
    """Write the file from the commands."""
    with open(_FILE, "w", encoding="utf-8") as file:
        file.write(_SEPARATOR.join(f"{name}\n{text}" for name, text in build_pages().items()))


def build_pages() -> dict[str, str]:
    """Build the text of each command by its full name, as a terminal of 80 columns shows it."""
    import typer

    from punchcard.cli.app import app

    pages: dict[str, str] = {}

    def add(names: list[str], command: Any, parent: Any) -> None:
        context = command.context_class(command, info_name=names[-1], parent=parent, terminal_width=_COLUMNS - 2)
        pages[" ".join(names)] = command.get_help(context) + "\n"
        for name, below in getattr(command, "commands", {}).items():
            add([*names, name], below, context)

    add([PROGRAM], typer.main.get_command(app), None)
    return pages


def _terminal_columns() -> int:
    """Return the width of the terminal as `shutil.get_terminal_size` does."""
    try:
        columns = int(os.environ.get("COLUMNS", "0"))
    except ValueError:
        columns = 0
    if columns > 0:
        return columns
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or _COLUMNS  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        return _COLUMNS


if __name__ == "__main__":
    write_pages()
