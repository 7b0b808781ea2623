"""The commands under `punchcard alerts`: their options and help."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, Json, example, load_existing_settings

alerts = typer.Typer(rich_markup_mode=None)


@alerts.command(
    name="list",
    short_help="Show what needs attention.",
    epilog=example("punchcard alerts list", "punchcard alerts list --all --json"),
)
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Show resolved alerts too.")] = False,
    json: Json = False,
    data: Data = None,
) -> None:
    """Show the alerts that are not resolved: id, state, severity, since when, what is wrong and what to do."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.alerts import print_alerts

    print_alerts(settings, include_resolved=all_, as_json=json)


@alerts.command(
    short_help="Say that somebody knows of an alert.",
    epilog=example("punchcard alerts acknowledge 7"),
)
def acknowledge(
    alert_id: Annotated[str, typer.Argument(metavar="ID", help="As `punchcard alerts list` shows it.")],
    data: Data = None,
) -> None:
    """Acknowledge an alert: it stays in the list until its cause is gone, and nobody is reminded of it."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.alerts import acknowledge_one

    acknowledge_one(settings, alert_id)


@alerts.command(
    name="test",
    short_help="Send a test notice to an alert channel.",
    epilog=example("punchcard alerts test ops"),
)
def send_test(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="Name or identifier of the channel.")],
    data: Data = None,
) -> int:
    """Send a test notice to an alert channel at once, whatever its severity and quiet hours; exit 1 if it fails."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.alerts import test_channel

    return test_channel(settings, channel)
