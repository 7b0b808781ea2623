"""`reconcile`: the ledger compared with what the partner has booked."""

import asyncio
import sys
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from punchcard.cli.interruption import explained_interruption
from punchcard.cli.options import unknown_name
from punchcard.cli.output import printable
from punchcard.clock import SystemClock
from punchcard.delivery.request_permits import OwnPermits
from punchcard.errors import ConfigurationError, PunchcardError
from punchcard.operations.instants import read_instant
from punchcard.operations.reconciliation import can_reconcile, request_reconciliation
from punchcard.operations.reconciliation_views import ReconciliationView, view_reconciliation
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.reconciling import reconciliation_runner
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.store.operations.reconciliation_differences import DifferenceQuery, StoredDifference
from punchcard.store.operations.reconciliations import (
    Reconciliation,
    ReconciliationStatus,
    Totals,
    reconciliation_by_id,
)
from punchcard.store.values import decimal_text
from punchcard.workspace.names_of_snapshot import destination_names
from punchcard.workspace.snapshot import Snapshot, SnapshotWatch

_FORMATS = ("table", "json")
_LOOK_SECONDS = 0.5
_DIFFERENCES_SHOWN = 1_000
_PLAIN_WIDTH = 200  # without a terminal nothing wraps, so that an effect key stays whole


def reconcile_ledger(settings: Settings, *, destination: str | None, since: str, output: str) -> int:
    """Compare, print, and return 0 if both sides agree, 1 if they differ or the comparison failed.

    Raises:
        ConfigurationError: an option is wrong, or the destination cannot be compared.
        StorageError: the store is away.
    """
    if output not in _FORMATS:
        raise ConfigurationError(f"--format {output}: write one of {', '.join(_FORMATS)}")
    store = open_store(settings)
    try:
        watch = SnapshotWatch(store, open_keyring(settings), clock=SystemClock())
        snapshot = watch.current()
        slugs = _chosen(snapshot, destination)
        now = SystemClock().now()
        begin = read_instant(since, option="--since", now=now, zone=snapshot.zone, is_past=True)
        views = []
        names = destination_names(snapshot)
        for slug in slugs:
            with store.unit_of_work() as work:
                requested = request_reconciliation(
                    work, snapshot.destinations[slug], since=begin, actor="command line", now=now
                )
            with explained_interruption(
                f"Reconciliation {requested.id} of {names[slug]} is not over: a worker goes on where it was. "
                "Nothing in the ledger was changed."
            ):
                finished = asyncio.run(_finished(requested, store, watch, settings))
            with store.reading() as work:
                query = DifferenceQuery(reconciliation_id=finished.id)
                types = snapshot.destination_types
                views.append(view_reconciliation(work, finished, query, types=types, count=_DIFFERENCES_SHOWN))
    finally:
        store.close()
    if output == "json":
        _print_json(views)
    else:
        for view in views:
            _print_table(view, names[view.reconciliation.destination])
    return int(any(_differs(view) for view in views))


def _chosen(snapshot: Snapshot, slug: str | None) -> list[str]:
    if slug is not None:
        if slug not in snapshot.destinations:
            raise unknown_name("--destination", slug, snapshot.destinations)
        return [slug]
    slugs = [destination.slug for destination in snapshot.destinations.values() if can_reconcile(destination)]
    if not slugs:
        raise ConfigurationError("There is no destination that lists what it has booked.")
    return slugs


