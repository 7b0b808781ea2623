"""The commands under `punchcard user`: their options and help."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, Json, example, load_existing_settings

user = typer.Typer(
    name="user",
    short_help="List and invite users of the App, and reset their passwords and second factors.",
    epilog=example(
        "punchcard user list",
        "punchcard user invite ann@example.com --role editor",
        "punchcard user reset ann@example.com",
    ),
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


@user.command(
    name="reset-two-factor",
    short_help="Remove passkeys and authenticator app of a user who has lost them.",
    epilog=example("punchcard user reset-two-factor ann@example.com"),
)
def reset_two_factor(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="As `punchcard user list` shows it.")],
    data: Data = None,
) -> None:
    """Remove passkeys, authenticator app and recovery codes of a user of the App who has lost them.

    All sessions of the user end. If the workspace requires it, the user sets it up again at the next sign-in.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.users import reset_two_factor as reset_second_factor

    reset_second_factor(settings, email)


@user.command(
    short_help="Invite a person, and print the link.",
    epilog=example(
        "punchcard user invite ann@example.com", "punchcard user invite ann@example.com --role editor --mail"
    ),
)
def invite(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Who is invited.")],
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="What the person may do: read_only, editor or owner.")
    ] = "read_only",
    mail: Annotated[
        bool, typer.Option("--mail", help="Also send the link, by the mail server of an alert channel.")
    ] = False,
    url: Annotated[
        str, typer.Option(metavar="URL", help="Where the person reaches the App (default: PUNCHCARD_PUBLIC_URL).")
    ] = "",
    data: Data = None,
) -> None:
    """Invite a person to the App, and print a link that works once, for 7 days.

    The person who opens it chooses a name and password. An earlier link for the same email ends. Punchcard may be
    running.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.users import invite_user

    if code := invite_user(settings, email, role, url=url, is_mailed=mail):
        raise typer.Exit(code)
