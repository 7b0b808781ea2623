"""A reference implementation of definitions, slow and simple: one person, one moment, no SQL.

It shares only the model with the compiler, so that neither hides a mistake of the other.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import NamedTuple, TypeVar

import msgspec

from punchcard.computations.model import (
    And,
    Comparison,
    Condition,
    Context,
    Definition,
    Events,
    LiteralValue,
    Not,
    Operator,
    Or,
    Property,
    Reducer,
    Span,
    StaticList,
    Trait,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[+-]?[0-9]{1,29}([.][0-9]+)?([eE][+-]?[0-9]{1,2})?")
_ZONED = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*(Z|[+-]\d\d:?\d\d)")
_PLAIN = re.compile(r"\d{4}-\d\d-\d\d")
_Time = TypeVar("_Time", date, datetime)


class Moment(NamedTuple):
    """The moment and the time zone of a computation.

    Attributes:
        now: Microseconds since 1970.
        zone: Time zone in which days begin and end.
    """

    now: int
    zone: tzinfo


@dataclass(frozen=True)
class Happened:
    """One event of the person.

    Attributes:
        at: Microseconds since 1970.
        seq: Position in the log.
    """

    at: int
    seq: int
    name: str
    source: str
    properties: Mapping[str, object]
    context: Mapping[str, object]


@dataclass(frozen=True)
class Person:
    """The events and traits of a person, traits as JSON values, and the static lists with one of the person's ids."""

    events: Sequence[Happened]
    traits: Mapping[str, object]
    lists: frozenset[str] = frozenset()


def expected_result(definition: Definition, person: Person, at: int, zone: tzinfo = UTC) -> object:
    """Return true or false for a condition, the value for events reduced to one (None if there is none).

    Args:
        at: The moment to compute for, microseconds since 1970.
        zone: Time zone in which days begin and end.
    """
    now = Moment(at, zone)
    if isinstance(definition, Events):
        value = _reduced(definition, person, now, parent=None)
        return None if definition.reducer in (Reducer.COUNT, Reducer.UNIQUE_COUNT) and value == 0 else value
    return _holds(definition, person, now, event=None, parent=None)


def _holds(
    condition: Condition, person: Person, now: Moment, *, event: Happened | None, parent: Happened | None
) -> bool:
    match condition:
        case Not():
            return not _holds(condition.condition, person, now, event=event, parent=parent)
        case And():
            return all(_holds(inner, person, now, event=event, parent=parent) for inner in condition.conditions)
        case Or():
            return any(_holds(inner, person, now, event=event, parent=parent) for inner in condition.conditions)
        case StaticList():
            return condition.name in person.lists
        case Comparison():
            return _compares(condition, person, now, event, parent)


def _compares(
    comparison: Comparison, person: Person, now: Moment, event: Happened | None, parent: Happened | None
) -> bool:
    right = [item if isinstance(item, Span) else _value(item, person, now, event, parent) for item in comparison.right]
    if not isinstance(comparison.left, Events) and (list_path := comparison.left.list_path) is not None:
        inside = comparison.left.path_in_entry
        entries = _value(_at_path(comparison.left, list_path), person, now, event, parent)
        inside_entries = _inside_entries(entries, inside)
        return any(_compares_value(comparison, left, right, now) for left in inside_entries)
    return _compares_value(comparison, _value(comparison.left, person, now, event, parent), right, now)


def _at_path(of: Trait | Property | Context, path: str) -> Trait | Property | Context:
    """Return the same with another path."""
    return msgspec.structs.replace(of, **{"key" if isinstance(of, Trait) else "path": path})


def _inside_entries(entries: object, path: str) -> list[object]:
    """Return the values of each entry of a list under a path; none if it is not a list."""
    if not isinstance(entries, list):
        return []
    return [_inside(entry, path) if path else entry for entry in entries]


