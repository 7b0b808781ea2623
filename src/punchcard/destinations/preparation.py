"""The optional part of the port by which a destination decides an effect's amount against the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol, runtime_checkable

WAITING_FOR_ORDER: Final = "waiting_for_order"
"""The reason of a `NotReady` that lets the customer's other effects go first, and is prepared again in time."""


class LedgerRow(Protocol):
    """A row of the ledger, as a destination sees it that prepares effects by other effects of their order."""

    @property
    def id(self) -> int:
        """Rises in the order in which effects were planned."""

    @property
    def effect_key(self) -> str:
        """Unique at the destination."""

    @property
    def source(self) -> str:
        """Slug of the event's source."""

    @property
    def message_id(self) -> str:
        """Of the event."""

    @property
    def received_at(self) -> datetime:
        """When the event was received."""

    @property
    def created_at(self) -> datetime:
        """When the effect was planned."""

    @property
    def customer(self) -> str:
        """The email lower-cased."""

    @property
    def email(self) -> str:
        """The email as sent."""

    @property
    def order_id(self) -> str | None:
        """The order that is paid for or refunded."""

    @property
    def is_refund(self) -> bool:
        """Whether the effect depends on the others of its order."""

    @property
    def refund_id(self) -> str | None:
        """The sender's own id of a refund."""

    @property
    def item(self) -> str | None:
        """What it gives or takes; None for an effect without a quantity."""

    @property
    def requested_quantity(self) -> Decimal | None:
        """Signed units, as the event asks."""

    @property
    def quantity(self) -> Decimal | None:
        """Signed units, as sent."""

    @property
    def state(self) -> str:
        """`pending`, `sending`, `retrying`, `unknown`, `parked`, `rejected` or `delivered`."""

    @property
    def reason(self) -> str | None:
        """Why it is in that state."""

    @property
    def attempts(self) -> int:
        """How many were ever made."""

    @property
    def corrects(self) -> int | None:
        """Id of the effect that it corrects, None for any other."""

    @property
    def corrected_content(self) -> Mapping[str, object] | None:
        """The content that counts instead of its own: `{"email", "item", "quantity", …}`; None for its own."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The effect can be sent.

    Attributes:
        quantity: Signed units to send, None for an effect that has none.
        detail: What was cut and why, None if nothing was.
        item: The item to use instead of the effect's own, None for that.
    """

    quantity: Decimal | None
    detail: str | None = None
    item: str | None = None


@dataclass(frozen=True, kw_only=True)
class NotReady:
    """The effect is not sent now.

    Attributes:
        state: Where it goes instead.
        wait_seconds: When to look again, for an open state.
    """

    state: str
    reason: str
    detail: str
    wait_seconds: float = 0.0


@runtime_checkable
class PreparesEffects(Protocol):
    """A destination with `Capability.PREPARATION`: it decides an effect's amount when the effect is claimed."""

    def prepare(
        self,
        effect: LedgerRow,
        others: Sequence[LedgerRow],
        *,
        refusal: str | None,
        settings: object,
        now: datetime,
    ) -> Ready | NotReady:
        """Decide what to send for an effect that depends on its order, or where it goes instead. Pure.

        It is called when the effect is claimed. One that waits (`WAITING_FOR_ORDER`) is claimed again when another
        effect of its order ends, and so is one that has ended for a reason of `Definition.reopened`.

        Args:
            others: All other effects of its order, oldest first.
            refusal: Reason code with which the order's event was refused, None if it was not.
            settings: The destination's typed settings.
        """