async def _finished(
    requested: Reconciliation, store: Store, watch: SnapshotWatch, settings: Settings
) -> Reconciliation:
    """Wait until the reconciliation is over, and make it here while no worker delivers to the destination."""
    slug = requested.destination
    stopping = asyncio.Event()
    destination = watch.current().destinations[slug]
    per_second = (
        0.0
        if destination.invalid is not None
        else destination.partner.delivery_options(destination.settings).requests_per_second
    )
    runner = reconciliation_runner(
        slug, store=store, watch=watch, settings=settings, permits=OwnPermits(per_second, SystemClock())
    )
    shown = ""
    while True:
        with store.reading() as work:
            reconciliation = reconciliation_by_id(work, slug, requested.id)
        if reconciliation is None:
            raise PunchcardError(f"Reconciliation {requested.id} is gone.", code="reconciliation_gone")
        if reconciliation.status.is_over:
            return reconciliation
        if (progress := _progress(reconciliation)) != shown:
            shown = progress
            print(progress, file=sys.stderr)
        is_busy = runner.seconds_until_retry() > 0 or _is_delivered_elsewhere(store, slug)
        if is_busy or not await runner.run_once(stopping):
            await asyncio.sleep(_LOOK_SECONDS)


def _is_delivered_elsewhere(store: Store, slug: str) -> bool:
    """Whether a worker delivers to the destination, so that its rate limit is that worker's to share out."""
    with store.leadership(f"delivery-{slug}") as leadership:
        return not leadership.held()


def _progress(reconciliation: Reconciliation) -> str:
    if reconciliation.waiting_since is not None:
        return f"Waiting: {printable(reconciliation.detail)}"
    if reconciliation.status is ReconciliationStatus.READING:
        return f"Reading: {reconciliation.read:,} transactions so far"
    return printable(reconciliation.detail) or reconciliation.status.capitalize()


def _differs(view: ReconciliationView) -> bool:
    return view.reconciliation.status is not ReconciliationStatus.FINISHED or view.differences_open > 0


def _print_json(views: Sequence[ReconciliationView]) -> None:
    from punchcard.api.reconciliation_bodies import reconciliation_body

    shown = [reconciliation_body(view) for view in views]
    data = {"reconciliation": shown[0]} if len(shown) == 1 else {"reconciliations": shown}
    sys.stdout.buffer.write(msgspec.json.encode({"data": data}) + b"\n")


def _print_table(view: ReconciliationView, name: str) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PLAIN_WIDTH)
    reconciliation, totals = view.reconciliation, view.reconciliation.totals
    since = f"{reconciliation.since:%Y-%m-%d %H:%M} UTC"
    console.print(Text(printable(f"{name}, events received since {since}")))
    if reconciliation.status is not ReconciliationStatus.FINISHED:
        console.print(Text(printable(f"{reconciliation.status}: {reconciliation.detail}")))
        return
    console.print(_sides(totals))
    if totals.not_compared:
        counted = "1 award is" if totals.not_compared == 1 else f"{totals.not_compared:,} awards are"
        console.print(f"Not compared: {counted} booked for another account.")
    if totals.customers_unchecked:
        console.print(f"The address of {totals.customers_unchecked:,} customers was not read from the partner yet.")
    if not view.differences:
        console.print("Both sides agree.")
        return
    console.print(_differences(view.differences))
    if view.differences_total > len(view.differences):
        console.print(f"… and {view.differences_total - len(view.differences):,} more")
    decided = view.differences_total - view.differences_open
    console.print(
        f"{view.differences_open:,} to be decided, {decided:,} decided before. Decide in the App or by the Public API."
    )


def _sides(totals: Totals) -> Table:
    table = Table("", "transactions", "units", box=None)
    for label, count, quantity in (
        ("ledger", totals.ledger_count, totals.ledger_quantity),
        ("partner", totals.partner_count, totals.partner_quantity),
        ("of others", totals.others_count, totals.others_quantity),
    ):
        table.add_row(label, f"{count:,}", decimal_text(quantity))
    return table


def _differences(differences: Sequence[StoredDifference]) -> Table:
    table = Table("kind", "key", "email", "proof", "state", box=None)
    table.columns[1].no_wrap = True
    for difference in differences:
        cells = (difference.kind, difference.effect_key, difference.email, difference.detail, difference.state)
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))
    return table
