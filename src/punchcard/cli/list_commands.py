"""The commands `source`, `transactions`, `events`, `customers` and `audit`: lists, and exports of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from punchcard.cli.options import Data, Json, example, load_existing_settings

if TYPE_CHECKING:
    from punchcard.cli.lists import Output

Format = Annotated[
    str, typer.Option("--format", metavar="table|json|csv|parquet", help="How to print; JSON is one line per item.")
]
OutputFile = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", dir_okay=False, help="File to write to; default: print.")
]
CountMax = Annotated[
    int | None,
    typer.Option("--count", min=1, metavar="N", help="How many, newest first; default: 50 in a table, or all."),
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="T", help="Received from here on: 2026-11-01, or 30d, 12h.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="T", help="Received before this.")]


def _typer(name: str, short_help: str, *examples: str) -> typer.Typer:
    return typer.Typer(name=name, short_help=short_help, epilog=example(*examples), rich_markup_mode=None)


def to_output(format: str, file: Path | None, count: int | None, *, json: bool) -> "Output":
    """Return where a list goes, as typed."""
    from punchcard.cli.lists import read_output

    return read_output("json" if json else format, file=file, count=count)


source = _typer("source", "List sources.", "punchcard source list", "punchcard source list --json")
transactions = _typer(
    "transactions",
    "List and export transactions.",
    "punchcard transactions list --destination loyalty --state parked",
    "punchcard transactions list --format parquet --output transactions.parquet",
)
events = _typer(
    "events",
    "List and export events.",
    "punchcard events list --name 'Checked In' --since 7d",
    "punchcard events list --status refused --format csv --output refused.csv",
)
customers = _typer(
    "customers",
    "List and export customers.",
    "punchcard customers list --count 20",
    "punchcard customers list --trait vip --format csv --output vips.csv",
)
audit = _typer("audit", "List and export the audit log.", "punchcard audit list --since 30d --format csv")


@source.callback()
def source_commands() -> None:
    """List sources."""


@source.command(name="list", short_help="List sources.", epilog=example("punchcard source list --json"))
def list_sources(json: Json = False, data: Data = None) -> None:
    """List sources with their type and write keys, which are masked."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.lists import print_sources

    print_sources(settings, as_json=json)


@transactions.callback()
def transaction_commands() -> None:
    """List and export transactions."""


@transactions.command(
    name="list",
    short_help="List or export transactions.",
    epilog=example(
        "punchcard transactions list",
        "punchcard transactions list --customer ann@example.com --json",
        "punchcard transactions list --since 2026-11-01 --format csv --output november.csv",
    ),
)
def list_transactions(
    destination: Annotated[str | None, typer.Option(metavar="SLUG", help="Needed if there are several.")] = None,
    state: Annotated[str, typer.Option(metavar="STATUS,…", help="Only these statuses, such as parked,rejected.")] = "",
    reason: Annotated[str | None, typer.Option(metavar="CODE", help="Only with this reason.")] = None,
    customer: Annotated[str | None, typer.Option(metavar="EMAIL", help="Only of this customer.")] = None,
    order: Annotated[str | None, typer.Option(metavar="ORDER_ID", help="Only of this order.")] = None,
    event: Annotated[str | None, typer.Option(metavar="NAME", help="Only of events of this name.")] = None,
    since: Since = None,
    until: Until = None,
    json: Json = False,
    format: Format = "table",
    output: OutputFile = None,
    count: CountMax = None,
    data: Data = None,
) -> None:
    """List the transactions of a destination, newest first, or export all that match to a file."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.lists import TransactionFilter, print_transactions

    print_transactions(
        settings,
        TransactionFilter(
            destination=destination,
            state=state,
            reason=reason,
            customer=customer,
            order=order,
            event=event,
            since=since,
            until=until,
        ),
        to_output(format, output, count, json=json),
    )


@events.callback()
def event_commands() -> None:
    """List and export events."""


@events.command(
    name="list",
    short_help="List or export events.",
    epilog=example(
        "punchcard events list --since 24h",
        "punchcard events list --name 'Order Completed' --json --count 5",
        "punchcard events list --since 30d --format parquet --output events.parquet",
    ),
)
def list_events(
    source: Annotated[str | None, typer.Option(metavar="SLUG", help="Only of this source.")] = None,
    type: Annotated[str | None, typer.Option(metavar="TYPE", help="Only of this type, such as track.")] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this name.")] = None,
    status: Annotated[str | None, typer.Option(metavar="STATUS", help="Only with this result of routing.")] = None,
    destination: Annotated[str | None, typer.Option(metavar="SLUG", help="With --status: at this destination.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="CODE", help="With --status: for this reason.")] = None,
    since: Since = None,
    until: Until = None,
    json: Json = False,
    format: Format = "table",
    output: OutputFile = None,
    count: CountMax = None,
    data: Data = None,
) -> None:
    """List events, newest first, or export all that match to a file with their results and payloads."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.lists import EventFilter, print_events

    print_events(
        settings,
        EventFilter(
            source=source,
            type=type,
            name=name,
            status=status,
            destination=destination,
            reason=reason,
            since=since,
            until=until,
        ),
        to_output(format, output, count, json=json),
    )


@customers.callback()
def customer_commands() -> None:
    """List and export customers."""


@customers.command(
    name="list",
    short_help="List or export customers.",
    epilog=example(
        "punchcard customers list", "punchcard customers list --trait regulars --format csv --output regulars.csv"
    ),
)
def list_customers(
    trait: Annotated[str, typer.Option(metavar="KEY", help="Only members of an audience, or all with a trait.")] = "",
    json: Json = False,
    format: Format = "table",
    output: OutputFile = None,
    count: CountMax = None,
    data: Data = None,
) -> None:
    """List profiles, newest first, or export all of them to a file."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.lists import print_customers

    print_customers(settings, trait, to_output(format, output, count, json=json))


@audit.callback()
def audit_commands() -> None:
    """List and export the audit log."""


@audit.command(
    name="list",
    short_help="List or export the audit log.",
    epilog=example("punchcard audit list --count 20", "punchcard audit list --format csv --output audit.csv"),
)
def list_audit(
    since: Annotated[str | None, typer.Option(metavar="T", help="Made from here on: 2026-11-01, or 30d.")] = None,
    until: Annotated[str | None, typer.Option(metavar="T", help="Made before this.")] = None,
    json: Json = False,
    format: Format = "table",
    output: OutputFile = None,
    count: CountMax = None,
    data: Data = None,
) -> None:
    """List every change of the configuration, newest first, or export the audit log to a file. Secrets are masked."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.lists import print_audit

    print_audit(settings, since, until, to_output(format, output, count, json=json))
