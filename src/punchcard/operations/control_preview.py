"""What a control of a property would make of the events of the last days, and of what they earn. Changes nothing."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError
from punchcard.filters.json_members import JsonMembers
from punchcard.filters.transformation_definitions import split_path
from punchcard.lake.reader import LakeReader
from punchcard.operations.backtest import as_enabled
from punchcard.operations.transformation_preview import PREVIEW_DAYS, AwardChange, recent_events
from punchcard.routing.planning import plan_at
from punchcard.routing.rule_steps import RewritingError, rewrite
from punchcard.workspace.control_editing import PropertyControl, set_control
from punchcard.workspace.controlled_properties import ControlledProperties, text_of_value
from punchcard.workspace.editing import find_destination, find_source
from punchcard.workspace.keyring import mask
from punchcard.workspace.model import PropertyControls, Workspace
from punchcard.workspace.property_controls import control_problems
from punchcard.workspace.snapshot import RoutedDestination, Snapshot

_SAMPLES: Final = 5
_SHOWN_CHARACTERS_MAX: Final = 80


@dataclass(frozen=True, kw_only=True)
class ControlSample:
    """A value that the control would change.

    Attributes:
        event: Name of the event, of a call without one its type.
        before: The value, masked: a preview shows nothing that the control is to hide.
        after: The value afterwards, None if it would be dropped.
    """

    message_id: str
    event: str
    before: str
    after: str | None


@dataclass(kw_only=True)
class ControlPreview:
    """The effect of a control on past events.

    Attributes:
        events: Number of examined events, of the last `days`.
        changed: Number of events that it would change.
        awards: By destination, of the changed events only.
    """

    days: int = PREVIEW_DAYS
    events: int = 0
    changed: int = 0
    samples: list[ControlSample] = field(default_factory=list)
    awards: list[AwardChange] = field(default_factory=list)


def preview_control(
    control: PropertyControl, workspace: Workspace, *, snapshot: Snapshot, lake: LakeReader, clock: Clock
) -> ControlPreview:
    """Apply a control to the events of the last days, in addition to those that there are.

    Events are examined as they are stored: as the present controls of their source have left them.

    Args:
        workspace: The configuration of the snapshot.

    Raises:
        NotFoundError: There is no such source or destination.
        ConfigurationError: The control is not valid.
        StorageError: The lake is unavailable.
    """
    changed = set_control(control)(workspace)
    part = _part(changed, control)
    for problem in control_problems((control.scope, control.slug, "controls"), part):
        raise ConfigurationError(problem.message, code="invalid_control", field="path")
    key = _hash_key(snapshot)
    alone = ControlledProperties(PropertyControls(**{control.action: (control.path,)}), hash_key=key)
    pairs = _destinations(control, part, key, snapshot)
    awards = {before.slug: AwardChange(destination=before.slug) for before, _ in pairs}
    result = ControlPreview(awards=list(awards.values()))
    path = split_path(control.path)
    for row, event in recent_events(_sources(control, workspace), lake=lake, clock=clock):
        result.events += 1
        rewritten = alone.apply(event.raw)
        if rewritten is None:
            continue
        result.changed += 1
        if len(result.samples) < _SAMPLES:
            result.samples.append(
                ControlSample(
                    message_id=row.message_id,
                    event=row.event or row.type,
                    before=mask(_first_text(event.raw, path) or ""),
                    after=_first_text(rewritten[0], path),
                )
            )
        try:
            after = rewrite(event, rewritten[0]) if control.scope == "source" else event
        except RewritingError:
            after = None
        for old, new in pairs:
            if row.source not in old.destination.sources:
                continue
            plan = partial(plan_at, source=row.source or "", zone=snapshot.zone)
            awards[old.slug].add(plan(event, old), None if after is None else plan(after, new))
    return result


def _part(workspace: Workspace, control: PropertyControl) -> PropertyControls:
    if control.scope == "source":
        return find_source(workspace, control.slug).controls
    return find_destination(workspace, control.slug).controls


def _sources(control: PropertyControl, workspace: Workspace) -> Sequence[str]:
    return [control.slug] if control.scope == "source" else find_destination(workspace, control.slug).sources


def _destinations(
    control: PropertyControl, controls: PropertyControls, key: bytes, snapshot: Snapshot
) -> list[tuple[RoutedDestination, RoutedDestination]]:
    """Return the usable destinations that get changed events, as they are and as they would be."""
    usable = [as_enabled(routed) for routed in snapshot.destinations.values() if routed.invalid is None]
    if control.scope == "source":
        return [(routed, routed) for routed in usable if control.slug in routed.destination.sources]
    compiled = ControlledProperties(controls, hash_key=key)
    return [(routed, replace(routed, controls=compiled)) for routed in usable if routed.slug == control.slug]


def _hash_key(snapshot: Snapshot) -> bytes:
    """Return the key of the hashes. As long as nothing is hashed, there is none: the preview then makes one up."""
    keys = (route.hash_key for route in snapshot.by_write_key.values())
    return next((key for key in keys if key is not None), None) or secrets.token_bytes(32)


def _first_text(raw: bytes, path: tuple[str, ...]) -> str | None:
    """Return the first value at a path for people, None if there is none."""
    values = JsonMembers(raw).values(path)
    if not values:
        return None
    text = text_of_value(values[0])
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[: _SHOWN_CHARACTERS_MAX - 1]}…"
