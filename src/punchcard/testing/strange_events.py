"""Valid events with any JSON in them, from a seed: what any website may send."""

import json
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from punchcard.events.model import Event, EventType
from punchcard.events.parse import read_request

_RECEIVED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def read_event(event: Mapping[str, object]) -> Event:
    """Return an event as routing reads it; it must be valid."""
    parsed = _read_or_none(event)
    assert parsed is not None, f"{event} is not a valid event"
    return parsed


def _read_or_none(event: Mapping[str, object]) -> Event | None:
    body = json.dumps({"batch": [event]}).encode()
    (item,) = read_request(body, call="batch", received_at=_RECEIVED_AT, position=1)
    return item if isinstance(item, Event) else None


def strange_event(chance: random.Random, number: int, samples: Sequence[Mapping[str, object]]) -> Event | None:
    """Return a valid event of any of the six calls with any JSON in it, often a sample with a part replaced."""
    event: dict[str, Any] = {"type": chance.choice(list(EventType)), "userId": "u", "groupId": "g", "previousId": "p"}
    event |= {"event": chance.choice(["", "A", "Order Refunded", "x" * 300, "é\u2028"]), "messageId": f"s{number}"}
    if samples and chance.random() < 0.7:
        event = json.loads(json.dumps(chance.choice(samples)))
    for name in ("properties", "traits", "context"):
        if chance.random() < 0.6:
            inner = event.get(name) if isinstance(event.get(name), dict) else {}
            keys = [*(inner or {}), "email", "order_id", "revenue", "traits", "x"]
            event[name] = {**(inner or {}), chance.choice(keys): strange_value(chance)}
    if chance.random() < 0.2:
        event["email"] = strange_value(chance)
    return _read_or_none(event)


def strange_value(chance: random.Random, depth: int = 0) -> Any:
    """Return any JSON value."""
    simple: list[Any] = [
        None,
        True,
        False,
        0,
        -1,
        1.5,
        10**30,
        1e300,
        "",
        " ",
        "a@b.example",
        "0",
        "é☕\u0000",
        "x" * 999,
    ]
    if depth < 3 and chance.random() < 0.3:
        return [strange_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if depth < 3 and chance.random() < 0.3:
        names = ["email", "a", "@path", "x" * 50, ""]
        return {chance.choice(names): strange_value(chance, depth + 1) for _ in range(chance.randrange(4))}
    return chance.choice(simple)
