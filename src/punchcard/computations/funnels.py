"""Split the conditions of an audience into the steps of a funnel: who meets the first, the first two, and so on."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from punchcard.computations.absence import holds_without_events
from punchcard.computations.model import (
    And,
    Comparison,
    Condition,
    Definition,
    Events,
    LiteralValue,
    Not,
    Operator,
    Or,
    Reducer,
    Span,
)

# A count with one of these only grows with the events that are counted, so a step without its child has more people.
_GROWING = (Operator.AT_LEAST, Operator.GREATER_THAN)


@dataclass(frozen=True, kw_only=True)
class FunnelStep:
    """A step of a funnel.

    Attributes:
        events: Names of its events; several are alternatives.
        part: The condition that this step adds, for display.
        follows: Name of the event after which this step's event must happen, "" if the order does not matter.
        condition: What people of this step meet: everything up to here, and the funnel's filters.
    """

    events: tuple[str, ...]
    part: Condition
    follows: str
    condition: Condition


@dataclass(frozen=True, kw_only=True)
class Funnel:
    """The steps of a definition.

    Attributes:
        steps: At least two; the condition of the last one is equivalent to the definition.
        filters: Conditions that are not steps, such as traits; people of every step meet them.
    """

    steps: Sequence[FunnelStep]
    filters: Sequence[Condition]


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """A step before its condition is known: `so_far` is what its own events meet up to here."""

    events: tuple[str, ...]
    part: Condition
    so_far: Condition
    follows: str = ""


def split_into_funnel(definition: Definition) -> Funnel | None:
    """Return the funnel of a definition, None if fewer than two of its conditions require events."""
    if isinstance(definition, Events):
        return None
    conditions = _conditions_of(definition)
    filters = [condition for condition in conditions if not _requires_events(condition)]
    met: list[Condition] = list(filters)
    steps: list[FunnelStep] = []
    for condition in conditions:
        if not _requires_events(condition):
            continue
        for stage in _stages_of(condition):
            steps.append(
                FunnelStep(
                    events=stage.events,
                    part=stage.part,
                    follows=stage.follows,
                    condition=_joined([*met, stage.so_far]),
                )
            )
        met.append(condition)
    return Funnel(steps=steps, filters=filters) if len(steps) > 1 else None


def _stages_of(condition: Condition) -> list[_Stage]:
    """Return the stages of a condition on events: its first event, then each event that must follow it."""
    match condition:
        case Comparison(left=Events(where=where, reducer=Reducer.COUNT) as events, operator=operator) if (
            where is not None and operator in _GROWING
        ):
            inside = _conditions_of(where)
            children = [part for part in inside if _requires_events(part)]
            met = [part for part in inside if not _requires_events(part)]
        case _:
            return [_Stage(events=_event_names(condition), part=condition, so_far=condition)]
    first = _with_where(condition, events, met)
    stages = [_Stage(events=(events.name,), part=first, so_far=first)]
    for child in children:
        met.append(child)
        so_far = _with_where(condition, events, met)
        stages.append(_Stage(events=_event_names(child), part=child, so_far=so_far, follows=events.name))
    return stages


def _with_where(comparison: Comparison, events: Events, conditions: Sequence[Condition]) -> Comparison:
    where = _joined(conditions) if conditions else None
    return msgspec.structs.replace(comparison, left=msgspec.structs.replace(events, where=where))


def _joined(conditions: Sequence[Condition]) -> Condition:
    return conditions[0] if len(conditions) == 1 else And(tuple(conditions))


def _conditions_of(condition: Condition) -> list[Condition]:
    if isinstance(condition, And):
        return [inner for part in condition.conditions for inner in _conditions_of(part)]
    return [condition]


def _requires_events(condition: Condition) -> bool:
    """Return whether only people with events can meet a condition, whatever their traits are."""
    return all(map(_is_of_events, _compared(condition))) and not holds_without_events(condition)


def _is_of_events(part: Condition) -> bool:
    """Return whether a comparison compares events with fixed values."""
    return (
        isinstance(part, Comparison)
        and isinstance(part.left, Events)
        and all(isinstance(item, LiteralValue | Span) for item in part.right)
    )


def _compared(condition: Condition) -> list[Condition]:
    """Return the comparisons of a condition, without those inside `where`."""
    match condition:
        case Not():
            return _compared(condition.condition)
        case And() | Or():
            return [inner for part in condition.conditions for inner in _compared(part)]
        case _:
            return [condition]


def _event_names(condition: Condition) -> tuple[str, ...]:
    compared = (part.left for part in _compared(condition) if isinstance(part, Comparison))
    return tuple(dict.fromkeys(left.name for left in compared if isinstance(left, Events)))
