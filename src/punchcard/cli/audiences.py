"""The implementation of `punchcard audience`: list, preview and resync computations."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from punchcard.cli.interruption import NOTHING_CHANGED, explained_interruption
from punchcard.cli.listing import print_list
from punchcard.cli.output import printable
from punchcard.clock import SystemClock, to_iso
from punchcard.engage.requests import PreviewRequest
from punchcard.errors import ConfigurationError
from punchcard.operations import computation_actions
from punchcard.operations.authorship import read_authorships
from punchcard.operations.computation_status import (
    KINDS,
    ComputationStatus,
    find_computation_status,
    list_computation_statuses,
)
from punchcard.operations.membership import explain_membership
from punchcard.operations.sentences import count_noun
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.workspace import persistence
from punchcard.workspace.model import Workspace


def list_computations(settings: Settings, *, as_json: bool) -> None:
    """Print all audiences and computed traits, as a table or as JSON lines."""
    with _opened(settings) as (store, workspace):
        statuses = list_computation_statuses(store, workspace)
        authors = read_authorships(store, statuses)

    def body(status: ComputationStatus) -> object:
        from punchcard.api.computations import computation_view

        return computation_view(status, authors[status.computation.key])

    print_list(
        statuses,
        columns={
            "key": lambda status: status.computation.key,
            "kind": lambda status: KINDS[status.computation.kind],
            "status": _status,
            "size": lambda status: f"{0 if status.state is None else status.state.size:,}",
            "destinations": lambda status: ", ".join(status.computation.destinations) or "none",
            "pending": lambda status: ", ".join(f"{pending.queued:,}" for pending in status.pending_syncs),
            "definition": lambda status: status.computation.definition,
        },
        body=body,
        as_json=as_json,
        empty="No audiences and no computed traits. Add one in the App, the Public API or the config file.",
    )


def _status(status: ComputationStatus) -> str:
    detail = [status.state.detail] if status.state is not None and status.state.detail else []
    sentences = detail + [warning for pending in status.pending_syncs for warning in pending.warnings]
    return f"{status.status}: {' '.join(sentences)}" if sentences else status.status


@explained_interruption(NOTHING_CHANGED)
def preview_definition(settings: Settings, definition: str, *, is_trait: bool, anonymous: bool) -> int:
    """Print the preview of a definition; return 1 if it cannot be computed.

    Raises:
        ConfigurationError: The definition is invalid.
        StorageError: Engage does not respond.
    """
    with _opened(settings) as (store, _):
        request = PreviewRequest("computed_trait" if is_trait else "audience", definition, anonymous)
        result = computation_actions.preview(store, request, clock=SystemClock())
    if result.error:
        print(f"The definition cannot be computed: {printable(result.error)}", file=sys.stderr)
        return 1
    for warning in result.warnings:
        print(f"Warning: {printable(warning)}", file=sys.stderr)
    print(f"{result.count:,} of {result.people:,} people ({result.seconds:.2f} s)")
    for sample in result.samples:
        ids = ", ".join(f"{type_} {value}" for type_, value in sample.ids)
        value = f"  {sample.value}" if is_trait else ""
        print(printable(f"  {ids}{value}"))
    return 0


def explain_audience(settings: Settings, key: str, customer: str, *, as_json: bool) -> None:
    """Print why a customer is, or is not, in an audience.

    Raises:
        ConfigurationError: It is not an audience, or no customer has this id.
        StorageError: Engage does not respond.
    """
    with _opened(settings) as (store, workspace):
        status = find_computation_status(store, workspace, key)
        membership = explain_membership(store, status, customer, clock=SystemClock())
    if as_json:
        from punchcard.api.memberships import membership_view

        print(msgspec.json.encode(membership_view(membership)).decode())
        return
    since = "" if membership.since is None else f" since {to_iso(membership.since)}"
    name = status.computation.name or status.computation.key
    print(printable(f"{customer} is {'' if membership.is_member else 'not '}in {name}{since}."))
    for condition in membership.conditions:
        value = f"  (is {condition.value})" if condition.value else ""
        met = "yes" if condition.is_met else "no "
        print(printable(f"  {met}  {'  ' * condition.depth}{condition.text}{value}"))
    for note in membership.notes:
        print(printable(note))
    for synced in membership.destinations:
        print(printable(f"{synced.destination_name}: {synced.detail}"))


def resync_computation(settings: Settings, key: str, *, destination: str | None) -> None:
    """Queue a sync of everybody.

    Raises:
        ConfigurationError: There is no such computation, or it has no destinations.
    """
    with _opened(settings) as (store, workspace):
        status = find_computation_status(store, workspace, key)
        if not status.computation.destinations:
            raise ConfigurationError(f"{key} has no destinations. Add one first.")
        count = computation_actions.resync(
            store, status, destination=destination, actor="command line", clock=SystemClock()
        )
    print(f"{count_noun(count, 'person', 'people')} queued. `punchcard audience list` shows the progress.")


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Store, Workspace]]:
    store = open_store(settings)
    try:
        yield store, persistence.load(store, open_keyring(settings)).workspace
    finally:
        store.close()
