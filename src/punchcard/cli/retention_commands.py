"""The commands under `punchcard retention`: their options and help."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, example, load_existing_settings

retention = typer.Typer(
    name="retention",
    short_help="Show and set how long each kind of data is kept.",
    epilog=example(
        "punchcard retention list",
        "punchcard retention preview lake 400",
        "punchcard retention set lake 400",
    ),
    rich_markup_mode=None,
)

_NEGATIVE = {"ignore_unknown_options": True}  # so that -5 is a number that is refused, not an option

_Name = Annotated[str, typer.Argument(metavar="DATA_SET", help="As listed by `punchcard retention list`.")]


@retention.command(
    name="list",
    short_help="List how long each kind of data is kept.",
    epilog=example("punchcard retention list", "punchcard retention list --json"),
)
def list_periods(
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False, data: Data = None
) -> int:
    """List each kind of data with its retention period and how much of it was deleted so far."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.retaining import show_retention

    return show_retention(settings, as_json=json)


@retention.command(
    short_help="Count what a retention period would delete.",
    epilog=example("punchcard retention preview audit_log 400"),
    context_settings=_NEGATIVE,
)
def preview(
    name: _Name,
    days: Annotated[str, typer.Argument(metavar="DAYS", help="Whole number of days.")],
    data: Data = None,
) -> int:
    """Count what a retention period would delete now. Nothing is changed."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.retaining import preview_retention

    return preview_retention(settings, name, days)


@retention.command(
    name="set",
    short_help="Set how long a kind of data is kept.",
    epilog=example(
        "punchcard retention set lake 400",
        "punchcard retention set audit_log 0 --yes",
        "punchcard retention set lake default",
    ),
    context_settings=_NEGATIVE,
)
def set_period(
    name: _Name,
    days: Annotated[
        str, typer.Argument(metavar="DAYS", help="Whole number of days; 0 for ever; default for the process's setting.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    data: Data = None,
) -> int:
    """Set how long a kind of data is kept, after showing what is deleted. A worker deletes it within minutes."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.retaining import set_retention

    return set_retention(settings, name, days, assume_yes=yes)
