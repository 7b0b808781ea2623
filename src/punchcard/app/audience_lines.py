"""Definitions of audiences and computed traits as lines of a builder, so that nobody has to write the language."""

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
"""What a line is about."""

EVENT_KINDS: Final = ("did", "did_not")
AUDIENCE_KINDS: Final = ("in", "not_in")

MEASURES: Final = {
    "count": "count",
    "sum": "the sum of",
    "avg": "the average of",
    "min": "minimum",
    "max": "maximum",
}
"""What of the events is compared."""

COMPARISONS: Final = {">=": "at least", "=": "exactly", "<=": "at most", ">": "more than", "<": "less than"}
"""How it is compared."""

TIME_RANGES: Final = {"": "at any time", "within": "within the last", "between": "between"}
"""When something was done."""

UNITS: Final = {"day": "days", "hour": "hours", "minute": "minutes"}
"""Units of windows."""

FUNNEL_STEPS: Final = {"did": "and then did", "did_not": "and then did not do"}
"""What came after the event."""

ADDITIONS: Final = {
    "ask": "where a property …",
    "did": "and then did …",
    "did_not": "and then did not do …",
    "then_ask": "where a property of what followed …",
    "source": "only from a source …",
}
"""What a line about events can say besides."""

OPERATORS: Final = {
    "=": "is",
    "!=": "is not",
    ">": "is more than",
    ">=": "is at least",
    "<": "is less than",
    "<=": "is at most",
    "contains": "contains",
    "omits": "does not contain",
    "starts_with": "begins with",
    "ends_with": "ends with",
    "one_of": "is one of (a, b)",
    "none_of": "is none of (a, b)",
    "exists": "is there",
    "absent": "is missing",
    "before_date": "is on or before the day",
    "after_date": "is on or after the day",
    "within_last": "is in the last … days",
    "before_last": "is longer ago, in days",
    "within_next": "is in the next … days",
    "after_next": "is further ahead, in days",
}
"""What a line asks of a property or trait."""

PARENT_OPERATORS: Final = {"same": "is as in the first event", "other": "is not as in the first event"}
"""What a funnel asks of a property of what followed: against one of the event before it."""

FUNNEL_OPERATORS: Final = {**OPERATORS, **PARENT_OPERATORS}
"""All that is asked of a property of what followed."""

SOURCE_UNSET: Final = "?"
"""Stands for a source that is still to be chosen."""

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
    "unique": "the list of all",
    "unique_count": "how many different",
}
"""What a computed trait says of the events."""


@dataclass(frozen=True, kw_only=True)
class TraitCondition:
    """What is asked of one property or trait, as it is typed.

    Attributes:
        path: The property's name, or the trait's key.
        operator: A key of `OPERATORS`, of what followed one of `FUNNEL_OPERATORS`.
        value: What it is compared with; with commas between several. Of the first event's property the name, "" if it
            is the same.
    """

    path: str = ""
    operator: str = "="
    value: str = ""

    @property
    def is_filled(self) -> bool:
        """Whether it says something already."""
        return bool(
            self.path and (self.value or self.operator in VALUELESS_OPERATORS or self.operator in PARENT_OPERATORS)
        )


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line, every field as it is typed.

    Attributes:
        kind: A key of `KINDS`.
        event: Name of the event.
        measure: A key of `MEASURES`.
        of: The property that is measured.
        counted: A key of `COMPARISONS`.
        times: How often, or how much.
        span: A key of `TIME_RANGES`.
        begin: How long ago at least; of the span `between`.
        window: How long ago at most.
        unit: Of both: a key of `UNITS`.
        conditions: Of properties of the event; of a trait the only one; of an audience its key is the `path`.
        then: A key of `FUNNEL_STEPS`, "" for a line that is no funnel.
        then_event: What came next, or did not.
        then_window: How long behind at most, "" for ever.
        then_unit: A key of `UNITS`.
        then_conditions: Of properties of what came next.
        source: Slug of the only source, "" for all, `SOURCE_UNSET` for one that is still to be chosen.
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
        """The only one of a line about a trait or an audience."""
        return self.conditions[0] if self.conditions else TraitCondition()


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A definition that the builder can show.

    Attributes:
        joined: `and` or `or`.
        reducer: Of a computed trait: a key of `REDUCERS`.
        of: Of a computed trait: the property that is reduced.
    """

    lines: Sequence[Line] = field(default_factory=lambda: (Line(),))
    joined: str = "and"
    reducer: str = "count"
    of: str = ""
