"""Audiences and computed traits read the members that count in every spelling, as points rules do."""

import json
from datetime import UTC, datetime

from punchcard.engage.person_events import read_events
from punchcard.lake.reader import LakeEvent
from punchcard.profiles.external_ids import IdReader
from punchcard.profiles.rules import IdentityRules

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_facts_have_the_exact_names_beside_those_that_were_sent() -> None:
    properties = {"orderId": 1001, "Revenue": "9.90", "Products": [{"Price": 5}], "club": "north"}
    event = LakeEvent(
        message_id="m1",
        type="track",
        event="Order Completed",
        user_id="ann",
        anonymous_id=None,
        email=None,
        source="website",
        received_at=NOW,
        timestamp=NOW,
        log_position=1,
        event_index=0,
        payload=json.dumps({"userId": "ann", "properties": properties}).encode(),
        results=(),
    )
    (text,) = read_events([event], IdReader(IdentityRules())).facts.properties
    assert text is not None
    decoded = json.loads(text)
    assert (decoded["order_id"], decoded["revenue"]) == (1001, "9.90")
    assert decoded["products"] == [{"Price": 5, "price": 5}]
    assert properties.items() <= decoded.items()
