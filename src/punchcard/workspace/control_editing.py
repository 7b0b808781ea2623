"""Controls of properties as a list, and changes of it as functions of the workspace: for App, Public API and CLI."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from punchcard.errors import ConfigurationError
from punchcard.workspace.editing import Edit, NotFoundError, change_destination, change_source
from punchcard.workspace.model import PropertyControls, Workspace
from punchcard.workspace.persistence import PartKey
from punchcard.workspace.property_controls import CONTROL_KINDS


@dataclass(frozen=True, kw_only=True, order=True)
class PropertyControl:
    """A control of one source or destination.

    Attributes:
        scope: `source`, for everything behind it, or `destination`, for what it gets.
        slug: Slug of the source or destination.
        path: Path from the event on, such as `properties.card`.
        action: `drop`, `mask` or `hash`.
    """

    scope: str
    slug: str
    path: str
    action: str

    @property
    def part(self) -> PartKey:
        """The part of the configuration that it belongs to."""
        return self.scope, self.slug


def list_controls(workspace: Workspace) -> list[PropertyControl]:
    """Return all controls: those of sources, then those of destinations, by slug and path."""
    parts = [("source", source.slug, source.controls) for source in workspace.sources]
    parts += [("destination", part.slug, part.controls) for part in workspace.destinations]
    controls = [control for scope, slug, own in parts for control in _controls_of(scope, slug, own)]
    return sorted(controls, key=lambda control: (control.scope != "source", control.slug, control.path))


def find_control(workspace: Workspace, scope: str, slug: str, path: str) -> PropertyControl:
    """Return the control of a path at a source or destination.

    Raises:
        NotFoundError: There is none.
    """
    for control in list_controls(workspace):
        if (control.scope, control.slug, control.path) == (scope, slug, path):
            return control
    raise NotFoundError(f"There is no control of {path} at {scope} {slug}.")


def set_control(control: PropertyControl) -> Edit:
    """Return the edit that adds a control, or gives the path another one.

    Raises:
        NotFoundError: (the edit) There is no such source or destination.
        ConfigurationError: The action is unknown; or (the edit) the partner endpoint manages the part.
    """
    if control.action not in CONTROL_KINDS:
        raise ConfigurationError(
            f'"{control.action}" is not an action. Use {", ".join(CONTROL_KINDS)}, or remove the control.',
            code="invalid_request",
            field="action",
        )

    def change(controls: PropertyControls) -> PropertyControls:
        if control.path in getattr(controls, control.action):
            return controls
        others = _without(controls, control.path)
        return replace(others, **{control.action: (*getattr(others, control.action), control.path)})

    return _change(control.scope, control.slug, change)


def remove_control(scope: str, slug: str, path: str) -> Edit:
    """Return the edit that removes the control of a path: it is then allowed. Stored events stay as they are.

    Raises:
        NotFoundError: (the edit) There is no such control.
    """
    change = _change(scope, slug, lambda controls: _without(controls, path))

    def checked(workspace: Workspace) -> Workspace:
        find_control(workspace, scope, slug, path)
        return change(workspace)

    return checked


def _change(scope: str, slug: str, change: Callable[[PropertyControls], PropertyControls]) -> Edit:
    if scope == "source":
        return change_source(slug, lambda source: replace(source, controls=change(source.controls)))
    if scope == "destination":
        return change_destination(slug, lambda part: replace(part, controls=change(part.controls)))
    raise ConfigurationError(
        f'"{scope[:40]}" is not a scope. Use source or destination.', code="invalid_request", field="scope"
    )


def _controls_of(scope: str, slug: str, controls: PropertyControls) -> Iterator[PropertyControl]:
    for action in CONTROL_KINDS:
        for path in getattr(controls, action):
            yield PropertyControl(scope=scope, slug=slug, path=path, action=action)


def _without(controls: PropertyControls, path: str) -> PropertyControls:
    return PropertyControls(
        **{kind: tuple(name for name in getattr(controls, kind) if name != path) for kind in CONTROL_KINDS}
    )
