"""What happens to an event of a source before it is planned: steps that leave it, rewrite it, or stop it. No I/O.

Everything behind them sees the event as they leave it: the lake, the source schema, Engage and destinations. What they
have changed is stored with the event's results, because the rules may be others when the log is read again. A message
id, a type and a time never change, so repeated message ids are recognized whatever the rules do.

A stopped event is stored whole, so it can be replayed; it then goes through the rules again (`apply_again`). An event
that was not stopped has passed them once and for all.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from punchcard.events.model import Event, EventType
from punchcard.events.notes import NOTES_MAX, Note, limited
from punchcard.filters.json_members import JsonMembers
from punchcard.filters.transformation_definitions import split_path
from punchcard.filters.transformations import Transformations
from punchcard.routing.plan_step import PlanStep
from punchcard.routing.rule_steps import Ruled, Step, rewrite, stopped
from punchcard.workspace.controlled_properties import CONTROLLED, NO_HASH_KEY, ControlledProperties
from punchcard.workspace.model import PropertyControls, SchemaSwitches
from punchcard.workspace.snapshot import Snapshot, SourceRoute

SWITCHED_OFF: Final = "switched_off"
"""The reason of the note of properties and traits that were removed because they are switched off."""


class UnusableRules:
    """Stops every event of a source of which the rules cannot be used: without them it might earn something else."""

    is_final = False

    def __init__(self, source: str, problem: str) -> None:
        detail = f"the rules of {source} cannot be used: {problem} Correct that, then replay the event"
        self._stopped = stopped("source_rules_unusable", detail)

    def apply(self, event: Event) -> Ruled | None:  # every event
        """Stop the event."""
        return self._stopped


class PropertyControlStep:
    """The controls of the properties of a source."""

    is_final = True

    def __init__(self, controls: PropertyControls, *, hash_key: bytes) -> None:
        self._controlled = ControlledProperties(controls, hash_key=hash_key)

    def apply(self, event: Event) -> Ruled | None:
        """Return the event without the values; None if it has none of them."""
        changed = self._controlled.apply(event.raw)
        if changed is None:
            return None
        raw, done = changed
        note = Note(CONTROLLED, f"changed before it was stored: {done:.200}")
        return Ruled(event=rewrite(event, raw), notes=(note,))


class TransformationStep:
    """The transformations of a source."""

    is_final = False

    def __init__(self, transformations: Transformations) -> None:
        self._transformations = transformations

    def apply(self, event: Event) -> Ruled | None:
        """Return what the transformations make of the event."""
        transformed = self._transformations.apply(event)
        if transformed is None:
            return None
        if transformed.event is None:
            return msgspec.structs.replace(stopped(transformed.reason, transformed.detail), notes=transformed.notes)
        return Ruled(event=transformed.event, notes=transformed.notes, changes=transformed.changes)


class SchemaSwitchStep:
    """What of the schema of a source is switched off: events are stopped, properties and traits removed."""

    is_final = False

    def __init__(self, switches: SchemaSwitches) -> None:
        self._events = frozenset(switches.events)
        self._calls = frozenset(switches.calls)
        self._properties = {name: _paths("properties", names) for name, names in switches.properties.items()}
        self._traits = {call: _paths("traits", names) for call, names in switches.traits.items()}

    def apply(self, event: Event) -> Ruled | None:
        """Stop the event, or remove what is switched off of it."""
        name = event.wire.event
        if event.type is EventType.TRACK:
            if name in self._events:
                return stopped("event_switched_off", f"event {name} is switched off in the schema of its source")
            paths = self._properties.get(name or "", ())
        else:
            if event.type in self._calls:
                detail = f"{event.type.value} calls are switched off in the schema of their source"
                return stopped("event_switched_off", detail)
            paths = self._traits.get(event.type, ())
        if not paths:
            return None
        members = JsonMembers(event.raw)
        removed = [path for path in paths if members.change(path, lambda _: None)]
        if not removed:
            return None
        names = ", ".join(".".join(path) for path in removed)
        note = Note(SWITCHED_OFF, f"switched off in the schema of its source and removed: {names:.200}")
        return Ruled(event=rewrite(event, members.encode()), notes=(note,))


def _paths(member: str, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple((member, *split_path(name)) for name in names)


class SourceRules:
    """The rules of one source under one configuration.

    Args:
        steps: In the order in which they are applied, at least one; those that are final first.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = tuple(steps)
        self._again = tuple(step for step in steps if not step.is_final)

    def apply(self, event: Event) -> Ruled | None:
        """Apply the rules to an event as it was received; None if they leave it as it is."""
        return _apply(self._steps, event)

    def apply_again(self, event: Event) -> Ruled | None:
        """Apply the rules to an event that they had stopped, as it was stored."""
        return _apply(self._again, event)


