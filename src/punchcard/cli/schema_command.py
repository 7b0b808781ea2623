"""The command `punchcard schema`: its options and help."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, Json, example, load_existing_settings

SHORT_HELP = "Show which events and properties a source sends."
EPILOG = example(
    "punchcard schema website",
    "punchcard schema website --event 'Order Completed'",
    "punchcard schema website --type identify --json",
)


def schema(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Slug of the source.")],
    event: Annotated[
        str | None, typer.Option(metavar="NAME", help="Show the properties of track calls of this name.")
    ] = None,
    type_: Annotated[
        str | None,
        typer.Option(
            "--type", metavar="CALL", help="Show the properties or traits of identify, group, page or screen."
        ),
    ] = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Show which events a source sends, with counts of the last 30 days, or the properties of one of them.

    Every event is counted; properties, types and frequent values come from a sample of the events. Values that look
    like personal data are not kept.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.source_schema import print_event, print_schema

    if event is None and type_ is None:
        print_schema(settings, source, as_json=json)
    else:
        print_event(settings, source, event_type=type_ or "track", event_name=event or "", as_json=json)
