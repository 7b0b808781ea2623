"""One event's trace: received, results and reasons, transaction, attempts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from punchcard.destinations.definition import LedgerColumn, SummaryColumn
from punchcard.errors import LakeError
from punchcard.lake.reader import LakeEvent, LakeReader, LakeResult
from punchcard.log.bodies import decompress
from punchcard.log.port import EventLog, LogRecord
from punchcard.profiles.external_ids import IdReader
from punchcard.profiles.rules import IdentityRules
from punchcard.store.access.switches import SwitchedOff
from punchcard.store.delivery.effects import EffectState, StoredEffect
from punchcard.store.delivery.ledger import StoredAttempt, attempts_of
from punchcard.store.delivery.outbox import effects_by_key
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventStatus
from punchcard.traces.attempts import AttemptTrace, attempt_trace
from punchcard.traces.conflicts import ConflictTrace, conflict_traces
from punchcard.traces.event_profile import ProfileTrace, profile_trace
from punchcard.traces.held import with_results_of_held
from punchcard.traces.redaction import mask_write_keys
from punchcard.traces.replayed import ReplayTrace, replay_traces, with_results_of_replays
from punchcard.traces.stopped import switches_of, waits_of
from punchcard.traces.summary import NO_TYPES, kind_label, summary_columns
from punchcard.traces.tail import Tail


@dataclass(frozen=True, kw_only=True)
class TransactionTrace:
    """The effect that an event made, or met.

    Attributes:
        kind: The label of its kind.
        item: What it gives or takes, by its id at the destination; None if it has no quantity.
        quantity: Signed decimal text as sent or to be sent; None while a refund's amount is not decided.
        partner_id: The destination's id of it.
        attributes: The attributes that it sets; None if it sets none.
        summary: What it is, in a few words; None if item and quantity or attributes say it.
        columns: What its destination shows of it, in order, under its own names.
    """

    effect_key: str
    kind: str
    item: str | None
    email: str
    quantity: str | None
    partner_id: str | None
    attributes: Mapping[str, object] | None
    summary: str | None = None
    columns: Sequence[SummaryColumn] = ()

    def value_of(self, column: LedgerColumn) -> str | None:
        """Return the value in a column."""
        match column:
            case LedgerColumn.ITEM:
                return self.item
            case LedgerColumn.QUANTITY:
                return self.quantity
            case LedgerColumn.PARTNER_ID:
                return self.partner_id

    def label_of(self, column: LedgerColumn) -> str:
        """Return the destination's name of a column, "" if it does not show it."""
        return next((shown.label for shown in self.columns if shown.column is column), "")


@dataclass(frozen=True, kw_only=True)
class ResultTrace:
    """The result of the event at one destination (None: before any).

    Attributes:
        effect_id: Of the effect that it made, None for none.
        next_attempt_at: When its effect is tried next; None unless it waits for a retry.
        next_attempt: The number of that attempt.
        conflict: The conflict to look at, None if there is none.
    """

    destination: str | None
    status: EventStatus
    reason: str | None
    detail: str | None
    transaction: TransactionTrace | None
    attempts: tuple[AttemptTrace, ...]
    effect_id: int | None = None
    next_attempt_at: datetime | None = None
    next_attempt: int | None = None
    conflict: ConflictTrace | None = None


@dataclass(frozen=True, kw_only=True)
class EventTrace:
    """An event as received, and its results.

    Attributes:
        source: Slug of its source, None if its write key was unknown.
        event: Its JSON text as received.
        call: The event with its own time, type and name, as lists show it; None where only the results matter.
        notes: What was converted so that it could be read, a sentence each.
        profile: The profile of its ids, None if there is none (yet).
        copies: Other events with the same message id from the same source, which came later and did nothing.
        others: Events of other sources with the same message id: events of their own, with their own copies.
        replays: Each time that it was replayed, oldest first.
    """

    message_id: str
    received_at: datetime
    source: str | None
    event: bytes
    results: tuple[ResultTrace, ...]
    notes: tuple[str, ...] = ()
    profile: ProfileTrace | None = None
    copies: tuple["EventTrace", ...] = ()
    others: tuple["EventTrace", ...] = ()
    replays: tuple[ReplayTrace, ...] = ()
    call: LakeEvent | None = None


_WAITING = frozenset({EventStatus.PENDING, EventStatus.RETRYING, EventStatus.UNKNOWN})
EffectsMet = Mapping[tuple[str, str], StoredEffect]
"""Effects by destination and effect key."""


