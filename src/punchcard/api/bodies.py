"""The JSON bodies of the Public API, as types: camelCase on the wire, times in ISO-8601 UTC."""

from typing import Any

import msgspec

from punchcard.clock import to_iso
from punchcard.operations.tester import EventTestResult
from punchcard.store.effects import StoredEffect
from punchcard.store.ledger import StoredAttempt, StoredConflict
from punchcard.traces.event_profile import ProfileTrace
from punchcard.traces.trace import (
    AttemptTrace,
    EventTrace,
    ResultTrace,
    TransactionTrace,
    attempt_trace,
    current_status,
    transaction_trace,
)


class _Body(msgspec.Struct, kw_only=True, rename="camel"):
    pass


class Transaction(_Body):
    """The effect of an event. `quantity` is a signed decimal as text, in units of the perk.

    `summary` describes an effect that is neither a quantity of a perk nor a user property.
    """

    effect_key: str
    perk: str | None
    email: str
    quantity: str | None
    perkville_id: str | None
    attributes: dict[str, Any] | None = None
    summary: str | None = None


class AttemptBody(_Body):
    """One HTTP request to the partner. `action` is `send` or `read_back`."""

    number: int
    action: str
    started_at: str
    status: int | None
    outcome: str | None
    duration_ms: int | None
    detail: str | None


class ResultBody(_Body):
    """The result of an event at one destination. `destination` is null for a result before any destination."""

    destination: str | None
    status: str
    reason: str | None
    detail: str | None
    transaction: Transaction | None
    attempts: list[AttemptBody]


class EventCopy(_Body):
    """A later event with the same message id."""

    received_at: str
    results: list[ResultBody]


class EventProfile(_Body):
    """The profile that the event belongs to, with its ids and current audiences."""

    id: str
    external_ids: list[dict[str, str]]
    audiences: list[str]


class EventTraceBody(_Body, omit_defaults=True):
    """One event as received, with its results. `profile` is null if the event has none, or none is known yet.

    `others` are events of other sources with the same message id, with their results; absent if there are none.
    `notes` are sentences about values that were converted to read the event.
    """

    event: msgspec.Raw
    message_id: str
    source: str | None
    received_at: str
    profile: EventProfile | None
    notes: list[str]
    results: list[ResultBody]
    copies: list[EventCopy]
    others: list["EventTraceBody"] = []


class Conflict(_Body):
    """An event with an existing effect key and different content. Nothing was sent for it."""

    message_id: str
    received_at: str
    content: msgspec.Raw


class LedgerRow(_Body):
    """One row of the ledger."""

    id: str
    effect_key: str
    kind: str
    status: str
    reason: str | None
    detail: str | None
    message_id: str
    event_name: str
    source: str
    order_id: str | None
    received_at: str
    settled_at: str | None
    next_attempt_at: str | None
    transaction: Transaction
    attempts: list[AttemptBody]
    conflicts: list[Conflict]


class Pagination(_Body, omit_defaults=True):
    """Cursors of a page. `next` is absent on the last page, `previous` on the first."""

    current: str
    total_entries: int
    next: str | None = None
    previous: str | None = None


class LedgerPage(_Body):
    """A page of the ledger, newest first."""

    transactions: list[LedgerRow]
    pagination: Pagination


class FilterSeen(_Body):
    """What one filter read of an event and decided. `matched` is null if the filter cannot be applied to it."""

    title: str
    if_: str = msgspec.field(name="if")
    matched: bool | None
    saw: dict[str, Any]
    decision: str


class TestedDestination(_Body):
    """Result of a test event at one destination.

    `status` is `pending` if a transaction would be sent. `request` is the request to the partner. `filters` are the
    enabled filters of the destination, in order.
    """

    destination: str | None
    status: str
    reason: str | None
    detail: str | None
    transaction: Transaction | None
    request: dict[str, Any] | None
    filters: list[FilterSeen] = []


