"""The commands under `punchcard lake`: their options and help."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, example, load_existing_settings

lake = typer.Typer(
    name="lake",
    short_help="Query and maintain the data lake.",
    epilog=example(
        'punchcard lake query "SELECT event, count(*) FROM events GROUP BY event"', "punchcard lake compact"
    ),
    rich_markup_mode=None,
)


@lake.command(
    short_help="Query all events in SQL.",
    epilog=example(
        'punchcard lake query "SELECT event, count(*) FROM events GROUP BY event ORDER BY 2 DESC"',
        "punchcard lake query \"SELECT * FROM events WHERE email = 'ann@example.com'\" --json",
    ),
)
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="Query of the view `events`, in DuckDB's SQL.")],
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Maximum number of rows.")] = 1_000,
    data: Data = None,
) -> None:
    """Query all events in SQL, whether or not `punchcard up` is running. Queries are read-only.

    The view `events` has one row per event: message_id, type, event, user_id, anonymous_id, email, order_id,
    revenue, value, total, currency, product_ids, source, received_at, timestamp, event_day (UTC), day
    (of receipt), payload (JSON), results (JSON), notes (JSON).
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.lake import Format, print_rows

    print_rows(settings, sql, shape=Format.CSV if csv else Format.JSON if json else Format.TABLE, limit=limit)


@lake.command(short_help="Merge small files now.", epilog=example("punchcard lake compact"))
def compact(data: Data = None) -> None:
    """Merge the lake's small files and delete old ones. `up` does this automatically every minute."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.lake import compact_lake

    compact_lake(settings)


@lake.command(
    short_help="Repair a damaged lake.",
    epilog=example("punchcard lake repair --dry-run", "punchcard lake repair"),
)
def repair(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be repaired.")] = False,
    data: Data = None,
) -> None:
    """Repair a lake with missing or damaged Parquet files or Delta commits, whether or not `punchcard up` is running.

    The table is reset to its newest good version, and missing files are removed from it. Their events are restored from
    other files in the folder and from the event log, which keeps records for `log_retention_hours`. Events that cannot
    be restored are lost, and counted. Damaged files of the Delta log are moved, not deleted.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.lake import repair_lake

    repair_lake(settings, dry_run=dry_run)
