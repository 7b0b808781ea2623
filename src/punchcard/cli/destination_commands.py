"""The commands under `punchcard destination`: their options and help."""

from pathlib import Path
from typing import Annotated

import typer

from punchcard.cli.options import example

destination = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


@destination.callback()
def destination_commands() -> None:
    """Write your own destinations."""


@destination.command(
    "new",
    short_help="Create the package of a new destination.",
    epilog=example("punchcard destination new acme-rewards"),
)
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Slug in config files, such as acme-rewards.")],
    folder: Annotated[Path, typer.Option(metavar="FOLDER", file_okay=False, help="Folder to write it to.")] = Path(),
) -> None:
    """Create the package of a new destination: definition, mapping, client, and the conformance suite, which passes.

    To add it to the catalog, install it beside Punchcard (`pip install -e punchcard-NAME`).
    """
    from punchcard.cli.destination_files import write_skeleton

    written = write_skeleton(name, folder)
    for file in written:
        typer.echo(file)
    root = folder / f"punchcard-{name}"
    typer.echo(f"Next: pip install -e {root} && pytest {root}, then follow docs/how-to/write-a-destination.md")
