"""Prints a list: a table for people, JSON lines for programs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from punchcard.cli.output import printable
from punchcard.log.texts import storable_text

PLAIN_WIDTH = 200  # without a terminal nothing wraps, so that each item stays on its line
T = TypeVar("T")


def print_list(
    items: Sequence[T],
    *,
    columns: Mapping[str, Callable[[T], object]],
    body: Callable[[T], object],
    as_json: bool,
    empty: str,
) -> None:
    """Print a list.

    Args:
        columns: The columns of the table: each heading with what returns its cell; None is an empty cell.
        body: Returns an item as in the Public API.
        empty: The sentence to print instead of an empty table; JSON has no lines then.
    """
    if as_json:
        print_json_lines(map(body, items))
    elif items:
        print_table(list(columns), ([read(item) for read in columns.values()] for item in items))
    else:
        print(empty)


def print_json_lines(bodies: Iterable[object]) -> None:
    """Print each body as one line of JSON."""
    for body in bodies:
        try:
            line = msgspec.json.encode(body)
        except UnicodeEncodeError:  # the name of a file, which need not be text
            line = msgspec.json.encode(_encodable(msgspec.to_builtins(body)))
        print(line.decode())


def _encodable(value: object) -> object:
    """Return a copy of plain values in which UTF-8 can encode every text."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, list) else value


def print_table(headings: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table; nothing in it is taken for markup or reaches the terminal as a control character."""
    table = Table(*headings, box=None)
    for row in rows:
        table.add_row(*(Text(printable("" if cell is None else str(cell)), overflow="fold") for cell in row))
    open_console().print(table)


def open_console() -> Console:
    """Return the console for tables: as wide as the terminal, or wide enough for any line without one."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)
