"""What in an event is not as its tracking plan says, and what is done with the event."""

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from punchcard.events.model import Event
from punchcard.events.parse import read_request
from punchcard.tracking_plans.enforcement import enforce, omit
from punchcard.tracking_plans.json_schema import compile_schema, find_schema_problems
from punchcard.tracking_plans.model import CallEnforcement, Enforcement, TrackingPlan, TrackingPlanRule
from punchcard.tracking_plans.validation import VIOLATIONS_MAX, CompiledPlan

ORDER = {
    "type": "object",
    "properties": {
        "properties": {
            "type": "object",
            "required": ["order_id"],
            "properties": {
                "order_id": {"type": "string"},
                "total": {"type": "number", "minimum": 0},
                "currency": {"enum": ["USD", "EUR"]},
                "email": {"type": "string", "format": "email"},
                "card": {"$ref": "#/definitions/card"},
                "products": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"sku": {"type": "string"}, "price": {"type": "number"}}},
                },
                "free": {"type": "object"},
            },
        }
    },
    "definitions": {"card": {"type": "object", "properties": {"brand": {"type": "string"}}}},
    "required": ["properties"],
}
SIGNED_UP = {"properties": {"properties": {"properties": {"plan": {"type": "string"}}, "additionalProperties": False}}}
TRAITS = {"properties": {"traits": {"properties": {"age": {"type": "integer"}}}}}
COMMON = {"properties": {"context": {"required": ["app"]}}, "required": ["context"]}
PLAN = TrackingPlan(
    slug="shop",
    name="Shop",
    rules=(
        TrackingPlanRule(type="TRACK", key="Order Completed", json_schema=ORDER),
        TrackingPlanRule(type="TRACK", key="Signed Up", json_schema=SIGNED_UP),
        TrackingPlanRule(type="IDENTIFY", json_schema=TRAITS),
        TrackingPlanRule(type="PAGE", key="Home", json_schema={"required": ["userId"]}),
        TrackingPlanRule(
            type="PAGE", json_schema={"properties": {"properties": {"required": ["url"]}}, "required": ["properties"]}
        ),
    ),
)
COMPILED = CompiledPlan(PLAN)


def event(call: str = "track", **members: Any) -> Event:
    body = {"anonymousId": "a", "messageId": "m", **members}
    if call == "track":
        body.setdefault("event", "Order Completed")
    if call == "group":
        body.setdefault("groupId", "g")
    (item,) = read_request(
        json.dumps(body).encode(), call=call, received_at=datetime(2026, 1, 1, tzinfo=UTC), position=0
    )
    assert isinstance(item, Event), item
    return item


def order(**properties: Any) -> Event:
    return event(properties={"order_id": "1", **properties})


@pytest.mark.parametrize(
    ("sent", "kind", "field", "description"),
    [
        (event(), "Required", "properties", "properties is required"),
        (event(properties={}), "Required", "properties.order_id", "properties.order_id is required"),
        (order(total="9"), "Invalid Type", "properties.total", "properties.total must be number"),
        (order(total=-1), "Invalid Value", "properties.total", "properties.total must be at least 0"),
        (
            order(currency="X"),
            "Invalid Value",
            "properties.currency",
            'properties.currency must be one of "USD", "EUR"',
        ),
        (order(email="x"), "Invalid Value", "properties.email", "properties.email is not a valid email"),
        (order(coupon="x"), "Unplanned Property", "properties.coupon", "properties.coupon is not in the plan"),
        (
            order(card={"brand": "v", "number": 1}),
            "Unplanned Property",
            "properties.card.number",
            "properties.card.number is not in the plan",
        ),
        (
            order(products=[{"sku": "a"}, {"price": "1"}]),
            "Invalid Type",
            "properties.products[].price",
            "properties.products[].price must be number",
        ),
        (
            order(products=[{"sku": "a", "x": 1}]),
            "Unplanned Property",
            "properties.products[].x",
            "properties.products[].x is not in the plan",
        ),
        (event(event="Nothing"), "Unplanned Event", "", 'The plan has no event "Nothing"'),
        (event(event="order completed"), "Unplanned Event", "", 'The plan has no event "order completed"'),
        (
            event(event="Signed Up", properties={"x": 1}),
            "Unplanned Property",
            "properties.x",
            "properties.x is not in the plan",
        ),
        (event("identify", traits={"age": "7"}), "Invalid Type", "traits.age", "traits.age must be integer"),
        (
            event("identify", traits={"name": "A"}),
            "Unplanned Property",
            "traits.name",
            "traits.name is not in the plan",
        ),
        (event("page", name="Home"), "Required", "userId", "userId is required"),
        (event("page", name="Other"), "Required", "properties", "properties is required"),
    ],
)
def test_violation_has_kind_field_and_description(sent: Event, kind: str, field: str, description: str) -> None:
    violations = COMPILED.find_violations(sent)
    assert [(v.kind, v.field, v.description) for v in violations] == [(kind, field, description)]


