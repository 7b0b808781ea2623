"""Read times in other forms than ISO-8601. Not on the hot path: nearly every event has its time in ISO-8601.

Accepts epoch seconds, milliseconds, microseconds and nanoseconds; dates that begin with the year, with zone names,
24:00 and leap seconds; and dates with an English month name (RFC 2822, C's `ctime`, JavaScript's and Java's
`toString`). A date in digits that does not begin with its year is never guessed: 03/11/2025 is in November or in March.
"""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from punchcard.clock import EPOCH


class TimeForm(NamedTuple):
    """A time that was read.

    Attributes:
        instant: Aware; its year is not checked.
        name: Name of the form, such as "epoch milliseconds".
    """

    instant: datetime
    name: str


_CHARACTERS_MAX: Final = 100
# The smallest number of each unit. Seconds begin in 1973: smaller numbers are ids, ages or dates.
_EPOCH_UNITS: Final = (
    (Decimal(10) ** 17, "nanoseconds", 1_000_000_000),
    (Decimal(10) ** 14, "microseconds", 1_000_000),
    (Decimal(10) ** 11, "milliseconds", 1_000),
    (Decimal(10) ** 8, "seconds", 1),
)
_EPOCH_MAX: Final = Decimal(10) ** 19
_NUMBER: Final = re.compile(r"\d{9,19}(?:\.\d*)?")
_COMPACT: Final = re.compile(r"(?:19|20)\d{12}")
_ORDINAL: Final = re.compile(r"(\d{4})-(\d{3})")
_YEAR_FIRST: Final = re.compile(
    r"(?P<year>\d{4})(?P<sign>[-/.])(?P<month>\d{1,2})(?P=sign)(?P<day>\d{1,2})"
    r"(?:[T\s,]+(?P<hour>\d{1,2}):(?P<minute>\d\d)(?P<second>:\d\d)?(?P<fraction>[.,]\d+)?\s*(?P<rest>[^\d].*)?)?",
    re.IGNORECASE | re.ASCII,
)
_MONTH_NAMED: Final = re.compile(
    r"(?<![a-z])(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}(?![a-z])", re.I
)
_FOUR_DIGIT_YEAR: Final = re.compile(r"(?<!\d)(?<![+:])(?:19|20)\d\d(?![\d:])")
_COMMENT: Final = re.compile(r"\s*\([^()]*\)\s*$")
_ZONE_ID: Final = re.compile(r"\s*(?:\[?([A-Za-z]+/[A-Za-z_+\-/0-9]+)\]?|\[(?:UTC|GMT|Z)\])$")
# The name that some libraries write after an offset, which adds nothing: "+0100 CET".
_NAME_AFTER_OFFSET: Final = re.compile(
    r"(?<=\d[+-]\d\d)(:?\d\d)\s+[A-Za-z]{2,5}$|(?<= [+-]\d\d)(:?\d\d)\s+[A-Za-z]{2,5}$"
)
# "GMT+0100" is one hour ahead, as JavaScript writes it; dateutil would read it as POSIX does, with the opposite sign.
_NAMED_OFFSET: Final = re.compile(r"(?:GMT|UTC)\s*(?=[+-]\d)", re.IGNORECASE)
_LEAP_SECOND: Final = re.compile(r"(\d\d:\d\d):60")
_MIDNIGHT: Final = re.compile(r"(?<!\d)24:00(:00(?:[.,]0+)?)?(?![\d:])")
# Abbreviations with one offset everywhere. BST, IST or CST of China would be guesses; CST here is the one of RFC 2822.
_ZONES: Final = {
    **dict.fromkeys(("UTC", "GMT", "UT", "Z", "WET"), 0),
    **dict.fromkeys(("CET", "WEST", "MEZ"), 1),
    **dict.fromkeys(("CEST", "EET", "MESZ"), 2),
    "EEST": 3,
    "EDT": -4,
    **dict.fromkeys(("EST", "CDT"), -5),
    **dict.fromkeys(("CST", "MDT"), -6),
    **dict.fromkeys(("MST", "PDT"), -7),
    "PST": -8,
}


