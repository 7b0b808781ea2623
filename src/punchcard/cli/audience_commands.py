"""The commands under `punchcard audience`: their options and help."""

from pathlib import Path
from typing import Annotated

import typer

from punchcard.cli.list_commands import CountMax, Format, OutputFile, to_output
from punchcard.cli.options import Data, Json, example, load_existing_settings

audience = typer.Typer(rich_markup_mode=None)


@audience.command(
    name="list",
    short_help="List audiences and computed traits.",
    epilog=example("punchcard audience list", "punchcard audience list --json"),
)
def list_(json: Json = False, data: Data = None) -> None:
    """List audiences and computed traits with status, size, and pending syncs per destination."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.audiences import list_computations

    list_computations(settings, as_json=json)


@audience.command(
    short_help="List or export members.",
    epilog=example(
        "punchcard audience members regulars",
        "punchcard audience members regulars --format csv --output regulars.csv",
    ),
)
def members(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of the audience or computed trait.")],
    json: Json = False,
    format: Format = "table",
    output: OutputFile = None,
    count: CountMax = None,
    data: Data = None,
) -> None:
    """List the members of an audience, or the people with a computed trait and their values, or export all of them."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.lists import print_members

    print_members(settings, key, to_output(format, output, count, json=json))


@audience.command(
    short_help="Preview a definition.",
    epilog=example("punchcard audience preview \"event('Order Completed').within(30 days).count() >= 1\""),
)
def preview(
    definition: Annotated[str, typer.Argument(metavar="DEFINITION", help="Definition in the query language.")],
    trait: Annotated[bool, typer.Option("--trait", help="Preview a computed trait instead of an audience.")] = False,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Include people without user id and email.")] = False,
    data: Data = None,
) -> int:
    """Preview a definition: the number of matching people, ten samples, and warnings about likely mistakes.

    `punchcard up` must be running: its Engage process computes the preview.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.audiences import preview_definition

    return preview_definition(settings, definition, is_trait=trait, anonymous=anonymous)


@audience.command(
    short_help="Explain why a customer is in an audience, or not.",
    epilog=example("punchcard audience explain regulars ann@example.com"),
)
def explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of the audience.")],
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="Email, user id or another id of the customer.")],
    json: Json = False,
    data: Data = None,
) -> None:
    """Explain why a customer is in an audience, or not: each condition, its value, and what destinations have.

    `punchcard up` must be running: its Engage process computes the conditions.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.audiences import explain_audience

    explain_audience(settings, key, customer, as_json=json)


@audience.command(
    short_help="Sync everybody again.",
    epilog=example("punchcard audience resync big_spender", "punchcard audience resync big_spender --destination gym"),
)
def resync(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of the audience or computed trait.")],
    destination: Annotated[str | None, typer.Option(metavar="SLUG", help="Only this destination.")] = None,
    data: Data = None,
) -> None:
    """Sync everybody to destinations again, whether or not a value has changed."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.audiences import resync_computation

    resync_computation(settings, key, destination=destination)


@audience.command(
    short_help="Upload a file to a static list.",
    epilog=example(
        "punchcard audience upload 'Founding Members' members.csv --destination loyalty",
        "punchcard audience upload founding_members more.csv --add",
        "punchcard audience upload founding_members members.csv --dry-run --json",
    ),
)
def upload(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or key of the audience; a new one is created.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV file with a column of emails or user ids.")],
    add: Annotated[bool, typer.Option("--add", help="Add to the list instead of replacing it.")] = False,
    column: Annotated[str, typer.Option(metavar="COLUMN", help="Column with the ids; recognized by default.")] = "",
    type_: Annotated[
        str, typer.Option("--type", metavar="email|user_id", help="Type of the ids; recognized by default.")
    ] = "",
    destination: Annotated[
        list[str] | None, typer.Option(metavar="SLUG", help="Destination of a new audience; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only read the file and show what it would do.")] = False,
    json: Json = False,
    data: Data = None,
) -> None:
    """Make the customers in a CSV file the members of an audience, and print what was read.

    The list is the old or the new one, whatever interrupts the upload. Members are synced to destinations like those of
    computed audiences.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.list_upload import UploadOptions, upload_list

    options = UploadOptions(
        adds=add, column=column, id_type=type_, destinations=tuple(destination or ()), is_dry_run=dry_run, as_json=json
    )
    upload_list(settings, name, file, options)


@audience.command(
    short_help="List the uploads of a static list.",
    epilog=example("punchcard audience uploads founding_members --json"),
)
def uploads(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or key of the audience.")],
    json: Json = False,
    data: Data = None,
) -> None:
    """List the files that were uploaded to a static list, newest first."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.list_upload import print_uploads

    print_uploads(settings, name, as_json=json)
