"""Random definitions and random histories, for tests that compare two ways of computing."""

from typing import Any

from hypothesis import strategies as st

from punchcard.computations.checks import comparison_problem
from punchcard.computations.model import (
    COUNTING,
    SIGNS,
    And,
    Comparison,
    Condition,
    Context,
    Duration,
    Events,
    LiteralValue,
    Not,
    Operator,
    Or,
    Property,
    Reducer,
    Span,
    Trait,
    Window,
)

NAMES = ("Order Completed", "Cart Viewed")
PATHS = ("revenue", "revenue", "sku", "sku", "n", "a.b", "when")
TRAITS = ("vip", "age", "seen", "address.city", "address.zip.code", "dotted\\.name", "dotted.name")
TRAIT_ENTRIES = ("tags.$", "orders.$.sku", "address.lines.$")
ENTRIES = ("items.$.sku", "items.$.n", "tags.$")
DATES = (
    "2026-03-08",
    "2026-03-09",
    "2026-03-08T09:30:00Z",
    "2026-03-08T01:30:00-08:00",
    "2026-03-08T02:30",  # an hour that Los Angeles does not have
    "2026-03-08T23:59:00.5+05:30",
)
SOURCES = ("web", "pos")

_texts = st.sampled_from(["a", "b", "gold", "12", "it's", "ä", "%", "2026-03-08T01:30:00-08:00"])
_numbers = st.sampled_from([0, 1, 2, 5, 9.99, 50, -3])
# Few lengths, and events exactly at them: most mistakes are at the borders.
_durations = st.builds(Duration, st.sampled_from([1, 6, 12, 24, 36]), st.just("hour")) | st.builds(
    Duration, st.sampled_from([1, 2, 3]), st.just("day")
)
HOURS = (-96, -73, -72, -48, -47, -36, -24, -13, -12, -7, -6, -1, 0, 1)
_properties = st.builds(Property, st.sampled_from(PATHS))
_values: Any = _properties | _properties | st.builds(Context, st.sampled_from(["page.url", "n"]))
_entries = st.builds(Property, st.sampled_from(ENTRIES))
_traits = st.builds(Trait, st.sampled_from(TRAITS))
_trait_entries = st.builds(Trait, st.sampled_from(TRAIT_ENTRIES))
_spans = st.builds(Span, st.sampled_from([1, 12, 30]), st.just("hour")) | st.just(Span(90, "minute"))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Generate a window of some hours or days."""
    first, second = draw(_durations), draw(_durations)
    if draw(st.booleans()) or first.micros == second.micros:
        return Window(end=first)
    begin, end = sorted((first, second), key=lambda duration: duration.micros)
    return Window(end=end, begin=begin)


@st.composite
def comparisons(draw: st.DrawFn, left: Any, *, parent: bool = False) -> Comparison:
    """Generate a valid comparison."""
    value = draw(left)
    operator = draw(st.sampled_from(list(Operator)) | st.sampled_from(list(SIGNS.values())))
    others: Any = _traits if isinstance(value, Events | Trait) else _properties
    if parent:
        others |= st.builds(Property, st.sampled_from(PATHS), st.just(True))
    literal = st.builds(LiteralValue, _texts | _numbers | st.booleans())
    match operator:
        case Operator.EXISTS | Operator.ABSENT:
            right: tuple[Any, ...] = ()
        case Operator.WITHIN_LAST | Operator.WITHIN_NEXT | Operator.BEFORE_LAST | Operator.AFTER_NEXT:
            right = (draw(st.builds(LiteralValue, st.integers(1, 9)) | _spans),)
        case Operator.BEFORE_DATE | Operator.AFTER_DATE:
            right = (LiteralValue(draw(st.sampled_from(DATES))),)
        case Operator.ONE_OF | Operator.NONE_OF | Operator.CONTAINS | Operator.OMITS:
            right = tuple(draw(st.lists(literal, min_size=1, max_size=2)))
        case _:
            right = (draw(literal | others),)
    if isinstance(value, Events) and value.reducer in COUNTING and draw(st.booleans()):
        operator = draw(st.sampled_from(list(SIGNS.values())))
        right = (LiteralValue(draw(st.integers(0, 3))),)
    comparison = Comparison(value, operator, right)
    return comparison if comparison_problem(comparison) is None else Comparison(value, Operator.EXISTS)


@st.composite
def events(draw: st.DrawFn, *, is_child: bool = False) -> Events:
    """Generate events reduced to a value; with `is_child` the second step of a funnel."""
    reducers = [reducer for reducer in Reducer if not (is_child and reducer is Reducer.MODE)]
    reducer = draw(st.sampled_from(reducers))
    where = draw(st.none() | st.none() | wheres(is_child=is_child)) if draw(st.booleans()) else None
    has_session = not is_child and draw(st.integers(0, 5)) == 0
    window = None if has_session else draw(st.none() | windows())
    of = None if reducer is Reducer.COUNT else draw(_values | _entries)
    behind = draw(st.none() | st.none() | windows()) if is_child else None
    return Events(
        draw(st.sampled_from(NAMES)),
        reducer,
        of=of,
        where=where,
        window=window,
        within_parent=None if behind is None else behind.end,
        after_parent=None if behind is None else behind.begin,
        session=draw(_durations) if has_session else None,
        min_frequency=draw(st.sampled_from([1, 2, 3])) if reducer is Reducer.MODE else 2,
        as_text=reducer in (Reducer.MIN, Reducer.MAX) and draw(st.booleans()),
        as_array=reducer is Reducer.MODE and of is not None and of.list_path is not None and draw(st.booleans()),
        sources=() if is_child else draw(st.sampled_from([(), (), ("web",), ("web", "pos")])),
    )


def wheres(*, is_child: bool) -> st.SearchStrategy[Condition]:
    """Generate conditions on events; a parent's may include events that followed."""
    plain = comparisons(_values, parent=is_child) | comparisons(_entries) | comparisons(_traits | _trait_entries)
    if not is_child:
        plain |= comparisons(events(is_child=True))
    return _joined(plain, size=2)


