"""Compile comparisons with days and instants into SQL.

Days are compared if one side is a day: a plain date in the event, or a plain date or whole days in the definition.
Instants are compared if both sides are instants. Days begin and end in the time zone of the query.
"""

from datetime import datetime, tzinfo

from punchcard.clock import to_micros
from punchcard.computations.dates import PLAIN_DATE, ZONED_TIME, day_number, instant_of, local_day, read_date
from punchcard.computations.model import BY_DATE, DAY_MICROS, Comparison, LiteralValue, Operator, Span

_MICROS = "EPOCH_US"


def compared_in_time(comparison: Comparison, text: str, *, now: int, zone: tzinfo) -> str:
    """Compile a comparison by date or by duration; the result is true, false or null.

    Args:
        text: The compared expression.
        now: Microseconds since 1970.
    """
    day = _day_of(text, zone)
    item = comparison.right[0]
    if comparison.operator in BY_DATE:
        return _by_date(comparison.operator, text, day, item, zone)
    if isinstance(item, LiteralValue):
        today = local_day(now, zone)
        return _within(comparison.operator, day, today, int(item.value))
    if not isinstance(item, Span):
        raise ValueError(f"{comparison.operator} compares with a duration.")
    by_day = _within_days(comparison.operator, day, now, item, zone)
    by_instant = _within(comparison.operator, _instant_of(text), now, item.micros)
    return f"CASE WHEN {_is_plain(text)} THEN {by_day} ELSE {by_instant} END"


def _by_date(operator: Operator, text: str, day: str, item: object, zone: tzinfo) -> str:
    date = read_date(item.value) if isinstance(item, LiteralValue) and isinstance(item.value, str) else None
    if date is None:
        raise ValueError(f"{operator} compares with a date.")
    sign = "<=" if operator is Operator.BEFORE_DATE else ">="
    if not isinstance(date, datetime):
        return f"{day} {sign} {day_number(date)}"
    instant = to_micros(instant_of(date, zone))
    by_day = f"{day} {sign} {local_day(instant, zone)}"
    return f"CASE WHEN {_is_plain(text)} THEN {by_day} ELSE {_instant_of(text)} {sign} {instant} END"


def _within(operator: Operator, value: str, now: int, length: int) -> str:
    match operator:
        case Operator.WITHIN_LAST:
            return f"{value} BETWEEN {now - length} AND {now}"
        case Operator.WITHIN_NEXT:
            return f"{value} BETWEEN {now} AND {now + length}"
        case Operator.BEFORE_LAST:
            return f"{value} <= {now - length}"
        case _:
            return f"{value} >= {now + length}"


def _within_days(operator: Operator, day: str, now: int, length: Span, zone: tzinfo) -> str:
    """Compare the day of a plain date with the days on which the duration begins and ends."""
    today = local_day(now, zone)
    before, after = local_day(now - length.micros, zone), local_day(now + length.micros, zone)
    match operator:
        case Operator.WITHIN_LAST:
            return f"{day} BETWEEN {before} AND {today}"
        case Operator.WITHIN_NEXT:
            return f"{day} BETWEEN {today} AND {after}"
        case Operator.BEFORE_LAST:
            return f"{day} <= {before}"
        case _:
            return f"{day} >= {after}"


def _is_plain(text: str) -> str:
    return f"REGEXP_MATCHES({text}, '{PLAIN_DATE}')"


def _instant_of(text: str) -> str:
    return f"{_MICROS}({_timestamp_of(text)})"


def _timestamp_of(text: str) -> str:
    return f"TRY_CAST(CASE WHEN REGEXP_MATCHES({text}, '{ZONED_TIME}') THEN {text} END AS TIMESTAMPTZ)"


def _day_of(text: str, zone: tzinfo) -> str:
    date = f"DATE_DIFF('day', DATE '1970-01-01', TRY_CAST({text} AS DATE))"
    instant = _timestamp_of(text)
    if (name := str(zone)) != "UTC":
        instant = f"{instant} AT TIME ZONE '{name}'"
    return f"CASE WHEN {_is_plain(text)} THEN {date} ELSE FLOOR({_MICROS}({instant}) / {DAY_MICROS}) END"
