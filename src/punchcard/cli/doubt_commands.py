"""The command `punchcard resolve`: its options and help."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, example, load_existing_settings
from punchcard.errors import ConfigurationError

SHORT_HELP = "Record whether an award in doubt was performed."
EPILOG = example(
    "punchcard resolve MESSAGE_ID",
    "punchcard resolve MESSAGE_ID --performed --partner-id 10457",
    "punchcard resolve MESSAGE_ID --not-performed --yes",
)


def resolve(
    message_id: Annotated[str, typer.Argument(metavar="MESSAGE_ID", help="Message id of its event.")],
    performed: Annotated[
        bool, typer.Option("--performed", help="It is at the destination: record it as delivered.")
    ] = False,
    not_performed: Annotated[
        bool, typer.Option("--not-performed", help="It is not there: send it, without another read-back.")
    ] = False,
    partner_id: Annotated[
        str | None, typer.Option(metavar="ID", help="With --performed: the id that the destination shows.")
    ] = None,
    destination: Annotated[
        str | None, typer.Option(metavar="SLUG", help="The destination, if the event has awards at several.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    data: Data = None,
) -> int:
    """After the response to an award was lost, and you have looked at the destination: say whether it is there.

    Without --performed and --not-performed it shows the award: what to look for.
    """
    if performed and not_performed:
        raise ConfigurationError("--performed and --not-performed exclude each other.")
    if partner_id is not None and not performed:
        raise ConfigurationError("--partner-id needs --performed.")
    settings = load_existing_settings(data=data)
    from punchcard.cli import doubts

    decision = doubts.Decision.PERFORMED if performed else doubts.Decision.NOT_PERFORMED if not_performed else None
    return doubts.resolve(
        settings, message_id, decision, destination=destination, partner_id=partner_id or "", assume_yes=yes
    )
