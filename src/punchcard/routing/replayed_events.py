"""What routing does with a replay's record: plans each event for the one destination, and moves its counts."""

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from punchcard.clock import to_micros
from punchcard.destinations.port import Intent
from punchcard.errors import RefusedError
from punchcard.events.model import Event
from punchcard.routing.conflicts import PlannedEffect, refused_orders
from punchcard.routing.holding import behind_held, held_event
from punchcard.routing.planning import Planned, refusal_of, try_plan
from punchcard.routing.records import INTERNAL_ERROR, describe
from punchcard.routing.replay_record import ReplayBatch
from punchcard.routing.suppression import suppressed_at
from punchcard.store.delivery.counts import MINUTE_MICROS, CountKey
from punchcard.store.routing.event_results import EventResult, EventStatus
from punchcard.store.routing.held import results_at
from punchcard.store.routing.replayed_events import EventReplay, add_event_replays, current_replays, event_replays
from punchcard.workspace.snapshot import Snapshot

if TYPE_CHECKING:
    from punchcard.routing.batch import Batch


def plan_replay(
    batch: "Batch",
    number: int,
    replay: ReplayBatch,
    snapshot: Snapshot,
    *,
    behind: Collection[str],
    suppressed: Collection[int] = (),
) -> None:
    """Plan the events of the batch's record with this number.

    Unlike a new event, a replayed one may have been seen before: what it has earned already is found in the ledger, by
    its effect key and its message id.
    """
    batch.replays[number] = replay
    batch.sources[number] = replay.source
    record, results = batch.records[number], batch.results[number]
    for index, item in zip(count(), batch.items[number], strict=False):
        if not isinstance(item, Event):
            results.append((EventResult(replay.destination, EventStatus.REFUSED, item.reason, item.detail),))
            continue
        if index in suppressed:
            results.append((suppressed_at(replay.destination),))
            continue
        plan = _plan_event(batch, item, replay, snapshot)
        if isinstance(plan, Intent) and replay.destination in behind:
            plan = behind_held(replay.destination)
        if isinstance(plan, EventResult):
            results.append((plan,))
            if plan.status is EventStatus.PENDING:
                batch.held.append(held_event(record, index, item, plan, source=replay.source))
            continue
        results.append(())
        batch.planned_effects.append(
            PlannedEffect(
                planned=Planned(snapshot.destinations[replay.destination], plan),
                event=item,
                source=replay.source,
                position=record.position,
                index=index,
                seen_before=False,
                replay=replay.replay,
            )
        )
        batch.places.append((number, index))


def _plan_event(batch: "Batch", event: Event, replay: ReplayBatch, snapshot: Snapshot) -> Intent | EventResult:
    destination = snapshot.destinations.get(replay.destination)
    if destination is None or replay.source not in destination.destination.sources:
        detail = f"{replay.destination} does not take events of {replay.source} any more"
        return EventResult(replay.destination, EventStatus.FILTERED_AT_SOURCE, "no_destination", detail)
    try:
        plan = try_plan(event, destination, source=replay.source, zone=snapshot.zone)
    except Exception as error:  # noqa: BLE001  # whatever one event makes of our code, the others go on
        detail = f"Punchcard failed on this event: {describe(error)}."
        return EventResult(replay.destination, EventStatus.REFUSED, INTERNAL_ERROR, detail)
    if not isinstance(plan, RefusedError):
        return plan
    if isinstance(order_id := plan.context.get("order_id"), str):
        batch.refused_orders += refused_orders([(replay.destination, order_id, plan.code)], event, replay.source)
    return refusal_of(destination, plan)


def keep_replayed(work: Connection, batch: "Batch", *, now: datetime) -> Counter[CountKey]:
    """Keep the results of the batch's replayed events, in the unit of work that routes them.

    Returns:
        How counts change: an event is counted once, with its newest result, where it was received.
    """
    replays_of_batch: list[EventReplay] = []
    events: list[Event | None] = []
    for number, replay in batch.replays.items():
        for index, (replayed, results) in enumerate(zip(replay.events, batch.results[number], strict=True)):
            item = batch.items[number][index]
            events.append(item if isinstance(item, Event) else None)
            replays_of_batch.append(
                EventReplay(
                    replay=replay.replay,
                    destination=replay.destination,
                    source=replay.source,
                    message_id=replayed.message_id,
                    original=replayed.place,
                    place=(batch.records[number].position, index),
                    replayed_at=now,
                    result=results[0],
                )
            )
    before = {
        (event.place, replay.destination): event.result
        for replay in batch.replays.values()
        for event in replay.events
        if event.result
    }
    known = event_replays(work, {replay.original for replay in replays_of_batch})
    counts: Counter[CountKey] = Counter()
    newest = [(place, current) for place, replays in known.items() for current in current_replays(replays).values()]
    released = results_at(work, {current.place for _, current in newest})
    current_results = {
        (place, current.destination): released.get((current.place, current.destination), current.result)
        for place, current in newest
    }
    for event_replay, event in zip(replays_of_batch, events, strict=True):
        if event is None or event_replay.result.status is EventStatus.DUPLICATE:
            continue
        place = (event_replay.original, event_replay.destination)
        previous = current_results.get(place) or before.get(place)
        key = _count_key(event_replay, event)
        if previous is not None:
            counts[key._replace(status=previous.status.value, reason=previous.reason or "")] -= 1
        counts[key] += 1
        current_results[place] = event_replay.result
    add_event_replays(work, replays_of_batch)
    return counts


def _count_key(replay: EventReplay, event: Event) -> CountKey:
    received = to_micros(event.received_at)
    return CountKey(
        bucket=received - received % MINUTE_MICROS,
        source=replay.source,
        destination=replay.destination,
        event_type=str(event.type),
        event_name=event.wire.event or "",
        status=replay.result.status.value,
        reason=replay.result.reason or "",
    )
