"""The bookings of a scripted partner as lists, for reconciliations."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from punchcard.destinations.port import Effect
from punchcard.destinations.reconciling import PartnerTransaction, TransactionPage, TransactionStatus


class _Booking(Protocol):
    @property
    def partner_id(self) -> str: ...

    @property
    def effect(self) -> Effect: ...


class ListedBookings:
    """The part of a scripted client that lists bookings; customers are named by their address."""

    def _book(self) -> Sequence[_Booking]:
        raise NotImplementedError

    def _before_listing(self) -> None:
        raise NotImplementedError

    async def list_transactions(self, since: datetime, *, cursor: str | None) -> TransactionPage:
        """Pages of two bookings; the script for the key `list` says how each request is treated."""
        await asyncio.sleep(0)
        self._before_listing()
        first = int(cursor or 0)
        shown = self._book()[first : first + 2]
        return TransactionPage(
            transactions=[
                PartnerTransaction(
                    partner_id=booking.partner_id,
                    effect_key=booking.effect.effect_key,
                    customer_ref=f"customer of {booking.effect.email.lower()}",
                    mapping_value=booking.effect.item,
                    quantity=booking.effect.quantity,
                    status=TransactionStatus.ACTIVE,
                    status_text="ACTIVE",
                    booked_at=None,
                )
                for booking in shown
            ],
            cursor=str(first + len(shown)) if shown else None,
        )

    async def read_customer_emails(self, customer_ref: str) -> Sequence[str]:
        """The address that the reference holds."""
        await asyncio.sleep(0)
        return [customer_ref.removeprefix("customer of ")]

    def lists(self, event_settings: Mapping[str, object] | None) -> bool:
        """All that was performed."""
        return True
