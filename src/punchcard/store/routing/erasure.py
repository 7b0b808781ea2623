"""Delete what routing has stored of persons: held and quarantined events, results with names in their details."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from sqlalchemy import Connection, delete, select, update

from punchcard.profiles.erasure import ErasedIds
from punchcard.store.keys import key_in
from punchcard.store.routing.event_results import (
    EventResult,
    ResultBatch,
    RewrittenEvent,
    RoutedRecord,
    decode_batch,
    encode_batch,
)
from punchcard.store.routing.held import HeldRecord
from punchcard.store.routing.schema import (
    held_events,
    held_records,
    lake_status,
    quarantined_records,
    replayed_events,
    result_batches,
)
from punchcard.store.text_scrubbing import scrub_columns

_KEYS_PER_QUERY: Final = 200
_BATCHES_AT_ONCE: Final = 200

Place = tuple[int, int]
"""Log position and index of an event."""


@dataclass(frozen=True, kw_only=True)
class QuarantinedBody:
    """The body of a quarantined record, or of one of its events."""

    id: int
    event_index: int | None
    encoding: str
    body: bytes
    detail: str
    message_id: str


def replay_places(work: Connection, places: Collection[Place]) -> list[Place]:
    """Return where replays have brought the events at these places to the log again."""
    columns = replayed_events.c
    ordered = sorted(places)
    copies: list[Place] = []
    for begin in range(0, len(ordered), _KEYS_PER_QUERY):
        chunk = ordered[begin : begin + _KEYS_PER_QUERY]
        rows = work.execute(
            select(columns.log_position, columns.event_index).where(
                key_in([columns.original_position, columns.original_index], chunk)
            )
        )
        copies += [(row.log_position, row.event_index) for row in rows]
    return copies


def erase_held(
    work: Connection, places: Collection[Place], *, without: Callable[[HeldRecord], tuple[str, bytes] | None]
) -> int:
    """Delete events that are held, and replace them in the held records; return their number.

    Args:
        without: Returns encoding and body of a record without the events of subjects, None if it has none.
    """
    deleted = 0
    ordered = sorted(places)
    columns = held_events.c
    for begin in range(0, len(ordered), _KEYS_PER_QUERY):
        chunk = ordered[begin : begin + _KEYS_PER_QUERY]
        deleted += work.execute(
            delete(held_events).where(key_in([columns.log_position, columns.event_index], chunk))
        ).rowcount
    positions = {position for position, _ in places}
    # Few records are held, and places may be very many.
    held = [position for position in work.scalars(select(held_records.c.log_position)) if position in positions]
    for position in held:
        row = work.execute(select(held_records).where(held_records.c.log_position == position)).one()
        replaced = without(HeldRecord(**row._mapping))
        if replaced is not None:
            encoding, body = replaced
            work.execute(
                update(held_records)
                .where(held_records.c.log_position == row.log_position)
                .values(encoding=encoding, body=body, ip="")
            )
    return deleted


def erase_replayed(work: Connection, places: Collection[Place]) -> int:
    """Delete the results of replayed events; return their number."""
    deleted = 0
    ordered = sorted(places)
    columns = replayed_events.c
    for begin in range(0, len(ordered), _KEYS_PER_QUERY):
        chunk = ordered[begin : begin + _KEYS_PER_QUERY]
        deleted += work.execute(
            delete(replayed_events).where(key_in([columns.original_position, columns.original_index], chunk))
        ).rowcount
    return deleted


def erase_quarantined(work: Connection, ids: ErasedIds, *, text_of: Callable[[QuarantinedBody], str]) -> int:
    """Delete quarantined records that name a subject; return their number.

    Args:
        text_of: Returns what can be read of a body.
    """
    columns = quarantined_records.c
    rows = work.execute(
        select(columns.id, columns.event_index, columns.encoding, columns.body, columns.detail, columns.message_id)
    ).all()
    deleted = 0
    for row in rows:
        body = QuarantinedBody(**row._mapping)
        if ids.mentions(f"{body.message_id} {body.detail} {text_of(body)}"):
            deleted += work.execute(delete(quarantined_records).where(columns.id == body.id)).rowcount
    return deleted


def scrub_results(work: Connection, ids: ErasedIds, *, places: Collection[Place] = (), after: int) -> int | None:
    """Replace the ids of subjects in the details of results that are stored until the log is trimmed.

    Of their events, the text that the rules of a source have made is deleted: the log has placeholders instead.

    Args:
        places: Where the events of the subjects are.
        after: The first log position of the batch after which to continue.

    Returns:
        What to pass as `after` next, None if there are no more.
    """
    columns = result_batches.c
    rows = work.execute(
        select(columns.first_position, columns.body)
        .where(columns.first_position > after)
        .order_by(columns.first_position)
        .limit(_BATCHES_AT_ONCE)
    ).all()
    for row in rows:
        batch = decode_batch(row.body)
        distinct = [_scrubbed(results, ids) for results in batch.distinct]
        records = [_without_texts(record, ids, places) for record in batch.records]
        if distinct != batch.distinct or records != batch.records:
            body = encode_batch(ResultBatch(distinct, records))
            work.execute(update(result_batches).where(columns.first_position == row.first_position).values(body=body))
    return rows[-1].first_position if rows else None


def scrub_routing_texts(work: Connection, ids: ErasedIds) -> int:
    """Replace the ids of subjects in what is shown of held events and of the lake; return the number of rows."""
    changed = scrub_columns(work, held_events, [held_events.c.detail, held_events.c.result], ids)
    changed += scrub_columns(work, replayed_events, [replayed_events.c.result], ids)
    return changed + scrub_columns(work, lake_status, [lake_status.c.detail], ids)


def _without_texts(record: RoutedRecord, ids: ErasedIds, places: Collection[Place]) -> RoutedRecord:
    if not record.rewritten:
        return record
    rewritten = tuple(
        event
        for event in record.rewritten
        if (record.position, event.index) not in places and not ids.mentions(_texts_of(event))
    )
    return msgspec.structs.replace(record, rewritten=rewritten)


def _texts_of(event: RewrittenEvent) -> str:
    return " ".join([(event.text or b"").decode(errors="replace"), *(note.detail for note in event.notes)])


def _scrubbed(results: Sequence[EventResult], ids: ErasedIds) -> tuple[EventResult, ...]:
    return tuple(
        msgspec.structs.replace(result, detail=ids.scrub(result.detail)) if result.detail else result
        for result in results
    )