class TraceReader:
    """Finds events by message id: the last seconds in the log, everything else in the lake.

    Args:
        rules: The current identity rules.
        types: The type of each configured destination by its slug, as they are now.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        lake: LakeReader,
        store: Store,
        rules: Callable[[], IdentityRules] = IdentityRules,
        types: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._tail = Tail(log=log, store=store)
        self._lake = lake
        self._store = store
        self._rules = rules
        self._types = types

    def trace(self, message_id: str, *, source: str | None = None) -> EventTrace | None:
        """Return the trace of the first event with this id, None if none was ever received.

        Args:
            source: Slug of the source of the event, where several sources use the same id. None for the event
                that was received first.

        Raises:
            LakeError: the lake cannot be read, and the log does not have the event (any more).
            StorageError: log or store is away.
        """
        # The log first: an event that moves to the lake in between is then found there, never in neither.
        by_place = {(event.log_position, event.event_index): event for event in self._in_log(message_id)}
        by_place |= {(event.log_position, event.event_index): event for event in self._in_lake(message_id)}
        by_source: dict[str | None, list[EventTrace]] = {}
        for place in sorted(by_place):
            event = self._trace_of(message_id, by_place[place])
            by_source.setdefault(event.source, []).append(event)
        if source is not None and source not in by_source:
            return None
        # Without a known source it is not an event, or waits for routing: one with a source says more.
        known_first = sorted(by_source, key=lambda slug: slug is None)
        traces = [_with_copies(by_source[slug]) for slug in known_first]
        if not traces:
            return None
        chosen = next(trace for trace in traces if source in (None, trace.source))
        return replace(chosen, others=tuple(trace for trace in traces if trace is not chosen))

    def _in_lake(self, message_id: str) -> list[LakeEvent]:
        """The events that the lake holds; of one that cannot be read, those that the log still has."""
        try:
            return self._lake.find(message_id)
        except LakeError:
            if events := self._in_log(message_id, after=0):
                return events
            raise

    def _in_log(self, message_id: str, *, after: int | None = None) -> list[LakeEvent]:
        needle = message_id.encode()

        def may_hold(record: LogRecord) -> bool:
            # An id that we derived is nowhere in the body, but it names the record's place.
            return _may_hold(decompress(record), needle) or str(record.position) in message_id

        return [event for event in self._tail.events(after=after, may_hold=may_hold) if event.message_id == message_id]

    def _trace_of(self, message_id: str, copy: LakeEvent) -> EventTrace:
        with self._store.reading() as connection:
            (copy,) = with_results_of_replays(connection, with_results_of_held(connection, [copy]))
            replays = replay_traces(connection, copy)
            met = effects_met(connection, [copy])
            attempts = attempts_of(connection, [effect.id for effect in met.values()])
            conflicts = conflict_traces(connection, message_id) if met else {}
            profile = profile_trace(connection, copy, IdReader(self._rules()))
            waits = waits_of(connection, {slug for slug, _ in met})
            switches = switches_of(connection, copy)
        types = self._types()
        return EventTrace(
            message_id=message_id,
            received_at=copy.received_at,
            source=copy.source,
            event=mask_write_keys(copy.payload),
            results=tuple(
                _with_conflict(
                    _with_switch(with_wait(result_trace(result, met, attempts, types=types), waits), switches),
                    conflicts,
                )
                for result in copy.results
            ),
            notes=copy.notes,
            profile=profile,
            replays=replays,
            call=copy,
        )


def _with_conflict(result: ResultTrace, conflicts: Mapping[tuple[str, str], ConflictTrace]) -> ResultTrace:
    """The result, with its conflict and what was decided of it."""
    if result.transaction is None or result.status is EventStatus.DUPLICATE:
        return result
    conflict = conflicts.get((result.destination or "", result.transaction.effect_key))
    if conflict is None or conflict.decision is None:
        return replace(result, conflict=conflict)
    return replace(result, conflict=conflict, detail=_joined(result.detail, conflict.decision))


def with_wait(result: ResultTrace, waits: Mapping[str, tuple[str, str]]) -> ResultTrace:
    """Return the result, with what its effect waits for if its destination delivers nothing now."""
    wait = waits.get(result.destination or "")
    if wait is None or result.status not in _WAITING:
        return result
    return replace(result, reason=wait[0], detail=wait[1], next_attempt_at=None, next_attempt=None)


def _with_switch(result: ResultTrace, switches: Mapping[str, SwitchedOff]) -> ResultTrace:
    """The result, with since when and why its destination was off if it was."""
    switch = switches.get(result.destination or "")
    if switch is None or result.status is not EventStatus.DESTINATION_OFF:
        return result
    return replace(result, detail=f"{result.detail}. It was {switch.description}")


def current_status(effect: StoredEffect) -> EventStatus:
    """Return the status of an effect, as in the API."""
    return status_of_state(effect.state, attempts=effect.attempts)


def status_of_state(state: EffectState, *, attempts: int = 1) -> EventStatus:
    """Return the status of an effect in a state.

    Args:
        attempts: How many were made, the current one included.
    """
    if state is EffectState.SENDING:
        return EventStatus.PENDING if attempts <= 1 else EventStatus.RETRYING
    return EventStatus(state)


def transaction_trace(effect: StoredEffect, *, types: Mapping[str, str] = NO_TYPES) -> TransactionTrace:
    """Return an effect as the API and `trace` show it.

    Args:
        types: The type of each configured destination by its slug.
    """
    quantity = effect.quantity if effect.quantity is not None else effect.requested_quantity
    return TransactionTrace(
        effect_key=effect.effect_key,
        kind=kind_label(effect.destination, effect.kind, types=types),
        item=effect.item,
        email=effect.email,
        quantity=None if quantity is None else f"{quantity:f}",
        partner_id=effect.partner_id,
        attributes=effect.attributes,
        summary=effect.summary,
        columns=summary_columns(effect.destination, effect.kind, types=types),
    )


def effects_met(work: Connection, events: Sequence[LakeEvent]) -> EffectsMet:
    """Return the effects that the events made, or repeated."""
    keys_by_destination: dict[str, set[str]] = {}
    for event in events:
        for result in event.results:
            if result.effect_key and result.destination:
                keys_by_destination.setdefault(result.destination, set()).add(result.effect_key)
    return {
        (slug, key): effect
        for slug, keys in keys_by_destination.items()
        for key, effect in effects_by_key(work, slug, keys).items()
    }


def result_trace(
    result: LakeResult,
    met: EffectsMet,
    attempts: Mapping[int, Sequence[StoredAttempt]] | None,
    *,
    types: Mapping[str, str] = NO_TYPES,
) -> ResultTrace:
    """Return the current result of an event at one destination.

    Args:
        attempts: Of the effects; None leaves them out.
        types: The type of each configured destination by its slug.
    """
    effect = met.get((result.destination or "", result.effect_key)) if result.effect_key else None
    if effect is None and result.effect_key and result.status == EventStatus.PENDING:
        # Both are written in one unit of work: the store is an older copy than the lake.
        return ResultTrace(
            destination=result.destination,
            status=EventStatus.PENDING,
            reason="not_in_ledger",
            detail=f"{result.effect_key} was planned, and is not in the ledger: that was put back from an older copy. "
            "Nothing waits here; whether it was delivered, the partner knows",
            transaction=None,
            attempts=(),
        )
    if effect is None:
        return ResultTrace(
            destination=result.destination,
            status=EventStatus(result.status),
            reason=result.reason,
            detail=result.detail,
            transaction=None,
            attempts=(),
        )
    if result.status == EventStatus.PENDING:
        return effect_result(effect, attempts[effect.id] if attempts else (), note=result.detail, types=types)
    return ResultTrace(
        destination=result.destination,
        status=EventStatus(result.status),
        reason=result.reason,
        detail=result.detail,
        transaction=transaction_trace(effect, types=types),
        attempts=(),
    )


def effect_result(
    effect: StoredEffect,
    attempts: Sequence[StoredAttempt] = (),
    *,
    note: str | None = None,
    types: Mapping[str, str] = NO_TYPES,
) -> ResultTrace:
    """Return the current result of the event that has made an effect.

    Args:
        note: What routing noted on the event.
        types: The type of each configured destination by its slug.
    """
    waits = effect.state in (EffectState.RETRYING, EffectState.UNKNOWN)
    return ResultTrace(
        destination=effect.destination,
        status=current_status(effect),
        reason=effect.reason,
        detail=_joined(effect.detail, note),
        transaction=transaction_trace(effect, types=types),
        attempts=tuple(attempt_trace(attempt) for attempt in attempts),
        effect_id=effect.id,
        next_attempt_at=effect.due_at if waits else None,
        next_attempt=effect.attempts + 1 if waits else None,
    )


def _joined(detail: str | None, note: str | None) -> str | None:
    """What delivery says of an effect, and the note that routing made on its event."""
    return f"{detail.removesuffix('.')}. {note}" if detail and note else detail or note


def _may_hold(body: bytes, message_id: bytes) -> bool:
    """False if no event of the body can have this id: it is not there, and there is no escape that could spell it."""
    return message_id in body or b"\\" in body


def _with_copies(copies: Sequence[EventTrace]) -> EventTrace:
    """The event of several with one id and source that did something, with the others beside it."""
    first = next((copy for copy in copies if not _did_nothing(copy)), copies[0])
    return replace(first, copies=tuple(copy for copy in copies if copy is not first))


def _did_nothing(copy: EventTrace) -> bool:
    return bool(copy.results) and all(result.status is EventStatus.DUPLICATE for result in copy.results)
