"""What Perkville says of the perks in use, remembered for a while: whether one gives points or takes them.

What is remembered may be out of date, because a perk can be changed at Perkville at any time. So nothing is refused
for it before the perk has been read again, and a booked transaction that contradicts it ends it.
"""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from punchcard.clock import Clock
from punchcard.destinations.perkville.http import Deadline, PerkvilleHttp
from punchcard.destinations.perkville.pagination import Item, read_object
from punchcard.destinations.perkville.settings import PerkvilleSettings, RefundMethod
from punchcard.destinations.perkville.wire import Wire, amount_of, id_of, is_one_of
from punchcard.errors import RejectedError, RetryableError

REMEMBERED_SECONDS = 600.0
_NOT_FOUND = 404
_CLASSIFICATION_CHARACTERS_MAX = 100


class Direction(Enum):
    """What booking a positive quantity of a perk does to the customer's points."""

    EARNS = "earns"  # gives points
    REDEEMS = "redeems"  # takes points
    UNCLEAR = "unclear"  # Perkville says something that is not known here


@dataclass(frozen=True, kw_only=True)
class Perk:
    """A perk as Perkville describes it.

    Attributes:
        is_active: None if Perkville does not say.
        business_id: None if Perkville does not say.
        classification: Perkville's own word.
        points: Of one unit, None if Perkville does not say.
    """

    id: str
    title: str
    direction: Direction
    classification: str
    is_active: bool | None
    business_id: str | None
    points: Decimal | None = None


def read_perk(item: Item, perk_id: str, wire: Wire) -> Perk:
    """A perk from its JSON object."""
    classification = item.get(wire.classification_key)
    status = item.get(wire.status_key)
    title = item.get("title")
    return Perk(
        id=perk_id,
        title=title if isinstance(title, str) else "",
        direction=_direction(classification, wire),
        classification=str(classification)[:_CLASSIFICATION_CHARACTERS_MAX],
        is_active=is_one_of(status, wire.active_statuses) if isinstance(status, str) else None,
        business_id=id_of(item.get(wire.business_key)),
        points=amount_of(item.get(wire.points_key)),
    )


def _direction(classification: object, wire: Wire) -> Direction:
    if is_one_of(classification, wire.earning_classifications):
        return Direction.EARNS
    return Direction.REDEEMS if is_one_of(classification, wire.redeeming_classifications) else Direction.UNCLEAR