def _compares_value(comparison: Comparison, left: object, right: Sequence[object], now: Moment) -> bool:
    text = _text(left)
    match comparison.operator:
        case Operator.EXISTS:
            return text is not None
        case Operator.ABSENT:
            return text is None
    if text is None:
        return False
    match comparison.operator:
        case Operator.EQUALS | Operator.ONE_OF:
            return any(_equal(left, item, value) for item, value in zip(comparison.right, right, strict=True))
        case Operator.DIFFERS | Operator.NONE_OF:
            return not any(_equal(left, item, value) for item, value in zip(comparison.right, right, strict=True))
        case Operator.CONTAINS:
            return any((_text(item) or "") in text for item in right)
        case Operator.OMITS:
            return not any((_text(item) or "") in text for item in right)
        case Operator.STARTS_WITH:
            return text.startswith(_text(right[0]) or "")
        case Operator.ENDS_WITH:
            return text.endswith(_text(right[0]) or "")
        case Operator.GREATER_THAN | Operator.AT_LEAST | Operator.LESS_THAN | Operator.AT_MOST:
            return _ordered(comparison.operator, _number(left), _number(right[0]))
        case Operator.BEFORE_DATE | Operator.AFTER_DATE:
            return _by_date(comparison.operator, text, str(right[0]), now.zone)
        case _:
            return _by_length(comparison.operator, text, right[0], now)


def _ordered(operator: Operator, left: Decimal | None, right: Decimal | None) -> bool:
    if left is None or right is None:
        return False
    match operator:
        case Operator.GREATER_THAN:
            return left > right
        case Operator.AT_LEAST:
            return left >= right
        case Operator.LESS_THAN:
            return left < right
        case _:
            return left <= right


def _by_date(operator: Operator, text: str, expected: str, zone: tzinfo) -> bool:
    """Compare days if one side is a day, otherwise instants; a time without a zone is in the zone."""
    border: date | datetime
    if _PLAIN.fullmatch(expected):
        border = date.fromisoformat(expected)
    else:
        border = datetime.fromisoformat(expected)
        if border.tzinfo is None:
            border = border.replace(tzinfo=zone)
    value = _date_or_instant(text)
    if value is None:
        return False
    if isinstance(value, datetime) and isinstance(border, datetime):
        return value <= border if operator is Operator.BEFORE_DATE else value >= border
    day, border = _day(value, zone), _day(border, zone)
    return day <= border if operator is Operator.BEFORE_DATE else day >= border


def _by_length(operator: Operator, text: str, length: object, at: Moment) -> bool:
    """Compare with the moment that long ago or ahead; for whole days, with that day."""
    date = _date_or_instant(text)
    if date is None:
        return False
    now = _EPOCH + timedelta(microseconds=at.now)
    if isinstance(length, Span) and isinstance(date, datetime):
        distance = timedelta(microseconds=length.micros)
        return _is_within(operator, date, now, now - distance, now + distance)
    day, today = _day(date, at.zone), _day(now, at.zone)
    if isinstance(length, Span):
        distance = timedelta(microseconds=length.micros)
        return _is_within(operator, day, today, _day(now - distance, at.zone), _day(now + distance, at.zone))
    days = timedelta(days=int(str(length)))
    return _is_within(operator, day, today, today - days, today + days)


def _is_within(operator: Operator, value: _Time, now: _Time, before: _Time, after: _Time) -> bool:
    match operator:
        case Operator.WITHIN_LAST:
            return before <= value <= now
        case Operator.WITHIN_NEXT:
            return now <= value <= after
        case Operator.BEFORE_LAST:
            return value <= before
        case _:
            return value >= after


def _date_or_instant(text: str) -> date | datetime | None:
    try:
        if _PLAIN.fullmatch(text):
            return date.fromisoformat(text)
        return datetime.fromisoformat(text) if _ZONED.fullmatch(text) else None
    except ValueError:
        return None


def _day(value: date | datetime, zone: tzinfo) -> date:
    return value.astimezone(zone).date() if isinstance(value, datetime) else value


def _equal(left: object, item: LiteralValue | Span | Property | Trait, right: object) -> bool:
    if isinstance(item, LiteralValue) and item.is_number:
        return _number(left) is not None and _number(left) == _number(right)
    return _text(left) is not None and _text(left) == _text(right)


