"""Whether a destination is on, paused or off, and changing that. The same for App, Public API and command line."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection

from punchcard.errors import ConfigurationError
from punchcard.store.access import audit
from punchcard.store.access.switches import last_switched_off, record_reason
from punchcard.store.delivery.pauses import Pause, PauseEnd, pause_by_operator, pause_of, resume
from punchcard.store.engine import Store
from punchcard.workspace.editing import Edit, change_destination
from punchcard.workspace.model import Destination
from punchcard.workspace.part_names import destination_title

REASON_CHARACTERS_MAX = 500


class DestinationState(StrEnum):
    """What happens to events of a destination."""

    ON = "on"  # they are planned, queued and sent
    PAUSED = "paused"  # they are planned and queued; nothing is sent
    OFF = "off"  # they are recorded, and can be replayed


@dataclass(frozen=True, kw_only=True)
class DestinationStatus:
    """The state of a destination, with its circumstances.

    Attributes:
        since: None if it is on, or if nobody knows.
        actor: Who has paused it or switched it off; None if it is on or began by itself.
        reason: Stable code; "" if it is on.
        detail: Why, in somebody's own words; "" if no reason was given.
        until: When a pause ends by itself, None if it does not.
        next_check_at: When refused credentials are checked next.
    """

    state: DestinationState
    since: datetime | None = None
    actor: str | None = None
    reason: str = ""
    detail: str = ""
    until: datetime | None = None
    next_check_at: datetime | None = None


def read_status(work: Connection, destination: Destination) -> DestinationStatus:
    """Return the state of a destination. One that is off is off, whether or not it was paused before."""
    if not destination.enabled:
        switch = last_switched_off(work, destination.slug)
        return DestinationStatus(
            state=DestinationState.OFF,
            since=None if switch is None else switch.since,
            actor=None if switch is None else switch.actor,
            reason="destination_off",
            detail="" if switch is None else switch.detail,
        )
    pause = pause_of(work, destination.slug)
    if pause is None:
        return DestinationStatus(state=DestinationState.ON)
    return DestinationStatus(
        state=DestinationState.PAUSED,
        since=pause.since,
        actor=pause.actor,
        reason=pause.reason,
        detail=pause.detail,
        until=pause.until,
        next_check_at=pause.next_check_at,
    )


def pause_destination(
    work: Connection, destination: Destination, *, detail: str, until: datetime | None, actor: str, now: datetime
) -> Pause:
    """Stop sending to a destination; its events are planned and queued until it is resumed.

    Args:
        detail: Why, for everyone who wonders.
        until: When it resumes by itself, None for "not before somebody says so".
        actor: Who does it.

    Raises:
        ConfigurationError: the destination is off, the reason is too long, or the end has passed.
    """
    if not destination.enabled:
        raise ConfigurationError(
            f"{destination_title(destination)} is off: its events are recorded and not queued. Switch it on to pause "
            "it.",
            code="destination_off",
        )
    _check_reason(detail)
    if until is not None and until <= now:
        raise ConfigurationError("The end of a pause must be in the future.", code="invalid_request", field="until")
    before = pause_of(work, destination.slug)
    pause = pause_by_operator(work, destination.slug, actor=actor, detail=detail, until=until, now=now)
    _record(work, destination.slug, "pause", _shown(before), _shown(pause), actor=actor, now=now)
    return pause


def resume_destination(work: Connection, slug: str, *, actor: str, now: datetime) -> bool:
    """Resume a destination, whatever it was paused for; False if it is not paused.

    Credentials that are still refused pause it again.
    """
    before = pause_of(work, slug)
    if before is None or not resume(work, slug, by=PauseEnd.OPERATOR, now=now):
        return False
    _record(work, slug, "resume", _shown(before), None, actor=actor, now=now)
    return True


def switch_destination(
    store: Store,
    destination: Destination,
    *,
    enabled: bool,
    detail: str,
    actor: str,
    now: datetime,
    edit_as: Callable[[str, Edit], object],
) -> bool:
    """Switch a destination on or off; False if it is so already.

    Args:
        detail: Why it is switched off, for everyone who wonders.
        edit_as: Changes the configuration in somebody's name.

    Raises:
        ConfigurationError: the reason is too long, or the configuration cannot be saved.
        StorageError: the store is away.
    """
    _check_reason(detail)
    if destination.enabled is enabled:
        return False
    edit_as(actor, change_destination(destination.slug, lambda destination: replace(destination, enabled=enabled)))
    if not enabled and detail:
        with store.unit_of_work() as work:
            record_reason(work, destination.slug, actor=actor, detail=detail, now=now)
    return True


def _check_reason(detail: str) -> None:
    if len(detail) > REASON_CHARACTERS_MAX:
        raise ConfigurationError(
            f"A reason has at most {REASON_CHARACTERS_MAX} characters.", code="invalid_request", field="reason"
        )


def _shown(pause: Pause | None) -> Mapping[str, object] | None:
    if pause is None:
        return None
    shown: dict[str, object] = {"reason": pause.reason, "detail": pause.detail}
    if pause.until is not None:
        shown["until"] = f"{pause.until:%Y-%m-%dT%H:%M:%SZ}"
    return shown


def _record(
    work: Connection, slug: str, kind: str, before: object, after: object, *, actor: str, now: datetime
) -> None:
    changes = json.dumps([{"path": "pause", "before": before, "after": after}], ensure_ascii=False)
    audit.record(work, at=now, actor=actor, kind=kind, resource_type="destination", resource_id=slug, changes=changes)
