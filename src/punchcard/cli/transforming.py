"""What the commands under `punchcard transformation` do."""

from punchcard.cli.listing import print_list
from punchcard.cli.output import printable
from punchcard.clock import SystemClock
from punchcard.operations.transformation_preview import preview_on_events
from punchcard.runtime.assembly import open_keyring, open_lake, open_store
from punchcard.runtime.settings import Settings
from punchcard.workspace import persistence
from punchcard.workspace.model import Transformation
from punchcard.workspace.part_names import name_destinations
from punchcard.workspace.snapshot import compile_snapshot
from punchcard.workspace.transformation_editing import find_transformation
from punchcard.workspace.transformation_settings import describe_changes, in_order


def list_transformations(settings: Settings, *, as_json: bool) -> None:
    """Print all transformations, as a table or as JSON lines."""
    store = open_store(settings)
    try:
        workspace = persistence.load(store, open_keyring(settings)).workspace
    finally:
        store.close()

    def body(transformation: Transformation) -> object:
        from punchcard.api.transformations import transformation_view

        return transformation_view(transformation)

    print_list(
        in_order(workspace.transformations),
        columns={
            "id": lambda transformation: transformation.slug,
            "source": lambda transformation: transformation.source,
            "destination": lambda transformation: transformation.destination or "all",
            "status": lambda transformation: "enabled" if transformation.enabled else "disabled",
            "if": lambda transformation: transformation.condition,
            "changes": describe_changes,
        },
        body=body,
        as_json=as_json,
        empty="No transformations. Add one in the App, the Public API or the config file.",
    )


def print_preview(settings: Settings, slug: str) -> None:
    """Print what a transformation changes in the events of the last days.

    Raises:
        NotFoundError: There is no such transformation.
        StorageError: Store or lake is unavailable.
    """
    store = open_store(settings)
    try:
        keyring = open_keyring(settings)
        stored = persistence.load(store, keyring)
        preview = preview_on_events(
            find_transformation(stored.workspace, slug),
            snapshot=compile_snapshot(stored, keyring=keyring),
            lake=open_lake(settings, store),
            clock=SystemClock(),
        )
    finally:
        store.close()
    print(f"{preview.changed:,} of {preview.events:,} events of the last {preview.days} days would be changed")
    if preview.dropped:
        print(f"{preview.dropped:,} of them would be dropped")
    names = name_destinations(stored.workspace.destinations)
    for change in preview.awards:
        name = printable(names[change.destination])
        if change.is_changed:
            print(
                f"{name}: {change.awards_before:,} awards ({change.quantity_before:f} units) → "
                f"{change.awards_after:,} awards ({change.quantity_after:f} units)"
            )
        else:
            print(f"{name}: the same awards ({change.awards_before:,})")
    for sample in preview.samples:
        print(printable(f"  {sample.message_id}"))
        for text in sample.changes:
            print(printable(f"    {text}"))
