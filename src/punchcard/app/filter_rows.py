"""Filter conditions as rows of a builder: a path, an operator and a value; joined by all or any."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from punchcard.errors import ConfigurationError
from punchcard.filters.fql_lexer import NAME_CHARACTERS
from punchcard.filters.generated import paths_of
from punchcard.filters.parser import parse
from punchcard.filters.syntax import And, Call, Comparison, Condition, Literal, Not, Or, Path

OPERATORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "=": "is",
        "!=": "is not",
        ">": "is more than",
        ">=": "is at least",
        "<": "is less than",
        "<=": "is at most",
        "contains": "contains",
        "!contains": "does not contain",
        "match": "matches (with * and ?)",
        "exists": "exists",
        "!exists": "does not exist",
    }
)
"""Labels of the operators."""


@dataclass(frozen=True, kw_only=True)
class BuilderRow:
    """A row. `value` is as typed: 100 is a number, true and false are truth values, anything else is text."""

    path: str
    operator: str
    value: str


@dataclass(frozen=True, kw_only=True)
class BuilderRows:
    """A condition that the builder can show; `joined` is `and` or `or`."""

    joined: str
    rows: Sequence[BuilderRow]


def parse_rows(text: str) -> BuilderRows | None:
    """Return the rows of a condition, None if rows cannot express it or it is invalid."""
    if not text.strip():
        return BuilderRows(joined="and", rows=(BuilderRow(path="event", operator="=", value=""),))
    try:
        condition = parse(text)
    except ConfigurationError:
        return None
    joined = "and"
    parts: tuple[Condition, ...] = (condition,)
    if isinstance(condition, And):
        parts = tuple(condition.conditions)
    elif isinstance(condition, Or):
        joined, parts = "or", tuple(condition.conditions)
    # The builder has no escapes: a name that contains a dot would become two names.
    if not all(name and set(name) <= NAME_CHARACTERS for path in paths_of(parts) for name in path):
        return None
    rows = [_parse_row(part) for part in parts]
    return None if None in rows else BuilderRows(joined=joined, rows=[row for row in rows if row is not None])


def _parse_row(condition: Condition) -> BuilderRow | None:
    match condition:
        case Comparison(operator=operator, left=Path(parts=parts), right=Literal(value=None)) if operator in "!=":
            return BuilderRow(path=".".join(parts), operator="!exists" if operator == "=" else "exists", value="")
        case Comparison(operator=operator, left=Path(parts=parts), right=Literal(value=value)):
            text = _format_value(value)
            return None if text is None else BuilderRow(path=".".join(parts), operator=operator, value=text)
        case Call(name="contains" | "match" as name, arguments=(Path(parts=parts), Literal(value=str(value)))):
            return BuilderRow(path=".".join(parts), operator=name, value=value)
        case Not(condition=Call(name="contains", arguments=(Path(parts=parts), Literal(value=str(value))))):
            return BuilderRow(path=".".join(parts), operator="!contains", value=value)
        case _:
            return None


def _format_value(value: object) -> str | None:
    """Return a value as typed in the builder, None for a text that would be read as a number or a truth value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if (
        not isinstance(value, str)
        or value in ("true", "false", "null")
        or value.replace(".", "", 1).lstrip("-").isdigit()
    ):
        return None
    return value
