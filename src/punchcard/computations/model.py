"""The definition of an audience or computed trait as a tree; its JSON form is these structs, tagged by `kind`.

`{"kind": "comparison", "left": {"kind": "events", "name": "Order Completed", "reducer": "count"}, "operator":
"at_least", "right": [{"kind": "literal", "value": 1}]}` is `event('Order Completed').count() >= 1`.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Final, Literal

import msgspec

MICROS: Final = {
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": 86_400_000_000,
}
"""Microseconds of each unit of time."""

DAY_MICROS: Final = MICROS["day"]
_UNESCAPED_DOT: Final = re.compile(r"(?<!\\)\.")
_ENTRIES: Final = re.compile(r"(?<!\\)\.\$(?:\.|$)")


class Operator(StrEnum):
    """How a value is compared; names as in Segment's language."""

    EQUALS = "equals"
    DIFFERS = "differs"  # false for a value that does not exist
    GREATER_THAN = "greater_than"
    AT_LEAST = "at_least"
    LESS_THAN = "less_than"
    AT_MOST = "at_most"
    EXISTS = "exists"
    ABSENT = "absent"
    CONTAINS = "contains"  # contains at least one of the texts
    OMITS = "omits"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    ONE_OF = "one_of"
    NONE_OF = "none_of"
    BEFORE_DATE = "before_date"  # that day or earlier
    AFTER_DATE = "after_date"  # that day or later
    WITHIN_LAST = "within_last"  # today or one of the days before
    WITHIN_NEXT = "within_next"
    BEFORE_LAST = "before_last"  # that many days ago, or earlier
    AFTER_NEXT = "after_next"


SIGNS: Final = {
    "==": Operator.EQUALS,
    "=": Operator.EQUALS,
    "!=": Operator.DIFFERS,
    ">=": Operator.AT_LEAST,
    "<=": Operator.AT_MOST,
    ">": Operator.GREATER_THAN,
    "<": Operator.LESS_THAN,
}
ORDERING: Final = frozenset({Operator.GREATER_THAN, Operator.AT_LEAST, Operator.LESS_THAN, Operator.AT_MOST})
BY_DAYS: Final = frozenset({Operator.WITHIN_LAST, Operator.WITHIN_NEXT, Operator.BEFORE_LAST, Operator.AFTER_NEXT})
BY_DATE: Final = frozenset({Operator.BEFORE_DATE, Operator.AFTER_DATE})
OF_TEXT: Final = frozenset({Operator.CONTAINS, Operator.OMITS, Operator.STARTS_WITH, Operator.ENDS_WITH})
OF_LIST: Final = frozenset({Operator.ONE_OF, Operator.NONE_OF})


class Reducer(StrEnum):
    """How the events of a person are reduced to one value."""

    COUNT = "count"  # number of events
    SUM = "sum"
    AVG = "avg"  # rounded to six decimals
    MIN = "min"
    MAX = "max"
    MODE = "mode"  # the most frequent value; the alphabetically first of several
    FIRST = "first"
    LAST = "last"
    UNIQUE = "unique"  # the distinct values, in alphabetical order
    UNIQUE_COUNT = "unique_count"


OF_NUMBERS: Final = frozenset({Reducer.SUM, Reducer.AVG})
COUNTING: Final = frozenset({Reducer.COUNT, Reducer.UNIQUE_COUNT})


class _Part(msgspec.Struct, frozen=True, tag_field="kind", forbid_unknown_fields=True, omit_defaults=True):
    """A node of a definition."""


class Duration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A duration as written: `7 days`."""

    amount: int
    unit: Literal["second", "minute", "hour", "day"]

    @property
    def micros(self) -> int:
        """Microseconds; a day is 24 hours."""
        return self.amount * MICROS[self.unit]


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Selects events by their age: at least `begin` and less than `end`."""

    end: Duration
    begin: Duration | None = None


class LiteralValue(_Part, frozen=True, tag="literal"):
    """A text, a number, true or false."""

    value: bool | int | float | str

    @property
    def is_number(self) -> bool:
        """True for a number."""
        return isinstance(self.value, int | float) and not isinstance(self.value, bool)

    def decimal(self) -> Decimal:
        """Return the number as written."""
        return Decimal(str(self.value))

    def text(self) -> str:
        """Return the value as text for comparisons: `true` for true, a number as written."""
        return ("true" if self.value else "false") if isinstance(self.value, bool) else str(self.value)


