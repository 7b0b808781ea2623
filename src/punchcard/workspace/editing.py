"""Changes of a workspace as functions of it: what App and Public API do to sources, destinations and filters."""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count

from punchcard.errors import ConfigurationError
from punchcard.workspace.model import Destination, DestinationFilter, Source, Workspace

Edit = Callable[[Workspace], Workspace]

NOT_FOUND = "not_found"
"""The code of the error for what is not there."""

_WRITE_KEY_BYTES = 24
_SLUG_CHARACTERS_MAX = 64


class NotFoundError(ConfigurationError):
    """A part that is to be changed is not there (any more)."""

    code = NOT_FOUND


def generate_write_key() -> str:
    """A write key that nobody can guess."""
    while not (key := secrets.token_urlsafe(_WRITE_KEY_BYTES))[0].isalnum():  # a dash would look like an option
        continue
    return key


def suggest_slug(name: str) -> str:
    """The slug that a name suggests: "Main street shop" → "main-street-shop"; "" if nothing of it can stand in one."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_SLUG_CHARACTERS_MAX].strip("-")


def unique_slug(wanted: str, taken: set[str]) -> str:
    """The slug, with a number behind it if it is taken."""
    names = (wanted if number == 1 else f"{wanted}-{number}" for number in count(1))
    return next(name for name in names if name not in taken)


def find_source(workspace: Workspace, slug: str) -> Source:
    """The source with this slug.

    Raises:
        NotFoundError: there is none.
    """
    for source in workspace.sources:
        if source.slug == slug:
            return source
    raise NotFoundError(f"there is no source {slug}")


def find_destination(workspace: Workspace, slug: str) -> Destination:
    """The destination with this slug.

    Raises:
        NotFoundError: there is none.
    """
    for destination in workspace.destinations:
        if destination.slug == slug:
            return destination
    raise NotFoundError(f"there is no destination {slug}")


def find_filter(destination: Destination, filter_id: str) -> DestinationFilter:
    """The filter with this id.

    Raises:
        NotFoundError: there is none.
    """
    for one in destination.filters:
        if one.id == filter_id:
            return one
    raise NotFoundError(f"{destination.slug} has no filter {filter_id}")


def rename_workspace(name: str, timezone: str) -> Edit:
    """A workspace of another name, in another time zone; both are checked when it is saved."""
    return lambda workspace: replace(workspace, name=name, timezone=timezone)


def add_source(source: Source) -> Edit:
    """With one source more.

    Raises:
        ConfigurationError: (the edit) its slug is taken.
    """

    def change(workspace: Workspace) -> Workspace:
        if any(one.slug == source.slug for one in workspace.sources):
            raise ConfigurationError(f"there is a source {source.slug} already", code="source_exists", field="slug")
        return replace(workspace, sources=(*workspace.sources, source))

    return change


def change_source(slug: str, changed: Callable[[Source], Source]) -> Edit:
    """With another source in the place of one.

    Raises:
        NotFoundError: (the edit) there is none with this slug.
        ConfigurationError: (the edit) it belongs to callers of the partner endpoint.
    """

    def change(workspace: Workspace) -> Workspace:
        source = find_source(workspace, slug)
        if source.is_managed:
            raise ConfigurationError(
                f"{slug} is kept for callers of the partner endpoint: it can only be deleted", code="kept"
            )
        fresh = changed(source)
        return replace(
            workspace, sources=tuple(fresh if source.slug == slug else source for source in workspace.sources)
        )

    return change


def remove_write_key(write_key: str) -> Callable[[Source], Source]:
    """For `change_source`: without a write key; events that come with it afterwards are from no source.

    Raises:
        NotFoundError: (the change) the source does not have it.
        ConfigurationError: (the change) it is the last one.
    """

    def change(source: Source) -> Source:
        if write_key not in source.write_keys:
            raise NotFoundError(f"{source.slug} has no such write key")
        if len(source.write_keys) == 1:
            raise ConfigurationError(
                "a source needs a write key: add another one first, or delete the source", code="last_write_key"
            )
        return replace(source, write_keys=tuple(key for key in source.write_keys if key != write_key))

    return change


def remove_source(slug: str) -> Edit:
    """Without a source that no destination gets events of: removing one must not end awards by the way.

    Raises:
        NotFoundError: (the edit) there is none.
        ConfigurationError: (the edit) a destination gets its events.
    """

    def change(workspace: Workspace) -> Workspace:
        find_source(workspace, slug)
        connected = [destination.slug for destination in workspace.destinations if slug in destination.sources]
        if connected:
            raise ConfigurationError(
                f"{', '.join(connected)} gets its events: delete or connect that otherwise first", code="in_use"
            )
        return replace(workspace, sources=tuple(source for source in workspace.sources if source.slug != slug))

    return change


def add_destination(destination: Destination) -> Edit:
    """With one destination more."""
    return lambda workspace: replace(workspace, destinations=(*workspace.destinations, destination))


def change_destination(slug: str, changed: Callable[[Destination], Destination]) -> Edit:
    """With another destination in the place of one.

    Raises:
        NotFoundError: (the edit) there is none with this slug.
        ConfigurationError: (the edit) it belongs to callers of the partner endpoint.
    """

    def change(workspace: Workspace) -> Workspace:
        destination = find_destination(workspace, slug)
        if destination.is_managed:
            raise ConfigurationError(
                f"{slug} is kept for callers of the partner endpoint: it can only be deleted", code="kept"
            )
        fresh = changed(destination)
        return replace(
            workspace,
            destinations=tuple(
                fresh if destination.slug == slug else destination for destination in workspace.destinations
            ),
        )

    return change


def remove_destination(slug: str, *, queued: Callable[[], int]) -> Edit:
    """Without a destination that has nothing left to send.

    Args:
        queued: How many of its transactions wait to be sent or are parked.

    Raises:
        NotFoundError: (the edit) there is none.
        ConfigurationError: (the edit) something is queued.
    """

    def change(workspace: Workspace) -> Workspace:
        find_destination(workspace, slug)
        if number := queued():
            raise ConfigurationError(
                f"{number:,} transactions of {slug} wait to be sent or are parked: deleting it would lose them. "
                "Switch it off instead, or let them end first",
                code="in_use",
            )
        return replace(
            workspace,
            destinations=tuple(destination for destination in workspace.destinations if destination.slug != slug),
        )

    return change


def change_filter(
    filter_id: str, changed: Callable[[DestinationFilter], DestinationFilter | None]
) -> Callable[[Destination], Destination]:
    """For `change_destination`: another filter in the place of one, or none.

    Raises:
        NotFoundError: (the change) there is none with this id.
    """

    def change(destination: Destination) -> Destination:
        find_filter(destination, filter_id)
        filters = [changed(one) if one.id == filter_id else one for one in destination.filters]
        return replace(destination, filters=tuple(one for one in filters if one is not None))

    return change


def merge_settings(standing: Mapping[str, object], given: Mapping[str, object] | None) -> Mapping[str, object]:
    """Settings with those that are given in the place of what stands."""
    return standing if given is None else {**standing, **given}
