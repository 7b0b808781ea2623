"""Audiences and computed traits as configured: what they may say, and the form in which they are computed and told."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Final

from punchcard.computations.keys import KEY, KEY_CHARACTERS_MAX
from punchcard.computations.model import Definition, trait_keys
from punchcard.computations.parser import parse_audience, parse_trait
from punchcard.computations.sql import ComputationQuery, statement
from punchcard.errors import ConfigurationError
from punchcard.workspace.model import Computation, Workspace
from punchcard.workspace.problems import KeyPath, Problem, format_error

OWN_SOURCES: Final = "engage-"
"""How the slugs of sources begin by which audiences and computed traits are told; the destination's slug follows."""

COMPUTATION_KINDS: Final = ("audience", "computed_trait")
REAL_TIME: Final = "real-time"
_NAME_CHARACTERS_MAX = 73  # Segment's
_RESERVED_KEYS = frozenset({"new"})  # `/audiences/new` is the form that creates one
_COMPUTATIONS_MAX = 500
_SENDS = ("identify", "track")
_SYNC_INTERVAL = re.compile(r"every (?:(\d+) )?(minute|hour|day)s?")
_UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadyComputation:
    """An audience or computed trait ready to be computed and told.

    Attributes:
        definition: What its text says.
        sync_interval: None to tell every change at once, else how often.
    """

    configured: Computation
    definition: Definition
    sync_interval: timedelta | None


def prepare_computation(computation: Computation) -> ReadyComputation:
    """The computation in the form that Engage uses.

    Raises:
        ConfigurationError: its definition cannot be read or compiled.
    """
    sync_interval = parse_sync_interval(computation.sync)
    if not sync_interval and computation.sync != REAL_TIME:
        raise ConfigurationError(f'"{computation.sync}" is not a rhythm; expected "{REAL_TIME}" or "every 2 hours"')
    return ReadyComputation(
        configured=computation, definition=compile_definition(computation), sync_interval=sync_interval
    )


def compile_computations(
    computations: Iterable[Computation],
) -> tuple[dict[str, ReadyComputation], dict[str, str]]:
    """Return the computations that can be used, by key, and why each of the others cannot.

    Whatever is wrong with one concerns that one alone, and those that it forms a cycle with.
    """
    usable: dict[str, ReadyComputation] = {}
    invalid: dict[str, str] = {}
    for computation in computations:
        try:
            usable[computation.key] = prepare_computation(computation)
        except Exception as error:  # noqa: BLE001  # one broken computation must not stop the others, nor any award
            invalid[computation.key] = format_error(error)
    while (cycle := _find_cycle({key: one.definition for key, one in usable.items()})) is not None:
        for key in cycle:
            usable.pop(key, None)
            invalid[key] = _cycle_message(cycle)
    return usable, invalid


def compile_definition(computation: Computation) -> Definition:
    """Return the definition of a computation that parses and that Engage can compile.

    Raises:
        DefinitionError: it cannot be read.
        ConfigurationError: it cannot be compiled, which is a defect of the compiler.
    """
    try:
        definition = read_definition(computation)
        _compile(definition)
    except ConfigurationError:
        raise
    except Exception as error:  # whatever a compiler can raise must not reach who saves or loads it
        message = f"this definition cannot be compiled: {type(error).__name__}: {error}"
        raise ConfigurationError(message, code="invalid_definition") from error
    return definition


@lru_cache(maxsize=2_000)
def _compile(definition: Definition) -> None:
    statement([ComputationQuery(definition=definition)], now=0)


@lru_cache(maxsize=2_000)
def parse_definition(kind: str, text: str) -> Definition:
    """What a text says as the definition of an `audience` or a `computed_trait`.

    Raises:
        DefinitionError: it cannot be read.
    """
    return parse_audience(text) if kind == "audience" else parse_trait(text)


def read_definition(computation: Computation) -> Definition:
    """What the text of a computation says.

    Raises:
        DefinitionError: it cannot be read.
    """
    return parse_definition(computation.kind, computation.definition)


def parse_sync_interval(sync: str) -> timedelta | None:
    """How often a destination is told; None for at once, and for what is not a rhythm."""
    match = _SYNC_INTERVAL.fullmatch(sync.strip())
    try:
        return None if match is None else int(match[1] or 1) * _UNITS[match[2]]
    except (OverflowError, ValueError):  # longer than there is time
        return None


