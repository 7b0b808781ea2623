"""What a definition answers for somebody who has done nothing: whether everybody must be asked, or only who has."""

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
    trait_keys,
)


def is_empty_without_events(part: Definition) -> bool:
    """True if the answer for somebody who has done nothing is none, whatever their traits."""
    if isinstance(part, Events):
        return True
    return not trait_keys(part) and not _holds_without_events(part)


def _holds_without_events(part: Condition | Events) -> bool:
    match part:
        case Not():
            return not _holds_without_events(part.condition)
        case And():
            return all(map(_holds_without_events, part.conditions))
        case Or():
            return any(map(_holds_without_events, part.conditions))
        case Comparison(left=Events() as events) if events.reducer in COUNTING:
            return _holds_of_zero(part)
        case Comparison():
            return part.operator is Operator.ABSENT  # any other comparison of nothing is false
        case _:
            return False


def _holds_of_zero(part: Comparison) -> bool:
    """Whether a count of no events meets a comparison."""
    if part.operator in (Operator.EXISTS, Operator.ABSENT):
        return part.operator is Operator.EXISTS
    numbers = [one.decimal() for one in part.right if isinstance(one, LiteralValue) and one.is_number]
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
