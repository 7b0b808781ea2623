"""Looks up parts of the running configuration that a person names."""

from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.snapshot import RoutedDestination, Snapshot


def find_running_destination(snapshot: Snapshot, slug: str) -> RoutedDestination:
    """Return the destination with this slug, with its code and settings.

    Raises:
        NotFoundError: There is no such destination.
    """
    destination = snapshot.destinations.get(slug)
    if destination is None:
        raise NotFoundError(f"There is no destination {slug}.")
    return destination
