"""Print a definition as the text that the parser reads."""

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
    StaticList,
    Trait,
)

_SIGN_OF = {operator: sign for sign, operator in SIGNS.items()}


def to_text(definition: Definition) -> str:
    """Return the definition in the query language; parsing it gives the same definition."""
    match definition:
        case Events():
            return _events(definition)
        case Comparison():
            return _comparison(definition)
        case StaticList():
            return f"list({quoted(definition.name)})"
        case Not():
            return f"NOT ( {to_text(definition.condition)} )"
        case And():
            return " AND ".join(_inside_and(condition) for condition in definition.conditions)
        case Or():
            return " OR ".join(
                f"( {to_text(condition)} )" if isinstance(condition, Or) else to_text(condition)
                for condition in definition.conditions
            )


def _inside_and(definition: Definition) -> str:
    return f"( {to_text(definition)} )" if isinstance(definition, And | Or) else to_text(definition)


def _events(events: Events) -> str:
    text = f"event({quoted(events.name)})"
    if events.where is not None:
        text += f".where( {to_text(events.where)} )"
    if events.sources:
        listed = ", ".join(map(quoted, events.sources))
        text += f".sources({{exclude: {listed}}})" if events.sources_left_out else f".sources({listed})"
    if events.window is not None:
        end = _duration(events.window.end)
        begin = events.window.begin
        text += f".within({end})" if begin is None else f".between({_duration(begin)}, {end})"
    if events.within_parent is not None and events.after_parent is not None:
        text += f".between(parent: {_duration(events.after_parent)}, {_duration(events.within_parent)})"
    elif events.within_parent is not None:
        text += f".within(parent: {_duration(events.within_parent)})"
    if events.session is not None:
        text += f".expires_after({_duration(events.session)})"
    return text + _reducer(events)


def _reducer(events: Events) -> str:
    of = "" if events.of is None else _value(events.of)
    if events.as_array:
        of += " as array"
    if events.reducer is Reducer.UNIQUE_COUNT:
        return f".unique({of}).count()"
    if events.reducer is Reducer.MODE and events.min_frequency != 2:  # the language's default
        of += f", {events.min_frequency}"
    if events.as_text:
        of += " as string"
    return f".{events.reducer}({of})"


def _comparison(comparison: Comparison) -> str:
    left = _value(comparison.left)
    if comparison.operator in _SIGN_OF:
        return f"{left} {_SIGN_OF[comparison.operator]} {_value(comparison.right[0])}"
    if comparison.operator in BY_DAYS:
        length = comparison.right[0]
        if isinstance(length, LiteralValue):
            return f"{left}.{comparison.operator}({_duration(Duration(int(length.value), 'day'))})"
        return f"{left}.{comparison.operator}({_value(length)})"
    return f"{left}.{comparison.operator}({', '.join(map(_value, comparison.right))})"


def _value(value: Events | Trait | Property | Context | LiteralValue | Span) -> str:
    match value:
        case Events():
            return _events(value)
        case Trait():
            return f"trait({quoted(value.key)})"
        case Property():
            return f"property({'parent: ' if value.of_parent else ''}{quoted(value.path)})"
        case Context():
            return f"context({quoted(value.path)})"
        case LiteralValue():
            return quoted(value.value) if isinstance(value.value, str) else value.text()
        case Span():
            return _duration(value)


def _duration(duration: Duration | Span) -> str:
    return f"{duration.amount} {duration.unit}{'' if duration.amount == 1 else 's'}"