def read_time_form(value: str | int | Decimal) -> TimeForm | None:
    """Return the instant of a text or number; None if it is not a time, or an ambiguous one.

    A time without a zone counts as UTC.
    """
    if not isinstance(value, str):
        return _epoch(Decimal(value))
    text = " ".join(value.split())  # any white space: browsers write a narrow no-break space before AM and PM
    if not 0 < len(text) <= _CHARACTERS_MAX or not text.isascii():
        return None
    try:
        if _COMPACT.fullmatch(text):
            return TimeForm(datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC), "digits YYYYMMDDhhmmss")
        if _NUMBER.fullmatch(text):
            return _epoch(Decimal(text))
        return _text(text)
    except (ValueError, OverflowError, InvalidOperation):
        return None


def _epoch(number: Decimal) -> TimeForm | None:
    if not number.is_finite() or not _EPOCH_UNITS[-1][0] <= number < _EPOCH_MAX:
        return None
    compact = f"{number:f}"
    if _COMPACT.fullmatch(compact):
        return read_time_form(compact)
    for least, name, per_second in _EPOCH_UNITS:
        if number >= least:
            micros = int(number * 1_000_000 / per_second)
            return TimeForm(EPOCH + timedelta(microseconds=micros), f"epoch {name}")
    return None


def _text(text: str) -> TimeForm | None:
    if text[:4].isdigit() and (iso := _upper_iso(text.upper())) is not None:
        return TimeForm(iso, "ISO-8601")
    if ordinal := _ORDINAL.fullmatch(text):
        return TimeForm(datetime.strptime(f"{ordinal[1]} {ordinal[2]}", "%Y %j").replace(tzinfo=UTC), "ISO-8601")
    text = _COMMENT.sub("", text)
    zone: tzinfo = UTC
    if match := _ZONE_ID.search(text):
        zone, text = _zone_of(match[1] or "UTC"), text[: match.start()].rstrip()
    text = _NAME_AFTER_OFFSET.sub(r"\1\2", _NAMED_OFFSET.sub(" ", text))
    year_first = _YEAR_FIRST.fullmatch(text)
    if year_first is None and not (_MONTH_NAMED.search(text) and _FOUR_DIGIT_YEAR.search(text)):
        return None
    if year_first is not None:
        # The only spelling of the date that every locale reads the same way.
        date = f"{year_first['year']}-{int(year_first['month']):02}-{int(year_first['day']):02}"
        text = f"{date} {text[year_first.end('day') :].lstrip('Tt ,')}".strip().upper()
    instant = _dated(text, zone)
    return None if instant is None else TimeForm(instant, "a date and time" if ":" in text else "a date")


def _upper_iso(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def _dated(text: str, zone: tzinfo) -> datetime | None:
    """Return the instant of a text with a certain order of year, month and day."""
    from dateutil import parser  # imported here: it takes 20 ms to load, and most processes never need it

    text = _LEAP_SECOND.sub(r"\1:59", text)
    is_next_day = _MIDNIGHT.search(text) is not None
    text = _MIDNIGHT.sub("00:00:00", text)
    # Parts that a text leaves out come from the default: with two defaults, a text without day or month gives two
    # results.
    datetimes: list[datetime] = [
        parser.parse(text, default=default, tzinfos=_named_zone)
        for default in (datetime(2000, 1, 1), datetime(2004, 2, 29))  # noqa: DTZ001
    ]
    if datetimes[0] != datetimes[1]:
        return None
    instant = datetimes[0] + timedelta(days=1) if is_next_day else datetimes[0]
    return instant.replace(tzinfo=zone) if instant.tzinfo is None else instant


def _named_zone(name: str | None, offset: int | None) -> tzinfo | None:
    """Return the zone of a time, for dateutil.

    Raises:
        ValueError: The name is ambiguous or unknown.
    """
    if offset is not None:
        return timezone(timedelta(seconds=offset))
    if name is None:
        return None
    if name.upper() not in _ZONES:
        raise ValueError(f"The time zone {name} is unknown.")
    return timezone(timedelta(hours=_ZONES[name.upper()]))


def _zone_of(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (LookupError, OSError) as error:
        raise ValueError(f"The time zone {name} is unknown.") from error
