"""What in a definition may be a mistake: events that never came, properties that they never had, unknown traits."""

from collections.abc import Collection, Iterator
from difflib import get_close_matches

from punchcard.computations.model import (
    Comparison,
    Condition,
    Definition,
    Events,
    Not,
    Property,
    all_events,
    parts_of,
    trait_keys,
)
from punchcard.engage.facts import Facts

_SAMPLE = 2_000
_NEAR_MAX = 3


def find_warnings(facts: Facts, definition: Definition) -> Iterator[str]:
    """One sentence for each thing that nobody has, with what it may have meant."""
    known = {row[0] for row in facts.rows("SELECT DISTINCT event FROM facts")}
    asked: set[tuple[str, str]] = set()
    for events in all_events(definition):
        if events.name not in known:
            yield f'no event "{events.name}" has come yet{_near(events.name, known)}'
            continue
        asked.update((events.name, path) for path in _paths(events))
    for name, path in sorted(asked):
        keys = _keys(facts, name)
        first = parts_of(path)[0]
        if first not in keys:
            yield f'no "{name}" of late has a property "{first}"{_near(first, keys)}'
    traits = {row[0] for row in facts.rows("SELECT DISTINCT name FROM traits WHERE text IS NOT NULL")}
    for key in sorted(trait_keys(definition) - traits):
        yield f'nobody has a trait "{key}" yet{_near(key, traits)}'


def _paths(events: Events) -> set[str]:
    found = {events.of.path} if isinstance(events.of, Property) else set()
    if events.where is not None:
        found |= _paths_of(events.where)
    return found


def _paths_of(condition: Condition) -> set[str]:
    """The properties of the event itself: a funnel's second event is asked on its own."""
    match condition:
        case Not():
            return _paths_of(condition.condition)
        case Comparison():
            sides = (condition.left, *condition.right)
            return {one.path for one in sides if isinstance(one, Property) and not one.of_parent}
        case _:
            return set().union(*map(_paths_of, condition.conditions))


def _keys(facts: Facts, name: str) -> set[str]:
    rows = facts.rows(
        f"""
        SELECT DISTINCT unnest(json_keys(properties)) FROM (
            SELECT properties FROM facts WHERE event = ? AND json_type(properties) = 'OBJECT'
            ORDER BY seq DESC LIMIT {_SAMPLE}
        )
        """,
        name,
    )
    return {row[0] for row in rows}


def _near(word: str, known: Collection[str]) -> str:
    lowered = {one.lower(): one for one in known}
    near = [lowered[one] for one in get_close_matches(word.lower(), lowered, n=_NEAR_MAX)]
    if not near:
        return ""
    return "; did you mean " + " or ".join(f'"{one}"' for one in near) + "?"
