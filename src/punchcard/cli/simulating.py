"""`simulate`: what a configuration would have earned. Reads lake and ledger, writes nothing."""

import csv
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from punchcard.cli.interruption import NOTHING_CHANGED, explained_interruption
from punchcard.cli.options import unknown_name
from punchcard.cli.output import printable
from punchcard.clock import SystemClock
from punchcard.destinations.definition import LedgerColumn
from punchcard.destinations.port import MappingChoice
from punchcard.errors import ConfigurationError
from punchcard.operations.export_files import csv_cell
from punchcard.operations.instants import read_instant
from punchcard.operations.proposals import Proposal, ProposedFilter, propose, propose_destination, proposed_filter
from punchcard.operations.simulation import SimulationScope, simulate
from punchcard.operations.simulation_outcome import SimulatedEvent, SimulationOutcome, name_item
from punchcard.operations.simulations import can_simulate, check_simulation, points_of_choices, read_choices
from punchcard.routing.source_rules import rules_by_source
from punchcard.runtime.assembly import open_keyring, open_lake, open_store
from punchcard.runtime.settings import Settings
from punchcard.runtime.simulating import parallel_planning
from punchcard.workspace.file import read_file
from punchcard.workspace.names_of_snapshot import destination_names
from punchcard.workspace.point_costs import PointCost
from punchcard.workspace.snapshot import RoutedDestination, Snapshot, SnapshotWatch

_FORMATS = ("table", "json", "csv")
_VALUES_SHOWN = 10
_PLAIN_WIDTH = 200  # without a terminal nothing wraps


@explained_interruption(NOTHING_CHANGED)
def simulate_configuration(
    settings: Settings,
    *,
    destination: str | None,
    config: Path | None,
    maps: Sequence[str],
    condition: str | None,
    since: str,
    output: str,
) -> int:
    """Print what a configuration would have earned; 0.

    Args:
        config: A config file to plan under, None for the running configuration.
        maps: `EVENT=VALUE` each; without a value, the event is mapped to none.
        condition: FQL of events that are dropped besides.

    Raises:
        ConfigurationError: an option or the config file is wrong.
        StorageError: lake or store is away.
    """
    if output not in _FORMATS:
        raise ConfigurationError(f"--format {output}: write one of {', '.join(_FORMATS)}")
    store = open_store(settings)
    try:
        snapshot = SnapshotWatch(store, open_keyring(settings), clock=SystemClock()).current()
        current = _chosen(snapshot, destination)
        now = SystemClock().now()
        begin = read_instant(since, option="--since", now=now, zone=snapshot.zone, is_past=True)
        proposal = _proposal(current, config=config, maps=maps, condition=condition)
        proposed = check_simulation(current, proposal, since=begin, now=now)
        scope = SimulationScope(
            destination=proposed,
            current=current,
            zone=snapshot.zone,
            begin=begin,
            end=now,
            rules=rules_by_source(snapshot),
        )
        choices = read_choices(current)
        for warning in unknown_value_warnings(maps, choices, partner=current.name):
            print(printable(warning), file=sys.stderr)
        with parallel_planning(settings.lake_location(), scope) as plan:
            outcome = simulate(
                scope,
                store=store,
                lake=open_lake(settings, store),
                points=points_of_choices(choices),
                plan=plan,
                on_progress=_show_progress,
            )
    finally:
        store.close()
    name = destination_names(snapshot)[current.slug]
    _print(outcome, output, destination=current, name=name, since=begin, point_cost=snapshot.point_cost)
    return 0


def _chosen(snapshot: Snapshot, slug: str | None) -> RoutedDestination:
    usable = [item for item in snapshot.destinations.values() if can_simulate(item)]
    if slug is not None:
        destination = snapshot.destinations.get(slug)
        if destination is None:
            raise unknown_name("--destination", slug, snapshot.destinations)
        return destination
    if len(usable) != 1:
        names = ", ".join(item.slug for item in usable)
        raise ConfigurationError(
            f"say which destination: --destination {names}" if usable else "there is no destination that awards points"
        )
    return usable[0]


