"""A definition as text, as JSON and as both: what is stored of it, and where its errors point."""

import json
from typing import Any

import pytest
from hypothesis import given

from punchcard.computations.model import Events, to_json
from punchcard.computations.printer import to_text
from punchcard.errors import ConfigurationError
from punchcard.operations.definitions import resolve_definition
from punchcard.testing.definitions import audiences, events

BOUGHT = {"kind": "events", "name": "Order Completed", "reducer": "count"}
ONE = {"kind": "literal", "value": 1}
ONCE: dict[str, Any] = {"kind": "comparison", "left": BOUGHT, "operator": "at_least", "right": [ONE]}
TEXT = "event('Order Completed').count() >= 1"


def having(**more: object) -> dict[str, Any]:
    """A condition like `ONCE` on other events."""
    return {**ONCE, "left": {**BOUGHT, **more}}


def refusal(model: object, *, kind: str = "audience", query: str | None = None) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as refused:
        resolve_definition(kind, query=query, model=model)
    return refused.value


@given(audiences() | events())
def test_a_definition_is_the_same_as_text_and_as_json(definition: Any) -> None:
    kind = "computed_trait" if isinstance(definition, Events) else "audience"
    model, text = json.loads(to_json(definition)), to_text(definition)
    assert resolve_definition(kind, query=None, model=model) == text
    assert resolve_definition(kind, query=text, model=model) == text


def test_a_query_is_kept_as_it_was_written() -> None:
    written = "event('Order Completed').count()   >=  1"
    assert resolve_definition("audience", query=written, model=ONCE) == written


def test_and_of_one_condition_is_that_condition() -> None:
    model = {"kind": "and", "conditions": [{"kind": "or", "conditions": [ONCE]}]}
    assert resolve_definition("audience", query=None, model=model) == TEXT


PLACES: dict[str, tuple[object, str, str]] = {
    "no object": ([], "", "Expected `object`"),
    "no kind": ({}, "", "missing required field `kind`"),
    "unknown kind": ({"kind": "entity"}, ".kind", "entity"),
    "unknown member": ({**ONCE, "left": {**BOUGHT, "within": 5}}, ".left", "within"),
    "unknown operator": ({"kind": "not", "condition": {**ONCE, "operator": "is"}}, ".condition.operator", "is"),
    "wrong type": ({"kind": "and", "conditions": [ONCE, {**ONCE, "right": [1]}]}, ".conditions[1].right[0]", "object"),
    "too few values": ({"kind": "or", "conditions": [ONCE, {**ONCE, "right": []}]}, ".conditions[1]", "one value"),
    "too many values": ({**ONCE, "right": [ONE, ONE]}, "", "one value"),
    "no number": ({**ONCE, "right": [{"kind": "literal", "value": "a"}]}, "", "number"),
    "in a where": (
        having(where={"kind": "and", "conditions": [
            {"kind": "comparison", "left": {"kind": "property", "path": "a"}, "operator": "exists"},
            {"kind": "comparison", "left": {"kind": "property", "path": "a"}, "operator": "equals"},
        ]}),
        ".left.where.conditions[1]", "one value",
    ),
    "property outside": (
        {"kind": "comparison", "left": {"kind": "property", "path": "a"}, "operator": "exists"}, "", "use it inside",
    ),
    "no conditions": ({"kind": "not", "condition": {"kind": "and", "conditions": []}}, ".condition", "expected"),
    "what has no words": (having(since=5), "", "cannot be expressed"),
    "a frequency of no mode": (having(min_frequency=3), "", "cannot be expressed"),
    "too many": ({"kind": "and", "conditions": [ONCE] * 51}, "", "at most 50"),
    "a value, no condition": (BOUGHT, "", "an audience is a condition"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_what_is_wrong_in_a_model_is_shown_with_its_place(name: str) -> None:
    model, place, message = PLACES[name]
    refused = refusal(model)
    assert refused.context == {"field": f"definition.model{place}"}
    assert message in refused.message


def test_what_is_wrong_in_a_query_is_shown_with_its_position() -> None:
    refused = refusal(None, query="event('A').count() >> 1")
    assert refused.context == {"field": "definition.query", "position": 20}
    assert "at character 21" in refused.message


def test_a_condition_is_no_computed_trait() -> None:
    refused = refusal(ONCE, kind="computed_trait")
    assert refused.context == {"field": "definition.model"}
    assert "not a condition" in refused.message


def test_query_and_model_must_mean_the_same() -> None:
    refused = refusal(ONCE, query="event('Order Completed').count() >= 2")
    assert refused.context == {"field": "definition.model"}
    assert TEXT in refused.message


def test_one_of_them_must_be_given() -> None:
    refused = refusal(None)
    assert (refused.code, refused.context) == ("invalid_request", {"field": "definition"})


@pytest.mark.parametrize("levels", [40, 90, 5_000])
def test_a_model_nested_beyond_reason_is_refused(levels: int) -> None:
    model = ONCE
    for _ in range(levels):
        model = {"kind": "not", "condition": model}
    assert "nested" in refusal(model).message