class Span(_Part, frozen=True, tag="duration"):
    """A duration of a comparison in hours, minutes or seconds; whole days are a literal number."""

    amount: int
    unit: Literal["second", "minute", "hour"]

    @property
    def micros(self) -> int:
        """Microseconds."""
        return self.amount * MICROS[self.unit]


class _Member(_Part, frozen=True):
    """A member of an event's payload: `a.b` for a nested one, `a.$.b` for the `b` of any entry of a list."""

    path: str

    @property
    def list_path(self) -> str | None:
        """The path of the list if its entries are compared, None if the path has no list."""
        return _list_path(self.path)

    @property
    def path_in_entry(self) -> str:
        """The path inside an entry, "" for the entry itself."""
        return _path_in_entry(self.path)


class Property(_Member, frozen=True, tag="property"):
    """A property of the event, or of the parent event in a funnel."""

    of_parent: bool = False


class Context(_Member, frozen=True, tag="context"):
    """A member of the event's context, such as `page.url`."""


class Trait(_Part, frozen=True, tag="trait"):
    """A trait of the person: custom or computed; an audience's key is true for its members.

    Attributes:
        key: The trait's name, or a path into it as for a property: `address.city`, `orders.$.sku`.
    """

    key: str

    @property
    def name(self) -> str:
        """The name of the trait itself."""
        return dependencies_of(self.key)[0]

    @property
    def inner(self) -> tuple[str, ...]:
        """The names that lead from the trait to the compared value, or to the list with the compared entries."""
        path = self.key if self.list_path is None else self.list_path
        return tuple(dependencies_of(path)[1:])

    @property
    def list_path(self) -> str | None:
        """The path of the list if its entries are compared, None if the path has no list."""
        return _list_path(self.key)

    @property
    def path_in_entry(self) -> str:
        """The path inside an entry, "" for the entry itself."""
        return _path_in_entry(self.key)


class Events(_Part, frozen=True, tag="events"):
    """The person's events with one name, reduced to one value.

    Attributes:
        name: The event's name; `Page Viewed` and `Screen Viewed` are page and screen calls.
        where: A condition on the events; inside a parent's `where` this is a funnel's child.
        window: A condition on their age.
        within_parent: For a child: maximum time after the parent.
        after_parent: For a child: minimum time after the parent.
        session: Only the latest run of events with gaps shorter than this; the newest event is not older than this.
        of: The reduced property; None for `count`.
        min_frequency: For `mode`: minimum number of occurrences of a value.
        as_text: For `min` and `max`: compare alphabetically.
        as_array: For `mode` of the entries of a list: the whole list is one value.
        sources: Slugs of the only sources, or of the excluded ones.
        since: Earlier events do not count, microseconds since 1970. Not part of the language: see `beginning_at`.
    """

    name: str
    reducer: Reducer
    of: Property | Context | None = None
    where: "Condition | None" = None
    window: Window | None = None
    within_parent: Duration | None = None
    after_parent: Duration | None = None
    session: Duration | None = None
    min_frequency: int = 2
    as_text: bool = False
    as_array: bool = False
    sources: tuple[str, ...] = ()
    sources_left_out: bool = False
    since: int = 0


class Comparison(_Part, frozen=True, tag="comparison"):
    """A comparison of a value with others; `right` is empty for `exists` and `absent`."""

    left: Events | Trait | Property | Context
    operator: Operator
    right: tuple[LiteralValue | Span | Property | Trait, ...] = ()


class Not(_Part, frozen=True, tag="not"):
    """The negation of a condition."""

    condition: "Condition"


class And(_Part, frozen=True, tag="and"):
    """True if all conditions are true."""

    conditions: "tuple[Condition, ...]"


class Or(_Part, frozen=True, tag="or"):
    """True if at least one condition is true."""

    conditions: "tuple[Condition, ...]"


class StaticList(_Part, frozen=True, tag="list"):
    """True for the members of an uploaded list. It is always a whole definition.

    Attributes:
        name: Key of the audience that it is the definition of.
    """

    name: str


