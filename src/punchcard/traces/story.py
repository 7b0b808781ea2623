"""One event's whole story: received, fates and reasons, transaction, attempts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from punchcard.clock import from_micros
from punchcard.lake.reader import LakeReader
from punchcard.log.port import EventLog
from punchcard.log.sqlite import uncompressed
from punchcard.routing.batch import read_record
from punchcard.store.effects import StoredEffect
from punchcard.store.engine import Store
from punchcard.store.fates import Fate, FateBatch, FateKind, RoutedRecord
from punchcard.store.ledger import StoredAttempt, attempts_of, effect_by_key
from punchcard.store.positions import ROUTING, fates_after, position_of
from punchcard.store.schema import EffectState

_TAIL_RECORDS = 500
_TAIL_BYTES = 4_000_000
_FATE_BATCHES = 10_000

_NOT_ROUTED = Fate(None, FateKind.PENDING, "not_routed_yet", "the event is durable; routing has not come to it yet")


@dataclass(frozen=True, kw_only=True)
class AttemptStory:
    """One HTTP call: sending, or reading back."""

    number: int
    action: str
    started_at: datetime
    status: int | None
    outcome: str | None
    duration_ms: int | None
    detail: str | None


@dataclass(frozen=True, kw_only=True)
class TransactionStory:
    """The effect that an event made, or met.

    Attributes:
        quantity: Signed decimal text as sent or to be sent; None while the ledger has not decided a refund's amount.
        partner_id: The partner's id of it.
    """

    effect_key: str
    perk: str | None
    email: str
    quantity: str | None
    partner_id: str | None
    attributes: Mapping[str, object] | None


@dataclass(frozen=True, kw_only=True)
class FateStory:
    """What became of the event at one destination (None: before any)."""

    destination: str | None
    fate: FateKind
    reason: str | None
    detail: str | None
    transaction: TransactionStory | None
    attempts: tuple[AttemptStory, ...]


@dataclass(frozen=True, kw_only=True)
class EventStory:
    """One event as received, and all that became of it.

    Attributes:
        source: Slug of its source, None if its write key was unknown.
        event: Its JSON text as received.
        copies: Other events with the same message id, which came later and did nothing.
    """

    message_id: str
    received_at: datetime
    source: str | None
    event: bytes
    fates: tuple[FateStory, ...]
    copies: tuple["EventStory", ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Copy:
    """One received event with the fates that routing gave it."""

    position: int
    index: int
    received_at: datetime
    source: str | None
    payload: bytes
    fates: Sequence[Fate]


class Stories:
    """Finds events by message id: the last seconds in the log, everything else in the lake."""

    def __init__(self, *, log: EventLog, lake: LakeReader, store: Store) -> None:
        self._log = log
        self._lake = lake
        self._store = store

    def story(self, message_id: str) -> EventStory | None:
        """The story of the first event with this id, None if none was ever received.

        Raises:
            StorageError: log, lake or store is away.
        """
        # The log first: an event that moves to the lake in between is then found there, never in neither.
        found = {(copy.position, copy.index): copy for copy in self._in_log(message_id)}
        for row in self._lake.find(message_id):
            found[row.log_position, row.event_index] = _Copy(
                position=row.log_position,
                index=row.event_index,
                received_at=row.received_at,
                source=row.source,
                payload=row.payload,
                fates=[
                    Fate(one.destination, FateKind(one.fate), one.reason, one.detail, one.effect_key)
                    for one in row.fates
                ],
            )
        copies = [self._told(message_id, found[place]) for place in sorted(found)]
        if not copies:
            return None
        first = next((copy for copy in copies if not _did_nothing(copy)), copies[0])
        return replace(first, copies=tuple(copy for copy in copies if copy is not first))

    def _in_log(self, message_id: str) -> list[_Copy]:
        with self._store.reading() as connection:
            routed = position_of(connection, ROUTING)
            batches = fates_after(connection, 0, batches_max=_FATE_BATCHES)
        by_position = {record.position: (batch, record) for batch in batches for record in batch.records}
        after = batches[0].records[0].position - 1 if batches else routed
        needle = message_id.encode()
        copies = []
        while records := self._log.read(after, records_max=_TAIL_RECORDS, bytes_max=_TAIL_BYTES):
            after = records[-1].position
            for record in records:
                if not _may_hold(uncompressed(record), needle) and str(record.position) not in message_id:
                    continue  # an id that we derived is nowhere in the body, but it names the record's place
                for index, item in enumerate(read_record(record)):
                    if item.message_id != message_id:
                        continue
                    source, fates = _fates_at(by_position, record.position, index)
                    copies.append(
                        _Copy(
                            position=record.position,
                            index=index,
                            received_at=from_micros(record.received_at),
                            source=source,
                            payload=item.raw,
                            fates=fates,
                        )
                    )
        return copies

    def _told(self, message_id: str, copy: _Copy) -> EventStory:
        with self._store.reading() as connection:
            met = {
                fate.effect_key: effect
                for fate in copy.fates
                if fate.effect_key and fate.destination
                if (effect := effect_by_key(connection, fate.destination, fate.effect_key))
            }
            attempts = attempts_of(connection, [effect.id for effect in met.values()])
        return EventStory(
            message_id=message_id,
            received_at=copy.received_at,
            source=copy.source,
            event=copy.payload,
            fates=tuple(_fate_story(fate, met, attempts) for fate in copy.fates),
        )


def current_fate(effect: StoredEffect) -> FateKind:
    """Where an effect stands, in the words of the API."""
    if effect.state is EffectState.SENDING:
        return FateKind.PENDING if effect.attempts <= 1 else FateKind.RETRYING
    return FateKind(effect.state)


def transaction_story(effect: StoredEffect) -> TransactionStory:
    """The effect as the API and `trace` show it."""
    quantity = effect.quantity if effect.quantity is not None else effect.requested_quantity
    return TransactionStory(
        effect_key=effect.effect_key,
        perk=effect.perk,
        email=effect.email,
        quantity=None if quantity is None else f"{quantity:f}",
        partner_id=effect.partner_id,
        attributes=effect.attributes,
    )


def attempt_story(attempt: StoredAttempt) -> AttemptStory:
    """One attempt as the API and `trace` show it."""
    duration = None
    if attempt.settled_at is not None:
        duration = round((attempt.settled_at - attempt.started_at).total_seconds() * 1000)
    return AttemptStory(
        number=attempt.number,
        action=attempt.action,
        started_at=attempt.started_at,
        status=attempt.status,
        outcome=attempt.outcome,
        duration_ms=duration,
        detail=attempt.detail,
    )


def _fate_story(
    fate: Fate, met: Mapping[str, StoredEffect], attempts: Mapping[int, Sequence[StoredAttempt]]
) -> FateStory:
    effect = met.get(fate.effect_key) if fate.effect_key else None
    if effect is None and fate.effect_key and fate.fate is FateKind.PENDING:
        # Both are written in one unit of work: the store is an older copy than the lake.
        return FateStory(
            destination=fate.destination,
            fate=fate.fate,
            reason="not_in_ledger",
            detail=f"{fate.effect_key} was planned, and is not in the ledger: that was put back from an older copy. "
            "Nothing waits here; whether it was delivered, the partner knows",
            transaction=None,
            attempts=(),
        )
    if effect is None:
        return FateStory(
            destination=fate.destination,
            fate=fate.fate,
            reason=fate.reason,
            detail=fate.detail,
            transaction=None,
            attempts=(),
        )
    planned = fate.fate is FateKind.PENDING
    return FateStory(
        destination=fate.destination,
        fate=current_fate(effect) if planned else fate.fate,
        reason=effect.reason if planned else fate.reason,
        detail=effect.detail if planned else fate.detail,
        transaction=transaction_story(effect),
        attempts=tuple(attempt_story(one) for one in attempts[effect.id]) if planned else (),
    )


def _may_hold(body: bytes, message_id: bytes) -> bool:
    """False if no event of the body can have this id: it is not there, and nothing stands there by an escape."""
    return message_id in body or b"\\" in body


def _did_nothing(copy: EventStory) -> bool:
    return bool(copy.fates) and all(fate.fate is FateKind.DUPLICATE for fate in copy.fates)


def _fates_at(
    by_position: Mapping[int, tuple[FateBatch, RoutedRecord]], position: int, index: int
) -> tuple[str | None, Sequence[Fate]]:
    if position not in by_position:
        return None, (_NOT_ROUTED,)
    batch, record = by_position[position]
    return record.source, batch.distinct[record.fates[index]]
