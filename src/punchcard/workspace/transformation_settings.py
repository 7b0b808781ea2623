"""Transformations and schema switches of the configuration: validated, and compiled by scope."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from punchcard.errors import ConfigurationError
from punchcard.events.model import EventType
from punchcard.filters.transformation_definitions import (
    PATHS_MAX,
    TransformationDefinition,
    read_transformation,
    refuse_harmful,
    split_path,
)
from punchcard.filters.transformations import Transformations
from punchcard.workspace.blank import is_blank
from punchcard.workspace.model import SchemaSwitches, Transformation, Workspace
from punchcard.workspace.part_names import destination_title, name_sources
from punchcard.workspace.problems import KeyPath, Problem, format_error

TRANSFORMATIONS_MAX = 100  # of one source
SWITCHES_MAX = 1_000
SWITCH_CHARACTERS_MAX = 1_000
"""Length of a name that is switched off: pages link to it."""
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
RESERVED_SLUGS = frozenset({"new", "preview"})  # `/transformations/new` is the form that creates one
_NAME_CHARACTERS_MAX = 200
_OTHER_CALLS = frozenset(event_type.value for event_type in EventType) - {EventType.TRACK.value}
_WITH_TRAITS = frozenset({EventType.IDENTIFY.value, EventType.GROUP.value})


@dataclass(frozen=True, kw_only=True)
class CompiledTransformations:
    """The enabled transformations of a workspace by their scope.

    Attributes:
        by_source: Those for everything behind a source, by its slug.
        by_destination: Those for one destination, by the slugs of destination and source.
        problems: Why those of a scope cannot be used, by kind (`source` or `destination`) and slug.
    """

    by_source: Mapping[str, Transformations] = field(default_factory=dict)
    by_destination: Mapping[tuple[str, str], Transformations] = field(default_factory=dict)
    problems: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def of_destination(self, slug: str) -> Mapping[str, Transformations]:
        """Return those for one destination, by the slug of their source."""
        return {
            source: compiled for (destination, source), compiled in self.by_destination.items() if destination == slug
        }


def compile_transformations(workspace: Workspace, unreadable: Mapping[tuple[str, str], str]) -> CompiledTransformations:
    """Compile the enabled transformations. A problem in one affects the events that it might have changed only.

    Args:
        unreadable: Why a stored part could not be read completely, by kind and slug.
    """
    by_scope: dict[tuple[str, str], list[Transformation]] = {}
    problems: dict[tuple[str, str], str] = {}
    for transformation in in_order(workspace.transformations):
        problem = unreadable.get(("transformation", transformation.slug))
        if problem is not None:
            problems.update(dict.fromkeys(_affected(transformation, workspace), problem))
        elif transformation.enabled:
            by_scope.setdefault((transformation.source, transformation.destination), []).append(transformation)
    by_source: dict[str, Transformations] = {}
    by_destination: dict[tuple[str, str], Transformations] = {}
    for (source, destination), transformations in by_scope.items():
        try:
            compiled = Transformations([to_definition(transformation) for transformation in transformations])
        except Exception as error:  # noqa: BLE001  # a problem of one scope must not affect the others
            message = f"The transformations cannot be used: {format_error(error)}."
            problems["destination" if destination else "source", destination or source] = message
            continue
        if destination:
            by_destination[destination, source] = compiled
        else:
            by_source[source] = compiled
    unusable = Transformations([], is_complete=False)
    for kind, slug in problems:
        if kind == "destination":
            by_destination |= {(slug, source.slug): unusable for source in workspace.sources}
    return CompiledTransformations(by_source=by_source, by_destination=by_destination, problems=problems)


def _affected(transformation: Transformation, workspace: Workspace) -> Iterable[tuple[str, str]]:
    """The scopes that a transformation might belong to that cannot be read."""
    if transformation.destination:
        return [("destination", transformation.destination)]
    if transformation.source:
        return [("source", transformation.source)]
    return [("source", source.slug) for source in workspace.sources]


def in_order(transformations: Iterable[Transformation]) -> list[Transformation]:
    """Return transformations in the order in which they are applied."""
    return sorted(transformations, key=lambda transformation: (transformation.order, transformation.slug))


def describe_changes(transformation: Transformation) -> str:
    """Return what a transformation does, in a few words for lists."""
    if transformation.drop:
        return "drops events"
    parts = [f"event → {transformation.new_event_name}"] if transformation.new_event_name else []
    parts += [f"{rename.old_name} → {rename.new_name}" for rename in transformation.property_renames]
    parts += [
        f"{path} = {value.property_value}"
        for value in transformation.property_value_transformations
        for path in value.property_paths
    ]
    parts += [f"{defined.property_name} = {defined.fql}" for defined in transformation.fql_defined_properties]
    parts += [f"without {name}" for name in transformation.property_drops]
    if transformation.allow_properties:
        parts.append(f"only {', '.join(transformation.allow_properties)}")
    return "; ".join(parts)


def to_definition(transformation: Transformation) -> TransformationDefinition:
    """Return a transformation of the configuration in the form in which it is compiled."""
    return TransformationDefinition(
        name=transformation.name,
        condition=transformation.condition,
        drops=transformation.drop,
        new_event_name=transformation.new_event_name,
        renames=[(rename.old_name, rename.new_name) for rename in transformation.property_renames],
        values=[
            (path, value.property_value)
            for value in transformation.property_value_transformations
            for path in value.property_paths
        ],
        fql_properties=[(defined.property_name, defined.fql) for defined in transformation.fql_defined_properties],
        property_drops=transformation.property_drops,
        allow_properties=transformation.allow_properties,
    )


def transformation_problems(workspace: Workspace) -> Iterator[Problem]:
    """Yield the problems of the transformations of a workspace."""
    slugs = [transformation.slug for transformation in workspace.transformations]
    source_names = name_sources(workspace.sources)
    destinations = {destination.slug: destination for destination in workspace.destinations}
    for index, transformation in enumerate(workspace.transformations):
        path: KeyPath = ("transformations", transformation.slug or index)
        is_unnamed = not transformation.slug and not transformation.name.strip()  # the slug is derived from the name
        if not is_unnamed and not _SLUG.fullmatch(transformation.slug):
            message = f'"{transformation.slug}" is not a slug. Use lower-case letters, digits and hyphens.'
            yield Problem(path=(*path, "slug"), message=message)
        elif not is_unnamed and slugs.count(transformation.slug) > 1:
            message = f'Another transformation is named "{transformation.slug}", too. Choose another name.'
            yield Problem(path=(*path, "slug"), message=message)
        elif transformation.slug in RESERVED_SLUGS:
            message = f'"{transformation.slug}" is reserved. Choose another slug, such as {transformation.slug}-2.'
            yield Problem(path=(*path, "slug"), message=message)
        if is_blank(transformation.name) or len(transformation.name.strip()) > _NAME_CHARACTERS_MAX:
            yield Problem(path=(*path, "name"), message=f"Must have 1 to {_NAME_CHARACTERS_MAX} characters.")
        if transformation.source not in source_names:
            yield Problem(path=(*path, "source"), message=f'There is no source "{transformation.source}".')
        destination = destinations.get(transformation.destination)
        if transformation.destination and destination is None:
            message = f'There is no destination "{transformation.destination}".'
            yield Problem(path=(*path, "destination"), message=message)
        elif destination is not None and transformation.source not in destination.sources:
            message = (
                f"{destination_title(destination)} is not connected to "
                f"{source_names.get(transformation.source, transformation.source)}."
            )
            yield Problem(path=(*path, "destination"), message=message)
        yield from _definition_problems(path, transformation)
    for source in sorted(source_names):
        count = sum(transformation.source == source for transformation in workspace.transformations)
        if count > TRANSFORMATIONS_MAX:
            message = f"{source_names[source]} has {count} transformations. At most {TRANSFORMATIONS_MAX} are allowed."
            yield Problem(path=("transformations",), message=message)


def _definition_problems(path: KeyPath, transformation: Transformation) -> Iterator[Problem]:
    for index, value in enumerate(transformation.property_value_transformations):
        if not 1 <= len(value.property_paths) <= PATHS_MAX:
            yield Problem(
                path=(*path, "propertyValueTransformations", index), message=f"Must have 1 to {PATHS_MAX} paths."
            )
    # One that is disabled is validated too, so that enabling it cannot fail.
    try:
        definition = to_definition(transformation)
        read_transformation(definition)
        refuse_harmful(definition)
        Transformations([definition])
    except ConfigurationError as error:
        place = error.context.get("path")
        keys = place if isinstance(place, tuple) else ()
        yield Problem(path=(*path, *keys), message=error.message)
    except Exception as error:  # noqa: BLE001  # an error of the compiler must not stop saving other parts
        message = f"This transformation cannot be compiled: {type(error).__name__}: {error}."
        yield Problem(path=(*path, "if"), message=message)


def switch_problems(path: KeyPath, switches: SchemaSwitches) -> Iterator[Problem]:
    """Yield the problems of what is switched off of the schema of a source."""
    for key, names, known in (
        ("calls", switches.calls, _OTHER_CALLS),
        ("traits", tuple(switches.traits), _WITH_TRAITS),
    ):
        for name in names:
            if name not in known:
                message = f'"{name}" is not possible here. Use {", ".join(sorted(known))}.'
                yield Problem(path=(*path, key), message=message)
    total = len(switches.events) + sum(map(len, [*switches.properties.values(), *switches.traits.values()]))
    if total > SWITCHES_MAX:
        yield Problem(path=path, message=f"Has {total} names. At most {SWITCHES_MAX} are allowed.")
    switched = chain(switches.events, switches.properties, *switches.properties.values(), *switches.traits.values())
    if (longest := max(map(len, switched), default=0)) > SWITCH_CHARACTERS_MAX:
        message = f"A name has {longest:,} characters. At most {SWITCH_CHARACTERS_MAX:,} are allowed."
        yield Problem(path=path, message=message)
    for key, by_name in (("properties", switches.properties), ("traits", switches.traits)):
        for name, members in by_name.items():
            if not all(member and all(split_path(member)) for member in members):
                yield Problem(path=(*path, key, name), message="A name must not be empty, nor begin or end with a dot.")