def audiences() -> st.SearchStrategy[Condition]:
    """Generate the complete definition of an audience."""
    return _joined(counted() | comparisons(events()) | comparisons(_traits | _trait_entries), size=3)


def counted() -> st.SearchStrategy[Comparison]:
    """Generate the most common condition: how often something has happened."""
    few = st.builds(Events, st.sampled_from(NAMES), st.just(Reducer.COUNT), window=st.none() | windows())
    number = st.tuples(st.builds(LiteralValue, st.integers(0, 3)))
    return st.builds(Comparison, few, st.sampled_from(list(SIGNS.values())), number)


def _joined(plain: st.SearchStrategy[Any], *, size: int) -> st.SearchStrategy[Condition]:
    return st.recursive(
        plain,
        lambda inner: (
            st.builds(Not, inner) | st.builds(And, st.tuples(inner, inner)) | st.builds(Or, st.tuples(inner, inner))
        ),
        max_leaves=size,
    )


def traits() -> st.SearchStrategy[dict[str, Any]]:
    """Generate the traits of a person."""
    value = st.sampled_from([None, True, 5, 9.99, "a", "gold", "12", "it's"])
    when = st.sampled_from(
        ["2026-03-08T01:30:00-08:00", "2026-03-05T00:00Z", "2026-03-10T05:00:00+09:00", "2026-03-08", "2026-03-31", "x"]
    )
    address = st.fixed_dictionaries(
        {}, optional={"city": value, "zip": st.fixed_dictionaries({"code": value}) | value, "lines": st.lists(value)}
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "vip": st.sampled_from([True, "true", "gold", False]),
            "age": st.sampled_from([5, "12", 9.99, "a"]),
            "seen": when,
            "address": address | value,
            "dotted.name": value,
            "dotted": st.fixed_dictionaries({"name": value}) | value,
            "tags": st.lists(value, max_size=3) | value,
            "orders": st.lists(st.fixed_dictionaries({"sku": value}) | value, max_size=3),
        },
    )


def properties() -> st.SearchStrategy[dict[str, Any]]:
    """Generate the properties of an event."""
    value = st.sampled_from([None, True, 0, 1, 5, 9.99, 50, "a", "b", "gold", "12", "it's", "ä", "x%y"])
    when = st.sampled_from(
        [
            "2026-03-08T01:30:00-08:00",
            "2026-03-08T23:59:00Z",
            "2026-03-07",
            "2026-03-08",
            "2026-02-30",
            "2026-03-09T00:30+09:00",
            "2026-03-09T06:59:59Z",
            "2026-03-09T07:00:00Z",
            "2026-03-08T10:00:00",
        ]
    )
    items = st.just("a") | st.fixed_dictionaries({}, optional={"sku": st.sampled_from(["a", "b", None]), "n": value})
    return st.fixed_dictionaries(
        {"revenue": st.sampled_from([1, 5, 9.99, 50, "9.99", "a", None, -3]), "sku": st.sampled_from(["a", "b"])},
        optional={
            "n": value,
            "a": st.fixed_dictionaries({}, optional={"b": value}),
            "when": when,
            "items": st.lists(items, max_size=3) | st.just("a"),
            "tags": st.lists(value, max_size=3) | st.just({"a": "b"}),
        },
    )
