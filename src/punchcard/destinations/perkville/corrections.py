"""How an order gets another content after its award was decided. Pure.

Of an order that was received twice with different contents, an operator chooses the second: the order must then be
worth what it would be worth had only that content been received, refunds included. A correction is the difference
between that and what the ledger has, so it may be decided again at any time, and adds nothing once it is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

from punchcard.destinations.correcting import CorrectionStep, EffectContent
from punchcard.destinations.perkville.keys import CorrectionKey
from punchcard.destinations.perkville.reasons import NOTHING_TO_CORRECT, ORDER_NOT_DELIVERED
from punchcard.destinations.perkville.refunds import (
    RefundRules,
    is_open,
    is_uncertain,
    wait_until_deadline,
    waiting,
)
from punchcard.destinations.preparation import LedgerRow, NotReady, Ready
from punchcard.errors import RefusedError
from punchcard.events.commerce import amount_text

# An effect of another customer, or of no order, wakes nothing when it ends.
_LOOK_AGAIN_SECONDS: Final = 30.0
_IN_FLIGHT: Final = frozenset({"sending", "unknown"})
_ZERO: Final = Decimal(0)

_Share = tuple[str, str | None]
"""A customer and an item."""


def plan_correction(first: LedgerRow, content: EffectContent, *, destination: str) -> Sequence[CorrectionStep]:
    """Plan the steps that give an award or a refund another content.

    Raises:
        RefusedError: `cannot_correct`; the message says why.
    """
    _check(first, content)
    email, item = _current(first)
    assert item is not None
    assert content.item is not None

    def step(name: str, step_email: str, step_item: str) -> CorrectionStep:
        key = CorrectionKey(first.order_id, first.effect_key, content.source, content.message_id, name)
        return CorrectionStep(effect_key=key.within(destination), email=step_email, item=step_item)

    is_same_customer = email.lower() == content.customer
    if first.is_refund or (is_same_customer and item == content.item):
        return (step("adjust", content.email, item),)
    return (step("take", email, item), step("give", content.email, content.item))


def _check(first: LedgerRow, content: EffectContent) -> None:
    email, item = _current(first)
    if item is None or content.item is None:
        raise _refused("A user property is set, not added up: send an event with the right value instead.")
    if first.state == "rejected" and is_uncertain(first):
        raise _refused(
            "It is unknown whether the first award was made. Retry it, so that it is looked up at Perkville, then "
            "correct it."
        )
    if first.is_refund:
        if first.state != "delivered":
            raise _refused("The first refund was not made, so there is nothing to correct: retry it first.")
        if email.lower() != content.customer:
            raise _refused(
                f"A refund takes points only from the customer of its order. The second event names {content.email}: "
                "keep the first, and send a refund with its own refund_id to take points from another customer."
            )
    elif content.quantity is None:
        raise _refused("The second event has no amount.")


def _refused(message: str) -> RefusedError:
    return RefusedError(message, code="cannot_correct")


def decide_correction(
    correction: LedgerRow, first: LedgerRow, others: Sequence[LedgerRow], *, rules: RefundRules, now: datetime
) -> Ready | NotReady:
    """Decide what a step of a correction sends.

    Args:
        first: The effect that it corrects, with the content that is to count.
        others: All other effects of its order, and of the correction; `first` is among them.
    """
    if (obstacle := _obstacle(correction, first, others, rules=rules, now=now)) is not None:
        return obstacle
    order = _Order(first, others)
    share = (correction.customer, correction.item)
    if first.is_refund:
        amount, item = order.refund_difference(), None
        if amount > 0:
            item = order.award_item() or correction.item  # a perk that redeems cannot give
    else:
        amount, item = order.award_difference(share), None
    if not amount:
        return NotReady(
            state="rejected",
            reason=NOTHING_TO_CORRECT,
            detail=f"{correction.email} has what the chosen content gives: {order.summary()}.",
        )
    return Ready(quantity=amount, item=item, detail=f"Corrects {first.effect_key}: {order.summary()}.")


def _obstacle(
    correction: LedgerRow, first: LedgerRow, others: Sequence[LedgerRow], *, rules: RefundRules, now: datetime
) -> NotReady | None:
    """Return why nothing can be decided now, None if it can."""
    if is_open(first):
        return waiting(f"{first.effect_key}, which it corrects, is still in delivery.", _LOOK_AGAIN_SECONDS)
    if first.state == "parked":
        parked = f"{first.effect_key}, which it corrects, is parked"
        return wait_until_deadline(correction, parked, rules, now) or NotReady(
            state="parked",
            reason=ORDER_NOT_DELIVERED,
            detail=f"{parked}: retry or dismiss that first. The correction then follows by itself.",
        )
    # One after the other: each is decided by what the ones before have come to.
    earlier = (row for row in others if row.corrects is not None and row.id < correction.id and is_open(row))
    if before := next((row for row in earlier if row.message_id != correction.message_id), None):
        return waiting(f"{before.effect_key} corrects the same order and is still in delivery.", _LOOK_AGAIN_SECONDS)
    # What is in flight may be booked or not; a moment later that is known.
    if flying := next((row for row in others if row.state in _IN_FLIGHT), None):
        return waiting(f"{flying.effect_key} of the same order is still in delivery.", _LOOK_AGAIN_SECONDS)
    in_doubt = [row for row in others if (row is first or row.corrects == first.id) and is_uncertain(row)]
    if in_doubt:
        return NotReady(
            state="parked",
            reason=ORDER_NOT_DELIVERED,
            detail=f"It is unknown whether {in_doubt[0].effect_key} was performed: retry that first, so that it is "
            "looked up, then this.",
        )
    return None


def _current(first: LedgerRow) -> tuple[str, str | None]:
    """Return the customer's email and the item that count now."""
    content = first.corrected_content
    if content is None:
        return first.email, first.item
    item = content.get("item")
    return str(content["email"]), None if item is None else str(item)


