"""Writes a definition as the text that the parser reads."""

from punchcard.computations.lexer import quoted
from punchcard.computations.model import (
    BY_DAYS,
    SIGNS,
    And,
    Comparison,
    Context,
    Definition,
    Duration,
    Events,
    LiteralValue,
    Not,
    Or,
    Property,
    Reducer,
    Span,
    Trait,
)

_SIGN_OF = {operator: sign for sign, operator in SIGNS.items()}


def to_text(definition: Definition) -> str:
    """The definition in the query language; reading it gives the same definition."""
    match definition:
        case Events():
            return _events(definition)
        case Comparison():
            return _comparison(definition)
        case Not():
            return f"NOT ( {to_text(definition.condition)} )"
        case And():
            return " AND ".join(_inside_and(condition) for condition in definition.conditions)
        case Or():
            return " OR ".join(
                f"( {to_text(condition)} )" if isinstance(condition, Or) else to_text(condition)
                for condition in definition.conditions
            )


def _inside_and(one: Definition) -> str:
    return f"( {to_text(one)} )" if isinstance(one, And | Or) else to_text(one)


def _events(one: Events) -> str:
    text = f"event({quoted(one.name)})"
    if one.where is not None:
        text += f".where( {to_text(one.where)} )"
    if one.sources:
        listed = ", ".join(map(quoted, one.sources))
        text += f".sources({{exclude: {listed}}})" if one.sources_left_out else f".sources({listed})"
    if one.window is not None:
        end = _duration(one.window.end)
        begin = one.window.begin
        text += f".within({end})" if begin is None else f".between({_duration(begin)}, {end})"
    if one.within_parent is not None and one.after_parent is not None:
        text += f".between(parent: {_duration(one.after_parent)}, {_duration(one.within_parent)})"
    elif one.within_parent is not None:
        text += f".within(parent: {_duration(one.within_parent)})"
    if one.session is not None:
        text += f".expires_after({_duration(one.session)})"
    return text + _reducer(one)


def _reducer(one: Events) -> str:
    of = "" if one.of is None else _value(one.of)
    if one.as_array:
        of += " as array"
    if one.reducer is Reducer.UNIQUE_COUNT:
        return f".unique({of}).count()"
    if one.reducer is Reducer.MODE and one.min_frequency != 2:  # the language's default
        of += f", {one.min_frequency}"
    if one.as_text:
        of += " as string"
    return f".{one.reducer}({of})"


def _comparison(one: Comparison) -> str:
    left = _value(one.left)
    if one.operator in _SIGN_OF:
        return f"{left} {_SIGN_OF[one.operator]} {_value(one.right[0])}"
    if one.operator in BY_DAYS:
        length = one.right[0]
        if isinstance(length, LiteralValue):
            return f"{left}.{one.operator}({_duration(Duration(int(length.value), 'day'))})"
        return f"{left}.{one.operator}({_value(length)})"
    return f"{left}.{one.operator}({', '.join(map(_value, one.right))})"


def _value(one: Events | Trait | Property | Context | LiteralValue | Span) -> str:
    match one:
        case Events():
            return _events(one)
        case Trait():
            return f"trait({quoted(one.key)})"
        case Property():
            return f"property({'parent: ' if one.of_parent else ''}{quoted(one.path)})"
        case Context():
            return f"context({quoted(one.path)})"
        case LiteralValue():
            return quoted(one.value) if isinstance(one.value, str) else one.text()
        case Span():
            return _duration(one)


def _duration(one: Duration | Span) -> str:
    return f"{one.amount} {one.unit}{'' if one.amount == 1 else 's'}"
