"""What leaves for a partner: every example event under every kind of settings, compared with the request on file.

The requests are in `requests/`, one file per case. After a change that is meant, write them again with
`PUNCHCARD_WRITE_SNAPSHOTS=1 pytest tests/snapshot` and read the difference.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.port import Effect
from punchcard.errors import RefusedError
from punchcard.events.model import Event, EventType, MessageId, WireEvent

FOLDER = Path(__file__).parent / "requests"
NOW = datetime(2026, 1, 31, 7, 30, tzinfo=UTC)
PERKVILLE = {
    "apiKey": "s3cret-token",
    "businessId": "41",
    "locationId": "7",
    "eventToPerkMap": {"Order Completed": "123456", "Order Refunded": "123458", "Checked In": "123457"},
}
PAGE_EXAMPLE = """{"type": "track", "event": "Order Completed", "messageId": "m1", "properties":
    {"order_id": "o283h08fh2390f923uofu23", "revenue": 9.99, "email": "example@example.com"}}"""
REFUND = """{"type": "track", "event": "Order Refunded", "messageId": "m2", "properties":
    {"order_id": "1001", "total": "5.00", "refund_id": "r1"}, "context": {"traits": {"email": "ann@example.com"}}}"""
CHECK_IN = """{"type": "track", "event": "Checked In", "messageId": "m3", "email": " Ann+gym@Example.com "}"""
AUDIENCE = """{"type": "identify", "messageId": "m4", "traits": {"email": "ann@example.com",
    "order_completed_last_30days": true}, "context": {"personas": {"computation_class": "audience",
    "computation_key": "order_completed_last_30days"}}}"""


@dataclass(frozen=True)
class Case:
    """An example event under settings of a destination."""

    name: str
    event: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    destination: str = "perkville"


CASES = [
    Case("order", PAGE_EXAMPLE),
    Case("order_with_email", PAGE_EXAMPLE, settings={"sendEmail": True}),
    Case("order_elsewhere", PAGE_EXAMPLE, options={"apiBaseUrl": "http://127.0.0.1:9100"}),
    Case(
        "order_other_wire",
        PAGE_EXAMPLE,
        options={"wire": {"perkKey": "perk_id", "perkReference": "{id}", "locationKey": "", "quantityForm": "number"}},
    ),
    Case("order_summed_in_floats", PAGE_EXAMPLE.replace("9.99", "0.30000000000000004")),
    Case("order_without_amount", PAGE_EXAMPLE.replace("revenue", "price")),
    Case("order_not_allowlisted", PAGE_EXAMPLE.replace("Order Completed", "Order Placed")),
    Case("refund_auto", REFUND),
    Case("refund_redeem", REFUND, options={"refundMethod": "redeem"}),
    Case("refund_negative", REFUND, options={"refundMethod": "negative"}),
    Case("check_in", CHECK_IN),
    Case("check_in_once_per_day", CHECK_IN, options={"oncePerDay": ["Checked In"]}),
    Case("audience", AUDIENCE),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_event_becomes_the_request_on_file(case: Case) -> None:
    text = json.dumps(outcome(case), indent=2, ensure_ascii=False) + "\n"
    file = FOLDER / case.destination / f"{case.name}.json"
    if os.environ.get("PUNCHCARD_WRITE_SNAPSHOTS") == "1":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()
    assert "s3cret" not in text


def test_every_file_belongs_to_a_case() -> None:
    files = {(file.parent.name, file.stem) for file in FOLDER.glob("*/*.json")}
    assert files == {(case.destination, case.name) for case in CASES}


def outcome(case: Case) -> Mapping[str, object]:
    partner = CATALOG[case.destination]
    settings = partner.read_settings({**PERKVILLE, **case.settings}, case.options)
    try:
        intent = partner.plan(
            read(case.event),
            settings,
            source="website",
            destination="perkville",
            timezone=ZoneInfo("America/Los_Angeles"),
        )
    except RefusedError as error:
        return {"refused": error.code, "message": error.message}
    effect = Effect(
        kind=intent.kind,
        effect_key=intent.effect_key,
        email=intent.email,
        event_name=intent.event_name,
        item=intent.item,
        quantity=intent.quantity,
        attributes=intent.attributes,
    )
    return partner.preview(effect, settings)


def read(text: str) -> Event:
    wire = msgspec.json.decode(text, type=WireEvent)
    return Event(
        type=EventType(wire.type or ""),
        message_id=MessageId(wire.message_id or ""),
        timestamp=NOW,
        received_at=NOW,
        wire=wire,
        raw=text.encode(),
    )