class TestedEvent(_Body):
    """Result of the Event Tester. `sent` is true if the event was accepted and is processed."""

    message_id: str | None
    sent: bool
    notes: list[str]
    results: list[TestedDestination]


def tested_event(tested: EventTestResult, *, sent: bool) -> TestedEvent:
    """Return the body of a test event."""
    return TestedEvent(
        message_id=tested.message_id,
        sent=sent,
        notes=list(tested.notes),
        results=[
            TestedDestination(
                destination=result.destination,
                status=result.status,
                reason=result.reason,
                detail=result.detail,
                transaction=None if result.transaction is None else transaction(result.transaction),
                request=None if result.request is None else dict(result.request),
                filters=[
                    FilterSeen(
                        title=explained.title,
                        if_=explained.condition,
                        matched=explained.matched,
                        saw=dict(explained.saw),
                        decision=explained.decision,
                    )
                    for explained in result.filters
                ],
            )
            for result in tested.results
        ],
    )


def event_trace(trace: EventTrace) -> EventTraceBody:
    """Return the body of an event trace."""
    return EventTraceBody(
        event=msgspec.Raw(trace.event),
        message_id=trace.message_id,
        source=trace.source,
        received_at=to_iso(trace.received_at),
        profile=None if trace.profile is None else _profile(trace.profile),
        notes=list(trace.notes),
        results=[_result(result) for result in trace.results],
        copies=[
            EventCopy(received_at=to_iso(copy.received_at), results=[_result(result) for result in copy.results])
            for copy in trace.copies
        ],
        others=[event_trace(other) for other in trace.others],
    )


def _profile(trace: ProfileTrace) -> EventProfile:
    return EventProfile(
        id=trace.public_id,
        external_ids=[{"type": type_, "id": value} for type_, value in trace.ids],
        audiences=list(trace.audiences),
    )


def ledger_row(effect: StoredEffect, attempts: list[StoredAttempt], conflicts: list[StoredConflict]) -> LedgerRow:
    """Return the body of a row of the ledger."""
    return LedgerRow(
        id=str(effect.id),
        effect_key=effect.effect_key,
        kind=effect.kind,
        status=current_status(effect),
        reason=effect.reason,
        detail=effect.detail,
        message_id=effect.message_id,
        event_name=effect.event_name,
        source=effect.source,
        order_id=effect.order_id,
        received_at=to_iso(effect.received_at),
        settled_at=None if effect.settled_at is None else to_iso(effect.settled_at),
        next_attempt_at=to_iso(effect.due_at) if effect.state.is_open else None,
        transaction=transaction(transaction_trace(effect)),
        attempts=[_attempt(attempt_trace(attempt)) for attempt in attempts],
        conflicts=[_conflict(conflict) for conflict in conflicts],
    )


def transaction(trace: TransactionTrace) -> Transaction:
    """Return the body of a transaction."""
    return Transaction(
        effect_key=trace.effect_key,
        perk=trace.perk,
        email=trace.email,
        quantity=trace.quantity,
        perkville_id=trace.partner_id,
        attributes=None if trace.attributes is None else dict(trace.attributes),
        summary=trace.summary,
    )


def _conflict(stored: StoredConflict) -> Conflict:
    return Conflict(
        message_id=stored.message_id,
        received_at=to_iso(stored.received_at),
        content=msgspec.Raw(stored.content.encode()),
    )


def _result(trace: ResultTrace) -> ResultBody:
    return ResultBody(
        destination=trace.destination,
        status=trace.status,
        reason=trace.reason,
        detail=trace.detail,
        transaction=None if trace.transaction is None else transaction(trace.transaction),
        attempts=[_attempt(attempt) for attempt in trace.attempts],
    )


def _attempt(trace: AttemptTrace) -> AttemptBody:
    return AttemptBody(
        number=trace.number,
        action=trace.action,
        started_at=to_iso(trace.started_at),
        status=trace.status,
        outcome=trace.outcome,
        duration_ms=trace.duration_ms,
        detail=trace.detail,
    )