def compile_source_rules(route: SourceRoute) -> SourceRules | None:
    """Return the rules of a source, None if it has none: its events then cost nothing more.

    The order of the steps: controls of properties (final), transformations, switches of the source's schema, tracking
    plan.
    """
    steps: list[Step] = []  # those that are final go first, also before the next ones stop everything
    controls = route.source.controls
    if controls != PropertyControls():
        if controls.hash and route.hash_key is None:
            return SourceRules([UnusableRules(route.source.slug, NO_HASH_KEY)])
        steps.append(PropertyControlStep(controls, hash_key=route.hash_key or b""))
    if route.rules_problem is not None:
        return SourceRules([*steps, UnusableRules(route.source.slug, route.rules_problem)])
    if route.transformations is not None:
        steps.append(TransformationStep(route.transformations))
    if route.source.switched_off != SchemaSwitches():
        steps.append(SchemaSwitchStep(route.source.switched_off))
    if route.tracking_plan is not None:
        steps.append(PlanStep(route.tracking_plan, route.source.enforcement))
    return SourceRules(steps) if steps else None


def rules_by_source(snapshot: Snapshot) -> Mapping[str, SourceRules]:
    """Return the rules of all sources that have some, by slug."""
    routes = {route.source.slug: route for route in snapshot.by_write_key.values()}  # one, however many keys it has
    compiled = {slug: compile_source_rules(route) for slug, route in routes.items()}
    return {slug: rules for slug, rules in compiled.items() if rules is not None}


def _apply(steps: Sequence[Step], event: Event) -> Ruled | None:
    current = stored = event
    all_ruled: list[Ruled] = []
    for step in steps:
        ruled = step.apply(current)
        if ruled is None:
            continue
        all_ruled.append(ruled)
        if ruled.event is None:
            break
        current = ruled.event
        if step.is_final:
            stored = current
    if not all_ruled:
        return None
    first, last = all_ruled[0], all_ruled[-1]
    if (
        first is last
        and first.event is not None
        and first.event is not event
        and not event.notes
        and len(first.notes) <= NOTES_MAX
    ):
        current.notes = first.notes  # as for most events with rules: there is nothing to combine
        return first
    event_after = current if last.result is None else stored
    notes = [note for ruled in all_ruled for note in ruled.notes]
    all_notes = limited(notes)
    if notes:
        event_notes = limited((*event.notes, *notes)) if event.notes else all_notes
        event_after = _with_notes(event_after, event_notes, is_own=event_after is not event)
    return Ruled(
        event=event_after,
        result=last.result,
        notes=all_notes,
        violations=tuple(violation for ruled in all_ruled for violation in ruled.violations),
        changes=first.changes if first is last and last.result is None else None,
    )


def _with_notes(event: Event, notes: tuple[Note, ...], *, is_own: bool) -> Event:
    """Return the event with other notes.

    Args:
        is_own: True for an event that a step has just made: it need not be copied.
    """
    if is_own:
        event.notes = notes
        return event
    return Event(event.type, event.message_id, event.timestamp, event.received_at, event.wire, event.raw, notes)
