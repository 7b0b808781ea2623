"""`conflicts`: orders and refunds that were received twice with different content, and which content counts."""

import sys

from rich.text import Text

from punchcard.cli.confirmation import confirm
from punchcard.cli.listing import open_console, print_list
from punchcard.cli.named_parts import named_destination
from punchcard.cli.output import printable
from punchcard.clock import SystemClock
from punchcard.errors import ConfigurationError
from punchcard.operations.conflict_resolution import (
    ConflictSide,
    ConflictView,
    PreviewedStep,
    correct_to_second,
    keep_first,
    preview_correction,
    reason_not_correctable,
    view_conflict,
)
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.delivery.conflicts import ConflictQuery, conflict_by_id, count_conflicts, list_conflicts
from punchcard.traces.trace import current_status
from punchcard.workspace import persistence
from punchcard.workspace.snapshot import SnapshotWatch

_SHOWN = 100
_ACTOR = "command line"


def show_conflicts(settings: Settings, *, destination: str | None, as_json: bool) -> int:
    """Print the conflicts that are not resolved; returns 0.

    Raises:
        ConfigurationError: There are none, and there is no such destination.
        StorageError: the store is away.
    """
    store = open_store(settings)
    try:
        query = ConflictQuery(destination=destination, is_resolved=False)
        with store.reading() as work:
            views = [view_conflict(work, conflict) for conflict in list_conflicts(work, query, count=_SHOWN)]
            total = count_conflicts(work, query)
        if destination is not None and not views:
            named_destination(persistence.load(store, open_keyring(settings)).workspace, destination).verify()
    finally:
        store.close()
    print_list(
        views,
        columns={
            "id": lambda view: view.conflict.id,
            "destination": lambda view: view.effect.destination,
            "order or event": lambda view: view.effect.order_id or view.effect.event_name,
            "first": lambda view: _content(view.current),
            "second": lambda view: _content(view.second),
            "first event": lambda view: view.first.message_id,
            "second event": lambda view: view.second.message_id,
        },
        body=_body,
        as_json=as_json,
        empty="No conflict is unresolved.",
    )
    if total > len(views):
        print(f"… and {total - len(views):,} more", file=sys.stderr if as_json else sys.stdout)
    return 0


def _body(view: ConflictView) -> object:
    from punchcard.api.conflicts import conflict_body

    return conflict_body(view)


def resolve(settings: Settings, conflict_id: int, *, keeps: bool, corrects: bool, assume_yes: bool) -> int:
    """Show a conflict; resolve it if that is requested.

    Returns:
        0 if it was shown or resolved, 1 if the person declined.

    Raises:
        ConfigurationError: there is no such conflict, it cannot be corrected, or it is resolved already.
        StorageError: the store is away.
    """
    store = open_store(settings)
    try:
        with store.reading() as work:
            conflict = conflict_by_id(work, conflict_id)
            if conflict is None:
                raise ConfigurationError(f"There is no conflict {conflict_id}. `punchcard conflicts` lists them.")
            snapshot = SnapshotWatch(store, open_keyring(settings), clock=SystemClock()).current()
            destination = snapshot.destinations.get(conflict.destination)
            view = view_conflict(work, conflict)
            obstacle = "" if conflict.resolution else reason_not_correctable(work, conflict, destination)
        steps: list[PreviewedStep] = []
        if conflict.resolution is None and not obstacle:
            steps = preview_correction(store, conflict, destination, now=SystemClock().now())
        _show(view, steps, obstacle)
        if not (keeps or corrects):
            return 0
        if not assume_yes and not confirm("Keep the first content?" if keeps else "Correct to the second?"):
            print("Nothing was changed.", file=sys.stderr)
            return 1
        with store.unit_of_work() as work:
            if keeps:
                keep_first(work, conflict, actor=_ACTOR, now=SystemClock().now())
                print("Resolved: the first content counts. Nothing was sent.")
            else:
                added = correct_to_second(work, conflict, destination, actor=_ACTOR, now=SystemClock().now())
                print(f"Resolved: the second content counts. Transactions queued: {len(added)}.")
    finally:
        store.close()
    return 0


def _show(view: ConflictView, steps: list[PreviewedStep], obstacle: str) -> None:
    console, conflict = open_console(), view.conflict
    console.print(Text(printable(f"Conflict {conflict.id} at {view.effect.destination}: {view.effect.effect_key}")))
    for label, side in (("first", view.first), ("second", view.second)):
        console.print(Text(printable(f"  {label:8}{_content(side)}, event {side.message_id} from {side.source}")))
    if view.current is not view.first:
        console.print(Text(printable(f"  now     {_content(view.current)}, chosen before")))
    console.print(Text(f"  The first event is {current_status(view.effect)}."))
    if conflict.resolution is not None:
        at = "" if conflict.resolved_at is None else f" {conflict.resolved_at:%Y-%m-%d %H:%M} UTC"
        console.print(Text(printable(f"  Resolved{at} by {conflict.resolved_by}: {conflict.resolution}")))
        for row in view.corrections:
            quantity = "?" if row.quantity is None else f"{row.quantity:f}"
            console.print(
                Text(printable(f"  {current_status(row)}: {quantity} × {row.item} for {row.email} ({row.effect_key})"))
            )
        return
    if obstacle:
        console.print(Text(printable(f"  It cannot be corrected: {obstacle}")))
    for step in steps:
        quantity = "a correction" if step.quantity is None else f"{step.quantity:f} × {step.item}"
        console.print(Text(printable(f"  Correcting sends {quantity} for {step.email}. {step.detail}")))
    if not obstacle and not steps:
        console.print(Text("  Correcting sends nothing: the customer has what the second content gives."))


def _content(side: ConflictSide) -> str:
    what = side.summary or ("no amount" if side.quantity is None else f"{side.quantity} × {side.item}")
    return f"{what} for {side.email}"