def _proposal(
    current: RoutedDestination, *, config: Path | None, maps: Sequence[str], condition: str | None
) -> Proposal:
    stored = current.destination
    if config is not None:
        workspace = read_file(config, os.environ)
        same = [item for item in workspace.destinations if item.slug == current.slug]
        if not same:
            raise ConfigurationError(f"{config}: there is no destination {current.slug} in it")
        stored = same[0]
    settings = dict(stored.settings)
    event_map = current.partner.definition.event_map
    if maps:
        if event_map is None:
            raise ConfigurationError(f"--map: {current.name} maps no events")
        settings[event_map.key] = _mapped(settings.get(event_map.key), maps, label=event_map.value_label)
    filters = [proposed_filter(item) for item in stored.filters]
    if condition is not None:
        filters.append(ProposedFilter(if_=condition, title="--filter"))
    if config is not None:
        return propose_destination(current, replace(stored, settings=settings), filters=filters)
    return propose(current, settings=settings if maps else None, filters=filters if condition is not None else None)


def unknown_value_warnings(maps: Sequence[str], choices: Sequence[MappingChoice], *, partner: str) -> list[str]:
    """Return a sentence for each mapped value that the partner does not have.

    Args:
        maps: `EVENT=VALUE` each.
        choices: What the partner has; nothing if it could not be asked.
        partner: Name of the destination.
    """
    known = {choice.value for choice in choices}
    shown = ", ".join(sorted(known)[:_VALUES_SHOWN])
    values = {text: text.rpartition("=")[2].strip() for text in maps}
    return [
        f"--map {text}: {partner} does not have {value}, so its points are not known. It has {shown}."
        for text, value in values.items()
        if known and value and value not in known
    ]


def _mapped(current_map: object, maps: Sequence[str], *, label: str) -> dict[str, str]:
    mapped = {str(name): str(value) for name, value in current_map.items()} if isinstance(current_map, dict) else {}
    for text in maps:
        name, sign, value = text.rpartition("=")
        if not sign or not name.strip():
            raise ConfigurationError(f"--map {text}: write 'EVENT={label.upper()}', or 'EVENT=' for none")
        mapped.pop(name.strip(), None)
        if value.strip():
            mapped[name.strip()] = value.strip()
    return mapped


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {total} parts of the period planned ")
        if done == total:
            sys.stderr.write("\n")
        sys.stderr.flush()


def _print(
    outcome: SimulationOutcome,
    output: str,
    *,
    destination: RoutedDestination,
    name: str,
    since: datetime,
    point_cost: PointCost | None,
) -> None:
    item = destination.partner.definition.summary_column(LedgerColumn.ITEM)
    if output == "json":
        by_event = [name_item(row, item) for row in outcome.by_event]
        document = {"id": None, "status": "finished", **msgspec.to_builtins(outcome), "byEvent": by_event}
        sys.stdout.buffer.write(msgspec.json.encode({"data": {"simulation": document}}) + b"\n")
        return
    fields = [field.name for field in msgspec.structs.fields(SimulatedEvent)]
    titles = [item.member if name == "item" else name for name in fields]
    if output == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(titles)
        writer.writerows([csv_cell(getattr(row, name)) for name in fields] for row in outcome.by_event)
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PLAIN_WIDTH)
    console.print(Text(f"{printable(name)}, events received since {since:%Y-%m-%d %H:%M} UTC; nothing is changed"))
    table = Table(*(title.replace("_", " ") for title in titles), box=None)
    for row in outcome.by_event:
        cells = [getattr(row, name) for name in fields]
        table.add_row(*(Text("–" if cell is None else printable(str(cell)), overflow="fold") for cell in cells))
    totals = outcome.totals
    sums = (totals.actual_awards, totals.actual_quantity, totals.actual_points)
    cells = ["all", "", "", totals.awards, "", totals.quantity, totals.points, *sums]
    table.add_row(*("–" if cell is None else str(cell) for cell in cells))
    console.print(table)
    if point_cost is not None and totals.points is not None and totals.actual_points is not None:
        costs = [point_cost.text(Decimal(points)) for points in (totals.points, totals.actual_points)]
        console.print(Text(f"cost: {costs[0]}, was {costs[1]}"))
    for heading, changes in (("gain most", outcome.gaining), ("lose most", outcome.losing)):
        if changes:
            console.print(f"Customers who {heading}:")
            for change in changes:
                line = f"  {change.email}  {change.actual} → {change.simulated} ({change.change})"
                console.print(Text(printable(line)))
    if outcome.refused:
        console.print("Events that would earn nothing:")
        for reason, number in outcome.refused.items():
            console.print(Text(printable(f"  {reason}: {number:,}")))
