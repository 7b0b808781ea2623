"""Print a condition in Punchcard's standard form; parsing the text gives the same condition."""

from decimal import Decimal

from punchcard.errors import InvariantError
from punchcard.filters.fql_lexer import NAME_CHARACTERS, WORDS
from punchcard.filters.syntax import (
    And,
    Call,
    Comparison,
    Condition,
    Everything,
    In,
    ListOf,
    Literal,
    Not,
    Or,
    Path,
)


def print_condition(condition: Condition) -> str:
    """Return the text of a condition.

    Raises:
        InvariantError: It has a text with both kinds of quotes, which is impossible in a parsed condition.
    """
    match condition:
        case Everything():
            return "all"
        case Or(conditions):
            return " or ".join(_grouped(condition, Or) for condition in conditions)
        case And(conditions):
            return " and ".join(_grouped(condition, And, Or) for condition in conditions)
        case Not(inner):
            return (
                f"!{print_condition(inner)}" if isinstance(inner, Path | Call | Not) else f"!({print_condition(inner)})"
            )
        case Comparison(operator, left, right):
            return f"{print_condition(left)} {operator} {print_condition(right)}"
        case In(value, among):
            return f"{print_condition(value)} in {print_condition(among)}"
        case Call(name, arguments):
            return f"{name}( {', '.join(map(print_condition, arguments))} )"
        case ListOf(items):
            return f"[{', '.join(map(print_condition, items))}]"
        case Path(parts):
            return _path(parts)
        case Literal():
            return _literal(condition)


def _grouped(condition: Condition, *kinds: type) -> str:
    text = print_condition(condition)
    return f"({text})" if isinstance(condition, kinds) else text


def _path(parts: tuple[str, ...]) -> str:
    first, *rest = (
        "".join(character if character in NAME_CHARACTERS else f"\\{character}" for character in part) for part in parts
    )
    # A name that begins like a number or is a word of the language is escaped with a backslash.
    if first in WORDS or first in ("true", "false", "all", "in") or first[:1] in set("0123456789-"):
        first = f"\\{first}"
    return ".".join([first, *rest])


def _literal(literal: Literal) -> str:
    value = literal.value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if "'" not in value:
        return f"'{value}'"
    if '"' in value:
        raise InvariantError("A text with both kinds of quotes cannot be written in a condition.")
    return f'"{value}"'
