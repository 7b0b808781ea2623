"""What operators do with audiences and computed traits: preview, add, change, remove, sync again, pause."""

from collections.abc import Callable
from dataclasses import replace

from punchcard.clock import Clock
from punchcard.computations.errors import DefinitionError
from punchcard.engage.requests import Preview, PreviewRequest, request_preview
from punchcard.errors import ConfigurationError
from punchcard.operations.computation_status import ComputationStatus
from punchcard.store.access import audit
from punchcard.store.engage import engage_tables
from punchcard.store.engine import Store
from punchcard.workspace.editing import Edit, NotFoundError
from punchcard.workspace.model import Computation, Workspace
from punchcard.workspace.part_names import name_parts
from punchcard.workspace.persistence import parts_by_key
from punchcard.workspace.problems import Problem

RESYNC_CHANGES = '[{"path": "resync", "before": null, "after": true}]'
"""Changes that the audit log states for a resync: the computation itself does not change."""


def preview(store: Store, request: PreviewRequest, *, clock: Clock) -> Preview:
    """Preview a definition: the number of matching people, ten samples, and warnings about likely mistakes.

    Raises:
        ConfigurationError: The definition is invalid; the context has the `position` of the error.
        StorageError: Engage does not respond, or the store is unavailable.
    """
    try:
        return request_preview(store, request, clock=clock)
    except DefinitionError as error:
        # Same shape as the error that saving the definition raises.
        problem = Problem(path=(f"{request.kind}s", 0, "definition"), message=error.message)
        raise ConfigurationError(error.message, problems=(problem,), position=error.position) from error


def resync(store: Store, status: ComputationStatus, *, destination: str | None, actor: str, clock: Clock) -> int:
    """Queue everybody for a sync, whether or not their value has changed; return the number of people queued.

    Raises:
        ConfigurationError: The computation is not synced to the destination.
        StorageError: The store is unavailable.
    """
    computation = status.computation
    if destination is not None and destination not in computation.destinations:
        name = computation.name or computation.key
        raise ConfigurationError(f"{name} is not synced to {destination}.", field="destination")
    count = 0
    with store.unit_of_work() as work:
        for slug in (destination,) if destination is not None else computation.destinations:
            count += engage_tables.enqueue_everybody(
                work, destination=slug, key=computation.key, at=clock.now(), is_resync=True
            )
        audit.record(
            work,
            at=clock.now(),
            actor=actor,
            kind="change",
            resource_type=computation.kind,
            resource_id=computation.key,
            changes=RESYNC_CHANGES,
        )
    return count


def pause(store: Store, destination: str, *, actor: str, clock: Clock) -> None:
    """Pause syncing of audiences and traits to a destination until `resume`. Awards are delivered meanwhile."""
    with store.unit_of_work() as work:
        engage_tables.pause(work, destination, at=clock.now(), actor=actor)


def resume(store: Store, destination: str) -> None:
    """Resume syncing to a destination."""
    with store.unit_of_work() as work:
        engage_tables.resume(work, destination)


def add_computation(computation: Computation) -> Edit:
    """Return an edit that adds a computation.

    Raises:
        ConfigurationError: (the edit) Its key is in use.
    """

    def change(workspace: Workspace) -> Workspace:
        if any(existing.key == computation.key for existing in workspace.computations):
            raise ConfigurationError(
                f"An audience or computed trait with the key {computation.key} exists already. Choose another key.",
                field="key",
            )
        return replace(workspace, computations=(*workspace.computations, computation))

    return change


def change_computation(key: str, changed: Callable[[Computation], Computation]) -> Edit:
    """Return an edit that replaces a computation; its key and kind stay.

    Raises:
        NotFoundError: (the edit) There is no computation with this key.
    """

    def change(workspace: Workspace) -> Workspace:
        if all(computation.key != key for computation in workspace.computations):
            raise NotFoundError(f"There is no audience or computed trait {key}.")
        computations = [
            replace(changed(computation), key=key, kind=computation.kind) if computation.key == key else computation
            for computation in workspace.computations
        ]
        return replace(workspace, computations=tuple(computations))

    return change


def remove_computation(key: str) -> Edit:
    """Return an edit that removes a computation which no other one uses.

    Raises:
        NotFoundError: (the edit) There is no computation with this key.
        ConfigurationError: (the edit) Another computation uses it.
    """
    from punchcard.computations.model import trait_keys
    from punchcard.workspace.computations import read_definition

    def change(workspace: Workspace) -> Workspace:
        remaining = tuple(part for part in workspace.computations if part.key != key)
        if len(remaining) == len(workspace.computations):
            raise NotFoundError(f"There is no audience or computed trait {key}.")
        using = [part for part in remaining if key in trait_keys(read_definition(part))]
        if using:
            names = name_parts(parts_by_key(workspace))
            used = next(names[part.kind, key] for part in workspace.computations if part.key == key)
            users = ", ".join(names[part.kind, part.key] for part in using)
            raise ConfigurationError(f"{used} is used by {users}. Change or delete {users} first.", code="in_use")
        return replace(workspace, computations=remaining)

    return change
