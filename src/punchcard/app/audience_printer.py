"""Writes what the lines of the builder say in the language of definitions."""

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
from punchcard.errors import ConfigurationError

NUMERIC_REDUCERS: Final = frozenset({Reducer.SUM, Reducer.AVG, Reducer.MIN, Reducer.MAX})
"""What is compared with a number that need not be whole."""


def print_definition(lines: Lines, *, kind: str) -> str:
    """The definition that the lines say, "" as long as they say nothing.

    Raises:
        ConfigurationError: a number is none.
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
    """What somebody means who types this: true, false, a number, or a text."""
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
    """Values with commas between them."""
    return tuple(one.strip() for one in value.split(",") if one.strip())


def _condition(line: Line) -> Condition | None:
    if line.kind == "trait":
        return _comparison(Trait(line.condition.path), line.condition) if line.condition.is_filled else None
    if line.kind in AUDIENCE_KINDS:
        if not line.condition.path:
            return None
        inside = Comparison(Trait(line.condition.path), Operator.EQUALS, (LiteralValue(True),))
        return inside if line.kind == "in" else Not(inside)
    if not line.event:
        return None
    if line.kind == "did_not":
        return Not(_at_least_once(_events(line, Reducer.COUNT)))
    operator = SIGNS[line.counted] if line.counted in COMPARISONS else Operator.AT_LEAST
    reducer = Reducer(line.measure) if line.measure in NUMERIC_REDUCERS else Reducer.COUNT
    if reducer is Reducer.COUNT:
        return Comparison(_events(line, reducer), operator, (LiteralValue(_parse_whole_number(line.times, "count")),))
    if not line.of:
        return None
    amount = parse_value(line.times)
    if isinstance(amount, bool | str):
        raise ConfigurationError(f"how much is a number, not “{line.times}”")
    return Comparison(_events(line, reducer, of=line.of), operator, (LiteralValue(amount),))


def _at_least_once(events: Events) -> Comparison:
    return Comparison(events, Operator.AT_LEAST, (LiteralValue(1),))


def _events(line: Line, reducer: Reducer, *, of: str = "") -> Events:
    asked: list[Condition] = [
        _comparison(Property(condition.path), condition) for condition in line.conditions if condition.is_filled
    ]
    if line.then and line.then_event:
        behind = _duration(line.then_window, line.then_unit) if line.then_window else None
        of_it = [
            _funnel_comparison(then_condition) for then_condition in line.then_conditions if then_condition.is_filled
        ]
        came = _at_least_once(Events(line.then_event, Reducer.COUNT, where=_conjunction(of_it), within_parent=behind))
        asked.append(Not(came) if line.then == "did_not" else came)
    return Events(
        line.event,
        reducer,
        of=None if reducer is Reducer.COUNT else Property(of),
        where=_conjunction(asked),
        window=_window(line),
        sources=(line.source,) if line.source not in ("", SOURCE_UNSET) else (),
    )


def _conjunction(conditions: Sequence[Condition]) -> Condition | None:
    return And(tuple(conditions)) if len(conditions) > 1 else next(iter(conditions), None)


def _funnel_comparison(one: TraitCondition) -> Comparison:
    if one.operator not in PARENT_OPERATORS:
        return _comparison(Property(one.path), one)
    operator = Operator.EQUALS if one.operator == "same" else Operator.DIFFERS
    return Comparison(Property(one.path), operator, (Property(one.value or one.path, of_parent=True),))


def _window(line: Line) -> Window | None:
    if not line.span or not line.window:
        return None
    end = _duration(line.window, line.unit)
    if line.span != "between" or not line.begin:
        return Window(end=end)
    begin = _duration(line.begin, line.unit)
    if begin.amount >= end.amount:
        raise ConfigurationError(
            f"between {end.amount} and {begin.amount} ago is no time: the smaller number comes first"
        )
    return Window(end=end, begin=begin)


def _duration(amount: str, unit: str) -> Duration:
    known = cast("Literal['minute', 'hour', 'day']", unit if unit in UNITS else "day")
    return Duration(max(1, _parse_whole_number(amount, "the time")), known)


def _comparison(left: Property | Trait, one: TraitCondition) -> Comparison:
    if one.operator in SIGNS:
        return Comparison(left, SIGNS[one.operator], (LiteralValue(parse_value(one.value)),))
    operator = Operator(one.operator) if one.operator in list(Operator) else Operator.EQUALS
    if operator in (Operator.EXISTS, Operator.ABSENT):
        return Comparison(left, operator)
    if operator in OF_LIST:
        return Comparison(left, operator, tuple(LiteralValue(parse_value(each)) for each in split_values(one.value)))
    if operator in BY_DAYS:
        return Comparison(left, operator, (LiteralValue(max(1, _parse_whole_number(one.value, "how many days"))),))
    if operator in OF_TEXT | BY_DATE:
        return Comparison(left, operator, (LiteralValue(one.value),))
    return Comparison(left, operator, (LiteralValue(parse_value(one.value)),))


def _parse_whole_number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigurationError(f"{what} is a whole number, not “{text}”")
    return int(text)
