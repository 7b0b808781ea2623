"""Tracking plans are read from Segment's forms, JSON Schemas and tables, and shown as a table."""

import json
from typing import Any

import pytest

from punchcard.tracking_plans.model import TrackingPlanRule
from punchcard.tracking_plans.plan_documents import PlanFormatError, read_csv, read_rules
from punchcard.tracking_plans.table import TableRow, build_schema, to_rows

SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "properties": {
            "type": "object",
            "properties": {
                "order_id": {"type": "string", "description": "Number of the order"},
                "total": {"type": "number"},
            },
            "required": ["order_id"],
        }
    },
    "required": ["properties"],
}
RULE = {"type": "TRACK", "key": "Order Completed", "version": 1, "jsonSchema": SCHEMA}
ORDER = TrackingPlanRule(type="TRACK", key="Order Completed", json_schema=SCHEMA)


@pytest.mark.parametrize(
    "document",
    [
        RULE,
        [RULE],
        {"rules": [RULE]},
        {"data": {"rules": [RULE], "pagination": {"current": "x"}}},
        {"data": {"trackingPlan": {"name": "Shop", "rules": [RULE]}}},
        {"name": "Shop", "rules": {"events": [{"name": "Order Completed", "version": 1, "rules": SCHEMA}]}},
        {"tracking_plan": {"rules": {"events": [{"name": "Order Completed", "rules": SCHEMA}], "global": {}}}},
        SCHEMA,
        dict(SCHEMA["properties"]["properties"].items()),  # type: ignore[index]
    ],
)
def test_forms_of_a_plan_are_read(document: Any) -> None:
    assert read_rules(json.dumps(document).encode(), name="Order Completed") == [ORDER]


def test_config_api_form_has_rules_of_all_types() -> None:
    traits = {"type": "object", "properties": {"traits": {"properties": {"age": {"type": "integer"}}}}}
    document = {
        "rules": {
            "global": {"properties": {"context": {}}},
            "events": [{"name": "A", "version": 3, "description": "An A", "rules": {"type": "object"}}],
            "identify": traits,
            "group_traits": [{"name": "size", "type": "integer"}],
        }
    }
    rules = read_rules(json.dumps(document).encode())
    assert [(rule.type, rule.key, rule.version) for rule in rules] == [
        ("TRACK", "A", 3),
        ("COMMON", "", 1),
        ("IDENTIFY", "", 1),
        ("GROUP", "", 1),
    ]
    assert rules[0].json_schema["description"] == "An A"


def test_a_section_of_the_config_api_may_have_the_form_of_an_event() -> None:
    traits = {"type": "object", "properties": {"traits": {"properties": {"age": {"type": "integer"}}}}}
    required = {"type": "object", "required": ["context"]}
    document = {"rules": {"identify": {"rules": traits}, "group": {"type": "object"}, "global": required}}
    rules = read_rules(json.dumps(document).encode())
    assert [(rule.type, rule.json_schema) for rule in rules] == [("COMMON", required), ("IDENTIFY", traits)]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b'{"rules": {"identify": [1]}}', '"identify" must be a JSON Schema'),
        (b"", "not JSON"),
        (b"[1]", "Rule 1 must be an object"),
        (b"3", "neither a tracking plan"),
        (b"{}", "neither a tracking plan"),
        (b'{"rules":[{"type":"TRACK"}]}', "jsonSchema"),
        (b'{"rules":{}}', "no rules"),
        (b'{"type":"TRACK","jsonSchema":{},"version":1.5}', "whole number"),
    ],
)
def test_other_documents_are_refused(content: bytes, part: str) -> None:
    with pytest.raises(PlanFormatError) as caught:
        read_rules(content)
    assert part in caught.value.message


def test_a_version_of_any_length_is_refused() -> None:
    with pytest.raises(PlanFormatError, match="is not a whole number"):
        read_csv(f"Event,Type,Property,Version\nA,TRACK,x,{'9' * 5000}\n".encode())


def test_table_is_read() -> None:
    text = (
        "\ufeffEvent,Type,Property,Data Type,Required,Allowed Values,Description\r\n"
        "Order Completed,TRACK,,,,,Bought\r\n"
        ",,order_id,string,required,,Number\r\n"
        ",,status,string,no,open|closed,\r\n"
        ",,rank,integer,,1|2,\r\n"
        ",,products[].price,number,yes,,\r\n"
        ",,at,date-time,,,\r\n"
        "\r\n"
        "identify,identify,age,integer,,,\r\n"
    )
    order, identify = read_csv(text.encode())
    properties = order.json_schema["properties"]["properties"]  # type: ignore[index]
    assert (order.type, order.key, order.json_schema["description"]) == ("TRACK", "Order Completed", "Bought")
    assert properties["required"] == ["order_id"]
    assert properties["properties"] == {
        "order_id": {"type": "string", "description": "Number"},
        "status": {"type": "string", "enum": ["open", "closed"]},
        "rank": {"type": "integer", "enum": [1, 2]},
        "at": {"type": "string", "format": "date-time"},
        "products": {
            "type": "array",
            "items": {"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price"]},
        },
    }
    assert (identify.type, identify.key) == ("IDENTIFY", "")
    assert identify.json_schema["properties"]["traits"]["properties"] == {"age": {"type": "integer"}}  # type: ignore[index]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", 'Event\n"x', "Event,Version\nA,x\n", "Event,Property\nA,b,c\n"])
def test_other_tables_are_refused(text: str) -> None:
    with pytest.raises(PlanFormatError):
        read_csv(text.encode())


def test_rows_and_schema_are_the_same_plan() -> None:
    rows = to_rows(ORDER)
    assert rows == [
        TableRow(event_type="TRACK", event="Order Completed"),
        TableRow(
            event_type="TRACK",
            event="Order Completed",
            path="order_id",
            types=("string",),
            required=True,
            description="Number of the order",
        ),
        TableRow(event_type="TRACK", event="Order Completed", path="total", types=("number",)),
    ]
    assert build_schema(rows, SCHEMA) == SCHEMA
    assert build_schema(rows, {}) == SCHEMA


def test_what_the_table_does_not_show_stays_in_the_schema() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "definitions": {"x": {}},
        "properties": {
            "context": {"required": ["app"]},
            "properties": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "total": {"type": "number", "minimum": 0},
                    "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
                    "a.b": {"type": "string"},
                    "card": {"type": "object", "properties": {"brand": {"type": "string", "minLength": 2}}},
                },
            },
        },
        "required": ["context"],
    }
    rows = to_rows(TrackingPlanRule(type="TRACK", key="E", json_schema=schema))
    assert [row.path for row in rows if row.has_more] == ["total", "tags", "card.brand"]
    assert build_schema(rows, schema) == schema
    fewer = build_schema([row for row in rows if row.path != "total"], schema)
    del schema["properties"]["properties"]["properties"]["total"]
    assert fewer == schema
