"""The commands under `punchcard audience`: their options and help."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, example, load_existing_settings

audience = typer.Typer(rich_markup_mode=None)


@audience.command(
    name="list",
    short_help="Show audiences and computed traits with their sizes.",
    epilog=example("punchcard audience list", "punchcard audience list --json"),
)
def list_(json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False, data: Data = None) -> None:
    """Show audiences and computed traits: status, size, and pending syncs per destination."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.audiences import list_computations

    list_computations(settings, as_json=json)


@audience.command(
    short_help="Try a definition: how many people, and ten of them.",
    epilog=example("punchcard audience preview \"event('Order Completed').within(30 days).count() >= 1\""),
)
def preview(
    definition: Annotated[str, typer.Argument(metavar="DEFINITION", help="In the query language.")],
    trait: Annotated[bool, typer.Option("--trait", help="It is a computed trait's definition.")] = False,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Count people without user id and email too.")] = False,
    data: Data = None,
) -> int:
    """Try a definition on everybody: how many people it would hold now, ten of them, and what may be a mistake.

    `punchcard up` must be running: its Engage process answers.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.audiences import preview_definition

    return preview_definition(settings, definition, is_trait=trait, anonymous=anonymous)


@audience.command(
    short_help="Tell destinations of everybody again.",
    epilog=example("punchcard audience resync big_spender", "punchcard audience resync big_spender --destination gym"),
)
def resync(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of the audience or computed trait.")],
    destination: Annotated[str | None, typer.Option(metavar="SLUG", help="Only this destination.")] = None,
    data: Data = None,
) -> None:
    """Tell destinations of everybody again, whether or not anything has changed since they were told last."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.audiences import resync_computation

    resync_computation(settings, key, destination=destination)
