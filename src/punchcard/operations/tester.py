"""The Event Tester: one event through the very code that routes and delivers, in a unit of work that is undone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import Connection

from punchcard.clock import Clock, to_micros
from punchcard.delivery.attempts import effect_to_perform
from punchcard.delivery.preparation import NotReady, prepare
from punchcard.errors import IngestError
from punchcard.events.faults import UNREADABLE
from punchcard.events.model import Event
from punchcard.events.parse import IngestFailure, read_request
from punchcard.events.repair import decode_repaired
from punchcard.filters.destination_filters import Explained
from punchcard.log.port import NewRecord
from punchcard.routing.conflicts import PlannedEffect, resolve_conflicts
from punchcard.routing.planning import Planned, plan_at, stopped_at_source
from punchcard.store.engine import Store
from punchcard.store.event_results import EventResult, EventStatus
from punchcard.store.ledger import effect_by_key
from punchcard.traces.trace import TransactionTrace, transaction_trace
from punchcard.workspace.snapshot import Snapshot, SourceRoute


class _Keyed(msgspec.Struct, rename="camel"):
    type: msgspec.Raw = msgspec.Raw()
    message_id: msgspec.Raw = msgspec.Raw()


_keyed_decoder = msgspec.json.Decoder(_Keyed)


@dataclass(frozen=True, kw_only=True)
class DestinationTestResult:
    """What an event would do at one destination.

    Attributes:
        destination: Slug, None for a result before any.
        status: `pending` if something would be sent.
        request: What the partner would get: `{"method", "url", "body"}`.
        filters: What each enabled filter of the destination saw and decided, in their order.
    """

    destination: str | None
    status: str
    reason: str | None
    detail: str | None
    transaction: TransactionTrace | None
    request: Mapping[str, object] | None
    filters: Sequence[Explained] = ()


@dataclass(frozen=True, kw_only=True)
class EventTestResult:
    """One event tried out.

    Attributes:
        message_id: Its id, None if it is not a valid event.
        notes: What was converted so that it could be read, a sentence each.
    """

    message_id: str | None
    body: bytes
    source: SourceRoute
    results: Sequence[DestinationTestResult]
    notes: Sequence[str] = ()

    def record(self, clock: Clock) -> NewRecord:
        """The event as a request for the log: it then goes the road that every event goes."""
        return NewRecord(
            received_at=to_micros(clock.now()),
            write_key=self.source.source.write_keys[0],
            call="batch",
            encoding="identity",
            body=self.body,
            ip="",
        )


def try_event(event: bytes, route: SourceRoute, *, store: Store, clock: Clock, snapshot: Snapshot) -> EventTestResult:
    """Say what an event would do at each destination of its source.

    Args:
        event: One event's JSON text; without `type` it counts as a track call, without `messageId` it gets a new one.

    Raises:
        IngestError: the text is not a JSON object.
        StorageError: the store is away.
    """
    body = _as_batch(event, clock)
    now = clock.now()
    # Position 0 is no record's, so that nothing derived from it can meet a real one.
    (item,) = read_request(body, call="batch", received_at=now, position=0)
    notes = [note.detail for note in item.notes]
    if isinstance(item, IngestFailure):
        failed = EventResult(None, EventStatus.FAILED_ON_INGEST, item.reason, item.detail)
        return EventTestResult(
            message_id=None, body=body, source=route, results=[_result_without_effect(failed)], notes=notes
        )
    stopped = stopped_at_source(route)
    results = [] if stopped is None else [_result_without_effect(stopped)]
    with store.trial() as work:
        for destination in () if stopped else route.destinations:
            answer = plan_at(item, destination, source=route.source.slug, zone=snapshot.zone)
            if isinstance(answer, EventResult):
                tested = _result_without_effect(answer)
            else:
                tested = _test_intent(work, Planned(destination, answer), item, route, clock=clock)
            results.append(replace(tested, filters=destination.filters.explain(item)))
    return EventTestResult(message_id=item.message_id, body=body, source=route, results=results, notes=notes)


def _test_intent(
    work: Connection, planned: Planned, event: Event, route: SourceRoute, *, clock: Clock
) -> DestinationTestResult:
    planned_effect = PlannedEffect(
        planned=planned, event=event, source=route.source.slug, position=0, index=0, seen_before=False
    )
    (result,) = resolve_conflicts(work, [planned_effect], now=clock.now())
    slug = planned.destination.slug
    stored = effect_by_key(work, slug, planned.intent.effect_key)
    if result.status is not EventStatus.PENDING or stored is None:
        shown = None if stored is None else transaction_trace(stored)
        return DestinationTestResult(
            destination=slug,
            status=result.status,
            reason=result.reason,
            detail=result.detail,
            transaction=shown,
            request=None,
        )
    options = planned.destination.partner.delivery_options(planned.destination.settings)
    ready = prepare(work, stored, partner=planned.destination.partner, options=options, now=clock.now())
    transaction = transaction_trace(stored)
    if isinstance(ready, NotReady):
        return DestinationTestResult(
            destination=slug,
            status=ready.state,
            reason=ready.reason,
            detail=ready.detail,
            transaction=transaction,
            request=None,
        )
    effect = effect_to_perform(replace(stored, event_settings=None), perk=stored.perk, quantity=ready.quantity)
    quantity = None if ready.quantity is None else f"{ready.quantity:f}"
    return DestinationTestResult(
        destination=slug,
        status=result.status,
        reason=result.reason,
        detail=ready.detail or result.detail,
        transaction=replace(transaction, quantity=quantity),
        request=dict(planned.destination.partner.preview(effect, planned.destination.settings)),
    )


def _result_without_effect(result: EventResult) -> DestinationTestResult:
    return DestinationTestResult(
        destination=result.destination,
        status=result.status,
        reason=result.reason,
        detail=result.detail,
        transaction=None,
        request=None,
    )


def _as_batch(event: bytes, clock: Clock) -> bytes:
    text = event.strip()
    keyed = _keyed(text)
    added = b""
    if not keyed.type:
        added += b'"type":"track",'
    if not keyed.message_id:
        added += b'"messageId":' + msgspec.json.encode(clock.new_id()) + b","
    inner = text[1:].lstrip()
    if inner.startswith(b"}"):
        added = added.rstrip(b",")
    return b'{"batch":[{' + added + inner + b"]}"


def _keyed(text: bytes) -> _Keyed:
    try:
        return decode_repaired(_keyed_decoder.decode, text, has_batch=False)[0]
    except UNREADABLE as error:
        raise IngestError("the body is not one event as a JSON object", code="invalid_json") from error
