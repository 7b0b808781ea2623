"""The commands under `punchcard privacy`: their options and help."""

from pathlib import Path
from typing import Annotated

import typer

from punchcard.cli.options import Data, Json, example, load_existing_settings

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
        "punchcard privacy delete u-1 --source website",
    ),
)
def delete(
    subjects: _Subjects,
    by: _By = "user-id",
    suppress: Annotated[bool, typer.Option("--suppress", help="Refuse new events of the persons, too.")] = False,
    internal: Annotated[bool, typer.Option("--internal", help="Do not request destinations to delete them.")] = False,
    source: Annotated[
        str, typer.Option(metavar="SLUG", help="Only the events of this source; profiles and awards stay.")
    ] = "",
    yes: _Yes = False,
    data: Data = None,
) -> int:
    """Delete everything that is stored about persons, after confirmation. It takes some minutes and cannot be undone.

    The ledger keeps effect keys, amounts and dates, with a keyed hash in place of the customer.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.regulating import deletion_type, regulate

    type_ = deletion_type(suppresses=suppress, is_internal=internal)
    return regulate(settings, type_, subjects, by=by, source=source, assume_yes=yes)


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
    epilog=example(
        "punchcard privacy inventory", "punchcard privacy inventory --new --json", "punchcard privacy inventory --csv"
    ),
)
def inventory(
    new: Annotated[bool, typer.Option("--new", help="Only those that nobody has classified.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print a CSV file.")] = False,
    data: Data = None,
) -> int:
    """List every property and trait that sources send, the most sensitive first, from a sample of their events."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.inventory import show_inventory

    return show_inventory(settings, as_json=json, as_csv=csv, only_new=new)


@privacy.command(
    short_help="Say how sensitive properties and traits are.",
    epilog=example(
        "punchcard privacy classify red properties.card traits.birthday", "punchcard privacy classify none traits.plan"
    ),
)
def classify(
    classification: Annotated[
        str,
        typer.Argument(metavar="red|yellow|green|none", help="How sensitive they are; `none` makes them new again."),
    ],
    properties: Annotated[list[str], typer.Argument(metavar="PROPERTY…", help="Such as properties.card.")],
    data: Data = None,
) -> int:
    """Classify properties and traits by sensitivity. Until then, the inventory shows the proposed classes."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.inventory import classify_properties

    return classify_properties(settings, properties, classification)


controls = typer.Typer(
    name="controls",
    short_help="List, set and remove controls of properties.",
    epilog=example(
        "punchcard privacy controls list",
        "punchcard privacy controls set mask properties.phone --source website",
        "punchcard privacy controls remove properties.phone --source website",
    ),
    rich_markup_mode=None,
)
privacy.add_typer(controls)

_Path = Annotated[str, typer.Argument(metavar="PATH", help="Path of the property or trait, such as properties.card.")]
_Source = Annotated[str, typer.Option(metavar="SLUG", help="For everything behind this source.")]
_Destination = Annotated[str, typer.Option(metavar="SLUG", help="For what this destination gets.")]
_Action = Annotated[str, typer.Argument(metavar="drop|mask|hash", help="What happens to the value.")]


@controls.command(
    name="list",
    short_help="List controls of properties.",
    epilog=example("punchcard privacy controls list", "punchcard privacy controls list --json"),
)
def list_(json: Json = False, data: Data = None) -> None:
    """List the properties that are dropped, masked or hashed, by source and destination."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.controlling import show_controls

    show_controls(settings, as_json=json)


@controls.command(
    name="set",
    short_help="Drop, mask or hash a property.",
    epilog=example(
        "punchcard privacy controls set mask properties.phone --source website",
        "punchcard privacy controls set drop traits.birthday --destination crm",
    ),
)
def set_(action: _Action, path: _Path, source: _Source = "", destination: _Destination = "", data: Data = None) -> int:
    """Drop, mask or hash a property from the next event on. See what it would change with `preview` first."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.controlling import save_control

    return save_control(settings, action, path, source=source, destination=destination)


@controls.command(
    short_help="Show what a control would change.",
    epilog=example("punchcard privacy controls preview mask properties.phone --source website"),
)
def preview(
    action: _Action, path: _Path, source: _Source = "", destination: _Destination = "", data: Data = None
) -> int:
    """Show what a control would change in the events of the last 7 days, and which awards it affects."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.controlling import print_preview

    return print_preview(settings, action, path, source=source, destination=destination)


@controls.command(
    short_help="Allow a property again.",
    epilog=example("punchcard privacy controls remove properties.phone --source website"),
)
def remove(path: _Path, source: _Source = "", destination: _Destination = "", data: Data = None) -> int:
    """Allow a property from the next event on. Events that were stored stay as they are."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.controlling import delete_control

    return delete_control(settings, path, source=source, destination=destination)
