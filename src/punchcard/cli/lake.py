"""The implementation of `punchcard lake`: queries in SQL, compaction and repair."""

import csv
import sys
from collections.abc import Sequence
from contextlib import closing
from enum import Enum
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from punchcard.cli.interruption import explained_interruption
from punchcard.cli.output import printable
from punchcard.clock import SystemClock
from punchcard.lake.query import run_query
from punchcard.lake.writer import LakeWriter
from punchcard.operations.export_files import csv_cell
from punchcard.routing.lake_repair import LakeRepair, repair
from punchcard.runtime.assembly import open_log, open_store
from punchcard.runtime.settings import Settings

_PLAIN_WIDTH = 240
_CELL_CHARACTERS_MAX = 200
_FILES_SHOWN_MAX = 20


class Format(Enum):
    """Output formats of rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def print_rows(settings: Settings, sql: str, *, shape: Format, limit: int) -> None:
    """Print the result of a query.

    Raises:
        ConfigurationError: The SQL is invalid.
        StorageError: There is no lake yet, or it cannot be read.
    """
    names, rows = run_query(settings.lake_location(), sql, limit=limit + 1)
    page_rows = rows[:limit]
    match shape:
        case Format.CSV:
            writer = csv.writer(sys.stdout)
            writer.writerow(names)
            writer.writerows([[csv_cell(_plain(cell)) for cell in row] for row in page_rows])
        case Format.JSON:
            for row in page_rows:
                print(msgspec.json.encode(dict(zip(names, row, strict=True)), enc_hook=str).decode())
        case Format.TABLE:
            _print_table(names, page_rows)
    if len(rows) > limit:
        print(f"There are more than {limit:,} rows. Restrict the query, or set --limit.", file=sys.stderr)


def compact_lake(settings: Settings) -> None:
    """Merge files and delete old ones until nothing is left to do, and print the progress.

    Raises:
        StorageError: The lake cannot be read or written. Its table stays intact.
    """
    lake = LakeWriter(settings.lake_location())
    fewer = 0
    with explained_interruption("What was merged stays, and no event is lost. Run the same command to continue."):
        while saved := lake.compact():
            fewer += saved
            print(f"{fewer:,} files merged", file=sys.stderr)
        deleted = lake.vacuum()
    print(f"{fewer:,} files merged, {deleted:,} old files deleted.")


def repair_lake(settings: Settings, *, dry_run: bool) -> None:
    """Repair the lake and print a report.

    Raises:
        ConfigurationError: The lake is not in a local folder.
        StorageError: The lake, the log or the store is unavailable.
    """
    with closing(open_store(settings)) as store, open_log(settings) as log:
        result = repair(settings.lake_location(), log=log, store=store, clock=SystemClock(), dry_run=dry_run)
    for line in repair_lines(result, dry_run=dry_run):
        print(line)


def repair_lines(result: LakeRepair, *, dry_run: bool) -> list[str]:
    """Return the outcome of a repair as sentences."""
    report = result.report
    lines: list[str] = []
    if report.is_log_damaged:
        files = ", ".join(report.damaged_log_files) or "files are missing"
        state = (
            "no version of the table is left" if report.version < 0 else f"the newest good version is {report.version}"
        )
        lines.append(f"Damage in the Delta log: {files}; {state}.")
    for file in report.damaged_files[:_FILES_SHOWN_MAX]:
        lines.append(f"Missing or damaged data file: {file.path} ({file.rows:,} events).")
    if len(report.damaged_files) > _FILES_SHOWN_MAX:
        lines.append(f"Missing or damaged data files: {len(report.damaged_files):,} in all.")
    would = "would be " if dry_run else ""
    if report.recovered_files:
        count = sum(file.rows for file in report.recovered_files)
        lines.append(
            f"{count:,} events {would}recovered from {len(report.recovered_files):,} data files of the folder."
        )
    if report.restored_events:
        lines.append(f"{report.restored_events:,} events {would}restored from the event log.")
    if report.is_whole:
        lines.append("The data lake is intact. There is nothing to repair.")
    if report.lost_events:
        days = f"{report.lost_days[0]} to {report.lost_days[-1]}"
        lines.append(f"Lost: {report.lost_events:,} events received from {days} (UTC). Their awards are not affected.")
    if result.lost_positions is not None:
        first, last = result.lost_positions
        lines.append(f"Lost: the events of the log records {first:,} to {last:,}. Their awards are not affected.")
    if not (report.is_whole or report.lost_events or result.lost_positions):
        lines.append("Nothing is lost.")
    if result.waiting_from is not None:
        lines.append(f"The worker appends the events from log record {result.waiting_from:,} on automatically.")
    return lines


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
