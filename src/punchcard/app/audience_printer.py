"""Prints the lines of the builder in the query language."""

from collections.abc import Sequence
from typing import Final, Literal, cast

from punchcard.app.audience_lines import (
    AUDIENCE_KINDS,
    COMPARISONS,
    PARENT_OPERATORS,
    REDUCERS,
    SOURCE_UNSET,
    UNITS,
    Line,
    Lines,
    TraitCondition,
)
from punchcard.computations.model import (
    BY_DATE,
    BY_DAYS,
    OF_LIST,
    OF_TEXT,
    SIGNS,
    And,
    Comparison,
    Condition,
    Duration,
    Events,
    LiteralValue,
    Not,
    Operator,
    Or,
    Property,
    Reducer,
    Trait,
    Window,
)
from punchcard.computations.printer import to_text
from punchcard.computations.token_reader import DIGITS_MAX
from punchcard.errors import ConfigurationError

NUMERIC_REDUCERS: Final = frozenset({Reducer.SUM, Reducer.AVG, Reducer.MIN, Reducer.MAX})
"""Reducers that are compared with a number that need not be whole."""
_SHOWN_MAX: Final = 100


def print_definition(lines: Lines, *, kind: str) -> str:
    """Return the definition that the lines express, "" while they are incomplete.

    Raises:
        ConfigurationError: A number is invalid.
    """
    if kind == "computed_trait":
        line = lines.lines[0] if lines.lines else Line()
        if not line.event:
            return ""
        reducer = Reducer(lines.reducer) if lines.reducer in REDUCERS else Reducer.COUNT
        if reducer is not Reducer.COUNT and not lines.of:
            return ""
        return to_text(_events(line, reducer, of=lines.of))
    conditions = [condition for line in lines.lines if (condition := _condition(line)) is not None]
    if not conditions:
        return ""
    if len(conditions) == 1:
        return to_text(conditions[0])
    return to_text(Or(tuple(conditions)) if lines.joined == "or" else And(tuple(conditions)))


def parse_value(value: str) -> bool | int | float | str:
    """Return the value of a typed text: true, false, a number, or the text itself."""
    if value in ("true", "false"):
        return value == "true"
    for read in (int, float):
        try:
            number: int | float = read(value)
        except ValueError:
            continue
        return number if str(number) == value else value
    return value


def split_values(value: str) -> tuple[str, ...]:
    """Split comma-separated values."""
    return tuple(item.strip() for item in value.split(",") if item.strip())


def _condition(line: Line) -> Condition | None:
    if line.kind == "trait":
        return _comparison(Trait(line.condition.path), line.condition) if line.condition.is_filled else None
    if line.kind in AUDIENCE_KINDS:
        if not line.condition.path:
            return None
        membership = Comparison(Trait(line.condition.path), Operator.EQUALS, (LiteralValue(True),))
        return membership if line.kind == "in" else Not(membership)
    if not line.event:
        return None
    if line.kind == "did_not":
        return Not(_at_least_once(_events(line, Reducer.COUNT)))
    operator = SIGNS[line.counted] if line.counted in COMPARISONS else Operator.AT_LEAST
    reducer = Reducer(line.measure) if line.measure in NUMERIC_REDUCERS else Reducer.COUNT
    if reducer is Reducer.COUNT:
        return Comparison(
            _events(line, reducer), operator, (LiteralValue(_parse_whole_number(line.times, "The count")),)
        )
    if not line.of:
        return None
    amount = parse_value(line.times)
    if isinstance(amount, bool | str):
        raise ConfigurationError(f"The amount must be a number, not “{line.times}”.")
    return Comparison(_events(line, reducer, of=line.of), operator, (LiteralValue(amount),))


def _at_least_once(events: Events) -> Comparison:
    return Comparison(events, Operator.AT_LEAST, (LiteralValue(1),))


def _events(line: Line, reducer: Reducer, *, of: str = "") -> Events:
    conditions: list[Condition] = [
        _comparison(Property(condition.path), condition) for condition in line.conditions if condition.is_filled
    ]
    if line.then and line.then_event:
        within = _duration(line.then_window, line.then_unit) if line.then_window else None
        step_conditions = [
            _funnel_comparison(then_condition) for then_condition in line.then_conditions if then_condition.is_filled
        ]
        step = _at_least_once(
            Events(line.then_event, Reducer.COUNT, where=_conjunction(step_conditions), within_parent=within)
        )
        conditions.append(Not(step) if line.then == "did_not" else step)
    return Events(
        line.event,
        reducer,
        of=None if reducer is Reducer.COUNT else Property(of),
        where=_conjunction(conditions),
        window=_window(line),
        sources=(line.source,) if line.source not in ("", SOURCE_UNSET) else (),
    )


def _conjunction(conditions: Sequence[Condition]) -> Condition | None:
    return And(tuple(conditions)) if len(conditions) > 1 else next(iter(conditions), None)


def _funnel_comparison(condition: TraitCondition) -> Comparison:
    if condition.operator not in PARENT_OPERATORS:
        return _comparison(Property(condition.path), condition)
    operator = Operator.EQUALS if condition.operator == "same" else Operator.DIFFERS
    return Comparison(
        Property(condition.path), operator, (Property(condition.value or condition.path, of_parent=True),)
    )


def _window(line: Line) -> Window | None:
    if not line.span or not line.window:
        return None
    end = _duration(line.window, line.unit)
    if line.span != "between" or not line.begin:
        return Window(end=end)
    begin = _duration(line.begin, line.unit)
    if begin.amount >= end.amount:
        raise ConfigurationError(
            f"“Between {end.amount} and {begin.amount} ago” is empty. Enter the smaller number first."
        )
    return Window(end=end, begin=begin)


def _duration(amount: str, unit: str) -> Duration:
    known = cast("Literal['minute', 'hour', 'day']", unit if unit in UNITS else "day")
    return Duration(max(1, _parse_whole_number(amount, "The time")), known)


def _comparison(left: Property | Trait, condition: TraitCondition) -> Comparison:
    if condition.operator in SIGNS:
        return Comparison(left, SIGNS[condition.operator], (LiteralValue(parse_value(condition.value)),))
    operator = Operator(condition.operator) if condition.operator in list(Operator) else Operator.EQUALS
    if operator in (Operator.EXISTS, Operator.ABSENT):
        return Comparison(left, operator)
    if operator in OF_LIST:
        return Comparison(
            left, operator, tuple(LiteralValue(parse_value(item)) for item in split_values(condition.value))
        )
    if operator in BY_DAYS:
        return Comparison(
            left, operator, (LiteralValue(max(1, _parse_whole_number(condition.value, "The number of days"))),)
        )
    if operator in OF_TEXT | BY_DATE:
        return Comparison(left, operator, (LiteralValue(condition.value),))
    return Comparison(left, operator, (LiteralValue(parse_value(condition.value)),))


def _parse_whole_number(text: str, subject: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX):
        raise ConfigurationError(f"{subject} must be a whole number, not “{text[:_SHOWN_MAX]}”.")
    return int(text)
