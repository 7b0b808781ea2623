"""An inferred tracking plan accepts the events that it was inferred from."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from punchcard.clock import to_micros
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.events.observed_properties import observe_properties
from punchcard.operations.plan_inference import REQUIRED_SAMPLES_MIN, infer_rules
from punchcard.store.engine import Store
from punchcard.store.source_schema.model import EventDelta, PropertyDelta, SchemaKey
from punchcard.store.source_schema.recording import record_schema
from punchcard.testing.clock import ManualClock
from punchcard.testing.examples import examples
from punchcard.tracking_plans.json_schema import find_schema_problems
from punchcard.tracking_plans.model import TrackingPlan, TrackingPlanRule
from punchcard.tracking_plans.table import build_schema, to_rows
from punchcard.tracking_plans.validation import CompiledPlan

NAMES = st.sampled_from(["a", "b", "c", "sku", "a.b", "a[]", "a\\", "x y", "[]", "é", "👨\u200d👩"])
TEXTS = st.sampled_from(["", "x", "2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T25:00:00Z", "http://a.b"])
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
EVENTS = st.lists(st.dictionaries(NAMES, VALUES, max_size=5), min_size=1, max_size=4)
NOW = ManualClock().now()
numbers = count()


@pytest.fixture
def store(sqlite_url: str) -> Iterator[Store]:
    opened = Store(sqlite_url)
    yield opened
    opened.close()


def track(name: str, properties: dict[str, Any]) -> Event:
    raw = msgspec.json.encode({"type": "track", "event": name, "userId": "u", "properties": properties})
    wire = WireEvent(event=name, user_id="u", properties=msgspec.Raw(msgspec.json.encode(properties)))
    return Event(EventType.TRACK, MessageId("m"), NOW, NOW, wire, raw)


def infer(store: Store, events: list[Event], name: str) -> list[TrackingPlanRule]:
    """Return the rules inferred from events that are all sampled."""
    key, instant = SchemaKey("shop", "track", name), to_micros(NOW)
    delta = EventDelta(instant, instant, sampled=len(events))
    delta.day(instant).count = len(events)
    properties: dict[str, PropertyDelta] = {}
    for event in events:
        for observation in observe_properties(event):
            properties.setdefault(observation.path, PropertyDelta(instant, instant)).add(observation, instant)
    with store.unit_of_work() as work:
        record_schema(work, events={key: delta}, properties={key: properties}, mapped=[key])
        rules = infer_rules(work, "shop", since=NOW - timedelta(days=1))
    return [rule for rule in rules if rule.key == name]


def violations(rules: list[TrackingPlanRule], events: list[Event]) -> list[str]:
    plan = CompiledPlan(TrackingPlan(slug="plan", name="Plan", rules=tuple(rules)))
    return [
        f"{violation.kind}: {violation.description}" for event in events for violation in plan.find_violations(event)
    ]


@settings(
    max_examples=examples(300, part=60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(bodies=EVENTS)
def test_it_accepts_them(store: Store, bodies: list[dict[str, Any]]) -> None:
    name = f"Event {next(numbers)}"
    events = [track(name, body) for body in bodies * REQUIRED_SAMPLES_MIN]
    (rule,) = rules = infer(store, events, name)
    assert find_schema_problems(rule.json_schema) == []
    assert violations(rules, events) == []
    edited = build_schema(to_rows(rule), rule.json_schema)  # as the editor of the App saves it
    assert edited == rule.json_schema


@pytest.mark.parametrize(
    "bodies",
    [
        [{"products": [{"sku": "a"}, "b"]}],
        [{"products": [{"sku": "a"}]}, {"products": ["b", None]}],
        [{"products": [{"sku": "a"}, {"sku": 7}]}],
        [{"products": [{"price": 1}] * 5 + [{"price": "free", "gift": True}]}],
        [{"products": [{"at": "2026-01-01T00:00:00Z"}, {"at": "soon"}]}],
        [{"a[]": {"b": 1}}],
        [{"a\x01": 1}, {"a": "x"}],
    ],
)
def test_it_accepts_mixed_lists_and_strange_names(store: Store, bodies: list[dict[str, Any]]) -> None:
    name = f"Event {next(numbers)}"
    events = [track(name, body) for body in bodies * REQUIRED_SAMPLES_MIN]
    assert [text for text in violations(infer(store, events, name), events) if "\x01" not in text] == []


def test_items_that_are_all_objects_must_be_objects(store: Store) -> None:
    events = [track("Order", {"products": [{"sku": "a"}]})]
    rules = infer(store, events, "Order")
    assert violations(rules, [track("Order", {"products": ["b"]})]) == [
        "Invalid Type: properties.products[] must be object"
    ]
