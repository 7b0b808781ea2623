"""The command `punchcard replay`: its options and help."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, Json, example, load_existing_settings
from punchcard.errors import ConfigurationError

SHORT_HELP = "Plan past events again under the current configuration."
EPILOG = example(
    "punchcard replay --destination loyalty --event 'Class Booked' --since 30d",
    "punchcard replay --destination loyalty --reason destination_off --yes",
    "punchcard replay --destination loyalty --source website --status filtered_at_source --since 7d",
    "punchcard replay --destination loyalty --cancel REPLAY_ID",
)

_Reasons = Annotated[
    list[str] | None, typer.Option(metavar="CODE", help="Only events with this reason at the destination.")
]
_Statuses = Annotated[
    list[str] | None, typer.Option(metavar="STATUS", help="Only events with this status at the destination.")
]


def replay(
    destination: Annotated[str, typer.Option(metavar="SLUG", help="The destination; no other sees the events again.")],
    since: Annotated[
        str | None, typer.Option(metavar="T", help="Events received from here on: 2026-11-01, or 30d, 12h.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="T", help="Events received before this.")] = None,
    event: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only events of this name.")] = None,
    source: Annotated[list[str] | None, typer.Option(metavar="SLUG", help="Only events of this source.")] = None,
    customer: Annotated[str | None, typer.Option(metavar="EMAIL", help="Only events with this email.")] = None,
    reason: _Reasons = None,
    status: _Statuses = None,
    message_id: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only events with this id.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until it is done.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show the replays of the destination.")] = False,
    json: Json = False,
    pause: Annotated[str | None, typer.Option(metavar="REPLAY_ID", help="Pause a running replay.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="REPLAY_ID", help="Resume a paused replay.")] = None,
    cancel: Annotated[str | None, typer.Option(metavar="REPLAY_ID", help="Cancel a replay.")] = None,
    data: Data = None,
) -> int:
    """Plan past events again under the current configuration, and deliver what now earns something.

    First it shows the plan: what each event would earn now, and what the ledger has already. Nothing is awarded twice.
    A worker does the replay: Ctrl-C stops only the waiting for it.
    """
    actions = {"list": "" if list_ else None, "pause": pause, "resume": resume, "cancel": cancel}
    chosen = {name: value for name, value in actions.items() if value is not None}
    if len(chosen) > 1:
        raise ConfigurationError(f"Only one of {', '.join(f'--{name}' for name in chosen)} at a time")
    settings = load_existing_settings(data=data)
    from punchcard.cli import replaying

    for action, replay_id in chosen.items():
        if action == "list":
            return replaying.show_replays(settings, destination, as_json=json)
        return replaying.change_replay(settings, destination, replay_id, action, as_json=json)
    selected = replaying.Selected(
        since=since,
        until=until,
        events=event or [],
        sources=source or [],
        customer=customer,
        statuses=status or [],
        reasons=reason or [],
        message_ids=message_id or [],
    )
    return replaying.replay_events(
        settings, destination, selected, dry_run=dry_run, sure=yes, wait=not no_wait, as_json=json
    )
