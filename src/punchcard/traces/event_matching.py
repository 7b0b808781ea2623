"""Which events of the log match a query: the part that needs neither store nor lake."""

import re
from collections.abc import Callable, Sequence

from punchcard.lake.listing import EventQuery
from punchcard.lake.person_query import PAGE_VIEWED, SCREEN_VIEWED, PersonQuery
from punchcard.lake.reader import LakeEvent, LakeResult
from punchcard.log.bodies import decompress
from punchcard.log.port import LogRecord
from punchcard.store.routing.event_results import EventResult

# What JSON must escape, and how it may write other ASCII characters: as \u0020 to \u007f, or with a backslash.
_MUST_BE_ESCAPED = re.compile(r'["\\\x00-\x1f]')
_NEEDLESS_ESCAPE = re.compile(rb"\\u00[2-7]|\\/")
_ANY_ESCAPE = re.compile(rb"\\")


def record_may_hold(needles: Sequence[str]) -> Callable[[LogRecord], bool]:
    """Return what tells, without parsing it, whether a record may hold one of these texts, in any case.

    What it returns raises `UnreadableRecordError` for a record with a body that cannot be read.
    """
    encoded_needles = [needle.lower().encode() for needle in needles]
    if not all(map(str.isascii, needles)):
        return lambda _: True  # in bytes only ASCII has cases
    escape = _NEEDLESS_ESCAPE if _MUST_BE_ESCAPED.search("".join(needles)) is None else _ANY_ESCAPE

    def may_hold(record: LogRecord) -> bool:
        body = decompress(record)
        if b"\\" in body and escape.search(body):
            return True  # what is sought may be written in escapes
        lower = body.lower()
        return any(needle in lower for needle in encoded_needles)

    return may_hold


def matches_person(event: LakeEvent, query: PersonQuery, beyond: tuple[int, int] | None) -> bool:
    """Return whether an event is one that the query selects, as the lake decides it."""
    place, at = (event.log_position, event.event_index), event.timestamp
    name = {"page": PAGE_VIEWED, "screen": SCREEN_VIEWED}.get(event.type, event.event or "")
    return (
        (
            (event.email is not None and event.email in query.emails)
            or (event.user_id is not None and event.user_id in query.user_ids)
            or (event.anonymous_id is not None and event.anonymous_id in query.anonymous_ids)
        )
        and (query.types is None or event.type in query.types)
        and (query.names is None or name in query.names)
        and name not in query.excluded_names
        and (query.begin is None or (at is not None and at >= query.begin))
        and (query.end is None or (at is not None and at < query.end))
        and (beyond is None or (place > beyond if query.oldest_first else place < beyond))
    )


def may_match(source: str | None, results: Sequence[EventResult | LakeResult], query: EventQuery) -> bool:
    """Return whether an event with this source and these results matches, as far as they decide."""
    return query.source in (None, source) and (
        query.status is None or any(selects_result(query, result) for result in results)
    )


def selects_result(query: EventQuery, result: EventResult | LakeResult) -> bool:
    """Return whether a query that selects a status selects this result."""
    return (
        result.status == query.status
        and query.destination in (None, result.destination or "")
        and query.reason in (None, result.reason or "")
    )


def matches_query(event: LakeEvent, query: EventQuery) -> bool:
    """Return whether an event is one that the query selects, as the lake decides it."""
    return (
        may_match(event.source, event.results, query)
        and query.type in (None, event.type)
        and query.name in (None, event.event)
        and (query.begin is None or event.received_at >= query.begin)
        and (query.end is None or event.received_at < query.end)
        and (not query.note or any(note.startswith(query.note) for note in event.notes))
    )
