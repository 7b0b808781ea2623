"""The JSON bodies of reconciliations."""

from typing import Any

import msgspec

from punchcard.api import bodies
from punchcard.clock import to_iso
from punchcard.operations.reconciliation import ACTIONS
from punchcard.operations.reconciliation_views import ReconciliationView
from punchcard.store.operations.reconciliation_differences import DifferenceState, StoredDifference
from punchcard.store.values import decimal_text


class _Body(msgspec.Struct, kw_only=True, rename="camel"):
    pass


class SideTotals(_Body):
    """The transactions of one side; `quantity` is a signed decimal text in units."""

    count: int
    quantity: str


class DifferenceBody(_Body):
    """One difference: `ours` is the ledger's side and `theirs` the partner's, null if that side has nothing.

    `actions` are those that `resolve` takes for it.
    """

    id: str
    kind: str
    effect_key: str
    email: str
    ours: dict[str, Any] | None
    theirs: dict[str, Any] | None
    detail: str
    state: str
    actions: list[str]
    resolved_at: str | None
    resolved_by: str | None


class ReconciliationBody(_Body):
    """One reconciliation.

    `status` is `queued`, `reading`, `comparing`, `finished`, `failed` or `cancelled`; while `waitingSince` is not null,
    it waits for what `detail` says. `others` are transactions of the partner that are not of this destination.
    `byKind` and `differencesTotal` count all differences, `differencesOpen` those that nobody has decided.
    """

    id: str
    status: str
    detail: str
    requested_by: str
    requested_at: str
    since: str
    until: str | None
    waiting_since: str | None
    finished_at: str | None
    read: int
    ledger: SideTotals
    partner: SideTotals
    others: SideTotals
    not_compared: int
    customers_unchecked: int
    by_kind: dict[str, int]
    differences_total: int
    differences_open: int
    differences: list[DifferenceBody] | None
    pagination: bodies.Pagination | None


class ReconciliationPage(_Body):
    """A page of reconciliations, newest first; `differences` are null here."""

    reconciliations: list[ReconciliationBody]
    pagination: bodies.Pagination


def reconciliation_body(
    view: ReconciliationView, *, with_differences: bool = True, count: int | None = None
) -> ReconciliationBody:
    """A reconciliation's body.

    Args:
        count: Differences on the page; the view holds one more if there are more. None for all that it holds.
    """
    reconciliation, totals = view.reconciliation, view.reconciliation.totals
    shown = view.differences[:count]
    following = str(shown[-1].id) if shown and len(view.differences) > len(shown) else None
    page = bodies.Pagination(current="", total_entries=view.differences_total, next=following)
    return ReconciliationBody(
        id=str(reconciliation.id),
        status=reconciliation.status,
        detail=reconciliation.detail,
        requested_by=reconciliation.requested_by,
        requested_at=to_iso(reconciliation.requested_at),
        since=to_iso(reconciliation.since),
        until=None if reconciliation.until is None else to_iso(reconciliation.until),
        waiting_since=None if reconciliation.waiting_since is None else to_iso(reconciliation.waiting_since),
        finished_at=None if reconciliation.finished_at is None else to_iso(reconciliation.finished_at),
        read=reconciliation.read,
        ledger=SideTotals(count=totals.ledger_count, quantity=decimal_text(totals.ledger_quantity) or "0"),
        partner=SideTotals(count=totals.partner_count, quantity=decimal_text(totals.partner_quantity) or "0"),
        others=SideTotals(count=totals.others_count, quantity=decimal_text(totals.others_quantity) or "0"),
        not_compared=totals.not_compared,
        customers_unchecked=totals.customers_unchecked,
        by_kind=view.by_kind(),
        differences_total=view.differences_total,
        differences_open=view.differences_open,
        differences=[_difference_body(difference) for difference in shown] if with_differences else None,
        pagination=page if with_differences else None,
    )


def _difference_body(difference: StoredDifference) -> DifferenceBody:
    is_open = difference.state == DifferenceState.OPEN
    return DifferenceBody(
        id=str(difference.id),
        kind=difference.kind,
        effect_key=difference.effect_key,
        email=difference.email,
        ours=None if difference.ours is None else dict(difference.ours),
        theirs=None if difference.theirs is None else dict(difference.theirs),
        detail=difference.detail,
        state=difference.state,
        actions=[str(action) for action in ACTIONS.get(difference.kind, ())] if is_open else [],
        resolved_at=None if difference.resolved_at is None else to_iso(difference.resolved_at),
        resolved_by=difference.resolved_by,
    )
