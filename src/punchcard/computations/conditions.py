"""Compile one comparison into an SQL condition that is true or false, never null."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Final

from punchcard.computations.model import (
    OF_NUMBERS,
    ORDERING,
    SIGNS,
    Comparison,
    Context,
    Events,
    LiteralValue,
    Operator,
    Property,
    Reducer,
    Span,
    Trait,
    dependencies_of,
)
from punchcard.computations.times import compared_in_time

NUMBER_TEXT: Final = r"^[+-]?[0-9]{1,29}([.][0-9]+)?([eE][+-]?[0-9]{1,2})?$"
"""Texts that are numbers; JSON numbers match too."""
NUMBER_TYPE: Final = "DECIMAL(29, 9)"
"""The type of a number. A sum has nine digits more, so that a billion large numbers do not overflow it."""
ENTRY: Final = "entry"
"""Name of a list's entry while a comparison looks at it."""
HOT: Final = frozenset({"revenue", "value", "total"})
"""Properties that the facts hold as decimals."""
_SIGN_OF: Final = {operator: sign for sign, operator in SIGNS.items()}
_NUMERIC: Final = OF_NUMBERS | {Reducer.COUNT, Reducer.UNIQUE_COUNT}


@dataclass(frozen=True)
class Scope:
    """Where a comparison finds its values.

    Attributes:
        events: Returns the column of reduced events.
        trait: Returns the column of a trait's text; for the entries of a list, of the trait's JSON.
        now: Microseconds since 1970.
        zone: Time zone in which days begin and end.
        table: Prefix of the event's columns.
        parent: Prefix of the parent event's columns, in a funnel.
    """

    events: Callable[[Events], str]
    trait: Callable[[Trait], str]
    now: int
    zone: tzinfo = UTC
    table: str = ""
    parent: str = ""


def comparison_of(comparison: Comparison, scope: Scope) -> str:
    """Return the comparison as SQL."""
    condition = f"COALESCE({_compared(comparison, scope)}, FALSE)"
    match comparison.left:
        case Events():
            return condition
        case Trait() as trait if trait.list_path is not None:
            entries = _entries(scope.trait(trait), trait.inner)
        case (Property() | Context()) as member if member.list_path is not None:
            entries = entries_of(member, scope.parent if _is_of_parent(member) else scope.table)
        case _:
            return condition
    return f"COALESCE(ARRAY_LENGTH(LIST_FILTER({entries}, lambda {ENTRY}: {condition})) > 0, FALSE)"


def text_of(value: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def path_of(of: Property | Context, table: str) -> str:
    """Return the text of a property: a string's content, otherwise its JSON. For a list, of the current entry."""
    if of.list_path is not None:
        return f"JSON_EXTRACT_STRING({ENTRY}, {_json_path(dependencies_of(of.path_in_entry))})"
    return f"JSON_EXTRACT_STRING({_column(of, table)}, {_json_path(dependencies_of(of.path))})"


def json_text(of: Property | Context, table: str) -> str:
    """Return a property as JSON."""
    return f"JSON_EXTRACT({_column(of, table)}, {_json_path(dependencies_of(of.path))})"


def entries_of(of: Property | Context, table: str) -> str:
    """Return the entries of a property's list as a list of JSON; empty if the property is not a list."""
    return _entries(_column(of, table), dependencies_of(of.list_path or ""))


def member_of_json(column: str, names: Sequence[str]) -> str:
    """Return the text of a member inside a JSON column."""
    return f"JSON_EXTRACT_STRING({column}, {_json_path(names)})"


def values_in_list(of: Property | Context, table: str) -> str:
    """Return the values in the entries of a property's list as a list of JSON, without null values."""
    entry = f"JSON_EXTRACT({ENTRY}, {_json_path(dependencies_of(of.path_in_entry))})"
    values = f"LIST_TRANSFORM({entries_of(of, table)}, lambda {ENTRY}: {entry})"
    return f"LIST_FILTER({values}, lambda {ENTRY}: CAST({ENTRY} AS VARCHAR) <> 'null')"


def array_text(of: Property | Context, table: str) -> str:
    """Return the values in the entries of a property's list as one JSON text, null if there are none."""
    return f"NULLIF(CAST(TO_JSON({values_in_list(of, table)}) AS VARCHAR), '[]')"


def number_of(of: Property | Context, table: str) -> str:
    """Return a property as a decimal, null if it is not a number."""
    if isinstance(of, Property) and of.path in HOT:
        return f"{table}{of.path}"
    return as_number(path_of(of, table))


def as_number(text: str) -> str:
    """Return a text as a number; null if it is not one."""
    return f"TRY_CAST(CASE WHEN REGEXP_MATCHES({text}, '{NUMBER_TEXT}') THEN {text} END AS {NUMBER_TYPE})"


def _column(of: Property | Context, table: str) -> str:
    return f"{table}{'properties' if isinstance(of, Property) else 'context'}"


def _is_of_parent(of: Property | Context) -> bool:
    return isinstance(of, Property) and of.of_parent


def _entries(column: str, names: Sequence[str]) -> str:
    return f"JSON_EXTRACT({column}, {_json_path(names, '[*]')})"


def _json_path(names: Sequence[str], end: str = "") -> str:
    """Return the path through these members as an SQL literal."""
    quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name in names)
    return text_of("$" + "".join(f'."{name}"' for name in quoted) + end)


