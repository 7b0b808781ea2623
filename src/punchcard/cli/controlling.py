"""What the commands under `punchcard privacy controls` do."""

from contextlib import closing

from punchcard.cli.listing import print_list
from punchcard.cli.output import printable
from punchcard.clock import SystemClock
from punchcard.errors import ConfigurationError
from punchcard.operations.control_preview import preview_control
from punchcard.runtime.assembly import open_keyring, open_lake, open_store
from punchcard.runtime.settings import Settings
from punchcard.workspace import persistence
from punchcard.workspace.apply import edit
from punchcard.workspace.control_editing import PropertyControl, list_controls, remove_control, set_control
from punchcard.workspace.editing import Edit
from punchcard.workspace.part_names import name_destinations
from punchcard.workspace.property_controls import find_control_warnings
from punchcard.workspace.snapshot import compile_snapshot

_ACTOR = "command line"


def show_controls(settings: Settings, *, as_json: bool) -> None:
    """Print all controls, as a table or as JSON lines.

    Raises:
        StorageError: The store is unavailable.
    """
    with closing(open_store(settings)) as store:
        workspace = persistence.load(store, open_keyring(settings)).workspace

    def body(control: PropertyControl) -> object:
        from punchcard.api.property_controls import control_view

        return control_view(control)

    print_list(
        list_controls(workspace),
        columns={
            "scope": lambda control: control.scope,
            "id": lambda control: control.slug,
            "path": lambda control: control.path,
            "action": lambda control: control.action,
        },
        body=body,
        as_json=as_json,
        empty="No controls. Every property is stored and delivered as it was sent.",
    )


def save_control(settings: Settings, action: str, path: str, *, source: str, destination: str) -> int:
    """Set the control of a property.

    Raises:
        ConfigurationError: The control is not valid, or the config file manages its source or destination.
        StorageError: The store cannot be written.
    """
    scope, slug = _scope(source, destination)
    _edit(settings, set_control(PropertyControl(scope=scope, slug=slug, path=path, action=action)))
    print(printable(f"{path} of {scope} {slug}: {action}"))
    return 0


def delete_control(settings: Settings, path: str, *, source: str, destination: str) -> int:
    """Remove the control of a property.

    Raises:
        NotFoundError: There is no such control.
        ConfigurationError: The config file manages its source or destination.
        StorageError: The store cannot be written.
    """
    scope, slug = _scope(source, destination)
    _edit(settings, remove_control(scope, slug, path))
    print(printable(f"{path} of {scope} {slug}: allowed"))
    return 0


def print_preview(settings: Settings, action: str, path: str, *, source: str, destination: str) -> int:
    """Print what a control would change in the events of the last days.

    Raises:
        ConfigurationError: The control is not valid.
        StorageError: Store or lake is unavailable.
    """
    scope, slug = _scope(source, destination)
    keyring = open_keyring(settings)
    with closing(open_store(settings)) as store:
        stored = persistence.load(store, keyring)
        preview = preview_control(
            PropertyControl(scope=scope, slug=slug, path=path, action=action),
            stored.workspace,
            snapshot=compile_snapshot(stored, keyring=keyring),
            lake=open_lake(settings, store),
            clock=SystemClock(),
        )
    print(f"{preview.changed:,} of {preview.events:,} events of the last {preview.days} days would be changed")
    names = name_destinations(stored.workspace.destinations)
    for change in preview.awards:
        name = printable(names[change.destination])
        print(
            f"{name}: {change.awards_before:,} awards ({change.quantity_before:f} units) → "
            f"{change.awards_after:,} awards ({change.quantity_after:f} units)"
        )
    for sample in preview.samples:
        after = "dropped" if sample.after is None else sample.after
        print(printable(f"  {sample.message_id} {sample.event}: {sample.before} → {after}"))
    return 0


def _scope(source: str, destination: str) -> tuple[str, str]:
    if bool(source) is bool(destination):
        raise ConfigurationError("Name either --source or --destination.", code="usage")
    return ("source", source) if source else ("destination", destination)


def _edit(settings: Settings, change: Edit) -> None:
    keyring = open_keyring(settings)
    with closing(open_store(settings)) as store:
        before = persistence.load(store, keyring).workspace
        edit(store, change, clock=SystemClock(), keyring=keyring, actor=_ACTOR)
        after = persistence.load(store, keyring).workspace
    for warning in find_control_warnings(before, after):
        print(printable(f"warning: {warning}"))
