"""Edits: functions that return a changed workspace. App and Public API build every change from them."""

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import TypeVar

from punchcard.errors import ConfigurationError
from punchcard.tracking_plans.model import TrackingPlan
from punchcard.workspace.model import (
    AlertChannel,
    Destination,
    DestinationFilter,
    Source,
    Transformation,
    Workspace,
)
from punchcard.workspace.part_names import destination_title, name_parts
from punchcard.workspace.persistence import parts_by_key

Edit = Callable[[Workspace], Workspace]
T = TypeVar("T")
SluggedPart = TypeVar("SluggedPart", Source, Destination, Transformation, AlertChannel, TrackingPlan)

NOT_FOUND = "not_found"
"""Code of the error for something that does not exist."""

_WRITE_KEY_BYTES = 24
_SLUG_CHARACTERS_MAX = 64
_LISTED_MAX = 10


class NotFoundError(ConfigurationError):
    """The part to change does not exist (any more)."""

    code = NOT_FOUND


def generate_write_key() -> str:
    """Return a random write key."""
    while not (key := secrets.token_urlsafe(_WRITE_KEY_BYTES))[0].isalnum():  # a leading dash would look like an option
        continue
    return key


def suggest_slug(name: str) -> str:
    """Return a slug for a name: "Main street shop" → "main-street-shop"; "" if no character is usable."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_SLUG_CHARACTERS_MAX].strip("-")


def unique_slug(slug: str, existing: set[str]) -> str:
    """Return the slug, with a number appended if it exists."""
    names = (slug if number == 1 else f"{slug}-{number}" for number in count(1))
    return next(name for name in names if name not in existing)


def add_with_new_slug(
    edit: Callable[[Edit], T], choose: Callable[[Workspace], str], add: Callable[[str], Edit]
) -> tuple[str, T]:
    """Make the edit that adds a part under a slug of its own; return the slug and what the edit returns.

    The slug is chosen by the edit itself, so parts with one name that are added at once all get one.

    Args:
        choose: Returns a slug that no part of the workspace has.
        add: Returns the edit that adds the part under this slug.
    """
    slug = ""

    def change(workspace: Workspace) -> Workspace:
        nonlocal slug
        slug = choose(workspace)
        return add(slug)(workspace)

    result = edit(change)
    return slug, result


def find_by_slug(parts: Iterable[SluggedPart], slug: str, *, kind: str) -> SluggedPart:
    """Return the part with this slug.

    Args:
        kind: What such a part is called, such as `alert channel`.

    Raises:
        NotFoundError: No part has it.
    """
    listed = list(parts)
    for part in listed:
        if part.slug == slug:
            return part
    raise not_found(kind, slug, (part.slug for part in listed))


def not_found(kind: str, slug: str, known: Iterable[str]) -> NotFoundError:
    """Return the error about a part that does not exist, with the slugs of those that do."""
    slugs = sorted(known)
    listed = ", ".join(slugs[:_LISTED_MAX]) + (f" and {len(slugs) - _LISTED_MAX} more" if slugs[_LISTED_MAX:] else "")
    next_step = f"Use one of: {listed}." if slugs else "None exists yet: add one in the App or in the config file."
    return NotFoundError(f"There is no {kind} {slug}. {next_step}")


def replace_by_slug(parts: Iterable[SluggedPart], slug: str, new_part: SluggedPart) -> tuple[SluggedPart, ...]:
    """Return the parts with another one in the place of the one with this slug."""
    return tuple(new_part if part.slug == slug else part for part in parts)


def remove_by_slug(parts: Iterable[SluggedPart], slug: str) -> tuple[SluggedPart, ...]:
    """Return the parts without the one with this slug."""
    return tuple(part for part in parts if part.slug != slug)


def find_source(workspace: Workspace, slug: str) -> Source:
    """Return the source with this slug.

    Raises:
        NotFoundError: There is no such source.
    """
    return find_by_slug(workspace.sources, slug, kind="source")


def find_destination(workspace: Workspace, slug: str) -> Destination:
    """Return the destination with this slug.

    Raises:
        NotFoundError: There is no such destination.
    """
    return find_by_slug(workspace.destinations, slug, kind="destination")


def find_filter(destination: Destination, filter_id: str) -> DestinationFilter:
    """Return the filter with this id.

    Raises:
        NotFoundError: There is no such filter.
    """
    for destination_filter in destination.filters:
        if destination_filter.id == filter_id:
            return destination_filter
    raise NotFoundError(f"{destination_title(destination)} has no filter {filter_id}.")


def change_workspace(**values: str | tuple[str, ...]) -> Edit:
    """Return an edit that sets settings of the workspace, such as `name`. They are validated when it is applied."""
    return lambda workspace: replace(workspace, **values)  # type: ignore[arg-type]  # only settings of these types


def add_source(source: Source) -> Edit:
    """Return an edit that adds a source.

    Raises:
        ConfigurationError: (the edit) Its slug is in use.
    """

    def change(workspace: Workspace) -> Workspace:
        if any(existing.slug == source.slug for existing in workspace.sources):
            raise ConfigurationError(
                f"A source {source.slug} exists already. Choose another slug.", code="source_exists", field="slug"
            )
        return replace(workspace, sources=(*workspace.sources, source))

    return change


def change_source(slug: str, changed: Callable[[Source], Source]) -> Edit:
    """Return an edit that replaces a source.

    Raises:
        NotFoundError: (the edit) There is no such source.
        ConfigurationError: (the edit) The partner endpoint manages it.
    """

    def change(workspace: Workspace) -> Workspace:
        source = find_source(workspace, slug)
        if source.is_managed:
            raise ConfigurationError(
                f"{source.name or slug} is managed by the partner endpoint. It can be deleted, but not changed.",
                code="managed",
            )
        new_source = changed(source)
        return replace(workspace, sources=replace_by_slug(workspace.sources, slug, new_source))

    return change


def remove_write_key(write_key: str) -> Callable[[Source], Source]:
    """Return a change for `change_source` that removes a write key. Later events with this key belong to no source.

    Raises:
        NotFoundError: (the change) The source does not have the key.
        ConfigurationError: (the change) It is the last key of the source.
    """

    def change(source: Source) -> Source:
        if write_key not in source.write_keys:
            raise NotFoundError(f"{source.name or source.slug} does not have this write key.")
        if len(source.write_keys) == 1:
            raise ConfigurationError(
                "A source needs a write key. Add another one first, or delete the source.", code="last_write_key"
            )
        return replace(source, write_keys=tuple(key for key in source.write_keys if key != write_key))

    return change


def remove_source(slug: str) -> Edit:
    """Return an edit that removes a source that nothing uses: it must not stop awards as a side effect.

    Raises:
        NotFoundError: (the edit) There is no such source.
        ConfigurationError: (the edit) A destination is connected to it, or a transformation belongs to it.
    """

    def change(workspace: Workspace) -> Workspace:
        names = name_parts(parts_by_key(workspace))
        find_source(workspace, slug)
        _refuse_if_used(
            names["source", slug],
            [
                *(
                    f'disconnect or delete the destination "{names["destination", destination.slug]}"'
                    for destination in workspace.destinations
                    if slug in destination.sources
                ),
                *_with_transformations(workspace, lambda transformation: transformation.source == slug),
            ],
        )
        return replace(
            workspace,
            sources=tuple(
                replace(source, enforcement=replace(source.enforcement, forward_violations_to=""))
                if source.enforcement.forward_violations_to == slug
                else source
                for source in workspace.sources
                if source.slug != slug
            ),
            tracking_plans=tuple(
                replace(plan, sources=tuple(source for source in plan.sources if source != slug))
                for plan in workspace.tracking_plans
            ),
        )

    return change


def add_destination(destination: Destination) -> Edit:
    """Return an edit that adds a destination."""
    return lambda workspace: replace(workspace, destinations=(*workspace.destinations, destination))


def change_destination(slug: str, changed: Callable[[Destination], Destination]) -> Edit:
    """Return an edit that replaces a destination.

    Raises:
        NotFoundError: (the edit) There is no such destination.
        ConfigurationError: (the edit) The partner endpoint manages it.
    """

    def change(workspace: Workspace) -> Workspace:
        destination = find_destination(workspace, slug)
        if destination.is_managed:
            raise ConfigurationError(
                f"{destination_title(destination)} is managed by the partner endpoint. It can be deleted, but not "
                "changed.",
                code="managed",
            )
        new_destination = changed(destination)
        return replace(workspace, destinations=replace_by_slug(workspace.destinations, slug, new_destination))

    return change


def remove_destination(slug: str, *, queued: Callable[[], int]) -> Edit:
    """Return an edit that removes a destination with an empty queue that nothing uses.

    Args:
        queued: Returns the number of its transactions that are queued or parked.

    Raises:
        NotFoundError: (the edit) There is no such destination.
        ConfigurationError: (the edit) Its queue is not empty, an audience or a computed trait is synced to it, or a
            transformation is limited to it.
    """

    def change(workspace: Workspace) -> Workspace:
        find_destination(workspace, slug)
        names = name_parts(parts_by_key(workspace))
        title = names["destination", slug]
        if number := queued():
            queue = f"1 transaction of {title} is" if number == 1 else f"{number:,} transactions of {title} are"
            raise ConfigurationError(
                f"{queue} queued or parked, and would be lost. Disable the destination instead, or wait until "
                "the queue is empty.",
                code="in_use",
            )
        _refuse_if_used(
            title,
            [
                *(
                    f"remove it from the destinations of the {part.kind.replace('_', ' ')} "
                    f'"{names[part.kind, part.key]}"'
                    for part in workspace.computations
                    if slug in part.destinations
                ),
                *_with_transformations(workspace, lambda transformation: transformation.destination == slug),
            ],
        )
        return replace(workspace, destinations=remove_by_slug(workspace.destinations, slug))

    return change


def _with_transformations(workspace: Workspace, uses: Callable[[Transformation], bool]) -> Iterator[str]:
    for transformation in workspace.transformations:
        if uses(transformation):
            yield f'delete the transformation "{transformation.name or transformation.slug}"'


def _refuse_if_used(name: str, steps: Sequence[str]) -> None:
    """Refuse to remove a part that others use.

    Args:
        steps: What to do before it can be removed, one for each user.

    Raises:
        ConfigurationError: There are users.
    """
    if steps:
        raise ConfigurationError(f"{name} is in use. Before you delete it, {', '.join(steps)}.", code="in_use")


def change_filter(
    filter_id: str, changed: Callable[[DestinationFilter], DestinationFilter | None]
) -> Callable[[Destination], Destination]:
    """Return a change for `change_destination` that replaces a filter, or removes it if `changed` returns None.

    Raises:
        NotFoundError: (the change) There is no such filter.
    """

    def change(destination: Destination) -> Destination:
        find_filter(destination, filter_id)
        filters = [
            changed(destination_filter) if destination_filter.id == filter_id else destination_filter
            for destination_filter in destination.filters
        ]
        return replace(
            destination,
            filters=tuple(destination_filter for destination_filter in filters if destination_filter is not None),
        )

    return change


def merge_settings(current: Mapping[str, object], changes: Mapping[str, object] | None) -> Mapping[str, object]:
    """Return the current settings, updated with the changes."""
    return current if changes is None else {**current, **changes}