@dataclass
class _Order:
    """What an order is worth, and what it must be worth. All amounts are units, signed.

    Attributes:
        shares: What each customer has of the corrected effect, by item.
        other_awards: What the order has given otherwise.
        chosen_awards: The amount that all awards of the order should have, without refunds.
        taken: What refunds have taken, positive.
    """

    first: LedgerRow
    rows: Sequence[LedgerRow]
    shares: dict[_Share, Decimal] = field(default_factory=dict)
    other_awards: Decimal = _ZERO
    chosen_awards: Decimal = _ZERO
    taken: Decimal = _ZERO

    def __post_init__(self) -> None:
        """Add up the rows that count."""
        refunds = {row.id for row in self.rows if row.is_refund and row.corrects is None}
        for row in self.rows:
            if not row.is_refund:
                self.chosen_awards += _chosen_units(row)
            if not _counts(row):
                continue
            quantity = row.quantity or _ZERO
            origin = row.id if row.corrects is None else row.corrects
            if origin in refunds:
                self.taken -= quantity
            elif origin == self.first.id:
                share = (row.customer, row.item)
                self.shares[share] = self.shares.get(share, _ZERO) + quantity
            else:
                self.other_awards += quantity

    def award_difference(self, share: _Share) -> Decimal:
        """What must be given to, or taken from, the share of one customer so that the chosen content counts."""
        email, item = _current(self.first)
        chosen: _Share = (email.lower(), item)
        surplus = self._surplus(chosen)
        if share != chosen:
            return -surplus.get(share, _ZERO)
        left_over = sum((units - surplus.get(other, _ZERO) for other, units in self.shares.items()), _ZERO)
        worth_then = self.other_awards + left_over - self.taken
        difference = self._target() - worth_then
        return max(difference, -max(self.shares.get(chosen, _ZERO), _ZERO))

    def refund_difference(self) -> Decimal:
        """What must be given back, or taken besides, so that the chosen content of a refund counts."""
        return self._target() - (self.other_awards - self.taken)

    def award_item(self) -> str | None:
        """The item that the order has given."""
        awards = (row.item for row in self.rows if not row.is_refund and row.state == "delivered")
        return next(awards, None)

    def summary(self) -> str:
        """What was counted, for people."""
        awarded = sum(self.shares.values(), _ZERO) + self.other_awards
        content = self.first.corrected_content or {}
        quantity = content.get("quantity")
        amount = "no amount" if quantity is None else amount_text(Decimal(str(quantity)))
        return (
            f"{amount_text(awarded)} awarded, {amount_text(self.taken)} removed before; chosen is "
            f"{amount} for {content.get('email', self.first.email)}"
        )

    def _surplus(self, chosen: _Share) -> dict[_Share, Decimal]:
        """Return what those have who are not to have it, as far as refunds have left it to them."""
        surplus: dict[_Share, Decimal] = {}
        for share, units in self.shares.items():
            customer = share[0]
            if share == chosen or units <= 0:
                continue
            left = self._units_of(customer, without=chosen) - sum(
                (taken for other, taken in surplus.items() if other[0] == customer), _ZERO
            )
            surplus[share] = min(units, max(left, _ZERO))
        return surplus

    def _units_of(self, customer: str, *, without: _Share) -> Decimal:
        """Return what a customer has of the whole order now, without one share."""
        own = [row for row in self.rows if row.customer == customer and _counts(row)]
        total = sum((row.quantity or _ZERO for row in own), _ZERO)
        return total - (self.shares.get(without, _ZERO) if without[0] == customer else _ZERO)

    def _target(self) -> Decimal:
        """Return what must be left of the order after the refunds that were made, each as its chosen content says."""
        left = self.chosen_awards
        for row in self.rows:
            if row.is_refund and row.corrects is None and _counts(row):
                requested = _requested(row)
                left -= left if requested is None else min(requested, left)
        return left


def _chosen_units(award: LedgerRow) -> Decimal:
    """Return the amount that an award should have: of its chosen content, else what was given."""
    if award.corrected_content is not None:
        return Decimal(str(award.corrected_content.get("quantity") or 0))
    return (award.quantity or _ZERO) if award.state == "delivered" else _ZERO


def _requested(refund: LedgerRow) -> Decimal | None:
    """Return what a refund asks to take, positive; None for all that is left."""
    if refund.corrected_content is None:
        return None if refund.requested_quantity is None else -refund.requested_quantity
    quantity = refund.corrected_content.get("quantity")
    return None if quantity is None else -Decimal(str(quantity))


def _counts(row: LedgerRow) -> bool:
    """Whether a row is booked, or may be: nothing is in flight here."""
    return row.state == "delivered" or (row.is_refund and row.corrects is None and is_uncertain(row))
