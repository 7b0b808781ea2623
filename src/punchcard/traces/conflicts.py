"""The conflicts of an event: other events with its effect key and other content, and what was decided of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from punchcard.store.delivery.conflicts import (
    ConflictQuery,
    StoredConflict,
    effects_with_corrections,
    list_conflicts,
)
from punchcard.store.delivery.effects import ConflictResolution, StoredEffect
from punchcard.store.values import storable

_CONFLICTS_MAX = 50


@dataclass(frozen=True, kw_only=True)
class ConflictTrace:
    """Another event with the effect key of this one, and other content.

    Attributes:
        message_id: Of the other event.
        resolution: What an operator decided, None while nobody has.
    """

    id: int
    message_id: str
    resolution: str | None
    resolved_at: datetime | None
    resolved_by: str | None

    @property
    def decision(self) -> str | None:
        """What was decided, as a sentence without its full stop; None while nobody has."""
        if self.resolved_at is None:
            return None
        chosen = "first" if self.resolution == ConflictResolution.KEPT else "second"
        return f"Resolved by {self.resolved_by} on {self.resolved_at:%Y-%m-%d %H:%M} UTC: the {chosen} content counts"


def conflict_traces(work: Connection, message_id: str) -> dict[tuple[str, str], ConflictTrace]:
    """Return the conflicts of an event by destination and effect key: one to be decided, else the newest."""
    conflicts: dict[tuple[str, str], ConflictTrace] = {}
    stored_conflicts = list_conflicts(work, ConflictQuery(message_id=message_id), count=_CONFLICTS_MAX)
    for conflict in sorted(stored_conflicts, key=lambda conflict: (conflict.resolution is None, conflict.id)):
        effect = effects_with_corrections(work, conflict.effect_id)[0]
        conflicts[effect.destination, effect.effect_key] = conflict_trace(conflict, effect, message_id)
    return conflicts


def conflict_to_show(
    conflicts: Sequence[StoredConflict], effect: StoredEffect, message_id: str
) -> ConflictTrace | None:
    """Return the conflict of an event to look at: one to be decided, else the newest; None if it has none.

    Args:
        conflicts: All conflicts of the effect.
        message_id: Of the event: the one that has made the effect, or one with other content.
    """
    if message_id != effect.message_id:
        conflicts = [conflict for conflict in conflicts if conflict.message_id == storable(message_id)]
    if not conflicts:
        return None
    chosen = max(conflicts, key=lambda conflict: (conflict.resolution is None, conflict.id))
    return conflict_trace(chosen, effect, message_id)


def conflict_trace(conflict: StoredConflict, effect: StoredEffect, message_id: str) -> ConflictTrace:
    """Return a conflict as one of its two events has it.

    Args:
        effect: With the key of the conflict.
        message_id: Of the event.
    """
    is_second = conflict.message_id == storable(message_id)
    return ConflictTrace(
        id=conflict.id,
        message_id=effect.message_id if is_second else conflict.message_id,
        resolution=conflict.resolution,
        resolved_at=conflict.resolved_at,
        resolved_by=conflict.resolved_by,
    )
