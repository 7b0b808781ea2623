"""The commands under `punchcard transformation`: their options and help."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, Json, example, load_existing_settings

transformation = typer.Typer(
    name="transformation",
    short_help="List transformations, and preview what they change.",
    epilog=example("punchcard transformation list", "punchcard transformation preview fix-order"),
    rich_markup_mode=None,
)


@transformation.command(
    name="list",
    short_help="List transformations.",
    epilog=example("punchcard transformation list", "punchcard transformation list --json"),
)
def list_(json: Json = False, data: Data = None) -> None:
    """List the transformations of all sources, in the order in which they are applied."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.transforming import list_transformations

    list_transformations(settings, as_json=json)


@transformation.command(
    short_help="Preview a transformation on the events of the last days.",
    epilog=example("punchcard transformation preview fix-order"),
)
def preview(
    id: Annotated[str, typer.Argument(metavar="ID", help="Identifier of the transformation; it may be disabled.")],
    data: Data = None,
) -> None:
    """Show what a transformation changes in the events of the last 7 days, and which awards it affects.

    Nothing is changed. Events are read as they are stored: an enabled transformation has changed them already.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.transforming import print_preview

    print_preview(settings, id)