@pytest.mark.parametrize(
    "sent",
    [
        order(),
        order(total=1, currency="EUR", email="ann@example.com", free={"anything": [1]}, products=[]),
        event(event="Signed Up"),
        event("identify", traits={"age": 7}),
        event("group", traits={"anything": 1}),
        event("screen", name="x"),
        event("page", name="Home", userId="u"),
        event("alias", userId="u", previousId="a"),
    ],
)
def test_planned_event_has_no_violation(sent: Event) -> None:
    assert COMPILED.find_violations(sent) == ()


def test_rule_of_all_events_applies_in_addition() -> None:
    compiled = CompiledPlan(
        TrackingPlan(slug="p", name="P", rules=(*PLAN.rules, TrackingPlanRule(type="COMMON", json_schema=COMMON)))
    )
    both = compiled.find_violations(event(properties={}))
    assert [(v.field, v.is_common) for v in both] == [("properties.order_id", False), ("context", True)]
    assert [v.field for v in compiled.find_violations(event("alias", userId="u", previousId="a"))] == ["context"]
    unplanned = compiled.find_violations(event(event="Nothing", context={"app": {}}))
    assert [v.kind for v in unplanned] == ["Unplanned Event"]
    assert compiled.find_violations(order(total=1)) == compiled.find_violations(order(total=2))
    assert compiled.find_violations(event(properties={"order_id": "1"}, context={"app": {}})) == ()


def test_version_of_an_event_selects_its_rule_and_the_oldest_is_for_all_others() -> None:
    schema = {"properties": {"properties": {"required": ["subtotal"], "properties": {"order_id": {}, "subtotal": {}}}}}
    rules = (*PLAN.rules, TrackingPlanRule(type="TRACK", key="Order Completed", version=2, json_schema=schema))
    compiled = CompiledPlan(TrackingPlan(slug="p", name="P", rules=rules))

    def fields(**context: Any) -> list[str]:
        sent = event(properties={"order_id": "1"}, context=context)
        return [violation.field for violation in compiled.find_violations(sent)]

    assert fields() == fields(protocols={"event_version": 1}) == fields(protocols={"event_version": 9}) == []
    assert fields(protocols={"event_version": 3.2}) == fields(protocols="2") == []
    assert fields(protocols={"event_version": 2}) == ["properties.subtotal"]


def test_violations_of_an_event_are_bounded() -> None:
    assert len(COMPILED.find_violations(order(**{f"p{index}": 1 for index in range(500)}))) == VIOLATIONS_MAX


def test_text_of_a_violation_never_has_the_value() -> None:
    for violation in COMPILED.find_violations(order(total="secret-1", currency="secret-2", email="secret-3")):
        assert "secret" not in violation.description


@pytest.mark.parametrize("text", ['{"a": 1e999}', '{"a": "\\ud800"}', '{{"a": {}1{}}}'.format("[" * 900, "]" * 900)])
def test_strange_values_do_not_raise(text: str) -> None:
    raw = b'{"anonymousId":"a","messageId":"m","event":"Order Completed","properties":' + text.encode() + b"}"
    items = read_request(raw, call="track", received_at=datetime(2026, 1, 1, tzinfo=UTC), position=0)
    for item in items:
        if isinstance(item, Event):
            assert COMPILED.find_violations(item)


BLOCK, OMIT = "BLOCK", "OMIT_PROPERTIES"


@pytest.mark.parametrize(
    ("sent", "enforcement", "reason", "omitted"),
    [
        (order(total="x", new=1), Enforcement(), None, ()),
        (order(total="x"), Enforcement(track=CallEnforcement(violations=BLOCK)), "schema_violation", ()),
        (order(new=1), Enforcement(track=CallEnforcement(violations=BLOCK)), None, ()),
        (order(new=1), Enforcement(track=CallEnforcement(unplanned=OMIT)), None, ("properties.new",)),
        (order(total="x"), Enforcement(track=CallEnforcement(violations=OMIT)), None, ("properties.total",)),
        (event(properties={}), Enforcement(track=CallEnforcement(violations=OMIT)), None, ()),
        (event(event="Nothing"), Enforcement(unplanned_events=BLOCK), "unplanned", ()),
        (order(total="x"), Enforcement(unplanned_events=BLOCK), None, ()),
        (
            event(event="Signed Up", properties={"x": 1}),
            Enforcement(track=CallEnforcement(violations=BLOCK)),
            "schema_violation",
            (),
        ),
        (
            event("identify", traits={"age": "7"}),
            Enforcement(identify=CallEnforcement(violations=BLOCK)),
            "schema_violation",
            (),
        ),
        (event("identify", traits={"age": "7"}), Enforcement(track=CallEnforcement(violations=BLOCK)), None, ()),
        (event("page", name="Home"), Enforcement(track=CallEnforcement(violations=BLOCK)), None, ()),
    ],
)
def test_enforcement_decides_what_is_done(
    sent: Event, enforcement: Enforcement, reason: str | None, omitted: tuple[str, ...]
) -> None:
    enforced = enforce(sent, COMPILED.find_violations(sent), enforcement, plan="Shop")
    assert (enforced.reason, enforced.omitted) == (reason, omitted)
    assert (enforced.raw is None) == (not omitted)


