"""What destinations read of HTTP responses in the same way: `Retry-After`, and text that can be shown."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRY_AFTER_SECONDS_MAX = 4 * 3600.0
_DIGITS_READ_MAX = 20
_DATE_CHARACTERS_MAX = 100


def retry_after_seconds(value: str | None, *, now: datetime) -> float | None:
    """The wait that a `Retry-After` header asks for, given in seconds or as a date; None if it makes no sense."""
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", text):
        # However many digits: beyond the maximum, they say no more than "long".
        return min(float(text[:_DIGITS_READ_MAX]), RETRY_AFTER_SECONDS_MAX)
    try:
        moment = parsedate_to_datetime(text[:_DATE_CHARACTERS_MAX])
        # A date without a zone is in UTC, says the header's specification.
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        seconds = (moment - now).total_seconds()
    except (ValueError, TypeError, IndexError, ArithmeticError):
        # The year 0, an offset of a thousand hours, an instant before or behind all calendars.
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)


def one_line(text: str) -> str:
    """The text without line breaks and what cannot be printed, so that it can be stored and shown."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
