"""Properties that are dropped, masked or hashed before anything stores them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.workspace.controlled_properties import ControlledProperties
from punchcard.workspace.model import PropertyControls
from punchcard.workspace.property_controls import control_problems

KEY = b"k" * 32
CONTROLS = PropertyControls(
    drop=("properties.card",), mask=("traits.phone", "properties.buyer.email"), hash=("properties.ssn", "context.ip")
)


def controlled(event: dict[str, Any], controls: PropertyControls = CONTROLS, key: bytes = KEY) -> dict[str, Any] | None:
    """Return the event as the controls leave it, None if they change nothing."""
    changed = ControlledProperties(controls, hash_key=key).apply(json.dumps(event).encode())
    return None if changed is None else json.loads(changed[0])


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"properties": {"card": "4111", "gym": 1}}, {"properties": {"gym": 1}}),
        ({"traits": {"phone": "+43 664 1234567"}}, {"traits": {"phone": "••••4567"}}),
        ({"traits": {"phone": 12}}, {"traits": {"phone": "••••"}}),
        (
            {"properties": {"buyer": {"email": "ann@example.com", "n": 1.10}}},
            {"properties": {"buyer": {"email": "••••.com", "n": 1.10}}},
        ),
        ({"properties": {"card": {"number": [1, 2]}}}, {"properties": {}}),
        ({"properties": {"card": None}}, None),  # there is nothing to hide
        ({"properties": {"buyer": "card"}}, None),  # a value is not a name
        ({"properties": {"other": {"card": "1"}}}, None),
        ({"properties": [1]}, None),
        ({"traits": {"card": "1"}, "event": "card"}, None),
    ],
)
def test_values_are_dropped_and_masked(event: dict[str, Any], expected: dict[str, Any] | None) -> None:
    assert controlled(event) == expected


@pytest.mark.parametrize(
    ("kind", "name", "before", "after"),
    [
        (
            "drop",
            "items[].card",
            {"items": [{"card": "4111", "n": 1}, "x", {"n": 2}]},
            {"items": [{"n": 1}, "x", {"n": 2}]},
        ),
        ("mask", "items[].card", {"items": [{"card": "4111"}]}, {"items": [{"card": "••••"}]}),
        ("drop", "a.b[].c[].d", {"a": {"b": [{"c": [{"d": 1, "e": 2}]}]}}, {"a": {"b": [{"c": [{"e": 2}]}]}}),
        ("drop", "items[].buyer.email", {"items": [{"buyer": {"email": "a@b.c"}}]}, {"items": [{"buyer": {}}]}),
        ("drop", "cards[]", {"cards": ["4111", None, "5500"]}, {"cards": [None]}),
        ("mask", "cards[]", {"cards": ["4111", None, 7]}, {"cards": ["••••", None, "••••"]}),
        ("drop", "cards[]", {"cards[]": "4111"}, {}),  # as forms of PHP name it
        ("drop", "items[].card", {"items": [{"card": None}]}, None),
        ("drop", "items[].card", {"items": {"card": "4111"}}, None),
        ("drop", "items[].card", {"items": "card"}, None),
        ("drop", "items.card", {"items": [{"card": "4111"}]}, None),
    ],
)
def test_values_in_lists_are_controlled(
    kind: str, name: str, before: dict[str, Any], after: dict[str, Any] | None
) -> None:
    """The inventory names them so, and an alert about them ends once they have a control."""
    controls = PropertyControls(**{kind: (f"properties.{name}",)})
    assert list(control_problems((), controls)) == []
    assert controlled({"properties": before}, controls) == (None if after is None else {"properties": after})


def test_hashes_are_equal_for_equal_values_and_keyed() -> None:
    first = controlled({"properties": {"ssn": "123-45"}, "context": {"ip": "1.2.3.4"}})
    assert first is not None
    assert first == controlled({"properties": {"ssn": "123-45"}, "context": {"ip": "1.2.3.4"}})
    digest = first["properties"]["ssn"]
    assert len(digest) == 32
    assert "123" not in json.dumps(first)
    assert first["context"]["ip"] != digest
    assert controlled({"properties": {"ssn": "123-45"}}, key=b"x" * 32) != {"properties": {"ssn": digest}}
    assert controlled({"properties": {"ssn": 12}}) == controlled({"properties": {"ssn": "12"}})


def test_escaped_names_do_not_get_around_a_control() -> None:
    changed = ControlledProperties(CONTROLS, hash_key=KEY).apply(b'{"properties": {"c\\u0061rd": "4111", "n": 1.10}}')
    assert changed == (b'{"properties":{"n":1.10}}', "properties.card dropped")


@pytest.mark.parametrize("value", ["1e400", "-1e400", '{"limit": 1e400}', "1" * 5_000, "[" * 900 + "]" * 900])
def test_values_that_are_no_numbers_in_python_are_controlled_too(value: str) -> None:
    raw = f'{{"properties":{{"card":{value},"ssn":{value}}},"traits":{{"phone":{value}}}}}'.encode()
    changed = ControlledProperties(CONTROLS, hash_key=KEY).apply(raw)
    assert changed is not None
    after = json.loads(changed[0])
    assert set(after["properties"]) == {"ssn"}
    assert len(after["properties"]["ssn"]) == 32
    assert after["traits"]["phone"].startswith("••••")
    assert ControlledProperties(CONTROLS, hash_key=KEY).apply(raw) == changed


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        ),
        max_size=4,
    )
)
def test_only_what_is_controlled_changes(properties: dict[str, Any]) -> None:
    event = {"properties": {**properties, "card": "4111111111111111"}}
    assert controlled(event) == {"properties": {name: value for name, value in properties.items() if name != "card"}}


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        (PropertyControls(drop=("card",)), "Begin with properties."),
        (PropertyControls(mask=("properties.",)), "Begin with properties."),
        (PropertyControls(hash=("userId.x",)), "Begin with properties."),
        (PropertyControls(drop=("properties.a",), hash=("properties.a",)), "Choose one control"),
        (PropertyControls(drop=tuple(f"traits.{number}" for number in range(201))), "At most 200"),
    ],
)
def test_controls_that_cannot_be_meant_are_refused(controls: PropertyControls, message: str) -> None:
    problems = list(control_problems(("sources", "web", "controls"), controls))
    assert problems
    assert message in problems[0].message
    assert list(control_problems((), CONTROLS)) == []
