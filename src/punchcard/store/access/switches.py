"""Since when a destination is off, by whom and why, as the audit log has it."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, or_, select

from punchcard.store.access import audit
from punchcard.store.access.schema import audit_events

_SWITCH_OFF: Final = "switch_off"
_PATH: Final = "off"
# As `workspace.apply` writes it. Quotes inside a JSON string are escaped, so these texts cannot appear by accident.
_SWITCHED_OFF: Final = (
    '"path": "enabled", "before": true, "after": false',
    '"path": "enabled", "before": null, "after": false',
)

_SWITCHED_ON: Final = '"path": "enabled", "before": false, "after": true'


@dataclass(frozen=True, kw_only=True)
class SwitchedOff:
    """A disabling of a destination.

    Attributes:
        actor: The actor in the audit log.
        detail: The reason that was given, "" if none was.
    """

    since: datetime
    actor: str
    detail: str = ""

    @property
    def description(self) -> str:
        """Since when, by whom and why, without an end."""
        reason = f" ({self.detail})" if self.detail else ""
        return f"off since {self.since:%Y-%m-%d %H:%M:%S} UTC, by {self.actor}{reason}"


def record_reason(work: Connection, destination: str, *, actor: str, detail: str, now: datetime) -> None:
    """Keep why a destination was switched off just now."""
    changes = json.dumps([{"path": _PATH, "before": None, "after": detail}], ensure_ascii=False)
    audit.record(
        work,
        at=now,
        actor=actor,
        kind=_SWITCH_OFF,
        resource_type="destination",
        resource_id=destination,
        changes=changes,
    )


def current_switch(work: Connection, destination: str) -> SwitchedOff | None:
    """Return when a destination was switched off that is off now; None if it is on."""
    switch = last_switched_off(work, destination)
    if switch is None:
        return None
    columns = audit_events.c
    switched_on = select(columns.id).where(
        columns.resource_type == "destination",
        columns.resource_id == destination,
        columns.at >= switch.since,
        or_(columns.changes.contains(_SWITCHED_ON, autoescape=True), columns.kind == "remove"),
    )
    return switch if work.execute(switched_on.limit(1)).one_or_none() is None else None


def last_switched_off(work: Connection, destination: str, *, before: datetime | None = None) -> SwitchedOff | None:
    """Return when a destination was switched off the last time; None if the audit log does not have it.

    Args:
        before: Not later than this instant.
    """
    columns = audit_events.c
    own = select(audit_events).where(columns.resource_type == "destination", columns.resource_id == destination)
    query = own.where(or_(*(columns.changes.contains(text, autoescape=True) for text in _SWITCHED_OFF)))
    if before is not None:
        query = query.where(columns.at <= before)
    switch = work.execute(query.order_by(columns.id.desc()).limit(1)).one_or_none()
    if switch is None:
        return None
    # A reason is recorded right after the switch.
    following = work.execute(own.where(columns.id > switch.id).order_by(columns.id).limit(1)).one_or_none()
    has_reason = following is not None and following.kind == _SWITCH_OFF
    detail = str(json.loads(following.changes)[0]["after"]) if following is not None and has_reason else ""
    return SwitchedOff(since=switch.at, actor=switch.actor, detail=detail)
