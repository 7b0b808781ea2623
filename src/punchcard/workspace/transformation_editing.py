"""Changes of transformations as functions of the workspace: what App and Public API do to them."""

from collections.abc import Callable
from dataclasses import replace

from punchcard.workspace.editing import Edit, find_by_slug, remove_by_slug, replace_by_slug, suggest_slug, unique_slug
from punchcard.workspace.model import Transformation, Workspace
from punchcard.workspace.transformation_settings import RESERVED_SLUGS


def find_transformation(workspace: Workspace, slug: str) -> Transformation:
    """Return the transformation with this slug.

    Raises:
        NotFoundError: There is none.
    """
    return find_by_slug(workspace.transformations, slug, kind="transformation")


def new_slug(workspace: Workspace, name: str) -> str:
    """Return a slug of its own for a new transformation."""
    existing = {transformation.slug for transformation in workspace.transformations}
    return unique_slug(suggest_slug(name) or "transformation", existing | RESERVED_SLUGS)


def add_transformation(transformation: Transformation) -> Edit:
    """Return the edit that adds a transformation behind the others of its source."""

    def change(workspace: Workspace) -> Workspace:
        others = [other.order for other in workspace.transformations if other.source == transformation.source]
        added = transformation if transformation.order else replace(transformation, order=max(others, default=0) + 1)
        return replace(workspace, transformations=(*workspace.transformations, added))

    return change


def change_transformation(slug: str, changed: Callable[[Transformation], Transformation]) -> Edit:
    """Return the edit that replaces a transformation.

    Raises:
        NotFoundError: (the edit) There is none with this slug.
    """

    def change(workspace: Workspace) -> Workspace:
        transformation = changed(find_transformation(workspace, slug))
        return replace(workspace, transformations=replace_by_slug(workspace.transformations, slug, transformation))

    return change


def remove_transformation(slug: str) -> Edit:
    """Return the edit that removes a transformation. Events that it has changed stay as they are.

    Raises:
        NotFoundError: (the edit) There is none with this slug.
    """

    def change(workspace: Workspace) -> Workspace:
        find_transformation(workspace, slug)
        return replace(workspace, transformations=remove_by_slug(workspace.transformations, slug))

    return change
