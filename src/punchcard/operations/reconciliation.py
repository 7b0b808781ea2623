"""Reconciliations as operators use them: request one, cancel it, and resolve its differences.

Nothing is corrected automatically. An award and the difference that concerns it change in one unit of work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.destinations.definition import Capability
from punchcard.destinations.reconciling import KeyContent, KeyReader
from punchcard.errors import ConfigurationError, InvariantError
from punchcard.store.access import audit
from punchcard.store.delivery import corrections
from punchcard.store.delivery.corrections import RebuiltEffect
from punchcard.store.delivery.effects import ABSENT_AT_PARTNER, REVERSED_AT_PARTNER
from punchcard.store.engine import Store
from punchcard.store.operations.reconciliation_differences import (
    DifferenceKind,
    DifferenceQuery,
    DifferenceState,
    StoredDifference,
    list_differences,
    resolve,
)
from punchcard.store.operations.reconciliations import (
    Reconciliation,
    ReconciliationStatus,
    add_reconciliation,
    end_early,
)
from punchcard.workspace.snapshot import RoutedDestination

_PER_UNIT_OF_WORK: Final = 200
_TRANSACTION: Final = "transaction"  # the kind of a rebuilt effect at a destination that is not configured any more


class DifferenceAction(StrEnum):
    """What a person can decide of a difference."""

    SEND_AGAIN = "send_again"  # through the outbox: read back first, sent only if it is not there
    ACCEPT = "accept"  # the ledger gets what the partner has
    DISMISS = "dismiss"  # both stay as they are


ACTIONS: Final[Mapping[DifferenceKind, Sequence[DifferenceAction]]] = {
    DifferenceKind.MISSING_AT_PARTNER: (
        DifferenceAction.SEND_AGAIN,
        DifferenceAction.ACCEPT,
        DifferenceAction.DISMISS,
    ),
    DifferenceKind.UNKNOWN_TO_US: (DifferenceAction.ACCEPT, DifferenceAction.DISMISS),
    DifferenceKind.CONTENT_DIFFERS: (DifferenceAction.ACCEPT, DifferenceAction.DISMISS),
    DifferenceKind.REVERSED: (DifferenceAction.ACCEPT, DifferenceAction.DISMISS),
    DifferenceKind.PENDING_TOO_LONG: (
        DifferenceAction.SEND_AGAIN,
        DifferenceAction.ACCEPT,
        DifferenceAction.DISMISS,
    ),
    # Only the partner can take one of them back; then neither kind is found any more.
    DifferenceKind.DOUBLED: (DifferenceAction.DISMISS,),
}
"""What can be decided of each kind."""


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What an action came to.

    Attributes:
        done: Differences that were resolved.
        left: Differences that the action does not fit, or that have changed meanwhile.
    """

    done: int
    left: int


def can_reconcile(destination: RoutedDestination) -> bool:
    """Whether the destination lists what it has booked."""
    return Capability.RECONCILE in destination.partner.definition.capabilities


def request_reconciliation(
    work: Connection, destination: RoutedDestination, *, since: datetime, actor: str, now: datetime
) -> Reconciliation:
    """Ask for a reconciliation; the worker makes it.

    Raises:
        ConfigurationError: the destination does not list what it has booked, or the period is empty.
    """
    if not can_reconcile(destination):
        raise ConfigurationError(
            f"{destination.name} does not list what it has booked, so it cannot be compared with the ledger.",
            code="not_supported",
            field="destination",
        )
    if since >= now:
        raise ConfigurationError("since: It must be in the past.", code="invalid_request", field="since")
    return add_reconciliation(work, destination.slug, since=since, requested_by=actor, now=now)


def cancel_reconciliation(work: Connection, reconciliation: Reconciliation, *, actor: str, now: datetime) -> bool:
    """Cancel one that is not over; False if it is."""
    return end_early(
        work,
        reconciliation.id,
        status=ReconciliationStatus.CANCELLED,
        detail=f"Cancelled by {actor}.",
        now=now,
    )


def resolve_differences(
    store: Store,
    destination: RoutedDestination | None,
    query: DifferenceQuery,
    *,
    action: DifferenceAction,
    actor: str,
    clock: Clock,
) -> Resolution:
    """Do to every open difference that matches what a person has decided.

    Args:
        destination: None if it is not configured any more.

    Raises:
        StorageError: the store is away; what was done stays done.
    """
    done = left = after = 0
    open_ones = DifferenceQuery(
        reconciliation_id=query.reconciliation_id, kind=query.kind, states=(DifferenceState.OPEN,), ids=query.ids
    )
    while True:
        with store.unit_of_work() as work:
            differences = list_differences(work, open_ones, count=_PER_UNIT_OF_WORK, after_id=after)
            if not differences:
                # Those that somebody else has decided meanwhile are not open any more, so they were not read.
                missing = 0 if query.ids is None else len(set(query.ids)) - done - left
                return Resolution(done=done, left=left + missing)
            after = differences[-1].id
            resolver = _Resolver(work, destination, action=action, actor=actor, now=clock.now())
            resolved = resolver.resolve(differences)
        done += resolved
        left += len(differences) - resolved


