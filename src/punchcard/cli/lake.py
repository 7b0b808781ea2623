"""What `punchcard lake` does: questions in SQL, and tidying."""

import csv
import sys
from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from punchcard.cli.story_text import printable
from punchcard.lake.query import ask
from punchcard.lake.writer import LakeWriter
from punchcard.runtime.settings import Settings

_PLAIN_WIDTH = 240
_CELL_CHARACTERS_MAX = 200


class Format(Enum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def print_rows(settings: Settings, sql: str, *, shape: Format, limit: int) -> None:
    """Print the answer to a question.

    Raises:
        ConfigurationError: the SQL is wrong.
        StorageError: there is no lake yet, or it cannot be read.
    """
    names, rows = ask(settings.lake_location(), sql, limit=limit + 1)
    shown = rows[:limit]
    match shape:
        case Format.CSV:
            writer = csv.writer(sys.stdout)
            writer.writerow(names)
            writer.writerows([[_plain(cell) for cell in row] for row in shown])
        case Format.JSON:
            for row in shown:
                print(msgspec.json.encode(dict(zip(names, row, strict=True)), enc_hook=str).decode())
        case Format.TABLE:
            _print_table(names, shown)
    if len(rows) > limit:
        print(f"there are more than {limit:,} rows: ask for fewer, or set --limit", file=sys.stderr)


def compact_lake(settings: Settings) -> None:
    """Merge and delete until there is nothing to do, saying how far it is.

    Raises:
        StorageError: the lake cannot be read or written; its table is whole.
    """
    lake = LakeWriter(settings.lake_location())
    fewer = 0
    while saved := lake.compact():
        fewer += saved
        print(f"{fewer:,} files fewer", file=sys.stderr)
    deleted = lake.vacuum()
    print(f"{fewer:,} files fewer by merging, {deleted:,} old ones deleted")


def _print_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PLAIN_WIDTH)
    table = Table(*names, box=None)
    for row in rows:
        cells = (printable(_plain(cell)) for cell in row)
        table.add_row(*(Text(cell[:_CELL_CHARACTERS_MAX], overflow="fold") for cell in cells))
    console.print(table)


def _plain(cell: object) -> str:
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else str(cell)