def test_common_violation_is_blocked_for_its_own_reason() -> None:
    compiled = CompiledPlan(
        TrackingPlan(slug="p", name="P", rules=(TrackingPlanRule(type="COMMON", json_schema=COMMON),))
    )
    sent = order()
    enforcement = Enforcement(track=CallEnforcement(common=BLOCK))
    enforced = enforce(sent, compiled.find_violations(sent), enforcement, plan="P")
    assert (enforced.reason, enforced.detail) == (
        "common_schema_violation",
        "context is required (tracking plan P)",
    )


@pytest.mark.parametrize(
    ("text", "paths", "after"),
    [
        ('{"a":{"b":1,"c":2.50}}', [("a", "b")], '{"a":{"c":2.50}}'),
        ('{"a":[{"b":1},{"b":2,"c":3}]}', [("a", 1, "b")], '{"a":[{"b":1},{"c":3}]}'),
        ('{"a":[1,"x",2,"y"]}', [("a", 1), ("a", 3)], '{"a":[1,2]}'),
        ('{"a":{"b":{"c":1}}}', [("a", "b"), ("a", "b", "c")], '{"a":{}}'),
        ('{"a":{"b":{"c":1}}}', [("a", "b", "c"), ("a", "b")], '{"a":{}}'),
        ('{"a":1}', [("b", "c")], '{"a":1}'),
    ],
)
def test_omitting_leaves_everything_else_as_it_was_sent(text: str, paths: list[Any], after: str) -> None:
    assert omit(text.encode(), paths).decode() == after


numbers = st.integers(-5, 5) | st.sampled_from([0.5, 1.0, 2.5, 0.1, 0.3, 19.99, 2**53, 1e300])
scalars = st.none() | st.booleans() | numbers | st.sampled_from(["a", "b", "0", "é", "😀", ""])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
types = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])
leaves = st.fixed_dictionaries(
    {},
    optional={
        "type": types | st.lists(types, min_size=1, max_size=3, unique=True),
        "enum": st.lists(scalars, min_size=1, max_size=3, unique_by=lambda value: json.dumps(value)),
        "const": values,
        "minimum": st.integers(-3, 3),
        "maximum": st.integers(-3, 3) | st.sampled_from([0.1, 2.5, 2**53]),
        "exclusiveMinimum": st.integers(-3, 3) | st.sampled_from([0.1, 2.5]),
        "exclusiveMaximum": st.integers(-3, 3),
        "multipleOf": st.integers(1, 3) | st.sampled_from([0.1, 0.01, 0.5]),
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(0, 2),
        "contentEncoding": st.just("base64"),
        "contentMediaType": st.just("application/json"),
        "pattern": st.sampled_from(["^a", "[0-9]$", "a|b", "^$"]),
        "minItems": st.integers(0, 2),
        "maxItems": st.integers(0, 2),
        "uniqueItems": st.booleans(),
        "minProperties": st.integers(0, 2),
        "maxProperties": st.integers(0, 2),
        "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
    },
)


def _decidable(schema: dict[str, Any]) -> dict[str, Any]:
    """Remove what the reference fails on: `additionalItems` beside `items` that is true or false."""
    return {key: schema[key] for key in schema if key != "additionalItems" or not isinstance(schema.get("items"), bool)}


def _composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    members = st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    several = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": types,
            "properties": members,
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b"]), inner, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "items": inner | several,
            "additionalItems": inner,
            "contains": inner,
            "propertyNames": inner,
            "dependencies": st.dictionaries(st.sampled_from("ab"), inner | st.just(["c"]), max_size=2),
            "allOf": several,
            "anyOf": several,
            "oneOf": several,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
        },
    ).map(_decidable)


trees = st.recursive(st.booleans() | leaves, _composed, max_leaves=6).filter(lambda schema: isinstance(schema, dict))


