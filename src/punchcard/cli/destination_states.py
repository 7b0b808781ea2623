"""What `punchcard destination pause`, `resume`, `off` and `on` do."""

from collections.abc import Iterator
from contextlib import contextmanager

from punchcard.cli.output import printable
from punchcard.clock import SystemClock
from punchcard.operations.destination_states import pause_destination, resume_destination, switch_destination
from punchcard.operations.instants import read_instant
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.workspace import persistence
from punchcard.workspace.apply import edit
from punchcard.workspace.editing import Edit, find_destination
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.part_names import name_destinations

_ACTOR = "command line"


def pause_now(settings: Settings, slug: str, *, reason: str, until: str | None) -> int:
    """Pause a destination; returns the exit status.

    Raises:
        ConfigurationError: there is no such destination, it is off, or the end is not in the future.
        StorageError: the store is away.
    """
    clock = SystemClock()
    with _opened(settings) as (store, keyring):
        workspace = persistence.load(store, keyring).workspace
        destination, name = find_destination(workspace, slug), name_destinations(workspace.destinations)[slug]
        end = None
        if until is not None:
            end = read_instant(until, option="--until", now=clock.now(), zone=workspace.zone(), is_past=False)
        with store.unit_of_work() as work:
            pause = pause_destination(work, destination, detail=reason, until=end, actor=_ACTOR, now=clock.now())
    print(printable(f"{name} is {pause.description}. Its events are queued; nothing is sent."))
    return 0


def resume_now(settings: Settings, slug: str) -> int:
    """Resume a destination; returns the exit status.

    Raises:
        ConfigurationError: there is no such destination.
        StorageError: the store is away.
    """
    with _opened(settings) as (store, keyring):
        workspace = persistence.load(store, keyring).workspace
        destination, name = find_destination(workspace, slug), name_destinations(workspace.destinations)[slug]
        with store.unit_of_work() as work:
            is_resumed = resume_destination(work, slug, actor=_ACTOR, now=SystemClock().now())
    if not destination.enabled:
        print(printable(f"{name} is off: `punchcard destination on {slug}` switches it on"))
    else:
        print(printable(f"{name} delivers again" if is_resumed else f"{name} is not paused"))
    return 0


def switch_off_now(settings: Settings, slug: str, *, reason: str) -> int:
    """Switch a destination off; returns the exit status.

    Raises:
        ConfigurationError: there is no such destination.
        StorageError: the store is away.
    """
    name, is_switched = _switch(settings, slug, enabled=False, reason=reason)
    if is_switched:
        print(f"{name} is off. Its events are recorded, and can be replayed once it is on; what is queued waits.")
    else:
        print(f"{name} is off already")
    return 0


def switch_on_now(settings: Settings, slug: str) -> int:
    """Switch a destination on; returns the exit status.

    Raises:
        ConfigurationError: there is no such destination.
        StorageError: the store is away.
    """
    name, is_switched = _switch(settings, slug, enabled=True, reason="")
    if is_switched:
        replay = f"punchcard replay --destination {slug} --reason destination_off"
        print(f"{name} is on. Events recorded while it was off are delivered by: {replay}")
    else:
        print(f"{name} is on already")
    return 0


def _switch(settings: Settings, slug: str, *, enabled: bool, reason: str) -> tuple[str, bool]:
    """Return the name of the destination as it can be printed, and whether it was not so already."""
    clock = SystemClock()
    with _opened(settings) as (store, keyring):

        def edit_as(actor: str, change: Edit) -> None:
            edit(store, change, clock=clock, keyring=keyring, actor=actor)

        workspace = persistence.load(store, keyring).workspace
        is_switched = switch_destination(
            store,
            find_destination(workspace, slug),
            enabled=enabled,
            detail=reason,
            actor=_ACTOR,
            now=clock.now(),
            edit_as=edit_as,
        )
        return printable(name_destinations(workspace.destinations)[slug]), is_switched


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Store, Keyring]]:
    store = open_store(settings)
    try:
        yield store, open_keyring(settings)
    finally:
        store.close()
