"""The optional part of the port by which a destination decides a refund's amount against the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol, runtime_checkable

from punchcard.destinations.port import DeliveryOptions


class LedgerRow(Protocol):
    """A row of the ledger, as a destination sees it that prepares effects by other effects of their order."""

    @property
    def id(self) -> int:
        """Rises in the order in which effects were planned."""

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
        """Whether points are to be removed."""

    @property
    def refund_id(self) -> str | None:
        """The sender's own id of a refund."""

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


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The effect can be sent.

    Attributes:
        quantity: Signed units to send, None for an effect that has none.
        detail: What was cut and why, None if nothing was.
    """

    quantity: Decimal | None
    detail: str | None = None


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
    """A destination with `Capability.PREPARATION`: it decides a refund's amount when the refund is claimed."""

    def prepare(
        self,
        effect: LedgerRow,
        others: Sequence[LedgerRow],
        *,
        refusal: str | None,
        options: DeliveryOptions,
        now: datetime,
    ) -> Ready | NotReady:
        """Decide what to send for a refund, or where it goes instead. Pure.

        Args:
            others: All other effects of its order, oldest first.
            refusal: Reason code with which the order's event was refused, None if it was not.
        """
