"""Compares what a partner has booked with the ledger, by effect key. Reads both sides, writes neither.

The ledger's side is every award for an event of the period that was delivered before reading began: whatever the
partner shows of those is compared, however its clock stands. The partner's side is every transaction under a key of
this destination. What has another key, or none, or one that the ledger has at another destination of the same business,
belongs to others and is only counted; only a confirmed id tells more.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection

from punchcard.clock import to_iso
from punchcard.destinations.keys import is_own_key
from punchcard.destinations.reconciling import TransactionStatus
from punchcard.errors import InvariantError
from punchcard.operations.compared_customers import ComparedCustomers
from punchcard.operations.keyless_transactions import KeylessTransactions
from punchcard.store.delivery.delivered import (
    Match,
    effects_by_id,
    keys_at,
    matched_effects,
    open_effects_before,
    other_destinations,
)
from punchcard.store.delivery.effects import EffectState, StoredEffect
from punchcard.store.delivery.outbox import effects_by_key
from punchcard.store.operations.partner_transactions import (
    ShownTransaction,
    transactions_by_key,
    unmatched_transactions,
)
from punchcard.store.operations.reconciliation_differences import DifferenceKind, NewDifference
from punchcard.store.operations.reconciliations import Reconciliation, Totals
from punchcard.store.values import decimal_text

# How far the partner's clock may be from ours: what it has booked a moment before the period may be of the period.
CLOCKS_DIFFER: Final = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class ComparisonRules:
    """By what is compared.

    Attributes:
        scopes: Slugs used in keys of this destination.
        is_listed: Whether an effect with these event settings, last sent to that account, is part of the lists that
            were read.
        pending_before: What was planned before and is neither delivered nor ended has been pending for too long.
    """

    scopes: Collection[str]
    is_listed: Callable[[Mapping[str, object] | None, str | None], bool]
    pending_before: datetime


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a comparison has found.

    Attributes:
        needed_refs: Customers for whom the addresses must be read from the partner to complete the comparison.
        unread_refs: Customers for whom the addresses were never read, and that nothing contradicts.
    """

    differences: Sequence[NewDifference]
    totals: Totals
    needed_refs: Sequence[str]
    unread_refs: Sequence[str]


@dataclass
class _Sum:
    count: int = 0
    quantity: Decimal = Decimal(0)

    def add(self, quantity: Decimal | None) -> None:
        self.count += 1
        self.quantity += quantity or Decimal(0)


def compare(work: Connection, reconciliation: Reconciliation, rules: ComparisonRules) -> Comparison:
    """Compare both sides of a reconciliation after all transactions were read.

    Raises:
        RejectedError: the partner does not show the keys that tell them apart (`keys_not_shown`).
    """
    return _Comparing(work, reconciliation, rules).run()


