"""The optional part of the port by which a partner's transactions are compared with the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, runtime_checkable


class TransactionStatus(StrEnum):
    """What a transaction is worth at the partner."""

    ACTIVE = "active"  # it counts
    REVERSED = "reversed"  # it was taken back, and counts no more
    OFFSET = "offset"  # the counterpart of a reversed one; neither counts
    PENDING = "pending"  # the partner has not decided yet


@dataclass(frozen=True, kw_only=True)
class PartnerTransaction:
    """A transaction as the partner shows it.

    Attributes:
        effect_key: Its `trans_source_id` or the like, None if it was booked without one.
        customer_ref: How the partner names its customer, "" if it does not say.
        mapping_value: What events are mapped to.
        quantity: Signed units, negative if they take away; None if the partner does not say.
        status_text: The partner's own word.
        booked_at: None if the partner does not say.
    """

    partner_id: str
    effect_key: str | None
    customer_ref: str
    mapping_value: str | None
    quantity: Decimal | None
    status: TransactionStatus
    status_text: str
    booked_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class TransactionPage:
    """A page of transactions.

    Attributes:
        cursor: Where the next page begins, None after the last one.
    """

    transactions: Sequence[PartnerTransaction]
    cursor: str | None


@runtime_checkable
class ReconcileClient(Protocol):
    """A client of a destination with `Capability.RECONCILE`. Each call is one request, so that it can be paced."""

    async def list_transactions(self, since: datetime, *, cursor: str | None) -> TransactionPage:
        """A page of the transactions that were booked since an instant; others may be among them.

        Args:
            cursor: Of the page before, None for the first one.

        Raises:
            RejectedError: they cannot be listed, or not compared (`keys_not_shown`).
        """

    async def read_customer_emails(self, customer_ref: str) -> Sequence[str]:
        """The email addresses of a customer, lower-cased; none if the partner does not know the customer any more."""

    def lists(self, event_settings: Mapping[str, object] | None) -> bool:
        """Whether an effect with these event settings is part of the lists that this client reads."""


@dataclass(frozen=True, kw_only=True)
class KeyContent:
    """What the key alone reveals about an effect; None for what it does not.

    Attributes:
        source: Slug of the source, if the key is unique within one.
    """

    source: str | None = None
    message_id: str | None = None
    event_name: str | None = None
    order_id: str | None = None
    is_refund: bool = False
    refund_id: str | None = None


@runtime_checkable
class KeyReader(Protocol):
    """A partner of a destination with `Capability.RECONCILE`: a lost row of the ledger is made again from its key."""

    def read_key(self, effect_key: str, settings: object) -> KeyContent:
        """What the key of an effect says of it, under settings that may map its event."""


def is_alike(
    item: str | None, quantity: Decimal | None, *, shown_item: str | None, shown_quantity: Decimal | None
) -> bool:
    """Return whether a transaction has the item and the size of an award, as far as both are known.

    Signs are left out: of a transaction that takes away, either may be shown.
    """
    return shown_item in (None, item) and (
        shown_quantity is None or quantity is None or abs(shown_quantity) == abs(quantity)
    )