class Perks:
    """Reads perks, each at most once in ten minutes as long as it is usable and nothing contradicts it."""

    def __init__(self, http: PerkvilleHttp, settings: PerkvilleSettings, clock: Clock) -> None:
        self._http = http
        self._settings = settings
        self._clock = clock
        self._remembered: dict[str, tuple[Perk, float]] = {}
        self._reading: dict[str, asyncio.Lock] = {}

    async def get(self, perk_id: str, *, deadline: Deadline) -> Perk:
        """The perk, remembered or read now.

        Raises:
            RejectedError: `perk_unknown`, there is none.
            RetryableError: it could not be read.
        """
        perk = self._recall(perk_id)
        if perk is not None:
            return perk
        # Many awards of one perk wait for one read, as if it were a read of each.
        async with self._reading.setdefault(perk_id, asyncio.Lock()):
            perk = self._recall(perk_id)
            if perk is None:
                perk = await self.read(perk_id, deadline=deadline)
                if perk.direction is not Direction.UNCLEAR:
                    # Only what can be used is remembered, so that a corrected perk is seen at once.
                    self._remembered[perk_id] = (perk, self._clock.monotonic() + REMEMBERED_SECONDS)
            return perk

    async def quantity_to_send(
        self, perk_id: str, quantity: Decimal, *, method: RefundMethod, event_name: str, deadline: Deadline
    ) -> Decimal:
        """Return the quantity to send of a perk, as `signed_quantity`; a remembered perk refuses nothing.

        Raises:
            RejectedError: `perk_unknown`, or `perk_unusable` as the perk is now.
            RetryableError: The perk could not be read.
        """
        perk = self._recall(perk_id)
        if perk is not None:
            try:
                return signed_quantity(quantity, perk, method=method, event_name=event_name)
            except RejectedError:
                self._forget(perk)  # it may have been corrected since
        perk = await self.get(perk_id, deadline=deadline)
        return signed_quantity(quantity, perk, method=method, event_name=event_name)

    def contradiction(self, perk_id: str, quantity: Decimal, transaction: Item) -> str | None:
        """Return what is wrong with a transaction that Perkville has just booked on a perk; None if nothing is.

        The perk has changed if the transaction gives points where the perk took them, or the reverse. It is read again
        before the next transaction.

        Args:
            quantity: As sent.
        """
        perk = self._recall(perk_id)
        classification = transaction.get(self._settings.wire.classification_key)
        direction = _direction(classification, self._settings.wire)
        if perk is None or direction in (perk.direction, Direction.UNCLEAR):
            return None
        self._forget(perk)
        if quantity < 0:
            return None  # what a perk that earns does with it may itself be called redeeming
        return (
            f"perk {perk_id} {direction.value} since it was changed at Perkville, so this transaction has the opposite "
            "effect: correct the customer's points there"
        )

    async def read(self, perk_id: str, *, deadline: Deadline) -> Perk:
        """The perk as it is now.

        Raises:
            RejectedError: `perk_unknown`, there is none.
            RetryableError: it could not be read, code `unreadable_response` if the response is not a perk.
        """
        wire = self._settings.wire
        try:
            item = await read_object(self._http, self._settings, wire.perks_path, perk_id, deadline=deadline)
        except RejectedError as exc:
            if exc.status != _NOT_FOUND:
                raise
            raise RejectedError(
                f"Perk {perk_id} does not exist at Perkville, or does not belong to the business of the token. "
                f"{exc.message}",
                code="perk_unknown",
                status=exc.status,
                request_id=exc.request_id,
            ) from exc
        classification = item.get(wire.classification_key)
        if not isinstance(classification, str) or not classification.strip():
            # Every perk has one. Without it nothing is known of the perk, not even that it is unusable.
            raise RetryableError(
                f'Perkville shows perk {perk_id} without a "{wire.classification_key}", so whether it gives or takes '
                "points is not known",
                code="unreadable_response",
            )
        return read_perk(item, perk_id, wire)

    def _forget(self, perk: Perk) -> None:
        # Another award may have read it again meanwhile.
        if self._recall(perk.id) is perk:
            del self._remembered[perk.id]

    def _recall(self, perk_id: str) -> Perk | None:
        perk, until = self._remembered.get(perk_id, (None, 0.0))
        return perk if self._clock.monotonic() < until else None


def signed_quantity(quantity: Decimal, perk: Perk, *, method: RefundMethod, event_name: str) -> Decimal:
    """The quantity to send so that the customer gains (or, if `quantity` is negative, loses) that much.

    Raises:
        RejectedError: `perk_unusable`, booking this perk would do the opposite, or nobody knows what.
    """
    if perk.direction is Direction.UNCLEAR:
        raise _unusable(
            f"Perkville calls perk {perk.id} {perk.classification}, which is neither earning nor redeeming as far as "
            "is known here; so nothing is booked on it"
        )
    if quantity > 0:
        if perk.direction is Direction.REDEEMS:
            raise _unusable(
                f'perk {perk.id} redeems: an award for "{event_name}" would take points away; map the event to a perk '
                "that earns"
            )
        return quantity
    if method is RefundMethod.REDEEM and perk.direction is Direction.EARNS:
        raise _unusable(
            f'perk {perk.id} earns, but refundMethod is redeem: map "{event_name}" to a perk that redeems, or set '
            "refundMethod to auto"
        )
    if method is RefundMethod.NEGATIVE and perk.direction is Direction.REDEEMS:
        raise _unusable(
            f"perk {perk.id} redeems, but refundMethod is negative: a negative quantity of it would give points; map "
            f'"{event_name}" to a perk that earns, or set refundMethod to auto'
        )
    return -quantity if perk.direction is Direction.REDEEMS else quantity


def _unusable(message: str) -> RejectedError:
    return RejectedError(message, code="perk_unusable")