class _Comparing:
    def __init__(self, work: Connection, reconciliation: Reconciliation, rules: ComparisonRules) -> None:
        if reconciliation.until is None:
            raise InvariantError(f"reconciliation {reconciliation.id} is compared before it was read")
        self._work = work
        self._run = reconciliation
        self._until = reconciliation.until
        self._rules = rules
        self._differences: list[NewDifference] = []
        self._ledger, self._partner, self._others = _Sum(), _Sum(), _Sum()
        self._not_compared = 0
        self._customers = ComparedCustomers(work, reconciliation)
        self._keyless = KeylessTransactions(work, reconciliation.id)
        self._other_destinations = other_destinations(work, reconciliation.destination)

    def run(self) -> Comparison:
        """Compare the ledger's side, then the partner's, then what is pending."""
        for matches in matched_effects(
            self._work, self._run.destination, self._run.id, since=self._run.since, until=self._until
        ):
            self._customers.load({match.shown_customer_ref for match in matches if match.shown_customer_ref})
            self._compare_closely([match.id for match in matches if not self._agrees(match)])
        for transactions in unmatched_transactions(
            self._work, self._run.destination, self._run.id, status=TransactionStatus.ACTIVE
        ):
            self._compare_shown(transactions)
        self._compare_pending()
        unread = self._customers.unread()
        totals = Totals(
            ledger_count=self._ledger.count,
            ledger_quantity=self._ledger.quantity.normalize(),
            partner_count=self._partner.count,
            partner_quantity=self._partner.quantity.normalize(),
            others_count=self._others.count,
            others_quantity=self._others.quantity.normalize(),
            not_compared=self._not_compared,
            customers_unchecked=len(unread),
        )
        return Comparison(
            differences=self._differences, totals=totals, needed_refs=self._customers.needed(), unread_refs=unread
        )

    # --- the ledger's side ---

    def _agrees(self, match: Match) -> bool:
        """Count an effect that is shown exactly as the ledger has it; False, and nothing is counted, for any other."""
        if match.has_event_settings or match.shown_count != 1 or match.shown_status != TransactionStatus.ACTIVE:
            return False
        try:
            ours, theirs = _amount(match.quantity), _amount(match.shown_quantity)
        except ArithmeticError:
            return False  # the ledger's row is damaged
        if ours is not None and theirs is not None and abs(ours) != abs(theirs):
            return False
        if None not in (match.item, match.shown_value) and match.item != match.shown_value:
            return False
        emails = self._customers.emails_of(match.customer, match.shown_customer_ref or "")
        if (emails and match.customer not in emails) or not self._rules.is_listed(None, match.account):
            return False
        self._ledger.add(ours)
        self._partner.add(theirs)
        return True

    def _compare_closely(self, effect_ids: Sequence[int]) -> None:
        compared = effects_by_id(self._work, effect_ids)
        listed = [
            effect
            for effect_id in effect_ids
            if self._rules.is_listed((effect := compared[effect_id]).event_settings, effect.account)
        ]
        self._not_compared += len(effect_ids) - len(listed)
        by_key = transactions_by_key(self._work, self._run.id, [effect.effect_key for effect in listed])
        by_id = self._keyless.match([effect for effect in listed if effect.effect_key not in by_key])
        shown = [by_key.get(effect.effect_key) or by_id.get(effect.id, []) for effect in listed]
        self._customers.load({transaction.customer_ref for transactions in shown for transaction in transactions})
        for effect, transactions in zip(listed, shown, strict=True):
            self._compare_delivered(effect, transactions)

    def _compare_delivered(self, effect: StoredEffect, shown: Sequence[ShownTransaction]) -> None:
        self._ledger.add(effect.quantity)
        active = [transaction for transaction in shown if transaction.status == TransactionStatus.ACTIVE]
        for transaction in active:
            self._partner.add(transaction.quantity)
        if len(active) > 1:
            self._differ(
                DifferenceKind.DOUBLED,
                effect,
                active,
                f"The partner has booked it {len(active)} times, as {_listed_ids(active)}.",
            )
        elif active:
            self._compare_content(effect, active[0])
        elif pending := [transaction for transaction in shown if transaction.status == TransactionStatus.PENDING]:
            if _since(pending[0].booked_at, effect.created_at) < self._rules.pending_before:
                word = pending[0].status_text
                detail = f"The partner shows transaction {pending[0].partner_id} as {word}: it does not count yet."
                self._differ(DifferenceKind.PENDING_TOO_LONG, effect, pending, detail)
        elif taken_back := [transaction for transaction in shown if transaction.status == TransactionStatus.REVERSED]:
            detail = f"The partner shows transaction {taken_back[0].partner_id} as {taken_back[0].status_text}."
            self._differ(DifferenceKind.REVERSED, effect, taken_back, detail)
        else:
            self._differ(DifferenceKind.MISSING_AT_PARTNER, effect, [], self._proof_of_absence(effect))

    def _proof_of_absence(self, effect: StoredEffect) -> str:
        read = f"None of the {self._run.read:,} transactions that the partner shows has this key"
        if effect.partner_id is None:
            return f"{read}, and it never confirmed an id for it."
        at = "" if effect.finished_at is None else f" on {effect.finished_at:%Y-%m-%d %H:%M} UTC"
        return f"{read}. It was confirmed{at} as transaction {effect.partner_id}, so it was deleted there since."

    def _compare_content(self, effect: StoredEffect, transaction: ShownTransaction) -> None:
        notes = []
        ours, theirs = effect.quantity, transaction.quantity
        # The sign is left out: of an item that takes away, the partner may show either.
        if ours is not None and theirs is not None and abs(ours) != abs(theirs):
            notes.append(
                f"the partner has booked {decimal_text(abs(theirs))} units instead of {decimal_text(abs(ours))}"
            )
        if None not in (effect.item, transaction.mapping_value) and effect.item != transaction.mapping_value:
            notes.append(f"it is booked for {transaction.mapping_value} instead of {effect.item}")
        emails = self._customers.emails_of(effect.customer, transaction.customer_ref)
        if emails and effect.customer not in emails:
            notes.append(f"it is booked for {', '.join(emails)} instead of {effect.email}")
        if notes:
            text = "; ".join(notes)
            self._differ(DifferenceKind.CONTENT_DIFFERS, effect, [transaction], f"{text[0].upper()}{text[1:]}.")

    # --- the partner's side ---

    def _compare_shown(self, transactions: Sequence[ShownTransaction]) -> None:
        keys = [transaction.effect_key for transaction in transactions if transaction.effect_key is not None]
        effects = effects_by_key(self._work, self._run.destination, keys)
        of_others = keys_at(self._work, self._other_destinations, [key for key in keys if key not in effects])
        for transaction in transactions:
            key = transaction.effect_key
            effect = effects.get(key or "")
            if effect is not None:
                self._compare_undelivered(effect, transaction)
            elif key is None or key in of_others or not is_own_key(key, self._rules.scopes):
                if transaction.partner_id not in self._keyless.matched_ids and self._is_of_period(transaction):
                    self._others.add(transaction.quantity)
            elif self._is_of_period(transaction):
                self._unknown(None, transaction, "The ledger has no row with this key.")

    def _compare_undelivered(self, effect: StoredEffect, transaction: ShownTransaction) -> None:
        """Compare what the partner has booked and the ledger does not count as delivered."""
        if effect.state is EffectState.DELIVERED or effect.state.is_open:
            return
        state = f"{effect.state} ({effect.reason})" if effect.reason else str(effect.state)
        self._unknown(effect, transaction, f"The ledger has it as {state}, and the partner has booked it.")

    def _unknown(self, effect: StoredEffect | None, transaction: ShownTransaction, detail: str) -> None:
        self._partner.add(transaction.quantity)
        emails = self._customers.must_know(transaction.customer_ref)
        self._differences.append(
            NewDifference(
                kind=DifferenceKind.UNKNOWN_TO_US,
                effect_key=transaction.effect_key or "",
                effect_id=None if effect is None else effect.id,
                email=effect.email if effect is not None else next(iter(emails), ""),
                ours=None if effect is None else _ours(effect),
                theirs=self._theirs([transaction]),
                detail=detail,
            )
        )

    def _is_of_period(self, transaction: ShownTransaction) -> bool:
        return transaction.booked_at is None or self._run.since <= transaction.booked_at < self._until + CLOCKS_DIFFER

    # --- what is pending ---

    def _compare_pending(self) -> None:
        pending = open_effects_before(self._work, self._run.destination, before=self._rules.pending_before)
        for begin in range(0, len(pending), 400):
            chunk = pending[begin : begin + 400]
            shown = transactions_by_key(self._work, self._run.id, [effect.effect_key for effect in chunk])
            for effect in chunk:
                booked = [
                    transaction
                    for transaction in shown.get(effect.effect_key, [])
                    if transaction.status == TransactionStatus.ACTIVE
                ]
                for transaction in booked:
                    self._partner.add(transaction.quantity)
                where = f"the partner has booked it as {_listed_ids(booked)}" if booked else "the partner has nothing"
                detail = f"Planned {effect.created_at:%Y-%m-%d %H:%M} UTC and {effect.state} still; {where}."
                self._differ(DifferenceKind.PENDING_TOO_LONG, effect, booked, detail)

    # --- both ---

    def _differ(
        self, kind: DifferenceKind, effect: StoredEffect, shown: Sequence[ShownTransaction], detail: str
    ) -> None:
        self._differences.append(
            NewDifference(
                kind=kind,
                effect_key=effect.effect_key,
                effect_id=effect.id,
                email=effect.email,
                ours=_ours(effect),
                theirs=self._theirs(shown),
                detail=detail,
            )
        )

    def _theirs(self, shown: Sequence[ShownTransaction]) -> Mapping[str, object] | None:
        if not shown:
            return None
        first = shown[0]
        side: dict[str, object] = {
            "transactionId": first.partner_id,
            "quantity": decimal_text(first.quantity),
            "item": first.mapping_value,
            "email": next(iter(self._customers.known(first.customer_ref)), None),
            "status": first.status_text or first.status,
            "bookedAt": None if first.booked_at is None else to_iso(first.booked_at),
        }
        if len(shown) == 1:
            return side
        total = sum((transaction.quantity or Decimal(0) for transaction in shown), Decimal(0))
        ids = [transaction.partner_id for transaction in shown]
        return {**side, "transactionIds": ids, "quantityTotal": decimal_text(total)}


def _ours(effect: StoredEffect) -> Mapping[str, object]:
    quantity = effect.quantity if effect.quantity is not None else effect.requested_quantity
    return {
        "status": effect.state.value,
        "quantity": decimal_text(quantity),
        "item": effect.item,
        "email": effect.email,
        "messageId": effect.message_id,
        "event": effect.event_name,
        "transactionId": effect.partner_id,
        "finishedAt": None if effect.finished_at is None else to_iso(effect.finished_at),
    }


def _amount(text: str | None) -> Decimal | None:
    """Return a stored amount.

    Raises:
        ArithmeticError: It is not a finite number.
    """
    if text is None:
        return None
    number = Decimal(text)
    if not number.is_finite():
        raise ArithmeticError(text)
    return number


def _since(booked_at: datetime | None, created_at: datetime) -> datetime:
    return created_at if booked_at is None else booked_at


def _listed_ids(transactions: Sequence[ShownTransaction]) -> str:
    ids = [transaction.partner_id for transaction in transactions]
    return f"transaction {ids[0]}" if len(ids) == 1 else f"transactions {', '.join(ids)}"