def _compared(comparison: Comparison, scope: Scope) -> str:
    text, number = _text_and_number(comparison.left, scope)
    literals = [item for item in comparison.right if isinstance(item, LiteralValue)]
    match comparison.operator:
        case Operator.EXISTS:
            return f"{text} IS NOT NULL"
        case Operator.ABSENT:
            return f"{text} IS NULL"
        case Operator.EQUALS | Operator.ONE_OF:
            return _any(_equals(text, number, item, scope) for item in comparison.right)
        case Operator.DIFFERS | Operator.NONE_OF:
            same = _any(f"COALESCE({_equals(text, number, item, scope)}, FALSE)" for item in comparison.right)
            return f"{text} IS NOT NULL AND NOT ({same})"
        case Operator.CONTAINS:
            return _any(f"CONTAINS({text}, {text_of(item.text())})" for item in literals)
        case Operator.OMITS:
            return f"NOT ({_any(f'CONTAINS({text}, {text_of(item.text())})' for item in literals)})"
        case Operator.STARTS_WITH:
            return f"LEFT({text}, {len(literals[0].text())}) = {text_of(literals[0].text())}"
        case Operator.ENDS_WITH:
            return f"RIGHT({text}, {len(literals[0].text())}) = {text_of(literals[0].text())}"
    if comparison.operator in ORDERING:
        item = comparison.right[0]
        if isinstance(item, Span):
            raise ValueError(f"{comparison.operator} compares numbers")
        other = f"{item.decimal():f}" if isinstance(item, LiteralValue) else _text_and_number(item, scope)[1]
        return f"{number} {_SIGN_OF[comparison.operator]} {other}"
    return compared_in_time(comparison, text, now=scope.now, zone=scope.zone)


def _text_and_number(value: Events | Trait | Property | Context, scope: Scope) -> tuple[str, str]:
    match value:
        case Events():
            column = scope.events(value)
            if value.reducer is Reducer.UNIQUE:
                return f"NULLIF(ARRAY_TO_STRING({column}, '\n'), '')", "NULL"
            if value.reducer in _NUMERIC or (value.reducer in (Reducer.MIN, Reducer.MAX) and not value.as_text):
                return f"CAST({column} AS VARCHAR)", column
            text = column if value.as_text or value.reducer is Reducer.MODE else f"JSON_EXTRACT_STRING({column}, '$')"
            return text, as_number(text)
        case Trait():
            text = scope.trait(value)
            if value.list_path is not None:
                text = member_of_json(ENTRY, dependencies_of(value.path_in_entry))
            return text, as_number(text)
        case Property(of_parent=True):
            return path_of(value, scope.parent), number_of(value, scope.parent)
        case _:
            return path_of(value, scope.table), number_of(value, scope.table)


def _equals(text: str, number: str, item: LiteralValue | Span | Property | Trait, scope: Scope) -> str:
    if isinstance(item, Span):
        raise ValueError("A duration can only be compared with a time.")
    if not isinstance(item, LiteralValue):
        return f"{text} = {_text_and_number(item, scope)[0]}"
    return f"{number} = {item.decimal():f}" if item.is_number else f"{text} = {text_of(item.text())}"


def _any(conditions: Iterable[str]) -> str:
    return " OR ".join(f"({condition})" for condition in conditions)
