"""The commands under `punchcard lake`: their options and help."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, example, load_existing_settings

lake = typer.Typer(rich_markup_mode=None)


@lake.command(
    short_help="Ask all events in SQL.",
    epilog=example(
        'punchcard lake query "SELECT event, count(*) FROM events GROUP BY event ORDER BY 2 DESC"',
        "punchcard lake query \"SELECT * FROM events WHERE email = 'ann@example.com'\" --json",
    ),
)
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="A question to the view `events`, in DuckDB's SQL.")],
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Print at most so many rows.")] = 1_000,
    data: Data = None,
) -> None:
    """Ask all events in SQL, whether or not `punchcard up` is running. Nothing can be changed by it.

    The view `events` has a row for each event: message_id, type, event, user_id, anonymous_id, email, order_id,
    revenue, value, total, currency, product_ids, source, received_at, timestamp, event_day (UTC), day
    (of receipt), payload (JSON), results (JSON), notes (JSON).
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.lake import Format, print_rows

    print_rows(settings, sql, shape=Format.CSV if csv else Format.JSON if json else Format.TABLE, limit=limit)


@lake.command(short_help="Merge small files now.", epilog=example("punchcard lake compact"))
def compact(data: Data = None) -> None:
    """Merge the lake's small files and delete those that were merged long ago. `up` does it by itself every minute."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.lake import compact_lake

    compact_lake(settings)


@lake.command(
    short_help="Repair a damaged lake.",
    epilog=example("punchcard lake repair --dry-run", "punchcard lake repair"),
)
def repair(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what there is to do.")] = False,
    data: Data = None,
) -> None:
    """Repair a lake with missing or damaged Parquet files or Delta commits, whether or not `punchcard up` is running.

    The table goes back to its newest good state; files that it lacks are taken out of it; their events are restored
    from other files of the folder and from the event log, which keeps its records for `log_retention_hours`. What is
    restored from nowhere is lost, and counted. Damaged files of the Delta log are moved aside, not deleted.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.lake import repair_lake

    repair_lake(settings, dry_run=dry_run)
