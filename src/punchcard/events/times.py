"""Times as senders write them, and the correction for a sender's wrong clock."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from punchcard.events.time_forms import read_time_form

# Go's text form of a time, which Segment's cloud forwards: 2026-01-01 00:00:00.000000001 +0000 UTC m=+1.5
_GO = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?) ([+-]\d\d)(\d\d) \S+(?: m=\S+)?")


# Years in which an instant can be represented in every time zone, and that a sender can have meant.
YEAR_MIN = 1900
YEAR_MAX = 9998

FUTURE_MAX: Final = timedelta(days=1)
"""A time further in the future is a mistake of its sender: nothing is received before it happened."""


class ReadTime(NamedTuple):
    """A time that was read.

    Attributes:
        instant: Aware, UTC.
        form: Name of the form, None for ISO-8601 and Go's own text form.
    """

    instant: datetime
    form: str | None


def read_time(value: object) -> datetime | None:
    """Return the aware UTC instant that a sender wrote, None if it is not a time.

    Accepts ISO-8601 in all its forms (UTC without an offset), Go's own text form, and the forms of `time_forms`.
    """
    read = read_any_time(value)
    return None if read is None else read.instant


def read_any_time(value: object) -> ReadTime | None:
    """Return the instant with the form in which the time was written."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    if isinstance(value, str):
        instant = _iso_or_go(value)
        if instant is not None:
            usual = _utc(instant)
            return None if usual is None else ReadTime(usual, None)
    time_form = read_time_form(Decimal(repr(value)) if isinstance(value, float) else value)
    if time_form is None:
        return None
    usual = _utc(time_form.instant)
    return None if usual is None else ReadTime(usual, None if time_form.name == "ISO-8601" else time_form.name)


def correct_time(original: datetime | None, *, sent_at: datetime | None, received_at: datetime) -> datetime:
    """Return the time of an event by our clock: `receivedAt - (sentAt - originalTimestamp)`.

    Without `sent_at` the sender's time is used; without a time, or if the two times contradict each other, the event
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
    return happened if YEAR_MIN <= happened.year <= YEAR_MAX else received_at


def _iso_or_go(value: str) -> datetime | None:
    try:
        # Thirteen digits are epoch milliseconds, although Python reads some of them as an ISO week.
        return None if value.isdigit() and len(value) > len("YYYYMMDD") else datetime.fromisoformat(value)
    except ValueError:
        go = _GO.fullmatch(value)
        if go is None:
            return None
    try:
        return datetime.fromisoformat(f"{go[1]}T{go[2]}{go[3]}:{go[4]}")
    except ValueError:
        return None


def _utc(instant: datetime) -> datetime | None:
    if not YEAR_MIN <= instant.year <= YEAR_MAX:
        return None
    if instant.tzinfo is UTC:
        return instant
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
