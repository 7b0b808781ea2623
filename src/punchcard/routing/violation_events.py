"""Violations as `Violation Generated` events, which a source receives as any other event.

Source: Segment's documentation, "Forward Violations".
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from punchcard.clock import from_micros, to_iso
from punchcard.events.faults import UNREADABLE
from punchcard.events.model import Event, EventType
from punchcard.routing.batch import Batch
from punchcard.routing.plan_step import VIOLATION_EVENT
from punchcard.routing.rule_steps import Violation
from punchcard.workspace.snapshot import Snapshot, SourceRoute

USER_ID: Final = "schema-violations"
"""User id of the events, as at Segment."""

_MESSAGE_ID_CHARACTERS: Final = 40
_NAMED: Final = (EventType.PAGE, EventType.SCREEN)


def violation_events(batch: Batch, snapshot: Snapshot) -> list[tuple[str, bytes]]:
    """Return the events that the violations of a batch are forwarded as: receiving source and JSON of the track call.

    An event has the same message id however often it is made, so it is received once.
    """
    if not batch.violations:
        return []
    routes = {route.source.slug: route for route in snapshot.by_write_key.values()}
    events: list[tuple[str, bytes]] = []
    for record, index, violation in batch.violations:
        event = batch.items[record][index]
        route = routes.get(batch.sources[record] or "")
        if route is None or not isinstance(event, Event) or record in batch.replays:
            continue
        target = route.source.enforcement.forward_violations_to
        if target and target in routes and target != route.source.slug and event.wire.event != VIOLATION_EVENT:
            received_at = batch.records[record].received_at
            events.append((target, _body(event, violation, route, received_at=received_at)))
    return events


def _body(event: Event, violation: Violation, route: SourceRoute, *, received_at: int) -> bytes:
    source = route.source
    plan = route.tracking_plan
    identity = "\n".join((source.slug, event.message_id, *violation))
    app = _app(event)
    sent_at = _text(event.wire.sent_at)
    return msgspec.json.encode(
        {
            "type": "track",
            "event": VIOLATION_EVENT,
            "messageId": "sch-" + hashlib.sha256(identity.encode()).hexdigest()[:_MESSAGE_ID_CHARACTERS],
            "userId": USER_ID,
            "timestamp": to_iso(from_micros(received_at)),
            "context": {"app": app, "library": {"name": "punchcard"}},
            "integrations": {},
            "properties": {
                "appVersion": str(app.get("version", "")) if app else "",
                "eventMessageID": event.message_id,
                "eventName": (event.wire.name if event.type in _NAMED else event.wire.event) or "",
                "eventSentAt": sent_at,
                "eventTimestamp": to_iso(event.timestamp),
                "eventType": event.type.value,
                "sourceID": source.slug,
                "sourceName": source.name,
                "sourceSlug": source.slug,
                "trackingPlanID": violation.plan,
                "trackingPlanName": violation.plan if plan is None else plan.plan.name,
                "violationDescription": violation.detail,
                "violationField": violation.field,
                "violationType": violation.kind,
            },
        }
    )


def _app(event: Event) -> Mapping[str, Any] | None:
    try:
        context = msgspec.json.decode(event.wire.context) if event.wire.context else {}
    except UNREADABLE:
        return None
    app = context.get("app") if isinstance(context, dict) else None
    if not isinstance(app, dict):
        return None
    return {key: app[key] for key in ("name", "version") if isinstance(app.get(key), str)}


def _text(raw: bytes | msgspec.Raw) -> str:
    try:
        value = msgspec.json.decode(raw) if raw else ""
    except UNREADABLE:
        return ""
    return value if isinstance(value, str) else ""
