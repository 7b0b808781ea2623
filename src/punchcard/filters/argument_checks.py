"""Find arguments of functions with which a condition could never be true; such a condition is refused on save."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Final

from punchcard.filters.functions import TYPE_NAMES, VERSION_OPERATORS, compiled_glob, is_version
from punchcard.filters.syntax import Call, Comparison, In, ListOf, Literal

_TYPEOF: Final = "typeof"


def find_argument_problems(condition: object) -> Iterator[str]:
    """Yield sentences about invalid arguments, such as the operator `==` of `semver`.

    Args:
        condition: A parsed condition. Arguments that are read from the event cannot be checked.
    """
    for node in _nodes(condition):
        match node:
            case Call("semver", (left, operator, right)):
                yield from _semver_problems(left, operator, right)
            case Call("match", (_, Literal(pattern))) if not isinstance(pattern, str) or compiled_glob(pattern) is None:
                yield f"`match` cannot read the pattern {_shown(pattern)}."
            case Comparison(_, Call(name), other) | Comparison(_, other, Call(name)) if name == _TYPEOF:
                yield from _type_problems([other])
            case In(Call(name), ListOf(items)) if name == _TYPEOF:
                yield from _type_problems(list(items))


def _semver_problems(left: object, operator: object, right: object) -> Iterator[str]:
    if isinstance(operator, Literal) and operator.value not in VERSION_OPERATORS:
        known = " ".join(f"'{operator}'" for operator in VERSION_OPERATORS)
        yield f"`semver` has no operator {_shown(operator.value)}. Its operators are {known}."
    for version in (left, right):
        if isinstance(version, Literal) and not is_version(version.value):
            problem = f"`semver` cannot read {_shown(version.value)} as a version."
            yield f"{problem} Use one to three numbers, such as '2.1.0'."


def _type_problems(values: list[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, Literal) and value.value not in TYPE_NAMES:
            yield f"`{_TYPEOF}` never returns {_shown(value.value)}. It returns {', '.join(TYPE_NAMES)}."


def _shown(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def _nodes(node: object) -> Iterator[object]:
    yield node
    if isinstance(node, tuple):
        children = list(node)
    elif is_dataclass(node) and not isinstance(node, type):
        children = [getattr(node, field.name) for field in fields(node)]
    else:
        return
    for child in children:
        yield from _nodes(child)
