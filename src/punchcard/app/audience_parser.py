"""Parses a definition into lines of the builder, if lines can express it."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from punchcard.app.audience_lines import OPERATORS, REDUCERS, UNITS, Line, Lines, TraitCondition
from punchcard.app.audience_printer import NUMERIC_REDUCERS, print_definition
from punchcard.computations.model import (
    OF_LIST,
    SIGNS,
    And,
    Comparison,
    Condition,
    Definition,
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
from punchcard.errors import ConfigurationError

_SIGN_BY_OPERATOR: Final = {operator: sign for sign, operator in SIGNS.items()}


def parse_lines(text: str, *, kind: str, audiences: Collection[str] = ()) -> Lines | None:
    """Return the lines of a definition, None if lines cannot express it or it is invalid.

    Args:
        audiences: Keys of audiences, which are shown as memberships instead of traits.
    """
    if not text.strip():
        return Lines()
    parse = parse_trait if kind == "computed_trait" else parse_audience
    try:
        definition = parse(text)
        lines = _lines(definition, audiences)
        # Lines are used only if they express the whole definition, so that saving them loses nothing.
        return lines if lines is not None and parse(print_definition(lines, kind=kind)) == definition else None
    except ConfigurationError:
        return None


def _lines(definition: Definition, audiences: Collection[str]) -> Lines | None:
    if isinstance(definition, Events):
        line = _events_line(definition)
        if line is None or not isinstance(definition.of, Property | None):
            return None
        of = "" if definition.of is None else definition.of.path
        return Lines(lines=(line,), reducer=definition.reducer.value, of=of) if definition.reducer in REDUCERS else None
    joined = "or" if isinstance(definition, Or) else "and"
    parts = definition.conditions if isinstance(definition, And | Or) else (definition,)
    matching_lines = [line for part in parts if (line := _line(part, audiences)) is not None]
    return Lines(lines=matching_lines, joined=joined) if len(matching_lines) == len(parts) else None


def _line(condition: Condition, audiences: Collection[str]) -> Line | None:
    match condition:
        case Not(condition=Comparison(left=Trait(key=key), operator=Operator.EQUALS)) if key in audiences:
            return Line(kind="not_in", conditions=(TraitCondition(path=key),))
        case Comparison(left=Trait(key=key), operator=Operator.EQUALS, right=(LiteralValue(value=True),)) if (
            key in audiences
        ):
            return Line(kind="in", conditions=(TraitCondition(path=key),))
        case Comparison(left=Trait(key=key)):
            trait_condition = _trait_condition(condition, key)
            return None if trait_condition is None else Line(kind="trait", conditions=(trait_condition,))
        case Not(condition=Comparison(left=Events(reducer=Reducer.COUNT) as events) as came) if _is_at_least_once(came):
            line = _events_line(events)
            return None if line is None else replace(line, kind="did_not")
        case Comparison(left=Events() as events, right=(LiteralValue() as much,)):
            return _measured_line(condition, events, much)
        case _:
            return None


def _measured_line(condition: Comparison, events: Events, threshold: LiteralValue) -> Line | None:
    line = _events_line(events)
    if (
        line is None
        or events.reducer not in (NUMERIC_REDUCERS | {Reducer.COUNT})
        or not isinstance(events.of, Property | None)
    ):
        return None
    return replace(
        line,
        measure=events.reducer.value,
        of="" if events.of is None else events.of.path,
        counted=_SIGN_BY_OPERATOR.get(condition.operator, ""),
        times=threshold.text(),
    )


def _events_line(events: Events) -> Line | None:
    line = Line(event=events.name, source=events.sources[0] if events.sources else "")
    if events.window is not None:
        line = _add_window(line, events.window)
    match events.where:
        case None:
            return line
        case And(conditions=parts):
            return _add_conditions(line, parts)
        case part:
            return _add_conditions(line, (part,))


def _add_window(line: Line, window: Window) -> Line:
    span = "within" if window.begin is None else "between"
    begin = "" if window.begin is None else str(window.begin.amount)
    return replace(line, span=span, begin=begin, window=str(window.end.amount), unit=_unit(window.end))


def _unit(length: Duration) -> str:
    return length.unit if length.unit in UNITS else ""


def _add_conditions(line: Line, parts: Sequence[Condition]) -> Line | None:
    conditions: list[TraitCondition] = []
    for part in parts:
        match part:
            case Comparison(left=Property(path=path)) if (trait_condition := _trait_condition(part, path)) is not None:
                conditions.append(trait_condition)
            case Comparison(left=Events() as child) if (read := _add_funnel_step(line, child, "did")) is not None:
                line = read
            case Not(condition=Comparison(left=Events() as child)) if (
                read := _add_funnel_step(line, child, "did_not")
            ) is not None:
                line = read
            case _:
                return None
    return replace(line, conditions=tuple(conditions))


def _add_funnel_step(line: Line, child: Events, then: str) -> Line | None:
    within = child.within_parent
    parts = child.where.conditions if isinstance(child.where, And) else [where for where in (child.where,) if where]
    conditions = [trait_condition for part in parts if (trait_condition := _funnel_condition(part)) is not None]
    if len(conditions) != len(parts):
        return None
    return replace(
        line,
        then_conditions=tuple(conditions),
        then=then,
        then_event=child.name,
        then_window="" if within is None else str(within.amount),
        then_unit="day" if within is None else _unit(within),
    )


def _funnel_condition(condition: Condition) -> TraitCondition | None:
    match condition:
        case Comparison(
            left=Property(path=path, of_parent=False),
            operator=(Operator.EQUALS | Operator.DIFFERS) as operator,
            right=(Property(path=before, of_parent=True),),
        ):
            return TraitCondition(
                path=path,
                operator="same" if operator is Operator.EQUALS else "other",
                value="" if before == path else before,
            )
        case Comparison(left=Property(path=path)):
            return _trait_condition(condition, path)
        case _:
            return None


def _is_at_least_once(comparison: Comparison) -> bool:
    return comparison.operator is Operator.AT_LEAST and comparison.right == (LiteralValue(1),)


def _trait_condition(comparison: Comparison, path: str) -> TraitCondition | None:
    operator = _SIGN_BY_OPERATOR.get(comparison.operator, comparison.operator.value)
    literals = [item for item in comparison.right if isinstance(item, LiteralValue)]
    if operator not in OPERATORS or len(literals) != len(comparison.right):
        return None
    if len(literals) > 1 and comparison.operator not in OF_LIST:
        return None
    return TraitCondition(path=path, operator=operator, value=", ".join(item.text() for item in literals))
