"""What `punchcard audience` does: how computations stand, whom a definition would hold, and telling again."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

from punchcard.cli.trace_text import printable
from punchcard.clock import SystemClock
from punchcard.engage.requests import PreviewRequest
from punchcard.errors import ConfigurationError
from punchcard.operations import engagement
from punchcard.runtime.assemble import open_keyring, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.workspace import persistence
from punchcard.workspace.model import Workspace

_PLAIN_WIDTH = 200


def list_computations(settings: Settings, *, as_json: bool) -> None:
    """Print all audiences and computed traits, as a table or as JSON lines."""
    with _opened(settings) as (store, workspace):
        found = engagement.list_computation_statuses(store, workspace)
    if as_json:
        for one in found:
            size = 0 if one.state is None else one.state.size
            line = {"id": one.id, "kind": one.computation.kind, "key": one.computation.key, "status": one.status}
            print(json.dumps({**line, "size": size, "queued": sum(waiting.queued for waiting in one.pending_syncs)}))
        return
    if not found:
        print("no audiences and no computed traits: add one in the App, the Public API or the config file")
        return
    table = Table("key", "kind", "status", "size", "destinations", "pending", "definition", box=None)
    for one in found:
        cells = (
            one.computation.key,
            engagement.KINDS[one.computation.kind],
            _status(one),
            f"{0 if one.state is None else one.state.size:,}",
            ", ".join(one.computation.destinations) or "nobody",
            ", ".join(f"{waiting.queued:,}" for waiting in one.pending_syncs) or "",
            one.computation.definition,
        )
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))
    _console().print(table)


def _status(one: engagement.ComputationStatus) -> str:
    detail = [one.state.detail] if one.state is not None and one.state.detail else []
    sentences = detail + [warning for waiting in one.pending_syncs for warning in waiting.warnings]
    return f"{one.status}: {' '.join(sentences)}" if sentences else one.status


def preview_definition(settings: Settings, definition: str, *, is_trait: bool, anonymous: bool) -> int:
    """Print whom a definition would hold; returns 1 if it cannot be computed.

    Raises:
        ConfigurationError: it cannot be read.
        StorageError: Engage does not answer.
    """
    with _opened(settings) as (store, _):
        request = PreviewRequest("computed_trait" if is_trait else "audience", definition, anonymous)
        found = engagement.preview(store, request, clock=SystemClock())
    if found.error:
        print(f"it cannot be computed: {found.error}", file=sys.stderr)
        return 1
    for warning in found.warnings:
        print(f"warning: {printable(warning)}", file=sys.stderr)
    print(f"{found.count:,} of {found.people:,} people ({found.seconds:.2f} s)")
    for sample in found.samples:
        ids = ", ".join(f"{type_} {value}" for type_, value in sample.ids)
        value = f"  {sample.value}" if is_trait else ""
        print(printable(f"  {ids}{value}"))
    return 0


def resync_computation(settings: Settings, key: str, *, destination: str | None) -> None:
    """Queue everybody for being told of again.

    Raises:
        ConfigurationError: there is no such computation, or it is told to nobody.
    """
    with _opened(settings) as (store, workspace):
        one = engagement.find_computation_status(store, workspace, key)
        if not one.computation.destinations:
            raise ConfigurationError(f"{key} has no destinations to be told to")
        count = engagement.resync(store, one, destination=destination, actor="command line", clock=SystemClock())
    print(f"{count:,} people queued; `punchcard audience list` shows how far it is")


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Store, Workspace]]:
    store = open_store(settings)
    try:
        yield store, persistence.load(store, open_keyring(settings)).workspace
    finally:
        store.close()


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)
