"""Transformations: what they change, what they leave, and that no event makes them raise."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from punchcard.errors import ConfigurationError
from punchcard.events.model import Event
from punchcard.events.notes import limited
from punchcard.events.parse import read_request, with_text
from punchcard.filters.change_sets import Transformed, apply_stored
from punchcard.filters.transformation_definitions import (
    TransformationDefinition,
    refuse_harmful,
    split_path,
)
from punchcard.filters.transformations import Transformations

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def read(body: dict[str, Any] | bytes) -> Event:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    (event,) = read_request(b'{"batch":[' + text + b"]}", call="batch", received_at=NOW, position=1)
    assert isinstance(event, Event), event
    return event


def track(name: str = "A", **properties: Any) -> Event:
    return read({"type": "track", "event": name, "userId": "u", "messageId": "m", "properties": properties})


def definition(condition: str = "all", **changes: Any) -> TransformationDefinition:
    return TransformationDefinition(name="T", condition=condition, **changes)


def after(event: Event, *definitions: TransformationDefinition) -> dict[str, Any]:
    transformed = Transformations(definitions).apply(event)
    assert transformed is not None
    assert transformed.event is not None, transformed
    return dict(json.loads(transformed.event.raw, parse_float=Decimal))


@pytest.mark.parametrize(
    ("changes", "before", "expected"),
    [
        ({"renames": [("a", "b")]}, {"a": 1}, {"b": 1}),
        ({"renames": [("a", "b")]}, {"a": 1, "b": 2}, {"b": 1}),
        ({"renames": [("o.id", "id")]}, {"o": {"id": 1, "x": 2}}, {"o": {"x": 2}, "id": 1}),
        ({"renames": [("a", "o.a")]}, {"a": 1}, {"o": {"a": 1}}),
        ({"renames": [("a\\.b", "c")]}, {"a.b": 1}, {"c": 1}),
        ({"renames": [("a", "o.a")]}, {"a": 1, "o": 3}, None),
        ({"renames": [("a", "b")]}, {"c": 1}, None),
        ({"values": [("properties.c", "USD")]}, {"c": "usd"}, {"c": "USD"}),
        ({"values": [("properties.c", "USD")]}, {"c": "USD"}, None),
        ({"values": [("properties.c", None)]}, {"c": 1}, {"c": None}),
        ({"values": [("properties.o.c", 5)]}, {"o": None}, {"o": {"c": 5}}),
        ({"fql_properties": [("b", "uppercase( properties.a )")]}, {"a": "x"}, {"a": "x", "b": "X"}),
        ({"fql_properties": [("a", "lowercase( properties.a )")]}, {"a": "X"}, {"a": "x"}),
        ({"fql_properties": [("a", "lowercase( properties.a )")]}, {"a": "x"}, None),
        (
            {"fql_properties": [("o.b", "properties.a")]},
            {"a": [1, {"x": 2}]},
            {"a": [1, {"x": 2}], "o": {"b": [1, {"x": 2}]}},
        ),
        ({"fql_properties": [("b", "number( properties.a )")]}, {"a": "19.99"}, {"a": "19.99", "b": 19.99}),
        ({"fql_properties": [("b", "properties.a > 5 and !properties.c")]}, {"a": 9}, {"a": 9, "b": True}),
        ({"fql_properties": [("b", "event")]}, {}, {"b": "A"}),
        ({"fql_properties": [("b", "'x'"), ("c", "3.50"), ("d", "false")]}, {}, {"b": "x", "c": 3.5, "d": False}),
        ({"fql_properties": [("b", "[properties.a, 'x']")]}, {"a": 1}, {"a": 1, "b": [1, "x"]}),
        # The expression sees the event as the condition does; its value is set behind all other changes.
        ({"fql_properties": [("n", "properties.a")], "renames": [("a", "b")]}, {"a": 1}, {"b": 1, "n": 1}),
        ({"fql_properties": [("n", "properties.a")], "property_drops": ["a"]}, {"a": 1}, {"n": 1}),
        ({"fql_properties": [("n", "properties.a")], "allow_properties": ["b"]}, {"a": 1, "b": 2}, {"b": 2, "n": 1}),
        ({"property_drops": ["a", "o.x"]}, {"a": 1, "o": {"x": 1, "y": 2}}, {"o": {"y": 2}}),
        ({"allow_properties": ["a"]}, {"a": 1, "b": 2}, {"a": 1}),
        ({"allow_properties": ["a"]}, {"a": 1}, None),
    ],
)
def test_properties_are_changed_and_all_others_stay(
    changes: dict[str, Any], before: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    transformed = Transformations([definition(**changes)]).apply(track(**before))
    if expected is None:
        assert transformed is None
    else:
        assert transformed is not None
        assert transformed.event is not None
        assert json.loads(transformed.event.raw)["properties"] == expected
        assert transformed.notes


def test_amounts_keep_their_digits() -> None:
    text = b'{"type":"track","event":"A","userId":"u","messageId":"m","properties":{"a":1,"x":12.3400000000000000001}}'
    transformed = Transformations([definition(renames=[("a", "b")])]).apply(read(text))
    assert transformed is not None
    assert transformed.event is not None
    assert b'"x":12.3400000000000000001' in transformed.event.raw


@pytest.mark.parametrize(
    ("fql", "properties", "problem"),
    [
        ("properties.a", {}, "has no value"),
        ("properties.a", {"a": None}, "has no value"),
        ("uppercase( properties.a )", {"a": 3}, "has no value"),
        ("number( properties.a )", {"a": "many"}, "has no value"),
        ("number( properties.a )", {"a": "1e999"}, "is not a finite number"),
        ("properties.a", {"a": 1, "o": 3}, "a value on the path is not an object"),
    ],
)
def test_an_expression_without_a_value_sets_nothing_and_says_why(
    fql: str, properties: dict[str, Any], problem: str
) -> None:
    name = "o.b" if "o" in properties else "b"
    event = track(**properties)
    transformed = Transformations([definition(fql_properties=[(name, fql)])]).apply(event)
    assert transformed is not None
    assert transformed.event is event
    (note,) = transformed.notes
    assert note.reason == "value_not_computed"
    assert note.detail.startswith(f'transformation "T": properties.{name} is not set: ')
    assert problem in note.detail


def test_a_value_that_cannot_be_computed_leaves_the_other_changes() -> None:
    changes: dict[str, Any] = {
        "fql_properties": [("b", "properties.none"), ("c", "properties.a")],
        "renames": [("a", "z")],
    }
    transformed = Transformations([definition(**changes)]).apply(track(a=1))
    assert transformed is not None
    assert transformed.event is not None
    assert json.loads(transformed.event.raw)["properties"] == {"z": 1, "c": 1}
    assert [note.reason for note in transformed.notes] == ["transformed", "value_not_computed", "transformed"]
    assert transformed.notes[-1].detail == 'transformation "T": properties.c (none) → 1'


def test_a_copied_amount_keeps_its_digits() -> None:
    text = b'{"type":"track","event":"A","userId":"u","messageId":"m","properties":{"x":12.3400000000000000001}}'
    transformed = Transformations([definition(fql_properties=[("y", "properties.x")])]).apply(read(text))
    assert transformed is not None
    assert transformed.event is not None
    assert b'"y":12.3400000000000000001' in transformed.event.raw


def test_an_expression_sees_what_the_transformation_before_has_changed() -> None:
    first = definition(values=[("properties.a", "x")], new_event_name="B")
    second = definition(fql_properties=[("b", "uppercase( properties.a )"), ("name", "event")])
    third = definition(fql_properties=[("c", "properties.b = 'X'")])
    assert after(track(), first, second, third)["properties"] == {"a": "x", "b": "X", "name": "B", "c": True}


def test_a_trait_is_computed() -> None:
    event = read({"type": "identify", "userId": "u", "messageId": "m", "traits": {"a": "x"}})
    assert after(event, definition(fql_properties=[("b", "uppercase( traits.a )")]))["traits"] == {"a": "x", "b": "X"}


def test_traits_of_identify_and_group_calls_are_changed() -> None:
    event = read({"type": "identify", "userId": "u", "messageId": "m", "traits": {"a": 1}})
    assert after(event, definition("type = 'identify'", renames=[("a", "b")]))["traits"] == {"b": 1}


def test_each_sees_the_event_as_the_one_before_has_left_it() -> None:
    first = definition("event = 'A'", new_event_name="B")
    second = definition("event = 'B'", values=[("properties.seen", True)])
    third = definition("event = 'A'", drops=True)
    assert after(track(), first, second, third)["properties"] == {"seen": True}
    dropped = Transformations([third, first]).apply(track())
    assert dropped is not None
    assert (dropped.event, dropped.reason) == (None, "dropped_by_transformation")


def test_an_event_that_would_not_be_valid_goes_no_further() -> None:
    transformed = Transformations([definition(values=[("properties.x", "x" * 40_000)])]).apply(track())
    assert transformed is not None
    assert (transformed.event, transformed.reason) == (None, "transformation_failed")
    assert "32 KB" in transformed.detail


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "must change something"),
        ({"renames": [("a", "a")]}, "renamed to itself"),
        ({"renames": [("", "a")]}, "not the name"),
        ({"values": [("properties.a", 1), ("properties.a", 2)]}, "two values"),
        ({"renames": [("a", "b")], "values": [("properties.b", 2)]}, "both renamed and set"),
        ({"values": [("timestamp", "x")]}, "cannot be set"),
        ({"values": [("properties.a", [1])]}, "must be text"),
        ({"values": [("properties.a", "\ud800")]}, "JSON"),
        ({"fql_properties": [("a", "uppercase( ")]}, "The FQL of a is invalid: .*expected"),
        ({"fql_properties": [("a", "")]}, "an expression is expected"),
        ({"fql_properties": [("a", "properties.b properties.c")]}, "at character 14"),
        ({"fql_properties": [("a", "concat( properties.b )")]}, "no function `concat`"),
        ({"fql_properties": [("a", "x" * 6000)]}, "at most 5,120 bytes"),
        ({"fql_properties": [("a..b", "event")]}, "not the name"),
        ({"fql_properties": [("a", "event"), ("a", "type")]}, "changed twice"),
        ({"fql_properties": [("a", "event")], "values": [("properties.a", 1)]}, "changed twice"),
        ({"fql_properties": [("a", "event")], "renames": [("b", "a")]}, "changed twice"),
        ({"fql_properties": [("a", "event")], "property_drops": ["a"]}, "changed twice"),
        ({"fql_properties": [(f"a{n}", "event") for n in range(11)]}, "At most 10"),
        ({"drops": True, "condition": "event ="}, "expected"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Transformations([definition(**{"condition": "all", **changes})])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"new_event_name": " "}, "must not be blank"),
        ({"allow_properties": [""]}, "not the name of a property"),
        ({"allow_properties": ["x" * 301]}, "at most 300"),
        ({"property_drops": ["x" * 301]}, "at most 300"),
        ({"renames": [("a", "x" * 301)]}, "at most 300"),
        ({"renames": [("products[].price", "cost")]}, r"products\[\].price is in a list"),
        ({"renames": [("cost", "products[].price")]}, "is in a list"),
        ({"property_drops": ["tags[]"]}, "is in a list"),
        ({"values": [("properties.products[].price", 1)]}, "is in a list"),
        ({"fql_properties": [("products[].price", "event")]}, "is in a list"),
        ({"renames": [("a", "a.b")]}, "moved into itself"),
        ({"fql_properties": [("x" * 301, "event")]}, "at most 300"),
        ({"values": [("properties.a", 1), ("properties.a.b.c", 2)]}, "inside of properties.a"),
        ({"values": [("properties.a.b", 1), ("properties.a", 2)]}, "inside of properties.a"),
        ({"values": [("properties." + "x" * 301, 1)]}, "at most 300"),
        ({"values": [("properties.a", "x" * 40_000)]}, "has 40,002 bytes"),
        ({"values": [("userId", True)]}, "must be text"),
        ({"values": [("category", 1)]}, "must be text"),
        ({"values": [("anonymousId", "")]}, "must not be empty"),
    ],
)
def test_what_would_lose_values_or_stop_every_event_is_refused_when_saved(
    changes: dict[str, Any], message: str
) -> None:
    Transformations([definition(**changes)])  # one that is stored does not stop the others of its source
    with pytest.raises(ConfigurationError, match=message):
        refuse_harmful(definition(**changes))


def test_no_more_than_that_is_refused() -> None:
    refuse_harmful(
        definition(
            new_event_name="B",
            renames=[("a.b", "a"), ("c", "c2.c")],
            values=[("userId", None), ("name", ""), ("properties.a", ""), ("properties.ab", 1)],
            allow_properties=["a b", r"tags\[\]"],
        )
    )


def test_a_property_that_is_moved_into_itself_stays() -> None:
    assert Transformations([definition(renames=[("a", "a.b")])]).apply(track(a={"b": 1, "c": 2})) is None


def test_a_dot_in_a_name_is_escaped() -> None:
    assert split_path(r"a\.b.c\\d") == ("a.b", "c\\d")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["a", "b", "o.a", "o.b.c", "context.a", "traits.o"])
DEFINITIONS = st.builds(
    TransformationDefinition,
    name=st.just("T"),
    condition=st.sampled_from(
        ["all", "event = 'A'", "contains( properties.a, 'x' )", "properties.o.a > 3", "type = 'page'"]
    ),
    drops=st.just(False),
    new_event_name=st.sampled_from(["B", "A"]),
    renames=st.lists(st.tuples(NAMES, NAMES).filter(lambda pair: pair[0] != pair[1]), max_size=3),
    fql_properties=st.lists(
        st.tuples(
            st.sampled_from(["f", "g.h", "context.f", "x.f"]),
            st.sampled_from(
                [
                    "properties.o",
                    "uppercase( properties.a )",
                    "number( properties.b )",
                    "[traits, context.a]",
                    "length( properties.x )",
                    "string( properties.o )",
                    "event = 'A' or properties.a",
                    "timestamp",
                ]
            ),
        ),
        max_size=2,
        unique_by=lambda pair: pair[0],
    ),
    property_drops=st.lists(NAMES, max_size=2),
    allow_properties=st.lists(st.sampled_from(["a", "o"]), max_size=1),
)


def check_stored_changes(event: Event, transformed: Transformed | None) -> None:
    """Check that stored changes make the same of the received event, and that its members are as its text."""
    if transformed is None or transformed.event is None or transformed.changes is None:
        return
    expected = with_text(transformed.event, transformed.event.raw)
    assert transformed.event.wire == expected.wire
    expected.notes = limited((*event.notes, *transformed.notes))
    assert apply_stored(event, transformed.changes) == expected


@given(
    definitions=st.lists(DEFINITIONS, min_size=1, max_size=4),
    properties=st.dictionaries(st.sampled_from(["a", "b", "o", "x"]) | st.text(max_size=3), JSON, max_size=5),
    traits=JSON,
    context=st.dictionaries(st.sampled_from(["a", "traits"]), JSON, max_size=2),
    call=st.sampled_from(["track", "page", "identify", "group"]),
)
def test_no_event_makes_them_raise(
    definitions: list[TransformationDefinition],
    properties: dict[str, Any],
    traits: Any,
    context: dict[str, Any],
    call: str,
) -> None:
    body = {"type": call, "event": "A", "userId": "u", "groupId": "g", "messageId": "m", "properties": properties}
    text = json.dumps({**body, "traits": traits, "context": context}).encode()
    (event,) = read_request(b'{"batch":[' + text + b"]}", call="batch", received_at=NOW, position=1)
    if not isinstance(event, Event):
        return
    transformed = Transformations(definitions).apply(event)
    check_stored_changes(event, transformed)
    if transformed is not None and transformed.event is not None:
        changed = transformed.event
        assert (changed.type, changed.message_id, changed.timestamp) == (event.type, event.message_id, event.timestamp)
        again = read_request(b'{"batch":[' + changed.raw + b"]}", call="batch", received_at=NOW, position=1)
        assert isinstance(again[0], Event)
    elif transformed is not None:
        assert transformed.reason == "transformation_failed"


def one_by_one(definitions: list[TransformationDefinition], event: Event) -> tuple[Event | None, list[str]]:
    """Return what each transformation makes of the event that the one before has left, with all notes."""
    notes: list[str] = []
    for own in definitions:
        transformed = Transformations([own]).apply(event)
        if transformed is None:
            continue
        notes += [note.detail for note in transformed.notes]
        if transformed.event is None:
            return None, notes
        event = transformed.event
    return event, notes


@given(
    definitions=st.lists(DEFINITIONS, min_size=2, max_size=5),
    properties=st.dictionaries(st.sampled_from(["a", "b", "o", "x"]), JSON, max_size=4),
    traits=JSON,
)
@example(
    definitions=2 * [TransformationDefinition(name="T", condition="all", new_event_name="B")], properties={}, traits=[]
)
def test_all_together_are_the_same_as_one_by_one(
    definitions: list[TransformationDefinition], properties: dict[str, Any], traits: Any
) -> None:
    body = {"type": "track", "event": "A", "userId": "u", "messageId": "m", "properties": properties, "traits": traits}
    text = msgspec.json.encode(body)  # as the members of an object that was looked into are written
    (event,) = read_request(b'{"batch":[' + text + b"]}", call="batch", received_at=NOW, position=1)
    if not isinstance(event, Event):
        return
    together = Transformations(definitions).apply(event)
    check_stored_changes(event, together)
    expected, notes = one_by_one(definitions, event)
    if together is None:
        assert (expected, notes) == (event, [])
    elif together.event is not None and expected is not None:
        assert json.loads(together.event.raw) == json.loads(expected.raw)
        assert together.event.wire.event == expected.wire.event
        assert [note.detail for note in together.notes] == notes
    else:
        assert together.event is expected is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([{"property_drops": ["o.a"]}, {"renames": [("o", "p")]}, {"property_drops": ["o.b"]}], id="moved"),
        pytest.param([{"property_drops": ["o.a"]}, {"renames": [("x", "o")]}, {"property_drops": ["o.c"]}], id="over"),
        pytest.param([{"property_drops": ["p.a"]}, {"renames": [("o", "p")]}, {"property_drops": ["p.a"]}], id="there"),
        pytest.param(
            [{"values": [("properties.o.a", 5)]}, {"property_drops": ["o"]}, {"values": [("properties.o.b", 6)]}],
            id="again",
        ),
        pytest.param(
            [{"property_drops": ["n.a"]}, {"renames": [("o.a", "n.a")]}, {"property_drops": ["n.a"]}], id="added"
        ),
        pytest.param(
            [{"property_drops": ["o.a"]}, {"values": [("properties.o", "text")]}, {"renames": [("o.b", "o.c")]}],
            id="no-object",
        ),
        pytest.param(
            [{"property_drops": ["o.a"]}, {"allow_properties": ["x"]}, {"property_drops": ["o.b"]}], id="reduced"
        ),
        pytest.param(
            [{"property_drops": ["o.a", "o.b"]}, {"renames": [("o", "p")]}, {"renames": [("p", "q")]}], id="empty"
        ),
    ],
)
def test_objects_that_changed_places_are_found_where_they_are(changes: list[dict[str, Any]]) -> None:
    definitions = [definition(**change) for change in changes]
    event = track(o={"a": 1, "b": 2}, x={"c": 3})
    together = Transformations(definitions).apply(event)
    expected, notes = one_by_one(definitions, event)
    assert together is not None
    assert together.changes is not None
    check_stored_changes(event, together)
    assert together.event is not None
    assert expected is not None
    assert together.event.raw == expected.raw
    assert [note.detail for note in together.notes] == notes


@pytest.mark.parametrize(
    ("first", "condition", "is_true"),
    [
        ({"values": [("properties.a", 1)]}, "properties.a = 1", True),
        ({"values": [("properties.a", 1)]}, "properties.b = 1", False),
        ({"values": [("properties.o.a", 1)]}, "typeof( properties.o ) = 'object'", True),
        ({"renames": [("x", "o")]}, "properties.o.a = 2", True),
        ({"property_drops": ["x"]}, "properties.x.a = 2", False),
        ({"allow_properties": ["b"]}, "properties.x.a = 2", False),
        ({"new_event_name": "B"}, "event = 'B'", True),
        ({"fql_properties": [("a", "properties.x.a")]}, "properties.a = 2", True),
    ],
)
def test_condition_sees_what_an_earlier_transformation_changed(
    first: dict[str, Any], condition: str, *, is_true: bool
) -> None:
    properties = after(track(x={"a": 2}), definition(**first), definition(condition, values=[("properties.seen", 1)]))
    assert ("seen" in properties["properties"]) is is_true


def test_event_that_an_earlier_one_drops_need_not_be_readable_for_the_next() -> None:
    event = read(b'{"type":"track","event":"A","userId":"u","messageId":"m","properties":{"a":1e999}}')
    transformed = Transformations([definition("event = 'A'", drops=True), definition("properties.a > 1", drops=True)])
    assert transformed.apply(event) is not None
    result = transformed.apply(event)
    assert result is not None
    assert result.reason == "dropped_by_transformation"
