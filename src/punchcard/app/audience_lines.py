"""Definitions of audiences and computed traits as lines of a builder, for people who do not write the language."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

KINDS: Final = {
    "did": "Did",
    "did_not": "Did not do",
    "trait": "Has the trait",
    "in": "Is in the audience",
    "not_in": "Is not in the audience",
}
"""Kinds of lines."""

EVENT_KINDS: Final = ("did", "did_not")
AUDIENCE_KINDS: Final = ("in", "not_in")

MEASURES: Final = {
    "count": "count",
    "sum": "the sum of",
    "avg": "the average of",
    "min": "minimum",
    "max": "maximum",
}
"""Measures of events."""

COMPARISONS: Final = {">=": "at least", "=": "exactly", "<=": "at most", ">": "more than", "<": "less than"}
"""Comparison operators of measures."""

TIME_RANGES: Final = {"": "at any time", "within": "within the last", "between": "between"}
"""Time ranges of events."""

UNITS: Final = {"day": "days", "hour": "hours", "minute": "minutes"}
"""Units of windows."""

FUNNEL_STEPS: Final = {"did": "and then did", "did_not": "and then did not do"}
"""Funnel steps after an event."""

ADDITIONS: Final = {
    "ask": "where a property …",
    "did": "and then did …",
    "did_not": "and then did not do …",
    "then_ask": "where a property of the next event …",
    "source": "only from a source …",
}
"""Optional parts of a line about events."""

OPERATORS: Final = {
    "=": "is",
    "!=": "is not",
    ">": "is more than",
    ">=": "is at least",
    "<": "is less than",
    "<=": "is at most",
    "contains": "contains",
    "omits": "does not contain",
    "starts_with": "starts with",
    "ends_with": "ends with",
    "one_of": "is one of (a, b)",
    "none_of": "is none of (a, b)",
    "exists": "exists",
    "absent": "does not exist",
    "before_date": "is on or before the date",
    "after_date": "is on or after the date",
    "within_last": "is in the last … days",
    "before_last": "is more than … days ago",
    "within_next": "is in the next … days",
    "after_next": "is more than … days ahead",
}
"""Operators of conditions on a property or trait."""

PARENT_OPERATORS: Final = {"same": "is the same as in the first event", "other": "differs from the first event"}
"""Operators that compare a property of a funnel step with a property of the event before it."""

FUNNEL_OPERATORS: Final = {**OPERATORS, **PARENT_OPERATORS}
"""Operators of conditions on a property of a funnel step."""

SOURCE_UNSET: Final = "?"
"""Placeholder for a source that is not chosen yet."""

VALUELESS_OPERATORS: Final = ("exists", "absent")

REDUCERS: Final = {
    "count": "count",
    "sum": "the sum of",
    "avg": "the average of",
    "min": "minimum",
    "max": "maximum",
    "first": "the first",
    "last": "the last",
    "mode": "the most frequent",
    "unique": "the list of unique",
    "unique_count": "the number of unique",
}
"""Reducers of computed traits."""


@dataclass(frozen=True, kw_only=True)
class TraitCondition:
    """A condition on one property or trait, as typed.

    Attributes:
        path: Name of the property, or key of the trait.
        operator: A key of `OPERATORS`; for a funnel step, of `FUNNEL_OPERATORS`.
        value: Value to compare with; several are separated by commas. For a comparison with the first event, the name
            of its property, "" if it is the same.
    """

    path: str = ""
    operator: str = "="
    value: str = ""

    @property
    def is_filled(self) -> bool:
        """True if the condition is complete."""
        return bool(
            self.path and (self.value or self.operator in VALUELESS_OPERATORS or self.operator in PARENT_OPERATORS)
        )


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line, every field as it is typed.

    Attributes:
        kind: A key of `KINDS`.
        event: Name of the event.
        measure: A key of `MEASURES`.
        of: Property that is measured.
        counted: A key of `COMPARISONS`.
        times: Count or amount to compare with.
        span: A key of `TIME_RANGES`.
        begin: Minimum age of events, for the range `between`.
        window: Maximum age of events.
        unit: Unit of `begin` and `window`: a key of `UNITS`.
        conditions: Conditions on properties of the event. A line about a trait has exactly one; a line about an
            audience has its key as the `path`.
        then: A key of `FUNNEL_STEPS`, "" for a line without a funnel step.
        then_event: Name of the next event.
        then_window: Maximum time until the next event, "" for no limit.
        then_unit: A key of `UNITS`.
        then_conditions: Conditions on properties of the next event.
        source: Slug of the only source, "" for all sources, `SOURCE_UNSET` if none is chosen yet.
    """

    kind: str = "did"
    event: str = ""
    measure: str = "count"
    of: str = ""
    counted: str = ">="
    times: str = "1"
    span: str = ""
    begin: str = ""
    window: str = ""
    unit: str = "day"
    conditions: Sequence[TraitCondition] = ()
    then: str = ""
    then_event: str = ""
    then_window: str = ""
    then_unit: str = "day"
    then_conditions: Sequence[TraitCondition] = ()
    source: str = ""

    @property
    def condition(self) -> TraitCondition:
        """The only condition of a line about a trait or an audience."""
        return self.conditions[0] if self.conditions else TraitCondition()


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A definition that the builder can show.

    Attributes:
        joined: `and` or `or`.
        reducer: For a computed trait: a key of `REDUCERS`.
        of: For a computed trait: the property that is reduced.
    """

    lines: Sequence[Line] = field(default_factory=lambda: (Line(),))
    joined: str = "and"
    reducer: str = "count"
    of: str = ""
