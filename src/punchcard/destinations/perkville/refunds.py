"""How much a refund takes back, decided from the order's rows in the ledger. Pure.

A refund takes what its event asks for, or all that is left of the order if it asks for no amount; never more than was
awarded to its customer for the order, less what was taken back before. Until the order's award is settled it waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from punchcard.destinations.perkville.reasons import (
    ORDER_EARNED_NOTHING,
    ORDER_NOT_DELIVERED,
    REFUND_NOTHING_LEFT,
    REFUND_OTHER_CUSTOMER,
    REFUND_UNKNOWN_ORDER,
)
from punchcard.destinations.preparation import WAITING_FOR_ORDER, LedgerRow, NotReady, Ready
from punchcard.events.commerce import amount_text

# As the ledger names them; a test holds both to the same words.
OPEN_STATES: Final = frozenset({"pending", "sending", "retrying", "unknown"})
UNCERTAIN_REASONS: Final = ("outcome_unknown", "duplicate_key", "dismissed_in_doubt", "other_account_in_doubt")
_DELETED: Final = "deleted:"  # begins what the ledger has in place of a customer; the same test holds both to it
# A waiting refund is woken when its order is settled; it looks by itself as well, in case that was missed.
_LOOK_AGAIN_SECONDS: Final = 300.0
# How far apart two sources may track the same refund. The slower one may send in batches, or catch up after an outage.
_SAME_REFUND: Final = timedelta(hours=24)


class RefundFollows(StrEnum):
    """What a refund goes by where the event and the ledger differ."""

    ORDER = "order"  # takes points only of the order's customer, and only for an order that the ledger knows
    EVENT = "event"  # takes them of the customer that the event names, as Segment's page of the destination says


@dataclass(frozen=True, kw_only=True)
class RefundRules:
    """What a refund waits for and goes by.

    Attributes:
        wait_seconds: How long a refund waits for its order.
        follows: What it goes by where the event and its order differ.
    """

    wait_seconds: float = 86_400
    follows: RefundFollows = RefundFollows.ORDER


def decide_refund(
    refund: LedgerRow,
    others: Sequence[LedgerRow],
    *,
    refusal: str | None,
    rules: RefundRules,
    now: datetime,
) -> Ready | NotReady:
    """Decide what to do with a refund.

    Args:
        others: All other effects of its order.
        refusal: Why the order's event was refused, None if it was not.
    """
    original = _original_of(refund, others)
    if original is not None:
        return NotReady(
            state="rejected",
            reason="refund_tracked_twice",
            detail=f"Source {original.source} tracked the same refund of order {refund.order_id} as message "
            f"{original.message_id}: the same customer and amount within a day. To take points twice, send each refund "
            "with its own refund_id.",
        )
    awards = [other for other in others if not other.is_refund]
    if any(is_open(award) for award in awards):
        return waiting(f"The award for order {refund.order_id} is still in delivery.", _LOOK_AGAIN_SECONDS)
    if any(is_open(other) for other in others if other.corrects is not None):
        return waiting(f"A correction of order {refund.order_id} is still in delivery.", _LOOK_AGAIN_SECONDS)
    if any(award.state == "parked" for award in awards):
        return _wait_for_parked(refund, rules, now)
    award_ids = {award.id for award in awards}
    delivered = [other for other in others if other.state == "delivered" and {other.id, other.corrects} & award_ids]
    if not delivered:
        return _without_award(refund, awards, refusal=refusal, rules=rules, now=now)
    own = [award for award in delivered if award.customer == refund.customer]
    if _units(own) <= 0:
        own = []  # a correction has given it to somebody else
    if not own and rules.follows is RefundFollows.ORDER:
        customers = ", ".join(
            dict.fromkeys(
                "a customer who was deleted since" if award.email.startswith(_DELETED) else award.email
                for award in delivered
                if award.customer != refund.customer
            )
        )
        return NotReady(
            state="parked",
            reason=REFUND_OTHER_CUSTOMER,
            detail=f"The refund is for {refund.email}, but order {refund.order_id} was awarded to {customers}: nothing "
            'was taken from either. Dismiss it, or set refundFollows = "event" and retry it to take the points from '
            f"{refund.email}.",
        )
    refunds = [other for other in others if other.is_refund and other.corrects not in award_ids]
    return _from_balance(refund, own or delivered, delivered, refunds)


def _original_of(refund: LedgerRow, others: Sequence[LedgerRow]) -> LedgerRow | None:
    """The refund that another source tracked first and that is the same as this one, None if there is none.

    The n-th refund of one customer and amount from one source is the n-th such refund from another, unless both carry
    ids, which then differ. So a shop that tracks every refund in two places is right also for two equal refunds.
    """
    alike = [
        other
        for other in others
        if other.is_refund
        and other.corrects is None
        and other.customer == refund.customer
        and other.requested_quantity == refund.requested_quantity
    ]
    number = sum(other.source == refund.source and other.id < refund.id for other in alike)
    for source in sorted({other.source for other in alike} - {refund.source}):
        theirs = sorted((other for other in alike if other.source == source), key=lambda other: other.id)
        if len(theirs) <= number:
            continue
        pair = theirs[number]
        both_named = refund.refund_id is not None and pair.refund_id is not None
        if pair.id < refund.id and not both_named and refund.received_at - pair.received_at <= _SAME_REFUND:
            return pair
    return None


def _wait_for_parked(refund: LedgerRow, rules: RefundRules, now: datetime) -> NotReady:
    parked = f"The award for order {refund.order_id} is parked"
    return wait_until_deadline(refund, parked, rules, now) or NotReady(
        state="parked",
        reason=ORDER_NOT_DELIVERED,
        detail=f"{parked} itself: retry or dismiss that first. Once it is delivered, this refund follows by itself.",
    )


def _without_award(
    refund: LedgerRow,
    awards: Sequence[LedgerRow],
    *,
    refusal: str | None,
    rules: RefundRules,
    now: datetime,
) -> Ready | NotReady:
    cause = awards[-1].reason if awards else refusal
    if cause is not None or awards:
        return NotReady(
            state="rejected",
            reason=ORDER_EARNED_NOTHING,
            detail=f"Order {refund.order_id} earned nothing ({cause or 'rejected'}), so there is nothing to take back.",
        )
    until = _deadline(refund, rules, now)
    if now < until:
        return waiting(
            f"Waiting for order {refund.order_id} until {_shown(until)}: no award for it is on record yet.",
            (until - now).total_seconds(),
        )
    if rules.follows is RefundFollows.EVENT and refund.requested_quantity is not None:
        return Ready(
            quantity=refund.requested_quantity,
            detail=f"No award for order {refund.order_id} is on record; taken as the event asks.",
        )
    return NotReady(
        state="parked",
        reason=REFUND_UNKNOWN_ORDER,
        detail=f"No award for order {refund.order_id} is on record: nothing was taken. It follows by itself if the "
        'order still arrives. To take points for an unknown order, set refundFollows = "event" and retry it'
        + (", with an amount in the event." if refund.requested_quantity is None else "."),
    )


def _from_balance(
    refund: LedgerRow,
    own: Sequence[LedgerRow],
    awards: Sequence[LedgerRow],
    refunds: Sequence[LedgerRow],
) -> Ready | NotReady:
    awarded = _units(own)
    removed = _removed(refunds)
    if len(own) < len(awards):
        # Several customers have awards under this order id: each takes back their own, and all together no more.
        mine = _removed([other for other in refunds if other.customer == refund.customer])
        removed = max(mine, awarded - (_units(awards) - removed))
    left = awarded - removed
    requested = None if refund.requested_quantity is None else -refund.requested_quantity
    balance = f"{amount_text(awarded)} awarded for order {refund.order_id}, {amount_text(removed)} removed before"
    if left <= 0:
        return NotReady(
            state="rejected",
            reason=REFUND_NOTHING_LEFT,
            detail=f"nothing is left to remove: {balance}",
        )
    if requested is None:
        detail = f"no amount in the refund: {amount_text(left)} taken from the ledger ({balance})"
        return Ready(quantity=-left, detail=detail)
    if requested > left:
        return Ready(quantity=-left, detail=f"cut from {amount_text(requested)} to {amount_text(left)}: {balance}")
    return Ready(quantity=-requested)


def _units(effects: Sequence[LedgerRow]) -> Decimal:
    return sum((effect.quantity or Decimal(0) for effect in effects), Decimal(0))


def _removed(refunds: Sequence[LedgerRow]) -> Decimal:
    """What was taken back, positive, counting what may have been."""
    return -_units([refund for refund in refunds if _may_be_performed(refund)])


def _may_be_performed(refund: LedgerRow) -> bool:
    return (
        refund.state == "delivered"
        # After a restore an outcome may be unknown without an attempt on record.
        or (is_open(refund) and (refund.attempts > 0 or refund.state == "unknown"))
        or is_uncertain(refund)
    )


def is_open(row: LedgerRow) -> bool:
    """Whether the row is in the queue still."""
    return row.state in OPEN_STATES


def is_uncertain(row: LedgerRow) -> bool:
    """Whether the row has ended, for now, without anybody knowing whether it was performed."""
    return not is_open(row) and row.reason in UNCERTAIN_REASONS


def wait_until_deadline(row: LedgerRow, cause: str, rules: RefundRules, now: datetime) -> NotReady | None:
    """Wait for what the row depends on, None if it has waited long enough.

    Args:
        cause: Clause that says why it waits.
    """
    until = _deadline(row, rules, now)
    if now >= until:
        return None
    return waiting(f"{cause}; waiting for it until {_shown(until)}.", (until - now).total_seconds())


def waiting(detail: str, seconds: float) -> NotReady:
    """Return that the refund waits: the customer's other effects go first, and it is prepared again in some seconds."""
    return NotReady(
        state="retrying",
        reason=WAITING_FOR_ORDER,
        detail=detail,
        wait_seconds=min(seconds, _LOOK_AGAIN_SECONDS),
    )


def _deadline(refund: LedgerRow, rules: RefundRules, now: datetime) -> datetime:
    # From when it was planned, not received: what has waited in the log has not waited for its order.
    wait = timedelta(seconds=rules.wait_seconds)
    # Planned later than the whole wait from now: the clock was set back, and the refund might wait for years. It still
    # follows by itself if the order's award comes.
    return now if refund.created_at - now > wait else refund.created_at + wait


def _shown(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"