class _Resolver:
    """Resolves differences within one unit of work."""

    def __init__(
        self,
        work: Connection,
        destination: RoutedDestination | None,
        *,
        action: DifferenceAction,
        actor: str,
        now: datetime,
    ) -> None:
        self._work = work
        self._destination = destination
        self._action = action
        self._actor = actor
        self._now = now

    def resolve(self, differences: Sequence[StoredDifference]) -> int:
        """Resolve those that the action fits; returns how many."""
        fitting = [difference for difference in differences if self._action in ACTIONS.get(difference.kind, ())]
        match self._action:
            case DifferenceAction.SEND_AGAIN:
                state, fitting = (
                    DifferenceState.RESENT,
                    [difference for difference in fitting if difference.effect_id is not None],
                )
                self._send_again(fitting)
            case DifferenceAction.ACCEPT:
                state, fitting = (
                    DifferenceState.ACCEPTED,
                    [difference for difference in fitting if self._accept(difference)],
                )
            case DifferenceAction.DISMISS:
                state = DifferenceState.DISMISSED
        resolved = resolve(
            self._work, [difference.id for difference in fitting], state=state, by=self._actor, now=self._now
        )
        if resolved:
            self._write_down(differences[0].destination, resolved)
        return resolved

    def _send_again(self, differences: Sequence[StoredDifference]) -> None:
        detail = f"Read back, and sent again if it is not there, as {self._actor} has decided after a comparison."
        effect_ids = [difference.effect_id for difference in differences if difference.effect_id is not None]
        corrections.send_again(self._work, effect_ids, detail=detail, now=self._now)

    def _accept(self, difference: StoredDifference) -> bool:
        """Change the ledger to what the partner has; False if it has changed meanwhile."""
        words = f"Corrected by {self._actor} on {self._now:%Y-%m-%d %H:%M} UTC. {difference.detail}"
        match difference.kind:
            case DifferenceKind.MISSING_AT_PARTNER | DifferenceKind.REVERSED if difference.effect_id is not None:
                is_missing = difference.kind is DifferenceKind.MISSING_AT_PARTNER
                return corrections.reject_delivered(
                    self._work,
                    difference.effect_id,
                    reason=ABSENT_AT_PARTNER if is_missing else REVERSED_AT_PARTNER,
                    detail=words,
                    now=self._now,
                )
            case DifferenceKind.CONTENT_DIFFERS if difference.effect_id is not None:
                theirs = difference.theirs or {}
                return corrections.change_delivered(
                    self._work,
                    difference.effect_id,
                    quantity=_quantity(theirs),
                    item=None if theirs.get("item") is None else str(theirs["item"]),
                    detail=words,
                )
            case DifferenceKind.UNKNOWN_TO_US | DifferenceKind.PENDING_TOO_LONG if difference.theirs is not None:
                return self._accept_booking(difference, difference.theirs, words)
        return False

    def _accept_booking(self, difference: StoredDifference, theirs: Mapping[str, object], words: str) -> bool:
        if difference.effect_id is not None:
            return corrections.deliver_booked(
                self._work,
                difference.effect_id,
                partner_id=str(theirs["transactionId"]),
                detail=words,
                now=self._now,
            )
        return corrections.rebuild(self._work, self._lost_effect(difference, theirs), detail=words, now=self._now)

    def _lost_effect(self, difference: StoredDifference, theirs: Mapping[str, object]) -> RebuiltEffect:
        content = self._key_content(difference.effect_key)
        booked_at = theirs.get("bookedAt")
        item = theirs.get("item")
        return RebuiltEffect(
            destination=difference.destination,
            effect_key=difference.effect_key,
            kind=self._kind(),
            source=content.source or "",
            message_id=content.message_id or f"rebuilt-{theirs['transactionId']}",
            event_name=content.event_name or "",
            email=difference.email,
            item=None if item is None else str(item),
            quantity=_quantity(theirs),
            order_id=content.order_id,
            is_refund=content.is_refund,
            refund_id=content.refund_id,
            partner_id=str(theirs["transactionId"]),
            # The partner's clock may be ahead of ours, and what is delivered in the future is not compared.
            booked_at=self._now if booked_at is None else min(self._now, datetime.fromisoformat(str(booked_at))),
        )

    def _kind(self) -> str:
        """The kind of effects that book something."""
        kinds = () if self._destination is None else self._destination.partner.definition.kinds
        return next((kind.name for kind in kinds if kind.has_item), _TRANSACTION)

    def _key_content(self, effect_key: str) -> KeyContent:
        if self._destination is None or self._destination.settings is None:
            return KeyContent()
        partner = self._destination.partner
        if not isinstance(partner, KeyReader):
            raise InvariantError(f"{self._destination.name} lists its transactions, and cannot read their keys")
        return partner.read_key(effect_key, self._destination.settings)

    def _write_down(self, destination: str, count: int) -> None:
        audit.record(
            self._work,
            at=self._now,
            actor=self._actor,
            kind="reconcile",
            resource_type="destination",
            resource_id=destination,
            changes=audit.changes_json(audit.ChangedValue(self._action, after=count)),
        )


def _quantity(side: Mapping[str, object]) -> Decimal | None:
    text = side.get("quantity")
    return None if text is None else Decimal(str(text))
