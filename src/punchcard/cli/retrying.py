"""`retry`: parked and rejected awards go back in the queue, after a person has seen which."""

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from punchcard.cli.trace_text import printable
from punchcard.clock import SystemClock
from punchcard.delivery.retrying import Retryable, find_retryable, options_by_slug, retry
from punchcard.destinations.port import DeliveryOptions
from punchcard.errors import ConfigurationError
from punchcard.runtime.assemble import open_keyring, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.effects import StoredEffect
from punchcard.store.engine import Store
from punchcard.store.pauses import Pause
from punchcard.workspace.snapshot import SnapshotWatch

_ROWS_SHOWN = 50
_PLAIN_WIDTH = 200  # without a terminal nothing wraps, so that a message id stays whole


def retry_awards(
    settings: Settings, message_ids: Sequence[str], *, destination: str | None, reason: str | None, assume_yes: bool
) -> int:
    """Show what matches, ask, and put it back in the queue; paused destinations among them deliver again.

    Args:
        assume_yes: True to do it without asking.

    Returns:
        0 if it was done or there is nothing to do, 1 if the person said no.

    Raises:
        ConfigurationError: there is no such destination, or nobody to ask.
        StorageError: the store is away.
    """
    store = open_store(settings)
    try:
        options = options_by_slug(SnapshotWatch(store, open_keyring(settings), clock=SystemClock()).current())
        found = _matching(store, options, message_ids, destination=destination, reason=reason)
        if found.is_nothing:
            print("nothing to retry: no parked or rejected award matches")
            return 0
        matches = [*found.effects, *found.overlong]
        _show(matches, found.pauses)
        if not assume_yes and not _is_confirmed(matches):
            print("nothing was changed", file=sys.stderr)
            return 1
        with store.unit_of_work() as work:
            reopened = retry(work, found, actor="command line", now=SystemClock().now())
    finally:
        store.close()
    print(f"{reopened} back in the queue" + "".join(f"; {pause.destination} delivers again" for pause in found.pauses))
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
        found = find_retryable(
            work,
            configured=configured,
            destination=destination,
            reason=reason,
            message_ids=message_ids,
            now=SystemClock().now(),
        )
    if destination is not None and destination not in configured and not found.effects:
        known = ", ".join(sorted(configured)) or "none"
        raise ConfigurationError(f"--destination {destination}: there is no such destination (configured: {known})")
    return found


def _show(effects: Sequence[StoredEffect], pauses: Sequence[Pause]) -> None:
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
        console.print(Text(printable(f"{pause.destination} is paused, {pause.description}")))


def _overlong(effect: StoredEffect) -> str:
    if not effect.state.is_open:
        return ""
    return f", waits for {effect.due_at:%Y-%m-%d %H:%M} UTC: the clock was set since"


def _is_confirmed(effects: Sequence[StoredEffect]) -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError("there is no terminal to ask at; say --yes to retry what is shown")
    question = f"Put {len(effects)} back in the queue?" if effects else "Let them deliver again?"
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