Condition = Comparison | Not | And | Or | StaticList
Definition = Comparison | Not | And | Or | StaticList | Events
"""A condition for an audience, reduced events for a computed trait."""


def _list_path(path: str) -> str | None:
    match = _ENTRIES.search(path)
    return None if match is None else path[: match.start()]


def _path_in_entry(path: str) -> str:
    match = _ENTRIES.search(path)
    return path if match is None else path[match.end() :]


def dependencies_of(path: str) -> list[str]:
    """Return the names that a path leads through; a dot after a backslash is part of a name."""
    return [name.replace("\\.", ".") for name in _UNESCAPED_DOT.split(path)] if path else []


def all_events(part: Definition) -> Iterator[Events]:
    """Yield every `event(…)` of a definition; a funnel's children follow their parent."""
    match part:
        case Events():
            yield part
            if part.where is not None:
                yield from all_events(part.where)
        case Comparison():
            if isinstance(part.left, Events):
                yield from all_events(part.left)
        case Not():
            yield from all_events(part.condition)
        case And() | Or():
            for condition in part.conditions:
                yield from all_events(condition)


def comparisons(part: Definition) -> Iterator[Comparison]:
    """Yield every comparison of a definition, including those inside `where`."""
    match part:
        case Comparison():
            yield part
            if isinstance(part.left, Events):
                yield from comparisons(part.left)
        case Events():
            if part.where is not None:
                yield from comparisons(part.where)
        case Not():
            yield from comparisons(part.condition)
        case And() | Or():
            for condition in part.conditions:
                yield from comparisons(condition)


def trait_keys(part: Definition) -> set[str]:
    """Return the names of the traits that a definition uses."""
    return {trait.name for trait in traits_of(part)}


def traits_of(part: Definition) -> set[Trait]:
    """Return the traits that a definition uses, with their paths."""
    traits: set[Trait] = set()
    for comparison in comparisons(part):
        traits.update(side for side in (comparison.left, *comparison.right) if isinstance(side, Trait))
    return traits


def funnel_children(events: Events) -> list[Events]:
    """Return the events inside another's `where`: events that followed, or did not."""
    return [] if events.where is None else list(all_events(events.where))


def depends_on_day(part: Definition) -> bool:
    """Return whether the result may change at midnight without new events."""
    return any(comparison.operator in BY_DAYS for comparison in comparisons(part))


def depends_on_moment(part: Definition) -> bool:
    """Return whether the result may change at any moment without new events: `within_last(12 hours)`."""
    return any(isinstance(item, Span) for comparison in comparisons(part) for item in comparison.right)


def depends_on_zone(part: Definition) -> bool:
    """Return whether the result depends on the time zone."""
    return any(comparison.operator in BY_DATE | BY_DAYS for comparison in comparisons(part))


def time_limits(part: Definition) -> set[tuple[str, int]]:
    """Return the ages at which an event changes a result: its name and the age in microseconds.

    Age 0 is the moment at which an event with a future time starts to count.
    """
    limits: set[tuple[str, int]] = set()
    for events in all_events(part):
        ages = {0}
        if events.window is not None:
            ages.add(events.window.end.micros)
            if events.window.begin is not None:
                ages.add(events.window.begin.micros)
        if events.session is not None:
            ages.add(events.session.micros)
        limits.update((events.name, age) for age in ages)
    return limits


def beginning_at(part: Definition, since: int) -> Definition:
    """Return the definition without history: events before `since` (microseconds since 1970) do not count."""
    match part:
        case Events():
            where = None if part.where is None else _condition_beginning_at(part.where, since)
            return msgspec.structs.replace(part, where=where, since=since)
        case _:
            return _condition_beginning_at(part, since)


def _condition_beginning_at(part: Condition, since: int) -> Condition:
    match part:
        case Comparison(left=Events() as events):
            return msgspec.structs.replace(part, left=beginning_at(events, since))
        case Comparison() | StaticList():
            return part
        case Not():
            return Not(_condition_beginning_at(part.condition, since))
        case _:
            inside = tuple(_condition_beginning_at(condition, since) for condition in part.conditions)
            return msgspec.structs.replace(part, conditions=inside)


def to_json(definition: Definition) -> bytes:
    """Return the definition as JSON text."""
    return msgspec.json.encode(definition)
