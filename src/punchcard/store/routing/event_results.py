"""The results of an event at routing: one per destination, and its compact form until the lake holds it."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from punchcard.events.notes import Note
from punchcard.store.stored_enum import StoredEnum

# Such events are not stored whole, or were never kept back by a rule.
_NOT_BY_RULES: Final = frozenset({"no_destination", "suppressed"})


class EventStatus(StoredEnum):
    """The statuses of an event, as the API names them."""

    FAILED_ON_INGEST = "failed_on_ingest"  # not a valid event, or from no source
    FILTERED_AT_SOURCE = "filtered_at_source"  # the source's own rules keep it back
    FILTERED_AT_DESTINATION = "filtered_at_destination"  # consent, integrations object, call type or filter
    DESTINATION_OFF = "destination_off"  # recorded while the destination was off; can be replayed
    REFUSED = "refused"  # the destination's mapping does not take it
    PENDING = "pending"  # an effect waits to be delivered
    RETRYING = "retrying"  # surely not performed yet, will be tried again
    UNKNOWN = "unknown"  # perhaps performed, will be read back
    PARKED = "parked"  # needs attention
    REJECTED = "rejected"  # the partner refused it for good
    DELIVERED = "delivered"  # performed once
    DUPLICATE = "duplicate"  # the event or its effect was there before
    CONFLICT = "conflict"  # its effect key is in the ledger with other content


class EventResult(msgspec.Struct, frozen=True, rename="camel"):
    """An event's result at one destination, as decided by routing.

    Attributes:
        destination: Slug, or None for a result before any destination.
        status: How it ended, or how far it is.
        reason: Stable code, None for a planned effect.
        detail: A sentence for a person.
        effect_key: The effect it planned or met, if any; the ledger knows how that went on.
    """

    destination: str | None
    status: EventStatus
    reason: str | None = None
    detail: str | None = None
    effect_key: str | None = None


class RewrittenEvent(msgspec.Struct, frozen=True, array_like=True):
    """What the rules of a source made of one event. The rules may change; what was routed must not.

    Attributes:
        index: Index of the event in its record.
        text: Its JSON text afterwards, None if it is as received.
        notes: What was changed, besides the notes from reading the event.
    """

    index: int
    text: bytes | None
    notes: tuple[Note, ...] = ()


class SameChanges(msgspec.Struct, frozen=True, array_like=True):
    """The events of a record that the transformations of their source have changed in the same way.

    Attributes:
        changes: What `change_sets.apply_stored` applies to their received text.
        indices: Of the events in their record.
    """

    changes: bytes
    indices: list[int]


class RoutedRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The results of one log record's events.

    Attributes:
        position: The record's place in the log.
        source: Slug of its source when it was routed, None if its write key was unknown.
        results: For each event in order, an index into the batch's `distinct`.
        rewritten: The events that the rules of the source have changed or made a note of, but for
        transformed: those of which the changes are stored, in place of what they have made.
    """

    position: int
    source: str | None
    results: list[int]
    rewritten: tuple[RewrittenEvent, ...] = ()
    transformed: tuple[SameChanges, ...] = ()


class ResultBatch(msgspec.Struct, frozen=True):
    """The results of a run of log records. Most events share few distinct results, so those are stored once."""

    distinct: list[tuple[EventResult, ...]]
    records: list[RoutedRecord]


class _Result(Protocol):
    """A result as routing or the lake has it."""

    @property
    def destination(self) -> str | None:
        """Slug, None for a result before any destination."""

    @property
    def status(self) -> str:
        """Name of the status."""

    @property
    def reason(self) -> str | None:
        """Stable code."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ResultBatch)
_json = msgspec.json.Encoder()


def encode_batch(batch: ResultBatch) -> bytes:
    """The batch as bytes for the store."""
    return _encoder.encode(batch)


def decode_batch(body: bytes) -> ResultBatch:
    """The batch that `encode_batch` wrote."""
    return _decoder.decode(body)


def is_stopped_by_rules(results: Sequence[_Result]) -> bool:
    """Return whether the rules of its source have stopped the event with these results.

    Such an event is stored as it came to the rules. Replayed, it goes through them again; all others have passed them.
    """
    return any(
        result.destination is None
        and result.status == EventStatus.FILTERED_AT_SOURCE
        and result.reason not in _NOT_BY_RULES
        for result in results
    )


def to_json(results: Sequence[EventResult]) -> str:
    """One event's results as the JSON text that the lake keeps."""
    return _json.encode(results).decode()
