"""Transformations: events renamed, properties renamed, set and removed, where a condition is true."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from punchcard.events.faults import Fault
from punchcard.events.model import Event
from punchcard.events.notes import Note
from punchcard.events.parse import read_rewritten
from punchcard.filters.change_sets import ChangeSet, Transformed, may_affect
from punchcard.filters.change_writer import TRANSFORMED
from punchcard.filters.destination_filters import compile_conditions, compile_matches
from punchcard.filters.json_members import JsonMembers
from punchcard.filters.transformation_definitions import (
    NOT_COMPUTED,
    Transformation,
    TransformationDefinition,
    read_transformation,
)

DROPPED: Final = "dropped_by_transformation"
FAILED: Final = "transformation_failed"
_REMEMBERED_MAX: Final = 200
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError, ValueError)


class Transformations:
    """Transformations in their order, compiled. Each sees the event as the one before has left it.

    Args:
        definitions: The enabled transformations, in the order in which they are applied.
        is_complete: False if there are others that cannot be used; they are then not applied to any event.

    Raises:
        ConfigurationError: A transformation is invalid; the message names it.
    """

    def __init__(self, definitions: Sequence[TransformationDefinition], *, is_complete: bool = True) -> None:
        self._is_complete = is_complete
        self._transformations = [read_transformation(definition) for definition in definitions]
        conditions = [transformation.condition for transformation in self._transformations]
        # Most events match nothing: that takes one call.
        self._all_matches: Callable[[Event], int] = compile_matches(conditions)
        self._matches = [compile_conditions([condition]) for condition in conditions]
        self._changes_of: dict[int, ChangeSet | None] = {}  # by the transformations that match, as bits
        self._affected_by = [
            sum(
                1 << number
                for number, earlier in enumerate(self._transformations[:own_number])
                if may_affect(earlier.changed, transformation.depends_on)
            )
            for own_number, transformation in enumerate(self._transformations)
        ]

    def __bool__(self) -> bool:
        return bool(self._transformations)

    @property
    def may_rename_events(self) -> bool:
        """Whether any of them gives events another name."""
        return not self._is_complete or any(
            ("event",) in transformation.changed for transformation in self._transformations
        )

    def apply(self, event: Event) -> Transformed | None:
        """Apply the transformations to an event; None if none of them changes anything. Never raises."""
        try:
            try:
                matches = self._all_matches(event)
            except _UNREADABLE:
                # An earlier transformation may drop the event, or remove what cannot be read.
                return self._apply_matching(event, None)
            if not matches:
                return None
            if matches not in self._changes_of and len(self._changes_of) < _REMEMBERED_MAX:
                self._changes_of[matches] = self._independent_changes(matches)
            changes = self._changes_of.get(matches)
            return (changes and changes.apply(event)) or self._apply_matching(event, matches)
        except _UNREADABLE as error:
            return Transformed(event=None, reason=FAILED, detail=f"transformations cannot read this event: {error}")

    def _independent_changes(self, matches: int) -> ChangeSet | None:
        """Compile the changes of several transformations into one function.

        Args:
            matches: The transformations with true conditions, as bits.

        Returns:
            None if one of the transformations drops the event or computes a value, or if a condition must be evaluated
            again after a change.
        """
        if any(affected_by & matches for affected_by in self._affected_by):
            return None
        matching = [
            transformation for number, transformation in enumerate(self._transformations) if matches >> number & 1
        ]
        if any(transformation.drops is not None or transformation.computed for transformation in matching):
            return None
        return ChangeSet(
            [change for transformation in matching for change in transformation.of_properties],
            [change for transformation in matching for change in transformation.of_traits],
        )

    def _apply_matching(self, event: Event, matches: int | None) -> Transformed | None:
        """Apply the transformations that match.

        The event is read again only before a condition that depends on what was changed since, and at the end.

        Args:
            matches: The transformations with true conditions for the event as it is before all changes, as bits;
                None if conditions are evaluated one by one.
        """
        current, members = event, JsonMembers(event.raw)
        notes: list[Note] = []
        changed_by = unread = 0  # the transformations that have changed the event, and those since it was read: bits
        last = self._transformations[0]
        for number, transformation in enumerate(self._transformations):
            affected_by = self._affected_by[number]
            if matches is None or affected_by & changed_by:
                if affected_by & unread:
                    read = read_rewritten(current, members.encode())
                    if isinstance(read, Fault):
                        return _failed(last, read, notes)
                    current, unread = read, 0
                if self._matches[number](current) is None:
                    continue
            elif not matches >> number & 1:
                continue
            if transformation.drops is not None:
                return Transformed(event=None, reason=DROPPED, detail=transformation.drops, notes=tuple(notes))
            new_notes = transformation.change(members, current)
            if not new_notes:
                continue
            notes += new_notes
            if new_notes[0].reason == TRANSFORMED or any(note.reason == TRANSFORMED for note in new_notes):
                bit = 1 << number
                changed_by |= bit
                unread |= bit
                last = transformation
        if unread:
            read = read_rewritten(current, members.encode())
            if isinstance(read, Fault):
                return _failed(last, read, notes)
            current = read
        return Transformed(event=current, notes=tuple(notes)) if notes else None


def values_not_computed(notes: Iterable[Note]) -> str:
    """Return why values were not set, in 500 characters; without values of the event, since results outlive it."""
    return "; ".join(note.detail for note in notes if note.reason == NOT_COMPUTED)[:500]


def _failed(last: Transformation, fault: Fault, notes: Sequence[Note]) -> Transformed:
    detail = f'what transformation "{last.name}" makes of the event is not valid: {fault.detail}'
    return Transformed(event=None, reason=FAILED, detail=detail, notes=tuple(notes))
