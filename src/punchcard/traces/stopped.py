"""Why destinations deliver nothing now, and why they recorded nothing but events when they were off."""

from collections.abc import Collection

from sqlalchemy import Connection

from punchcard.lake.reader import LakeEvent
from punchcard.store.access.switches import SwitchedOff, current_switch, last_switched_off
from punchcard.store.delivery.pauses import pause_of
from punchcard.store.routing.event_results import EventStatus


def waits_of(work: Connection, destinations: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return why destinations send nothing now, as reason and sentence; those that deliver are left out."""
    return {slug: wait for slug in destinations if (wait := _wait_of(work, slug)) is not None}


def _wait_of(work: Connection, destination: str) -> tuple[str, str] | None:
    """Why nothing is sent to a destination now, as reason and sentence; None if it delivers."""
    if (switch := current_switch(work, destination)) is not None:
        return "destination_off", f"the destination is {switch.description}; what was queued before waits"
    pause = pause_of(work, destination)
    return None if pause is None else (pause.reason, pause.description)


def switches_of(work: Connection, event: LakeEvent) -> dict[str, SwitchedOff]:
    """Return when the destinations that were off for the event had been switched off."""
    off = [result.destination for result in event.results if result.status == EventStatus.DESTINATION_OFF]
    return {
        slug: switch
        for slug in off
        if slug and (switch := last_switched_off(work, slug, before=event.received_at)) is not None
    }
