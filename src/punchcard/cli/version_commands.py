"""The commands under `punchcard versions`: their options and help."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, Json, example, load_existing_settings

versions = typer.Typer(
    name="versions",
    short_help="List, compare and restore versions of the configuration.",
    epilog=example(
        "punchcard versions list",
        "punchcard versions diff 12",
        "punchcard versions restore 12 --part destination/loyalty",
    ),
    rich_markup_mode=None,
)

_Part = Annotated[
    str | None,
    typer.Option("--part", metavar="KIND/SLUG", help='One part only, such as "destination/loyalty" or "workspace".'),
]


@versions.command(
    name="list",
    short_help="List the versions of the configuration.",
    epilog=example("punchcard versions list", "punchcard versions list --part destination/loyalty --json"),
)
def list_(
    part: _Part = None,
    count: Annotated[int, typer.Option(min=1, metavar="N", help="How many, newest first.")] = 20,
    json: Json = False,
    data: Data = None,
) -> None:
    """List the versions of the configuration, newest first: number, time, who, how, and what has changed."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.versions import print_versions

    print_versions(settings, part=part, count=count, as_json=json)


@versions.command(
    short_help="Compare two versions of the configuration.",
    epilog=example(
        "punchcard versions diff 12",
        "punchcard versions diff 12 17",
        "punchcard versions diff 12 --part source/website",
    ),
)
def diff(
    number: Annotated[int, typer.Argument(metavar="VERSION", help="As `punchcard versions list` shows it.")],
    other: Annotated[
        int | None, typer.Argument(metavar="OTHER", help="Another version; without it the current configuration.")
    ] = None,
    part: _Part = None,
    data: Data = None,
) -> None:
    """Show, in words, the changes from one version of the configuration to another, or to the current one."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.versions import print_difference

    print_difference(settings, number, other, part=part)


@versions.command(
    short_help="Restore a version of the configuration.",
    epilog=example(
        "punchcard versions restore 12 --dry-run",
        "punchcard versions restore 12 --part destination/loyalty",
        "punchcard versions restore 12 --skip-managed --yes",
    ),
)
def restore(
    number: Annotated[int, typer.Argument(metavar="VERSION", help="As `punchcard versions list` shows it.")],
    part: _Part = None,
    with_secrets: Annotated[
        bool,
        typer.Option("--with-secrets", help="Restore API keys, write keys and URLs of alert channels, too."),
    ] = False,
    skip_managed: Annotated[
        bool, typer.Option("--skip-managed", help="Leave what the config file manages as it is.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the changes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    data: Data = None,
) -> int:
    """Restore a version of the configuration, whole or one part of it, after showing what that changes.

    Running processes use it immediately, and it is a version itself. Secrets stay as they are now unless
    --with-secrets is given: those of the past may have been replaced for a reason.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.versions import restore_version

    return restore_version(
        settings,
        number,
        part=part,
        with_secrets=with_secrets,
        skip_managed=skip_managed,
        dry_run=dry_run,
        assume_yes=yes,
    )
