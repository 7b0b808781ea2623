"""The implementation of `resolve`: an operator says whether an award in doubt was performed."""

import sys
from collections.abc import Sequence
from enum import Enum, auto

from punchcard.cli.confirmation import confirm
from punchcard.cli.output import printable
from punchcard.clock import SystemClock
from punchcard.delivery.doubts import confirm_absent, confirm_performed
from punchcard.errors import ConfigurationError
from punchcard.events.commerce import amount_text
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.delivery.doubts import effects_in_doubt
from punchcard.store.delivery.effects import StoredEffect
from punchcard.workspace.snapshot import SnapshotWatch

_ACTOR = "command line"


class Decision(Enum):
    """What an operator has seen at the destination."""

    PERFORMED = auto()
    NOT_PERFORMED = auto()


def resolve(
    settings: Settings,
    message_id: str,
    decision: Decision | None,
    *,
    destination: str | None,
    partner_id: str,
    assume_yes: bool,
) -> int:
    """Show the award in doubt of an event, and record what is decided about it.

    Args:
        decision: None to show it only.
        partner_id: The id that the destination shows, "" for none.

    Returns:
        0 if it was shown or resolved, 1 if the person declined.

    Raises:
        ConfigurationError: The event has no award in doubt, or several; or the decision cannot be taken.
        StorageError: The store is unavailable.
    """
    store = open_store(settings)
    try:
        with store.reading() as work:
            effect = _only(effects_in_doubt(work, message_id, destination=destination), message_id)
        _show(effect)
        if decision is None:
            print("Look for it there, then run this again with --performed --partner-id ID, or with --not-performed.")
            return 0
        is_performed = decision is Decision.PERFORMED
        if not assume_yes and not confirm("Record it as delivered?" if is_performed else "Send it?"):
            print("Nothing was changed.", file=sys.stderr)
            return 1
        now = SystemClock().now()
        routed = (
            SnapshotWatch(store, open_keyring(settings), clock=SystemClock())
            .current()
            .destinations.get(effect.destination)
        )
        with store.unit_of_work() as work:
            if is_performed:
                confirm_performed(
                    work,
                    effect.id,
                    partner_id=partner_id,
                    definition=None if routed is None else routed.partner.definition,
                    actor=_ACTOR,
                    now=now,
                )
            else:
                confirm_absent(work, effect.id, actor=_ACTOR, now=now)
    finally:
        store.close()
    print("Resolved: recorded as delivered. Nothing was sent." if is_performed else "Resolved: back in the queue.")
    return 0


def _only(effects: Sequence[StoredEffect], message_id: str) -> StoredEffect:
    if not effects:
        raise ConfigurationError(
            f"Event {message_id} has no award in doubt: `punchcard trace {message_id}` shows its results."
        )
    slugs = sorted({effect.destination for effect in effects})
    if len(slugs) > 1:
        raise ConfigurationError(f"Name the destination with --destination: {' or '.join(slugs)}.")
    return effects[0]


def _show(effect: StoredEffect) -> None:
    quantity = effect.requested_quantity if effect.quantity is None else effect.quantity
    amount = "" if effect.item is None or quantity is None else f", {amount_text(quantity)} of {effect.item}"
    print(printable(f"{effect.destination}: {effect.event_name} of {effect.email}{amount}"))
    print(printable(f"Key {effect.effect_key}"))
    if effect.detail:
        print(printable(effect.detail))
