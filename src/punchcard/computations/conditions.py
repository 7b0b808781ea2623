"""One comparison as SQL that is true or false, never null."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

from punchcard.computations.model import (
    BY_DATE,
    BY_DAYS,
    DAY_MICROS,
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
    Trait,
    parts_of,
)

NUMBER_TEXT: Final = r"^[+-]?[0-9]{1,29}([.][0-9]+)?([eE][+-]?[0-9]{1,2})?$"
"""Texts that are numbers; numbers themselves are such texts too."""
ZONED_TEXT: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}.*(Z|[+-][0-9]{2}:?[0-9]{2})$"
"""Texts that are instants: ISO 8601 with a zone."""
ENTRY: Final = "entry"
"""What the entry of a list is called while a comparison looks at it."""
HOT: Final = frozenset({"revenue", "value", "total"})
"""Properties that the facts hold as decimals already."""
_SIGN_OF: Final = {operator: sign for sign, operator in SIGNS.items()}
_NUMERIC: Final = OF_NUMBERS | {Reducer.COUNT, Reducer.UNIQUE_COUNT}


@dataclass(frozen=True)
class Scope:
    """Where a comparison finds its values.

    Attributes:
        events: The column of reduced events.
        trait: The column of a trait's text.
        table: Prefix of the event's own columns.
        parent: Prefix of the parent event's, in a funnel.
    """

    events: Callable[[Events], str]
    trait: Callable[[str], str]
    table: str = ""
    parent: str = ""


def comparison_of(one: Comparison, scope: Scope, *, now: int) -> str:
    """The comparison as SQL."""
    found = f"COALESCE({_compared(one, scope, now)}, FALSE)"
    if not isinstance(one.left, Property | Context) or (list_path := one.left.list_path) is None:
        return found
    table = scope.parent if isinstance(one.left, Property) and one.left.of_parent else scope.table
    entries = f"JSON_EXTRACT({_column(one.left, table)}, {text_of(_json_path(list_path) + '[*]')})"
    return f"COALESCE(ARRAY_LENGTH(LIST_FILTER({entries}, lambda {ENTRY}: {found})) > 0, FALSE)"


def text_of(value: str) -> str:
    """A text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def path_of(of: Property | Context, table: str) -> str:
    """A property's text: a string's content, else its JSON. Of a list's entries: the one that is looked at."""
    if of.list_path is not None:
        return f"JSON_EXTRACT_STRING({ENTRY}, {text_of(_json_path(of.path_in_entry))})"
    return f"JSON_EXTRACT_STRING({_column(of, table)}, {text_of(_json_path(of.path))})"


def json_text(of: Property | Context, table: str) -> str:
    """A property as JSON."""
    return f"JSON_EXTRACT({_column(of, table)}, {text_of(_json_path(of.path))})"


def number_of(of: Property | Context, table: str) -> str:
    """A property as a decimal, null if it is no number."""
    if isinstance(of, Property) and of.path in HOT:
        return f"{table}{of.path}"
    return as_number(path_of(of, table))


def as_number(text: str) -> str:
    """A text's number; null if it is none."""
    return f"TRY_CAST(CASE WHEN REGEXP_MATCHES({text}, '{NUMBER_TEXT}') THEN {text} END AS DECIMAL(38, 9))"


def _column(of: Property | Context, table: str) -> str:
    return f"{table}{'properties' if isinstance(of, Property) else 'context'}"


def _json_path(path: str) -> str:
    return "$" + "".join(f'."{part}"' for part in parts_of(path))


def _compared(one: Comparison, scope: Scope, now: int) -> str:
    text, number = _text_and_number(one.left, scope)
    literals = [item for item in one.right if isinstance(item, LiteralValue)]
    match one.operator:
        case Operator.EXISTS:
            return f"{text} IS NOT NULL"
        case Operator.ABSENT:
            return f"{text} IS NULL"
        case Operator.EQUALS | Operator.ONE_OF:
            return _any(_equals(text, number, item, scope) for item in one.right)
        case Operator.DIFFERS | Operator.NONE_OF:
            same = _any(f"COALESCE({_equals(text, number, item, scope)}, FALSE)" for item in one.right)
            return f"{text} IS NOT NULL AND NOT ({same})"
        case Operator.CONTAINS:
            return _any(f"CONTAINS({text}, {text_of(item.text())})" for item in literals)
        case Operator.OMITS:
            return f"NOT ({_any(f'CONTAINS({text}, {text_of(item.text())})' for item in literals)})"
        case Operator.STARTS_WITH:
            return f"LEFT({text}, {len(literals[0].text())}) = {text_of(literals[0].text())}"
        case Operator.ENDS_WITH:
            return f"RIGHT({text}, {len(literals[0].text())}) = {text_of(literals[0].text())}"
    if one.operator in ORDERING:
        item = one.right[0]
        other = f"{item.decimal():f}" if isinstance(item, LiteralValue) else _text_and_number(item, scope)[1]
        return f"{number} {_SIGN_OF[one.operator]} {other}"
    return _by_day(one.operator, _day_of(text), literals[0], now)


def _by_day(operator: Operator, day: str, item: LiteralValue, now: int) -> str:
    today = now // DAY_MICROS
    if operator in BY_DATE:
        wanted = (date.fromisoformat(str(item.value)) - date(1970, 1, 1)).days
        return f"{day} {'<=' if operator is Operator.BEFORE_DATE else '>='} {wanted}"
    if operator not in BY_DAYS:
        raise ValueError(f"{operator} compares no days")
    days = int(item.value)
    match operator:
        case Operator.WITHIN_LAST:
            return f"{day} BETWEEN {today - days} AND {today}"
        case Operator.WITHIN_NEXT:
            return f"{day} BETWEEN {today} AND {today + days}"
        case Operator.BEFORE_LAST:
            return f"{day} <= {today - days}"
        case _:
            return f"{day} >= {today + days}"


def _day_of(text: str) -> str:
    instant = f"TRY_CAST(CASE WHEN REGEXP_MATCHES({text}, '{ZONED_TEXT}') THEN {text} END AS TIMESTAMPTZ)"
    return f"FLOOR(EPOCH_US({instant}) / {DAY_MICROS})"


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
            text = scope.trait(value.key)
            return text, as_number(text)
        case Property(of_parent=True):
            return path_of(value, scope.parent), number_of(value, scope.parent)
        case _:
            return path_of(value, scope.table), number_of(value, scope.table)


def _equals(text: str, number: str, item: LiteralValue | Property | Trait, scope: Scope) -> str:
    if not isinstance(item, LiteralValue):
        return f"{text} = {_text_and_number(item, scope)[0]}"
    return f"{number} = {item.decimal():f}" if item.is_number else f"{text} = {text_of(item.text())}"


def _any(conditions: Iterable[str]) -> str:
    return " OR ".join(f"({one})" for one in conditions)
