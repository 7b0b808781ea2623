"""Finds awards of the ledger among transactions that a partner shows without a key.

What staff book has no key. But where a partner shows no keys at all, its list proves nothing about what is missing.
"""

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy import Connection

from punchcard.destinations.reconciling import is_alike
from punchcard.errors import RejectedError
from punchcard.store.delivery.effects import StoredEffect
from punchcard.store.operations.partner_transactions import (
    ShownTransaction,
    are_keys_shown,
    keyless_contents,
    keyless_transactions,
)


class KeylessTransactions:
    """The transactions without a key that were read for a reconciliation.

    Attributes:
        matched_ids: The partner's ids of those that are awards of the ledger.
    """

    def __init__(self, work: Connection, reconciliation_id: int) -> None:
        self._work = work
        self._reconciliation_id = reconciliation_id
        self._contents: Sequence[tuple[str | None, Decimal | None]] | None = None
        self.matched_ids: set[str] = set()

    def match(self, effects: Sequence[StoredEffect]) -> dict[int, list[ShownTransaction]]:
        """Return what is shown for delivered effects, none of which is shown under its key, by the effect's id.

        An effect is booked if its confirmed id is shown, whatever became of its key.

        Raises:
            RejectedError: no transaction shows a key, and one of them is such an effect, or may be (`keys_not_shown`).
        """
        ids = sorted({effect.partner_id for effect in effects if effect.partner_id is not None})
        by_id = keyless_transactions(self._work, self._reconciliation_id, ids)
        unclear = next((effect for effect in effects if effect.partner_id in by_id or self._is_alike(effect)), None)
        if unclear is not None and not are_keys_shown(self._work, self._reconciliation_id):
            raise RejectedError(
                f"The partner shows none of its transactions under a key, and {unclear.effect_key} is or may be one "
                "of them: they cannot be compared with the ledger",
                code="keys_not_shown",
            )
        self.matched_ids.update(by_id)
        return {effect.id: [by_id[effect.partner_id]] for effect in effects if effect.partner_id in by_id}

    def _is_alike(self, effect: StoredEffect) -> bool:
        """Whether an effect without a confirmed id has the item and the size of a transaction, as far as it shows them.

        One with a confirmed id is only what is shown under that id.
        """
        if effect.partner_id is not None:
            return False
        if self._contents is None:
            self._contents = keyless_contents(self._work, self._reconciliation_id)
        return any(
            is_alike(effect.item, effect.quantity, shown_item=item, shown_quantity=quantity)
            for item, quantity in self._contents
        )