@st.composite
def _with_references(draw: st.DrawFn) -> dict[str, Any]:
    reference = st.just({"$ref": "#/definitions/x~1y"})
    tree = draw(st.recursive(leaves | reference, _composed, max_leaves=4))
    return {**tree, "definitions": {"x/y": draw(trees)}}


schemas = trees | _with_references()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=schemas, samples=st.lists(values, min_size=1, max_size=8))
def test_verdicts_are_those_of_the_reference_implementation(schema: dict[str, Any], samples: list[Any]) -> None:
    """Whatever the schema and the value, the compiled schema decides as the package `jsonschema`, which defines it."""
    assert find_schema_problems(schema) == []
    compiled, reference = compile_schema(schema), jsonschema.Draft7Validator(schema)
    for value in samples:
        assert compiled.is_valid(value) == reference.is_valid(value), (schema, value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=trees, properties=st.dictionaries(st.sampled_from("abc"), values, max_size=3))
def test_plan_has_violations_exactly_if_the_reference_has(schema: dict[str, Any], properties: dict[str, Any]) -> None:
    outer = {"properties": {"properties": schema}}
    plan = TrackingPlan(slug="p", name="P", rules=(TrackingPlanRule(type="TRACK", key="E", json_schema=outer),))
    sent = event(event="E", properties=properties)
    violations = CompiledPlan(plan).find_violations(sent)
    schema_violations = [v for v in violations if v.kind != "Unplanned Property" or v.is_forbidden]
    assert bool(schema_violations) == (not jsonschema.Draft7Validator(outer).is_valid(json.loads(sent.raw)))


def test_reference_below_not_is_not_decided_fast() -> None:
    inner = {
        "properties": {"a": {"properties": {"x": {}}}, "b": {"not": {"$ref": "#/properties/properties/properties/a"}}}
    }
    rule = TrackingPlanRule(type="TRACK", key="E", json_schema={"properties": {"properties": inner}})
    compiled = CompiledPlan(TrackingPlan(slug="p", name="P", rules=(rule,)))
    assert [v.field for v in compiled.find_violations(event(event="E", properties={"b": {"y": 1}}))] == ["properties.b"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=trees, properties=st.dictionaries(st.sampled_from("abc"), values, max_size=3))
def test_fast_decision_never_hides_a_violation(schema: dict[str, Any], properties: dict[str, Any]) -> None:
    outer = {"properties": {"properties": schema}}
    plan = TrackingPlan(slug="p", name="P", rules=(TrackingPlanRule(type="TRACK", key="E", json_schema=outer),))
    common = TrackingPlanRule(type="COMMON", json_schema={"type": "object"})  # with it, nothing is decided fast
    slow = CompiledPlan(TrackingPlan(slug="p", name="P", rules=(*plan.rules, common)))
    sent = event(event="E", properties=properties)
    assert CompiledPlan(plan).find_violations(sent) == slow.find_violations(sent)


@pytest.mark.parametrize(
    "root",
    [
        {"required": ["properties", "groupId"]},
        {"properties": {"context": {"required": ["app"]}}},
        {"properties": {"anonymousId": {"const": "other"}}},
        {"properties": {"context": False}},
        {"allOf": [{"required": ["groupId"]}]},
        {"additionalProperties": False},
        {"not": {}},
        {"maxProperties": 1},
        {"type": "array"},
    ],
)
def test_properties_as_planned_do_not_hide_a_violation_elsewhere(root: dict[str, Any]) -> None:
    own = {"type": "object", "properties": {"a": {"type": "integer"}}}
    schema = {**root, "properties": {"properties": own, **root.get("properties", {})}}
    plan = TrackingPlan(
        slug="p", name="P", rules=(TrackingPlanRule(type="TRACK", key="Order Completed", json_schema=schema),)
    )
    assert CompiledPlan(plan).find_violations(event(event="Order Completed", properties={"a": 1}, context={}))


@pytest.mark.parametrize("properties", [{"a": "x"}, {"b": 1}, {"a": 1, "b": 1}, None])
def test_properties_are_compared_alone_as_in_the_whole_event(properties: dict[str, Any] | None) -> None:
    own = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    schema = {"properties": {"properties": own, "context": {}}, "required": ["properties"], "title": "T"}
    rule = TrackingPlanRule(type="TRACK", key="Order Completed", json_schema=schema)
    compiled = CompiledPlan(TrackingPlan(slug="p", name="P", rules=(rule,)))
    members: dict[str, Any] = {} if properties is None else {"properties": properties}
    assert compiled.find_violations(event(event="Order Completed", **members))
    assert not compiled.find_violations(event(event="Order Completed", properties={"a": 1}))
