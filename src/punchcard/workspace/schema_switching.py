"""Switching events and properties of a source's schema off and on, as functions of a source."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from punchcard.events.model import EventType
from punchcard.workspace.model import SchemaSwitches, Source


def is_event_off(switches: SchemaSwitches, event_type: str, name: str) -> bool:
    """Return whether an event, or all calls of another type, are switched off."""
    return name in switches.events if event_type == EventType.TRACK else event_type in switches.calls


def properties_off(switches: SchemaSwitches, event_type: str, name: str) -> tuple[str, ...]:
    """Return the properties or traits of an event that are switched off."""
    if event_type == EventType.TRACK:
        return switches.properties.get(name, ())
    return switches.traits.get(event_type, ())


def has_property_switches(event_type: str) -> bool:
    """Return whether single properties or traits of such calls can be switched off."""
    return event_type in (EventType.TRACK, EventType.IDENTIFY, EventType.GROUP)


def switch_event(event_type: str, name: str, *, is_on: bool) -> Callable[[Source], Source]:
    """Return a change for `change_source` that switches an event, or all calls of another type, off or on."""

    def change(source: Source) -> Source:
        switches = source.switched_off
        if event_type == EventType.TRACK:
            switches = replace(switches, events=_switched(switches.events, name, is_on=is_on))
        else:
            switches = replace(switches, calls=_switched(switches.calls, event_type, is_on=is_on))
        return replace(source, switched_off=switches)

    return change


def switch_property(event_type: str, name: str, path: str, *, is_on: bool) -> Callable[[Source], Source]:
    """Return a change for `change_source` that switches a property or trait off or on."""

    def change(source: Source) -> Source:
        switches = source.switched_off
        if event_type == EventType.TRACK:
            switches = replace(switches, properties=_with(switches.properties, name, path, is_on=is_on))
        else:
            switches = replace(switches, traits=_with(switches.traits, event_type, path, is_on=is_on))
        return replace(source, switched_off=switches)

    return change


def _switched(names: tuple[str, ...], name: str, *, is_on: bool) -> tuple[str, ...]:
    others = tuple(existing for existing in names if existing != name)
    return others if is_on else (*others, name)


def _with(
    by_name: Mapping[str, tuple[str, ...]], name: str, path: str, *, is_on: bool
) -> Mapping[str, tuple[str, ...]]:
    paths = _switched(by_name.get(name, ()), path, is_on=is_on)
    others = {key: value for key, value in by_name.items() if key != name}
    return {**others, name: paths} if paths else others
