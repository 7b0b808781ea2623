"""Possible mistakes in a definition: events that never came, properties that they never had, unknown traits."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Final, Protocol

import msgspec

from punchcard.computations.model import (
    Comparison,
    Condition,
    Definition,
    Events,
    Not,
    Property,
    StaticList,
    Trait,
    all_events,
    dependencies_of,
    traits_of,
)
from punchcard.engage.facts import Facts
from punchcard.events.faults import UNREADABLE

SAMPLE: Final = 2_000
"""Number of the newest events, or of people, that are searched for properties and traits."""

_NEAR_MAX = 3
_any = msgspec.json.Decoder()


class KnownNames(Protocol):
    """The known names of events, properties and traits."""

    def events(self) -> Collection[str]:
        """Return the names of all events received."""

    def properties(self, event: str) -> Sequence[Mapping[str, object]]:
        """Return the properties of some of the newest events with a name."""

    def traits(self) -> Collection[str]:
        """Return the names of all traits that somebody has."""

    def trait_values(self, name: str) -> Sequence[object]:
        """Return some values of a trait."""


class FactNames:
    """The names in Engage's facts."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def events(self) -> Collection[str]:
        """Return the names of all events received."""
        return {row[0] for row in self._facts.rows("SELECT DISTINCT event FROM facts")}

    def properties(self, event: str) -> Sequence[Mapping[str, object]]:
        """Return the properties of some of the newest events with a name."""
        sql = f"SELECT properties FROM facts WHERE event = ? ORDER BY seq DESC LIMIT {SAMPLE}"
        return objects_in(row[0] for row in self._facts.rows(sql, event))

    def traits(self) -> Collection[str]:
        """Return the names of all traits that somebody has."""
        return {row[0] for row in self._facts.rows("SELECT DISTINCT name FROM traits WHERE text IS NOT NULL")}

    def trait_values(self, name: str) -> Sequence[object]:
        """Return some values of a trait."""
        sql = f"SELECT json FROM traits WHERE name = ? AND text IS NOT NULL LIMIT {SAMPLE}"
        return values_in(row[0] for row in self._facts.rows(sql, name))


def find_warnings(known: KnownNames, definition: Definition) -> Iterator[str]:
    """Yield one sentence for each unknown name, with similar names."""
    names = known.events()
    requested: set[tuple[str, str]] = set()
    for events in all_events(definition):
        if events.name not in names:
            yield f'No event "{events.name}" was received yet{_near(events.name, known=names)}'
            continue
        requested.update((events.name, path) for path in _paths(events))
    for name, path in sorted(requested):
        yield from _property_warnings(name, path, known.properties(name))
    traits = known.traits()
    for trait in sorted(traits_of(definition), key=lambda key: key.key):
        if trait.name not in traits:
            escaped = {name.replace(".", "\\."): name for name in traits}
            yield f'Nobody has a trait "{trait.name}" yet{_near(trait.key, trait.name, known=escaped)}'
        elif len(dependencies_of(trait.key)) > 1:
            yield from _inner_trait_warnings(trait, known.trait_values(trait.name))


def objects_in(texts: Iterator[str | bytes | None]) -> list[Mapping[str, object]]:
    """Decode JSON texts as objects; any other value becomes an object without members."""
    return [value if isinstance(value, dict) else {} for value in values_in(texts)]


def values_in(texts: Iterator[str | bytes | None]) -> list[object]:
    """Decode JSON texts; those that cannot be read are left out."""
    values: list[object] = []
    for text in texts:
        try:
            values.append(_any.decode(text or "null"))
        except UNREADABLE:
            continue
    return values


def _property_warnings(event: str, path: str, sample: Sequence[Mapping[str, object]]) -> Iterator[str]:
    names = dependencies_of(path)
    if not sample:
        return
    keys = {key for properties in sample for key in properties}
    if names[0] not in keys:
        yield f'No recent "{event}" has a property "{names[0]}"{_near(names[0], known=keys)}'
    elif not any(_has(properties, names) for properties in sample):
        inside = {key for properties in sample for key in _keys_before(properties, names)}
        yield f'No recent "{event}" has a property "{path}"{_near(names[-1], known=inside)}'


def _inner_trait_warnings(trait: Trait, sample: Sequence[object]) -> Iterator[str]:
    names = dependencies_of(trait.key)[1:]
    if not any(_has(value, names) for value in sample):
        inside = {key for value in sample for key in _keys_before(value, names)}
        yield f'Nobody has a trait "{trait.key}" yet{_near(names[-1], known=inside)}'


def _has(value: object, names: Sequence[str]) -> bool:
    return bool(_inside(value, names))


def _keys_before(value: object, names: Sequence[str]) -> set[str]:
    """Return the keys at the place of a path's last name."""
    return {key for parent in _inside(value, names[:-1]) if isinstance(parent, dict) for key in parent}


def _inside(value: object, names: Sequence[str]) -> list[object]:
    """Return the values at the end of a path; for lists, of each entry."""
    values = [value]
    for name in names:
        if name == "$":
            values = [entry for item in values if isinstance(item, list) for entry in item]
        else:
            values = [item[name] for item in values if isinstance(item, dict) and name in item]
    return values


def _paths(events: Events) -> set[str]:
    paths = {events.of.path} if isinstance(events.of, Property) else set()
    if events.where is not None:
        paths |= _paths_of(events.where)
    return paths


def _paths_of(condition: Condition) -> set[str]:
    """Return the properties of the event itself; a funnel's second event is checked on its own."""
    match condition:
        case Not():
            return _paths_of(condition.condition)
        case StaticList():
            return set()
        case Comparison():
            sides = (condition.left, *condition.right)
            return {side.path for side in sides if isinstance(side, Property) and not side.of_parent}
        case _:
            return set().union(*map(_paths_of, condition.conditions))


def _near(*words: str, known: Collection[str]) -> str:
    """Return the end of a sentence about an unknown name: a full stop, then a suggestion if a known name is similar."""
    lowered = {name.lower(): name for name in known}
    for word in words:
        if near := [lowered[name] for name in get_close_matches(word.lower(), lowered, n=_NEAR_MAX)]:
            return ". Did you mean " + " or ".join(f'"{name}"' for name in near) + "?"
    return "."
