"""The Event Tester: runs one event through the real routing and delivery code in a unit of work that is rolled back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import Connection

from punchcard.clock import Clock, to_micros
from punchcard.delivery.attempts import effect_to_perform
from punchcard.delivery.preparation import NotReady, prepare
from punchcard.errors import IngestError
from punchcard.events.faults import UNREADABLE
from punchcard.events.json_problems import describe_json_problem
from punchcard.events.model import Event
from punchcard.events.parse import IngestFailure, read_request
from punchcard.events.repair import decode_repaired
from punchcard.filters.destination_filters import Explained
from punchcard.log.port import NewRecord
from punchcard.routing.conflicts import PlannedEffect, resolve_conflicts
from punchcard.routing.planning import Planned, plan_at, stopped_at_source
from punchcard.routing.source_rules import compile_source_rules
from punchcard.store.delivery.ledger import effect_by_key
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventResult, EventStatus
from punchcard.traces.trace import TransactionTrace, transaction_trace
from punchcard.workspace.snapshot import Snapshot, SourceRoute


class _Keyed(msgspec.Struct, rename="camel"):
    type: msgspec.Raw = msgspec.Raw()
    message_id: msgspec.Raw = msgspec.Raw()


_keyed_decoder = msgspec.json.Decoder(_Keyed)


@dataclass(frozen=True, kw_only=True)
class DestinationTestResult:
    """Result of a test event at one destination.

    Attributes:
        destination: Slug, None for a result before any destination.
        status: Status as in the API; `pending` if a request would be sent.
        request: The request to the partner, `{"method", "url", "body"}`; None if nothing would be sent.
        filters: What each enabled filter of the destination read and decided, in order.
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
    """Results of a test event at all destinations of its source.

    Attributes:
        message_id: Id of the event, None if it is not valid.
        notes: Sentences about values that were converted to read the event.
    """

    message_id: str | None
    body: bytes
    source: SourceRoute
    results: Sequence[DestinationTestResult]
    notes: Sequence[str] = ()

    def record(self, clock: Clock) -> NewRecord:
        """Return the event as a log record, so that it is processed like any other event."""
        return NewRecord(
            received_at=to_micros(clock.now()),
            write_key=self.source.source.write_keys[0],
            call="batch",
            encoding="identity",
            body=self.body,
            ip="",
        )


def try_event(event: bytes, route: SourceRoute, *, store: Store, clock: Clock, snapshot: Snapshot) -> EventTestResult:
    """Return what an event would do at each destination of its source.

    Args:
        event: JSON text of one event; without `type` it is a track call, without `messageId` it gets a new one.

    Raises:
        IngestError: The text is not a JSON object.
        StorageError: The store is unavailable.
    """
    body = _as_batch(event, clock)
    now = clock.now()
    # No log record has position 0, so nothing derived from it can collide with a real event.
    (item,) = read_request(body, call="batch", received_at=now, position=0)
    notes = [note.detail for note in item.notes]
    if isinstance(item, IngestFailure):
        failed = EventResult(None, EventStatus.FAILED_ON_INGEST, item.reason, item.detail)
        return EventTestResult(
            message_id=None, body=body, source=route, results=[_result_without_effect(failed)], notes=notes
        )
    stopped = stopped_at_source(route)
    rules = compile_source_rules(route)
    if stopped is None and rules is not None and (ruled := rules.apply(item)) is not None:
        stopped = ruled.result
        item = item if ruled.event is None else ruled.event
        notes = [note.detail for note in item.notes]
    results = [] if stopped is None else [_result_without_effect(stopped)]
    with store.trial() as work:
        for destination in () if stopped else route.destinations:
            plan = plan_at(item, destination, source=route.source.slug, zone=snapshot.zone)
            if isinstance(plan, EventResult):
                tested = _result_without_effect(plan)
            else:
                tested = _test_intent(work, Planned(destination, plan), item, route, clock=clock)
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
    types = {slug: planned.destination.destination.type}
    stored = effect_by_key(work, slug, planned.intent.effect_key)
    if result.status is not EventStatus.PENDING or stored is None:
        transaction_ = None if stored is None else transaction_trace(stored, types=types)
        return DestinationTestResult(
            destination=slug,
            status=result.status,
            reason=result.reason,
            detail=result.detail,
            transaction=transaction_,
            request=None,
        )
    options = planned.destination.partner.delivery_options(planned.destination.settings)
    ready = prepare(
        work,
        stored,
        partner=planned.destination.partner,
        settings=planned.destination.settings,
        options=options,
        now=clock.now(),
    )
    transaction = transaction_trace(stored, types=types)
    if isinstance(ready, NotReady):
        return DestinationTestResult(
            destination=slug,
            status=ready.state,
            reason=ready.reason,
            detail=ready.detail,
            transaction=transaction,
            request=None,
        )
    effect = effect_to_perform(replace(stored, event_settings=None), item=stored.item, quantity=ready.quantity)
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
    prefix = b""
    if not keyed.type:
        prefix += b'"type":"track",'
    if not keyed.message_id:
        prefix += b'"messageId":' + msgspec.json.encode(clock.new_id()) + b","
    inner = text[1:].lstrip()
    if inner.startswith(b"}"):
        prefix = prefix.rstrip(b",")
    return b'{"batch":[{' + prefix + inner + b"]}"


def _keyed(text: bytes) -> _Keyed:
    try:
        return decode_repaired(_keyed_decoder.decode, text, has_batch=False)[0]
    except UNREADABLE as error:
        problem = describe_json_problem(text, error)
        raise IngestError(f"The body is not a JSON object with one event: {problem}.", code="invalid_json") from error
