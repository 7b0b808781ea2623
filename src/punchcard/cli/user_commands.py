"""The commands under `punchcard user`: their options and help."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, Json, example, load_existing_settings

user = typer.Typer(
    name="user",
    short_help="List the users of the App, and reset a lost password.",
    epilog=example("punchcard user list", "punchcard user reset ann@example.com"),
    rich_markup_mode=None,
)


@user.command(
    name="list",
    short_help="List the users of the App.",
    epilog=example("punchcard user list", "punchcard user list --json"),
)
def list_(json: Json = False, data: Data = None) -> None:
    """List the users of the App: email, name, role, and when they have signed in."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.users import print_users

    print_users(settings, as_json=json)


@user.command(short_help="Reset a lost password.", epilog=example("punchcard user reset ann@example.com"))
def reset(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="As `punchcard user list` shows it.")],
    data: Data = None,
) -> None:
    """Give a user of the App a new temporary password, and print it once.

    All sessions of the user end, and the wait after too many wrong passwords is lifted. Punchcard may be running.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.users import reset_password

    reset_password(settings, email)
