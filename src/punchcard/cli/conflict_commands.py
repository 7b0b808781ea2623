"""The command `punchcard conflicts`: its options and help."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, Json, example, load_existing_settings
from punchcard.errors import ConfigurationError

SHORT_HELP = "Show conflicts, and resolve them."
EPILOG = example(
    "punchcard conflicts",
    "punchcard conflicts 17",
    "punchcard conflicts 17 --keep",
    "punchcard conflicts 17 --correct --yes",
)


def conflicts(
    conflict: Annotated[
        int | None, typer.Argument(metavar="[ID]", min=1, max=10**18 - 1, help="Show this one, or resolve it.")
    ] = None,
    destination: Annotated[str | None, typer.Option(metavar="SLUG", help="Only those of this destination.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="The first content counts; nothing is sent.")] = False,
    correct: Annotated[
        bool, typer.Option("--correct", help="The second content counts; the difference is sent.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
    data: Data = None,
) -> int:
    """Show orders and refunds that were received twice with different content, and decide which content counts.

    Without an id it lists those that are not resolved. With an id it shows both contents and what would be sent.
    """
    if keep and correct:
        raise ConfigurationError("--keep and --correct exclude each other.")
    if conflict is not None and json:
        raise ConfigurationError("--json prints the list; the Public API has one conflict with everything about it.")
    if conflict is None and (keep or correct):
        raise ConfigurationError("Name the conflict to resolve by its id; `punchcard conflicts` lists them.")
    settings = load_existing_settings(data=data)
    from punchcard.cli import resolving

    if conflict is None:
        return resolving.show_conflicts(settings, destination=destination, as_json=json)
    return resolving.resolve(settings, conflict, keeps=keep, corrects=correct, assume_yes=yes)
