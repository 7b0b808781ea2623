"""Times as senders write them, and the correction for a sender's wrong clock."""

import re
from datetime import UTC, datetime

# How Go prints a time, as Segment's cloud forwards some: 2026-01-01 00:00:00.000000001 +0000 UTC m=+1.5
_GO = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?) ([+-]\d\d)(\d\d) \S+(?: m=\S+)?")


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
    if found.tzinfo is None:
        return found.replace(tzinfo=UTC)
    try:
        return found.astimezone(UTC)
    except OverflowError:  # the first or the last day there is, in a zone that has left it
        return None


def corrected(original: datetime | None, *, sent_at: datetime | None, received_at: datetime) -> datetime:
    """When an event happened by our clock: `receivedAt - (sentAt - originalTimestamp)`.

    Without `sent_at` the sender's word stands; without a time the event happened when it was received.

    Source: Segment's spec, "Common fields", `timestamp`.
    """
    if original is None:
        return received_at
    if sent_at is None:
        return original
    try:
        return received_at - (sent_at - original)
    except OverflowError:
        return received_at
