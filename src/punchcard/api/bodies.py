"""The JSON bodies of the Public API, as types: camelCase on the wire, times in ISO-8601 UTC."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from punchcard.clock import to_iso
from punchcard.operations.remedies import trace_remedies
from punchcard.operations.tester import EventTestResult
from punchcard.store.delivery.conflicts import StoredConflict
from punchcard.store.delivery.effects import StoredEffect
from punchcard.store.delivery.ledger import StoredAttempt
from punchcard.traces.attempts import AttemptTrace, attempt_trace
from punchcard.traces.event_profile import ProfileTrace
from punchcard.traces.summary import NO_TYPES
from punchcard.traces.trace import (
    EventTrace,
    ResultTrace,
    TransactionTrace,
    current_status,
    transaction_trace,
)


class _Body(msgspec.Struct, kw_only=True, rename="camel"):
    pass


Transaction = dict[str, Any]
"""The effect of an event: `TRANSACTION_MEMBERS`, and the `Definition.summary_columns` of its destination.

Each of the latter is a text or null. The OpenAPI document lists those of all destinations.
"""

TRANSACTION_MEMBERS: Final = {
    "effectKey": "The effect's unique name",
    "email": "The customer",
    "attributes": "The attributes that it sets at the customer, null if it sets none",
    "summary": "What it is, in a few words, null if other members say it",
}
"""The members that every transaction has, with what they hold."""


class AttemptBody(_Body):
    """One HTTP request to the partner. `action` is `send` or `read_back`."""

    number: int
    action: str
    started_at: str
    status: int | None
    outcome: str | None
    duration_ms: int | None
    detail: str | None


class RemedyBody(_Body, omit_defaults=True):
    """What an operator can do: a page of the App, and the command that does the same, if there is one."""

    action: str
    label: str
    path: str
    command: str = ""


class ConflictReference(_Body):
    """A conflict of an event: `messageId` is the other event, `resolution` null while nobody has decided."""

    id: str
    message_id: str
    resolution: str | None


class ResultBody(_Body, omit_defaults=True):
    """The result of an event at one destination. `destination` is null for a result before any destination.

    Of an award that waits for a retry, `nextAttemptAt` and `nextAttempt` are time and number of the next try.
    `conflict` and `remedies` are absent if there are none.
    """

    destination: str | None
    status: str
    reason: str | None
    detail: str | None
    transaction: Transaction | None
    attempts: list[AttemptBody]
    next_attempt_at: str | None = None
    next_attempt: int | None = None
    conflict: ConflictReference | None = None
    remedies: list[RemedyBody] = []


class EventCopy(_Body):
    """A later event with the same message id."""

    received_at: str
    results: list[ResultBody]


class EventProfile(_Body):
    """The profile that the event belongs to, with its ids and current audiences."""

    id: str
    external_ids: list[dict[str, str]]
    audiences: list[str]


class EventReplayBody(_Body):
    """One time that the event was replayed: `status` is what that gave by itself."""

    id: str
    destination: str
    replayed_at: str
    status: str
    reason: str | None
    detail: str | None


class EventTraceBody(_Body, omit_defaults=True):
    """One event as received, with its results. `profile` is null if the event has none, or none is known yet.

    `others` are events of other sources with the same message id, with their results; absent if there are none.
    `notes` are sentences about values that were converted to read the event. `replays` is absent if there were none.
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
    replays: list[EventReplayBody] = []


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
    finished_at: str | None
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
        results=[_result(result, trace) for result in trace.results],
        copies=[
            EventCopy(received_at=to_iso(copy.received_at), results=[_result(result, copy) for result in copy.results])
            for copy in trace.copies
        ],
        others=[event_trace(other) for other in trace.others],
        replays=[
            EventReplayBody(
                id=replay.replay,
                destination=replay.destination,
                replayed_at=to_iso(replay.replayed_at),
                status=replay.status,
                reason=replay.reason,
                detail=replay.detail,
            )
            for replay in trace.replays
        ],
    )


def _profile(trace: ProfileTrace) -> EventProfile:
    return EventProfile(
        id=trace.public_id,
        external_ids=[{"type": type_, "id": value} for type_, value in trace.ids],
        audiences=list(trace.audiences),
    )


def ledger_row(
    effect: StoredEffect,
    attempts: list[StoredAttempt],
    conflicts: list[StoredConflict],
    *,
    types: Mapping[str, str] = NO_TYPES,
) -> LedgerRow:
    """Return the body of a row of the ledger.

    Args:
        types: The type of each configured destination by its slug.
    """
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
        finished_at=None if effect.finished_at is None else to_iso(effect.finished_at),
        next_attempt_at=to_iso(effect.due_at) if effect.state.is_open else None,
        transaction=transaction(transaction_trace(effect, types=types)),
        attempts=[_attempt(attempt_trace(attempt)) for attempt in attempts],
        conflicts=[_conflict(conflict) for conflict in conflicts],
    )


def transaction(trace: TransactionTrace) -> Transaction:
    """Return the body of a transaction."""
    return {
        "effectKey": trace.effect_key,
        "email": trace.email,
        **{shown.member: trace.value_of(shown.column) for shown in trace.columns},
        "attributes": None if trace.attributes is None else dict(trace.attributes),
        "summary": trace.summary,
    }


def _conflict(stored: StoredConflict) -> Conflict:
    return Conflict(
        message_id=stored.message_id,
        received_at=to_iso(stored.received_at),
        content=msgspec.Raw(stored.content.encode()),
    )


def _result(trace: ResultTrace, event: EventTrace) -> ResultBody:
    return ResultBody(
        destination=trace.destination,
        status=trace.status,
        reason=trace.reason,
        detail=trace.detail,
        transaction=None if trace.transaction is None else transaction(trace.transaction),
        attempts=[_attempt(attempt) for attempt in trace.attempts],
        next_attempt_at=None if trace.next_attempt_at is None else to_iso(trace.next_attempt_at),
        next_attempt=trace.next_attempt,
        conflict=None
        if trace.conflict is None
        else ConflictReference(
            id=str(trace.conflict.id), message_id=trace.conflict.message_id, resolution=trace.conflict.resolution
        ),
        remedies=[
            RemedyBody(action=remedy.action, label=remedy.label, path=remedy.path, command=remedy.command)
            for remedy in trace_remedies(trace, event)
        ],
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
