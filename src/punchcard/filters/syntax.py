"""The syntax tree of a filter condition.

Source: Segment's documentation, "Destination Filters Query Language".
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

PATH_PARTS_MAX: Final = 100
COMPARISONS: Final = ("=", "!=", ">=", "<=", ">", "<")


@dataclass(frozen=True, slots=True)
class Path:
    """A place in the event, from its root: `properties.revenue` is `("properties", "revenue")`."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, a number, true, false or null."""

    value: str | Decimal | bool | None


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of values."""

    items: "tuple[Value, ...]"


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments."""

    name: str
    arguments: "tuple[Value, ...]"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two values compared; `operator` is one of `COMPARISONS`."""

    operator: str
    left: "Value"
    right: "Value"


@dataclass(frozen=True, slots=True)
class In:
    """True if the list contains the value."""

    value: "Value"
    among: "Value"


@dataclass(frozen=True, slots=True)
class Not:
    """The negation of a condition."""

    condition: "Condition"


@dataclass(frozen=True, slots=True)
class And:
    """True if all conditions are true; two or more."""

    conditions: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """True if at least one condition is true; two or more."""

    conditions: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Everything:
    """`all`: every event."""


Value = Path | Literal | ListOf | Call
Condition = Value | Comparison | In | Not | And | Or | Everything
