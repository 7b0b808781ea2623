"""The commands under `punchcard privacy`: their options and help."""

from pathlib import Path
from typing import Annotated

import typer

from punchcard.cli.options import Data, example, load_existing_settings

privacy = typer.Typer(
    name="privacy",
    short_help="Delete and suppress persons, and show what is stored about them.",
    epilog=example(
        "punchcard privacy delete ann@example.com --by email",
        "punchcard privacy suppress u-1",
        "punchcard privacy export u-1 --to ann",
        "punchcard privacy status",
    ),
    rich_markup_mode=None,
)

_Subjects = Annotated[list[str], typer.Argument(metavar="SUBJECT…", help="Ids of persons, up to 5,000.")]
_By = Annotated[str, typer.Option(metavar="email|user-id|anonymous-id", help="What the persons are named by.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


@privacy.command(
    short_help="Delete everything that is stored about persons.",
    epilog=example(
        "punchcard privacy delete u-1",
        "punchcard privacy delete ann@example.com --by email --suppress --yes",
        "punchcard privacy delete u-1 --internal",
    ),
)
def delete(
    subjects: _Subjects,
    by: _By = "user-id",
    suppress: Annotated[bool, typer.Option("--suppress", help="Refuse new events of the persons, too.")] = False,
    internal: Annotated[bool, typer.Option("--internal", help="Do not request destinations to delete them.")] = False,
    yes: _Yes = False,
    data: Data = None,
) -> int:
    """Delete everything that is stored about persons, after asking. It takes some minutes and cannot be undone.

    The ledger keeps effect keys, amounts and dates, with a keyed hash in place of the customer.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.regulating import deletion_type, regulate

    type_ = deletion_type(suppresses=suppress, is_internal=internal)
    return regulate(settings, type_, subjects, by=by, assume_yes=yes)


@privacy.command(
    short_help="Refuse new events of persons.",
    epilog=example("punchcard privacy suppress u-1", "punchcard privacy suppress u-1 --source website"),
)
def suppress(
    subjects: _Subjects,
    by: _By = "user-id",
    source: Annotated[str, typer.Option(metavar="SLUG", help="Only events of this source.")] = "",
    data: Data = None,
) -> int:
    """Refuse new events of persons within a second, and cancel their awards that were not sent yet."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.regulating import regulate
    from punchcard.store.privacy.regulations import RegulationType

    return regulate(settings, RegulationType.SUPPRESS_ONLY, subjects, by=by, source=source, assume_yes=True)


@privacy.command(
    short_help="Accept new events of persons again.",
    epilog=example("punchcard privacy unsuppress u-1"),
)
def unsuppress(
    subjects: _Subjects,
    by: _By = "user-id",
    source: Annotated[str, typer.Option(metavar="SLUG", help="Only events of this source.")] = "",
    data: Data = None,
) -> int:
    """Accept new events of suppressed persons again. What was refused meanwhile was not stored."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.regulating import regulate
    from punchcard.store.privacy.regulations import RegulationType

    return regulate(settings, RegulationType.UNSUPPRESS, subjects, by=by, source=source, assume_yes=True)


@privacy.command(
    short_help="Write everything that is stored about a person to files.",
    epilog=example(
        "punchcard privacy export u-1", "punchcard privacy export ann@example.com --by email --to answers/ann"
    ),
)
def export(
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="Id of a person.")],
    by: _By = "user-id",
    to: Annotated[
        Path, typer.Option(metavar="PATH", help="Where to write, without an ending: PATH.json and PATH.html.")
    ] = Path("person"),
    data: Data = None,
) -> int:
    """Write everything that is stored about a person to PATH.json and PATH.html, for an access request."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.regulating import export_person

    return export_person(settings, subject, by=by, path=to)


@privacy.command(
    short_help="Show regulations and how far they are.",
    epilog=example("punchcard privacy status", "punchcard privacy status 12"),
)
def status(
    regulation: Annotated[
        int | None, typer.Argument(metavar="REGULATION", help="One regulation; without it the newest are listed.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    data: Data = None,
) -> int:
    """Show the newest regulations, or one with its progress in each store and at each destination."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.regulating import show_regulations

    return show_regulations(settings, regulation, as_json=json)


@privacy.command(
    short_help="List properties and traits, and which look like personal data.",
    epilog=example("punchcard privacy inventory", "punchcard privacy inventory --json"),
)
def inventory(
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    data: Data = None,
) -> int:
    """List every property and trait that sources send, the most sensitive first, from a sample of their events."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.inventory import show_inventory

    return show_inventory(settings, as_json=json)
