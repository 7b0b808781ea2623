"""The commands under `punchcard destination`: their options and help."""

from pathlib import Path
from typing import Annotated

import typer

from punchcard.cli.options import Data, Json, example, load_existing_settings

destination = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


@destination.callback()
def destination_commands() -> None:
    """List destinations, pause them and switch them off, and write destinations of your own."""


Slug = Annotated[str, typer.Argument(metavar="SLUG", help="The destination.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, for everyone who wonders.")]


@destination.command(
    "list",
    short_help="List destinations.",
    epilog=example("punchcard destination list", "punchcard destination list --json"),
)
def list_(json: Json = False, data: Data = None) -> None:
    """List destinations with their type and sources."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.lists import print_destinations

    print_destinations(settings, as_json=json)


@destination.command(
    "pause",
    short_help="Stop sending; events are queued.",
    epilog=example(
        "punchcard destination pause loyalty --reason 'new prices on Monday'",
        "punchcard destination pause loyalty --until 2h",
    ),
)
def pause(
    slug: Slug,
    reason: Reason = "",
    until: Annotated[
        str | None, typer.Option(metavar="T", help="When it resumes by itself: 2026-11-30T08:00, or 2h, 3d.")
    ] = None,
    data: Data = None,
) -> int:
    """Stop sending to a destination. Its events are planned and queued, and go out in order once it is resumed."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.destination_states import pause_now

    return pause_now(settings, slug, reason=reason, until=until)


@destination.command(
    "resume", short_help="Send what was queued, and go on.", epilog=example("punchcard destination resume loyalty")
)
def resume(slug: Slug, data: Data = None) -> int:
    """Resume a paused destination, whatever paused it."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.destination_states import resume_now

    return resume_now(settings, slug)


@destination.command(
    "off",
    short_help="Record events instead of delivering them.",
    epilog=example("punchcard destination off loyalty --reason 'the programme ends'"),
)
def off(slug: Slug, reason: Reason = "", data: Data = None) -> int:
    """Switch a destination off. Its events are recorded as `destination_off`, and earn nothing unless replayed."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.destination_states import switch_off_now

    return switch_off_now(settings, slug, reason=reason)


@destination.command("on", short_help="Deliver events again.", epilog=example("punchcard destination on loyalty"))
def on(slug: Slug, data: Data = None) -> int:
    """Switch a destination on. Events recorded while it was off stay recorded: replay them to deliver them."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.destination_states import switch_on_now

    return switch_on_now(settings, slug)


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
    typer.echo(f"Next: pip install pytest -e {root} && pytest {root}, then follow docs/how-to/write-a-destination.md")
