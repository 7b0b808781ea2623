"""Times as senders write them, and the correction for a sender's wrong clock."""

import re
from datetime import UTC, datetime

# How Go prints a time, as Segment's cloud forwards some: 2026-01-01 00:00:00.000000001 +0000 UTC m=+1.5
_GO = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?) ([+-]\d\d)(\d\d) \S+(?: m=\S+)?")


# Years in which an instant can be told in every time zone, and that a sender can have meant.
_YEAR_MIN = 1900
_YEAR_MAX = 9998


def read_time(value: object) -> datetime | None:
    """The aware UTC instant that a sender wrote, None if it cannot be read as one.

    Takes ISO-8601 in all its forms (without an offset it counts as UTC) and Go's own text form.
    """
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        go = _GO.fullmatch(value)
        if go is None:
            return None
        try:
            found = datetime.fromisoformat(f"{go[1]}T{go[2]}{go[3]}:{go[4]}")
        except ValueError:
            return None
    if not _YEAR_MIN <= found.year <= _YEAR_MAX:
        return None
    if found.tzinfo is UTC:
        return found
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def corrected(original: datetime | None, *, sent_at: datetime | None, received_at: datetime) -> datetime:
    """When an event happened by our clock: `receivedAt - (sentAt - originalTimestamp)`.

    Without `sent_at` the sender's word stands; without a time, and with two that cannot both be meant, the event
    happened when it was received.

    Source: Segment's spec, "Common fields", `timestamp`.
    """
    if original is None:
        return received_at
    if sent_at is None:
        return original
    try:
        happened = received_at - (sent_at - original)
    except OverflowError:
        return received_at
    return happened if _YEAR_MIN <= happened.year <= _YEAR_MAX else received_at
