"""The result of a definition for somebody without events, which decides whether everybody must be queried."""

from punchcard.computations.model import (
    COUNTING,
    And,
    Comparison,
    Condition,
    Definition,
    Events,
    LiteralValue,
    Not,
    Operator,
    Or,
    StaticList,
    trait_keys,
)


def is_empty_without_events(part: Definition) -> bool:
    """Return whether a person without events has no result, whatever their traits are."""
    if isinstance(part, Events):
        return True
    if isinstance(part, StaticList):
        return False
    return not trait_keys(part) and not holds_without_events(part)


def holds_without_events(part: Condition | Events) -> bool:
    """Return whether a person without events and traits meets a condition, or, for events, has a value."""
    match part:
        case Not():
            return not holds_without_events(part.condition)
        case And():
            return all(map(holds_without_events, part.conditions))
        case Or():
            return any(map(holds_without_events, part.conditions))
        case Comparison(left=Events() as events) if events.reducer in COUNTING:
            return _holds_of_zero(part)
        case Comparison():
            return part.operator is Operator.ABSENT  # any other comparison of nothing is false
        case _:
            return False


def _holds_of_zero(part: Comparison) -> bool:
    """Return whether a count of zero events meets a comparison."""
    if part.operator in (Operator.EXISTS, Operator.ABSENT):
        return part.operator is Operator.EXISTS
    numbers = [item.decimal() for item in part.right if isinstance(item, LiteralValue) and item.is_number]
    match part.operator:
        case Operator.EQUALS | Operator.ONE_OF:
            return 0 in numbers
        case Operator.DIFFERS | Operator.NONE_OF:
            return 0 not in numbers
        case Operator.GREATER_THAN:
            return numbers[0] < 0
        case Operator.AT_LEAST:
            return numbers[0] <= 0
        case Operator.LESS_THAN:
            return numbers[0] > 0
        case _:
            return numbers[0] >= 0