def _value(
    value: Events | Trait | Property | Context | LiteralValue,
    person: Person,
    now: Moment,
    event: Happened | None,
    parent: Happened | None,
) -> object:
    match value:
        case LiteralValue():
            return value.decimal() if value.is_number else value.value
        case Trait():
            return _inside(person.traits, value.key)
        case Property(of_parent=True):
            return _inside(parent.properties, value.path) if parent is not None else None
        case Property():
            return _inside(event.properties, value.path) if event is not None else None
        case Context():
            return _inside(event.context, value.path) if event is not None else None
        case Events():
            reduced = _reduced(value, person, now, parent=event)
            return "\n".join(reduced) or None if isinstance(reduced, list) else reduced


def _reduced(events: Events, person: Person, now: Moment, *, parent: Happened | None) -> object:
    matching_events = [event for event in person.events if _counts(events, event, person, now, parent)]
    matching_events.sort(key=lambda event: (event.at, event.seq))
    if events.session is not None:
        matching_events = _last_session(matching_events, events.session.micros, now.now)
    if events.of is None:
        return len(matching_events)
    values = [value for event in matching_events for value in _values(events, event, person, now, parent)]
    numbers = [number for number in map(_number, values) if number is not None]
    texts = [text for text in map(_text, values) if text is not None]
    present = [value for value in values if _text(value) is not None]
    match events.reducer:
        case Reducer.SUM:
            return sum(numbers, Decimal(0)) if numbers else None
        case Reducer.AVG:
            return Decimal(str(round(float(sum(numbers)) / len(numbers), 6))) if numbers else None
        case Reducer.MIN | Reducer.MAX:
            chosen = min if events.reducer is Reducer.MIN else max
            if events.as_text:
                return chosen(texts) if texts else None
            return chosen(numbers) if numbers else None
        case Reducer.FIRST:
            return present[0] if present else None
        case Reducer.LAST:
            return present[-1] if present else None
        case Reducer.UNIQUE:
            return sorted(set(texts)) or None
        case Reducer.UNIQUE_COUNT:
            return len(set(texts))
        case _:
            counts = Counter(texts)
            often = [(-count, text) for text, count in counts.items() if count >= events.min_frequency]
            return min(often)[1] if often else None


def _values(events: Events, event: Happened, person: Person, now: Moment, parent: Happened | None) -> list[object]:
    """Return the values of one event: one value, or those of the entries of a list."""
    if events.of is None:
        return []
    if (list_path := events.of.list_path) is None:
        return [_value(events.of, person, now, event, parent)]
    entries = _value(_at_path(events.of, list_path), person, now, event, parent)
    values = [value for value in _inside_entries(entries, events.of.path_in_entry) if value is not None]
    if events.as_array:
        return [values] if values else []
    return values


def _counts(events: Events, event: Happened, person: Person, now: Moment, parent: Happened | None) -> bool:
    begin = events.window.begin.micros if events.window and events.window.begin else 0
    if event.name != events.name or event.at > now.now - begin:
        return False
    if events.window is not None and event.at <= now.now - events.window.end.micros:
        return False
    if events.sources and (event.source in events.sources) == events.sources_left_out:
        return False
    if parent is not None:
        if (event.at, event.seq) <= (parent.at, parent.seq):
            return False
        if events.within_parent is not None and event.at >= parent.at + events.within_parent.micros:
            return False
        if events.after_parent is not None and event.at < parent.at + events.after_parent.micros:
            return False
    return events.where is None or _holds(events.where, person, now, event=event, parent=parent)


def _last_session(events: list[Happened], length: int, now: int) -> list[Happened]:
    if not events or events[-1].at + length <= now:
        return []
    session = [events[-1]]
    for event in reversed(events[:-1]):
        if session[-1].at - event.at >= length:
            break
        session.append(event)
    return session[::-1]


def _inside(members: object, path: str) -> object:
    value = members
    for part in re.split(r"(?<!\\)\.", path):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part.replace("\\.", "."))
    return value


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return f"{value:f}"
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _number(value: object) -> Decimal | None:
    text = _text(value)
    if text is None or not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    return number if abs(number) < Decimal(10) ** 20 else None
