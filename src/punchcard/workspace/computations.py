"""Audiences and computed traits as configured: their validation, and their compiled form."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Final

from punchcard.computations.keys import KEY, KEY_CHARACTERS_MAX
from punchcard.computations.model import Definition, StaticList, trait_keys
from punchcard.computations.parser import parse_audience, parse_trait
from punchcard.computations.sql import ComputationQuery, statement
from punchcard.errors import ConfigurationError
from punchcard.workspace.blank import is_blank
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Computation, Destination, Source, Workspace
from punchcard.workspace.part_names import destination_title
from punchcard.workspace.problems import KeyPath, Problem, format_error

OWN_SOURCES: Final = "engage-"
"""Prefix of the slugs of Engage's own sources, which sync audiences and traits; the destination's slug follows."""

COMPUTATION_KINDS: Final = ("audience", "computed_trait")
REAL_TIME: Final = "real-time"
_NAME_CHARACTERS_MAX = 73  # Segment's
_RESERVED_KEYS = frozenset({"new"})  # `/audiences/new` is the form that creates one
_COMPUTATIONS_MAX = 500
_SENDS = ("identify", "track")
_SYNC_INTERVAL = re.compile(r"every (?:(\d+) )?(minute|hour|day)s?")
_SYNC_INTERVAL_MAX = timedelta(days=365)
_UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadyComputation:
    """An audience or computed trait ready to be computed and synced.

    Attributes:
        definition: Parsed definition.
        sync_interval: Interval between syncs, None to sync each change immediately.
    """

    configured: Computation
    definition: Definition
    sync_interval: timedelta | None


def prepare_computation(computation: Computation) -> ReadyComputation:
    """Return the computation in the form that Engage uses.

    Raises:
        ConfigurationError: Its definition cannot be read or compiled, or its sync interval is invalid.
    """
    sync_interval = parse_sync_interval(computation.sync)
    if not sync_interval and computation.sync != REAL_TIME:
        raise ConfigurationError(_sync_message(computation.sync))
    return ReadyComputation(
        configured=computation, definition=compile_definition(computation), sync_interval=sync_interval
    )


def own_source(destination: Destination, keyring: Keyring) -> Source:
    """Return the source of the calls that sync audiences and computed traits to a destination."""
    slug = f"{OWN_SOURCES}{destination.slug}"
    # Secret, so that no sender can claim that somebody entered an audience. Those behind the first: of a key rotation.
    write_keys = tuple(f"{OWN_SOURCES}{fingerprint}" for fingerprint in keyring.fingerprints(slug.encode()))
    name = f"Audiences and traits for {destination_title(destination)}"
    return Source(slug=slug, name=name, write_keys=write_keys)


def compile_computations(
    computations: Iterable[Computation],
) -> tuple[dict[str, ReadyComputation], dict[str, str]]:
    """Return the usable computations by key, and for each of the others why it cannot be used.

    A problem affects one computation only, and those that form a cycle with it.
    """
    usable: dict[str, ReadyComputation] = {}
    invalid: dict[str, str] = {}
    for computation in computations:
        try:
            usable[computation.key] = prepare_computation(computation)
        except Exception as error:  # noqa: BLE001  # one broken computation must not stop the others, nor any award
            invalid[computation.key] = format_error(error)
    while (cycle := _find_cycle({key: ready.definition for key, ready in usable.items()})) is not None:
        for key in cycle:
            usable.pop(key, None)
            invalid[key] = _cycle_message(cycle)
    return usable, invalid


def compile_definition(computation: Computation) -> Definition:
    """Return the definition of a computation that parses and that Engage can compile.

    Raises:
        DefinitionError: It cannot be parsed.
        ConfigurationError: It cannot be compiled, which is a defect of the compiler.
    """
    try:
        definition = read_definition(computation)
        _compile(definition)
    except ConfigurationError:
        raise
    except Exception as error:  # any defect of the compiler becomes an error of this one definition
        message = f"This definition cannot be compiled. Please report this. {type(error).__name__}: {error}"
        raise ConfigurationError(message, code="invalid_definition") from error
    return definition


@lru_cache(maxsize=2_000)
def _compile(definition: Definition) -> None:
    statement([ComputationQuery(definition=definition)], now=0)


@lru_cache(maxsize=2_000)
def parse_definition(kind: str, text: str) -> Definition:
    """Parse the text of the definition of an `audience` or a `computed_trait`.

    Raises:
        DefinitionError: It cannot be parsed.
    """
    return parse_audience(text) if kind == "audience" else parse_trait(text)


def read_definition(computation: Computation) -> Definition:
    """Return the parsed definition of a computation.

    Raises:
        DefinitionError: It cannot be parsed.
    """
    return parse_definition(computation.kind, computation.definition)


def parse_sync_interval(sync: str) -> timedelta | None:
    """Return the interval of a text such as `every 2 hours`; None for `real-time` and for anything invalid."""
    match = _SYNC_INTERVAL.fullmatch(sync.strip())
    try:
        interval = None if match is None else int(match[1] or 1) * _UNITS[match[2]]
    except (OverflowError, ValueError):  # too large for a timedelta
        return None
    return None if interval is None or interval > _SYNC_INTERVAL_MAX else interval


def computation_problems(workspace: Workspace) -> Iterator[Problem]:
    """Yield the problems of all audiences and computed traits."""
    counts = {"audience": 0, "computed_trait": 0}
    keys = [computation.key for computation in workspace.computations]
    destinations = {destination.slug for destination in workspace.destinations}
    definitions: dict[str, Definition] = {}
    if len(keys) > _COMPUTATIONS_MAX:
        message = f"There are {len(keys)} audiences and computed traits. At most {_COMPUTATIONS_MAX} are allowed."
        yield Problem(path=("audiences",), message=message)
    for computation in workspace.computations:
        path: KeyPath = (f"{computation.kind}s", counts[computation.kind])
        counts[computation.kind] += 1
        yield from _name_problems(path, computation, keys)
        yield from _sync_problems(path, computation, destinations)
        try:
            definitions[computation.key] = definition = compile_definition(computation)
            if isinstance(definition, StaticList) and definition.name != computation.key:
                message = f"A static list is named like its audience. Use list('{computation.key}')."
                yield Problem(path=(*path, "definition"), message=message)
        except ConfigurationError as error:
            yield Problem(path=(*path, "definition"), message=error.message)
    yield from _cycle_problems(workspace, definitions)


def _name_problems(path: KeyPath, computation: Computation, keys: list[str]) -> Iterator[Problem]:
    if is_blank(computation.name):
        yield Problem(path=(*path, "name"), message="Must not be empty.")
    elif len(computation.name) > _NAME_CHARACTERS_MAX:
        message = f"Has {len(computation.name)} characters. At most {_NAME_CHARACTERS_MAX} are allowed."
        yield Problem(path=(*path, "name"), message=message)
    if not computation.key:
        if not computation.name.strip():
            return  # no key can be derived of it
        message = "The name has no Latin letter or digit to derive a key from. Enter a key, such as big_spenders."
        yield Problem(path=(*path, "key"), message=message)
    elif not KEY.fullmatch(computation.key) or len(computation.key) > KEY_CHARACTERS_MAX:
        message = (
            f'"{computation.key}" is not a key. Use lower-case letters and digits, separated by single underscores.'
        )
        yield Problem(path=(*path, "key"), message=message)
    elif computation.key in _RESERVED_KEYS:
        message = f'"{computation.key}" is reserved. Choose another key, such as {computation.key}_members.'
        yield Problem(path=(*path, "key"), message=message)
    elif keys.count(computation.key) > 1:
        message = f'"{computation.key}" is used more than once. Audiences and computed traits share one set of keys.'
        yield Problem(path=(*path, "key"), message=message)


def _sync_problems(path: KeyPath, computation: Computation, destinations: set[str]) -> Iterator[Problem]:
    for slug in computation.destinations:
        if slug not in destinations:
            known = ", ".join(sorted(destinations)) or "none"
            message = f'There is no destination "{slug}". Destinations: {known}.'
            yield Problem(path=(*path, "destinations"), message=message)
        elif computation.destinations.count(slug) > 1:
            yield Problem(path=(*path, "destinations"), message=f'Destination "{slug}" is listed twice.')
    if (
        not computation.send
        or len(set(computation.send)) < len(computation.send)
        or not set(computation.send) <= set(_SENDS)
    ):
        yield Problem(path=(*path, "send"), message='Must be ["identify"], ["track"] or both.')
    if computation.sync != REAL_TIME and not parse_sync_interval(computation.sync):
        yield Problem(path=(*path, "sync"), message=_sync_message(computation.sync))
    if computation.when_removed not in ("keep", "false"):
        yield Problem(path=(*path, "when_removed"), message='Must be "keep" or "false".')


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
    """Return the keys of a reference cycle, with the first one repeated at the end; None if there is no cycle."""
    graph = {key: trait_keys(definition) & definitions.keys() for key, definition in definitions.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return None


def _cycle_message(cycle: Sequence[str]) -> str:
    return f"Would create a cycle by referencing another one: {' → '.join(cycle)}."


def _sync_message(sync: str) -> str:
    longest = f"at most {_SYNC_INTERVAL_MAX.days} days"
    return f'"{sync}" is not a sync interval. Use "{REAL_TIME}" or, for example, "every 2 hours"; {longest}.'
