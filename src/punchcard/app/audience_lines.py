"""Definitions of audiences and computed traits as lines of a builder, so that nobody has to write the language."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from punchcard.computations.model import (
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
from punchcard.computations.parser import parse_audience, parse_trait
from punchcard.computations.printer import to_text
from punchcard.errors import ConfigurationError

KINDS: Final = {"did": "Did", "did_not": "Did not do", "trait": "Has the trait"}
"""What a line is about."""

COUNTS: Final = {">=": "at least", "=": "exactly", "<=": "at most"}
"""How often something was done."""

UNITS: Final = {"day": "days", "hour": "hours", "minute": "minutes"}
"""Units of windows."""

OPERATORS: Final = {
    "=": "is",
    "!=": "is not",
    ">": "is more than",
    ">=": "is at least",
    "<": "is less than",
    "<=": "is at most",
    "contains": "contains",
    "exists": "is there",
    "absent": "is missing",
}
"""What a line asks of a property or trait."""

REDUCERS: Final = {
    "count": "how often",
    "sum": "the sum of",
    "avg": "the average of",
    "min": "the least",
    "max": "the greatest",
    "first": "the first",
    "last": "the last",
    "mode": "the most frequent",
    "unique": "the list of all",
    "unique_count": "how many different",
}
"""What a computed trait says of the events."""

_SIGN_OF: Final = {operator: sign for sign, operator in SIGNS.items()}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line, every field as it is typed.

    Attributes:
        kind: `did`, `did_not` or `trait`.
        event: Name of the event.
        counted: A key of `COUNTS`.
        times: How often.
        window: How long ago at most, "" for ever.
        unit: A key of `UNITS`.
        path: A property of the event, "" for none; the trait's key on a line about a trait.
        operator: A key of `OPERATORS`.
        value: What it is compared with.
    """

    kind: str = "did"
    event: str = ""
    counted: str = ">="
    times: str = "1"
    window: str = ""
    unit: str = "day"
    path: str = ""
    operator: str = "="
    value: str = ""


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A definition that the builder can show.

    Attributes:
        joined: `and` or `or`.
        reducer: Of a computed trait: a key of `REDUCERS`.
        of: Of a computed trait: the property that is reduced.
    """

    lines: Sequence[Line] = field(default_factory=lambda: (Line(),))
    joined: str = "and"
    reducer: str = "count"
    of: str = ""


def text_of(lines: Lines, *, kind: str) -> str:
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
        of = None if reducer is Reducer.COUNT else Property(lines.of)
        return to_text(replace_events(_events(line), reducer=reducer, of=of))
    conditions = [condition for line in lines.lines if (condition := _condition(line)) is not None]
    if not conditions:
        return ""
    if len(conditions) == 1:
        return to_text(conditions[0])
    return to_text(Or(tuple(conditions)) if lines.joined == "or" else And(tuple(conditions)))


def lines_of(text: str, *, kind: str) -> Lines | None:
    """The lines of a definition; None if it says more than lines can, or cannot be read."""
    if not text.strip():
        return Lines()
    try:
        if kind == "computed_trait":
            return _lines_of_trait(parse_trait(text))
        definition = parse_audience(text)
    except ConfigurationError:
        return None
    joined = "or" if isinstance(definition, Or) else "and"
    parts = definition.conditions if isinstance(definition, And | Or) else (definition,)
    found = [_line(part) for part in parts]
    return None if None in found else Lines(lines=[one for one in found if one is not None], joined=joined)


def replace_events(events: Events, *, reducer: Reducer, of: Property | None) -> Events:
    """The same events reduced to another value."""
    return Events(events.name, reducer, of=of, where=events.where, window=events.window)


def _condition(line: Line) -> Condition | None:
    if line.kind == "trait":
        is_asked = line.path and (line.value or line.operator in ("exists", "absent"))
        return _compared(Trait(line.path), line) if is_asked else None
    if not line.event:
        return None
    events = _events(line)
    if line.kind == "did_not":
        return Not(Comparison(events, Operator.AT_LEAST, (LiteralValue(1),)))
    times = _number(line.times, "how often")
    return Comparison(events, SIGNS.get(line.counted, Operator.AT_LEAST), (LiteralValue(times),))


def _events(line: Line) -> Events:
    is_asked = line.path and line.kind != "trait" and (line.value or line.operator in ("exists", "absent"))
    where = _compared(Property(line.path), line) if is_asked else None
    window = None
    if line.window:
        unit = line.unit if line.unit in UNITS else "day"
        window = Window(end=Duration(max(1, _number(line.window, "the time")), unit))  # type: ignore[arg-type]
    return Events(line.event, Reducer.COUNT, where=where, window=window)


def _compared(left: Property | Trait, line: Line) -> Comparison:
    match line.operator:
        case "exists" | "absent" as word:
            return Comparison(left, Operator(word))
        case "contains":
            return Comparison(left, Operator.CONTAINS, (LiteralValue(line.value),))
        case _:
            return Comparison(left, SIGNS.get(line.operator, Operator.EQUALS), (LiteralValue(_typed(line.value)),))


def _typed(value: str) -> bool | int | float | str:
    if value in ("true", "false"):
        return value == "true"
    for read in (int, float):
        try:
            number: int | float = read(value)
        except ValueError:
            continue
        return number if str(number) == value else value
    return value


def _number(text: str, what: str) -> int:
    if not text.isdigit():
        raise ConfigurationError(f"{what} is a whole number, not “{text}”")
    return int(text)


def _lines_of_trait(events: Events) -> Lines | None:
    line = _line_of_events(events)
    if line is None or events.reducer.value not in REDUCERS or not isinstance(events.of, Property | None):
        return None
    if events.as_text or (events.reducer is Reducer.MODE and events.min_frequency != 2):
        return None
    return Lines(lines=(line,), reducer=events.reducer.value, of="" if events.of is None else events.of.path)


def _line(condition: Condition) -> Line | None:
    match condition:
        case Not(
            condition=Comparison(
                left=Events(reducer=Reducer.COUNT) as events, operator=Operator.AT_LEAST, right=(LiteralValue(value=1),)
            )
        ):
            line = _line_of_events(events)
            return None if line is None else replace(line, kind="did_not")
        case Comparison(left=Events(reducer=Reducer.COUNT) as events, right=(LiteralValue(value=int(times)),)):
            line = _line_of_events(events)
            sign = _SIGN_OF.get(condition.operator, "")
            return None if line is None or sign not in COUNTS else replace(line, counted=sign, times=str(times))
        case Comparison(left=Trait(key=key)):
            return _asked(
                condition, lambda operator, value: Line(kind="trait", path=key, operator=operator, value=value)
            )
        case _:
            return None


def _line_of_events(events: Events) -> Line | None:
    window = events.window
    if events.sources or events.session or (window is not None and (window.begin or window.end.unit not in UNITS)):
        return None
    line = Line(event=events.name)
    if window is not None:
        line = replace(line, window=str(window.end.amount), unit=window.end.unit)
    match events.where:
        case None:
            return line
        case Comparison(left=Property(path=path, of_parent=False)) as where:
            return _asked(where, lambda operator, value: replace(line, path=path, operator=operator, value=value))
        case _:
            return None


def _asked(one: Comparison, made: Callable[[str, str], Line]) -> Line | None:
    match one:
        case Comparison(operator=Operator.EXISTS | Operator.ABSENT as operator):
            return made(operator.value, "")
        case Comparison(operator=Operator.CONTAINS, right=(LiteralValue(value=str(text)),)):
            return made("contains", text)
        case Comparison(right=(LiteralValue() as literal,)) if one.operator in _SIGN_OF:
            text = literal.text()
            return made(_SIGN_OF[one.operator], text) if _typed(text) == literal.value else None
        case _:
            return None
