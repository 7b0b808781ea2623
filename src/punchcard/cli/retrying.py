"""The implementation of `retry`: puts parked and rejected awards back in the queue after a confirmation."""

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from punchcard.cli.confirmation import confirm
from punchcard.cli.options import unknown_name
from punchcard.cli.output import printable
from punchcard.clock import SystemClock
from punchcard.delivery.operator_retries import Retryable, find_retryable, options_by_slug, retry
from punchcard.destinations.port import DeliveryOptions
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.delivery.effects import StoredEffect
from punchcard.store.delivery.pauses import Pause
from punchcard.store.engine import Store
from punchcard.workspace.names_of_snapshot import destination_names
from punchcard.workspace.snapshot import SnapshotWatch

_ROWS_SHOWN = 50
_PLAIN_WIDTH = 200  # wide enough without a terminal that message ids do not wrap


def retry_awards(
    settings: Settings, message_ids: Sequence[str], *, destination: str | None, reason: str | None, assume_yes: bool
) -> int:
    """Show matching awards, ask, and put them back in the queue; paused destinations among them are resumed.

    Args:
        assume_yes: True to do it without asking.

    Returns:
        0 if it was done or there is nothing to do, 1 if the person declined.

    Raises:
        ConfigurationError: There is no such destination, or no terminal for the confirmation.
        StorageError: The store is unavailable.
    """
    store = open_store(settings)
    try:
        snapshot = SnapshotWatch(store, open_keyring(settings), clock=SystemClock()).current()
        options, names = options_by_slug(snapshot), destination_names(snapshot)
        retryable = _matching(store, options, message_ids, destination=destination, reason=reason)
        if retryable.is_nothing:
            print("Nothing to retry: no parked or rejected award matches.")
            return 0
        matches = [*retryable.effects, *retryable.overlong]
        _show(matches, retryable.pauses, names)
        if not assume_yes and not _is_confirmed(matches):
            print("Nothing was changed.", file=sys.stderr)
            return 1
        with store.unit_of_work() as work:
            reopened = retry(work, retryable, actor="command line", now=SystemClock().now())
    finally:
        store.close()
    resumed = (names.get(pause.destination, pause.destination) for pause in retryable.pauses)
    print(printable(f"{reopened} back in the queue." + "".join(f" {name} was resumed." for name in resumed)))
    return 0


def _matching(
    store: Store,
    configured: Mapping[str, DeliveryOptions],
    message_ids: Sequence[str],
    *,
    destination: str | None,
    reason: str | None,
) -> Retryable:
    with store.reading() as work:
        retryable = find_retryable(
            work,
            configured=configured,
            destination=destination,
            reason=reason,
            message_ids=message_ids,
            now=SystemClock().now(),
        )
    if destination is not None and destination not in configured and not retryable.effects:
        raise unknown_name("--destination", destination, configured)
    return retryable


def _show(effects: Sequence[StoredEffect], pauses: Sequence[Pause], names: Mapping[str, str]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PLAIN_WIDTH)
    if effects:
        table = Table("message id", "source", "destination", "event", "email", "quantity", "reason", "detail", box=None)
        table.columns[0].no_wrap = True
        for effect in effects[:_ROWS_SHOWN]:
            quantity = effect.quantity if effect.quantity is not None else effect.requested_quantity
            cells = (
                effect.message_id,
                effect.source,
                effect.destination,
                effect.event_name,
                effect.email,
                "" if quantity is None else f"{quantity:f}",
                f"{effect.state}: {effect.reason or 'no reason'}{_overlong(effect)}",
                effect.detail or "",
            )
            table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))
        console.print(table)
    if len(effects) > _ROWS_SHOWN:
        console.print(f"… and {len(effects) - _ROWS_SHOWN} more")
    for pause in pauses:
        name = names.get(pause.destination, pause.destination)
        console.print(Text(printable(f"{name} is paused, {pause.description}")))


def _overlong(effect: StoredEffect) -> str:
    if not effect.state.is_open:
        return ""
    return f", due at {effect.due_at:%Y-%m-%d %H:%M} UTC because of a wrong clock"


def _is_confirmed(effects: Sequence[StoredEffect]) -> bool:
    question = f"Put {len(effects)} back in the queue?" if effects else "Resume the destinations?"
    return confirm(question)
