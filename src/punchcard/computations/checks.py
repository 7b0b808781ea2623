"""Find comparisons that can never be evaluated, whatever is in the events."""

from typing import Final

from punchcard.computations.dates import read_date
from punchcard.computations.model import (
    BY_DATE,
    BY_DAYS,
    COUNTING,
    OF_LIST,
    OF_NUMBERS,
    OF_TEXT,
    ORDERING,
    Comparison,
    Events,
    LiteralValue,
    Operator,
    Property,
    Reducer,
    Span,
    Trait,
)


def comparison_problem(comparison: Comparison) -> str | None:
    """Return why a comparison cannot be evaluated, None if it can."""
    operator, right = comparison.operator, comparison.right
    if problem := _count_problem(operator, len(right)):
        return problem
    literals = [item for item in right if isinstance(item, LiteralValue)]
    is_number = isinstance(comparison.left, Events) and comparison.left.reducer in (COUNTING | OF_NUMBERS)
    if is_number and (operator in OF_TEXT | BY_DATE | BY_DAYS or any(not item.is_number for item in literals)):
        return f"`{comparison.left.reducer}` is a number: compare it with one"  # type: ignore[union-attr]
    if (
        isinstance(comparison.left, Events)
        and comparison.left.reducer is Reducer.UNIQUE
        and operator not in OF_TEXT | _PRESENCE
    ):
        return "`unique` is a list: .contains(…), .omits(…), .exists(), or .unique(…).count() for its length"
    if operator in ORDERING and any(not item.is_number for item in literals):
        return "greater and less compare numbers; for dates there are .before_date(…) and .after_date(…)"
    if operator in OF_TEXT and any(not isinstance(item.value, str) for item in literals):
        return f"`{operator}` compares texts: put the value in quotes"
    if operator in BY_DATE and any(not _is_date(item) for item in literals):
        return "a date is expected, such as 2026-01-31, or a time, such as 2026-01-31T18:50:00Z"
    if operator in BY_DAYS:
        return None if _is_length(right[0]) else "a duration is expected, such as within_last(7 days)"
    if any(isinstance(item, Span) for item in right):
        return "a duration is only allowed in .within_last(…), .within_next(…), .before_last(…) and .after_next(…)"
    if len(literals) < len(right) and operator not in ORDERING | _EQUALITY:
        return f"`{operator}` compares with texts or numbers, not with a property or trait"
    return None


_PRESENCE: Final = frozenset({Operator.EXISTS, Operator.ABSENT})
_EQUALITY: Final = frozenset({Operator.EQUALS, Operator.DIFFERS})


def _count_problem(operator: Operator, count: int) -> str | None:
    if operator in _PRESENCE:
        return f"`{operator}` takes no value" if count else None
    if operator in OF_LIST or operator in (Operator.CONTAINS, Operator.OMITS):
        return None if count else f"`{operator}` needs at least one value"
    return None if count == 1 else f"`{operator}` takes one value, here it has {count}"


def _is_date(item: LiteralValue) -> bool:
    return isinstance(item.value, str) and read_date(item.value) is not None


def _is_length(item: LiteralValue | Span | Property | Trait) -> bool:
    if isinstance(item, Span):
        return item.amount > 0
    return isinstance(item, LiteralValue) and isinstance(item.value, int) and item.is_number and item.value > 0