def computation_problems(workspace: Workspace) -> Iterator[Problem]:
    """All that is wrong with audiences and computed traits."""
    counts = {"audience": 0, "computed_trait": 0}
    keys = [computation.key for computation in workspace.computations]
    destinations = {destination.slug for destination in workspace.destinations}
    definitions: dict[str, Definition] = {}
    if len(keys) > _COMPUTATIONS_MAX:
        message = f"there are {len(keys)} audiences and computed traits, at most {_COMPUTATIONS_MAX} are allowed"
        yield Problem(path=("audiences",), message=message)
    for computation in workspace.computations:
        path: KeyPath = (f"{computation.kind}s", counts[computation.kind])
        counts[computation.kind] += 1
        yield from _name_problems(path, computation, keys)
        yield from _sync_problems(path, computation, destinations)
        try:
            definitions[computation.key] = compile_definition(computation)
        except ConfigurationError as error:
            yield Problem(path=(*path, "definition"), message=error.message)
    yield from _cycle_problems(workspace, definitions)


def _name_problems(path: KeyPath, one: Computation, keys: list[str]) -> Iterator[Problem]:
    if not one.name.strip():
        yield Problem(path=(*path, "name"), message="must not be empty")
    elif len(one.name) > _NAME_CHARACTERS_MAX:
        message = f"has {len(one.name)} characters, at most {_NAME_CHARACTERS_MAX} are allowed"
        yield Problem(path=(*path, "name"), message=message)
    if not one.key:
        message = "the name has no Latin letter and no digit to make a key of: give a key, such as big_spenders"
        yield Problem(path=(*path, "key"), message=message)
    elif not KEY.fullmatch(one.key) or len(one.key) > KEY_CHARACTERS_MAX:
        message = f'"{one.key}" is not a key; expected lower-case letters and digits with single underscores between'
        yield Problem(path=(*path, "key"), message=message)
    elif one.key in _RESERVED_KEYS:
        message = f'"{one.key}" is the address of a page of the App: give another key, such as {one.key}_members'
        yield Problem(path=(*path, "key"), message=message)
    elif keys.count(one.key) > 1:
        message = f'"{one.key}" is used more than once; audiences and computed traits share their keys'
        yield Problem(path=(*path, "key"), message=message)


def _sync_problems(path: KeyPath, one: Computation, destinations: set[str]) -> Iterator[Problem]:
    for slug in one.destinations:
        if slug not in destinations:
            known = ", ".join(sorted(destinations)) or "none"
            message = f'there is no destination "{slug}"; known: {known}'
            yield Problem(path=(*path, "destinations"), message=message)
        elif one.destinations.count(slug) > 1:
            yield Problem(path=(*path, "destinations"), message=f'destination "{slug}" is listed twice')
    if not one.send or len(set(one.send)) < len(one.send) or not set(one.send) <= set(_SENDS):
        yield Problem(path=(*path, "send"), message='must be ["identify"], ["track"] or both')
    if one.sync != REAL_TIME and not parse_sync_interval(one.sync):
        message = f'"{one.sync}" is no rhythm; expected "{REAL_TIME}", or for example "every 2 hours"'
        yield Problem(path=(*path, "sync"), message=message)
    if one.when_removed not in ("keep", "false"):
        yield Problem(path=(*path, "when_removed"), message='must be "keep" or "false"')


def _cycle_problems(workspace: Workspace, definitions: Mapping[str, Definition]) -> Iterator[Problem]:
    cycle = _find_cycle(definitions)
    if cycle is None:
        return
    numbers: dict[str, int] = {"audience": 0, "computed_trait": 0}
    for computation in workspace.computations:
        if computation.key == cycle[0]:
            path: KeyPath = (f"{computation.kind}s", numbers[computation.kind], "definition")
            yield Problem(path=path, message=_cycle_message(cycle))
        numbers[computation.kind] += 1


def _find_cycle(definitions: Mapping[str, Definition]) -> list[str] | None:
    """Keys of computations that reference each other in a circle, the first one again at the end; None if none do."""
    graph = {key: trait_keys(definition) & definitions.keys() for key, definition in definitions.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return None


def _cycle_message(cycle: Sequence[str]) -> str:
    return f"would create a cycle by referencing another one: {' → '.join(cycle)}"
