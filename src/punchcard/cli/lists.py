"""Lists of sources, destinations, transactions, events, customers and changes: printed, or exported to files."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from punchcard.cli.listing import print_list, print_table
from punchcard.cli.named_parts import NamedPart, named_destination
from punchcard.cli.written_files import whole_file
from punchcard.clock import SystemClock
from punchcard.errors import ConfigurationError
from punchcard.lake.listing import EventQuery
from punchcard.operations.export_files import ExportFormat, write_export
from punchcard.operations.exports import (
    Column,
    Export,
    export_audit,
    export_customers,
    export_events,
    export_transactions,
    take,
)
from punchcard.operations.instants import read_instant
from punchcard.operations.statuses import parse_event_type, parse_ledger_statuses, parse_routing_status
from punchcard.runtime.assembly import open_keyring, open_lake, open_log, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.access.audit import AuditQuery
from punchcard.store.delivery import ledger
from punchcard.store.delivery.conflicts import conflicts_of
from punchcard.store.engine import Store
from punchcard.traces.browse import EventBrowser, SeenEvent
from punchcard.workspace import persistence
from punchcard.workspace.document import mask_source
from punchcard.workspace.model import Workspace

_TABLE_ROWS = 50
_FORMATS = ("table", "json", *ExportFormat)
_Bodies = Callable[[Sequence[Any]], Iterable[object]]


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where a list goes.

    Attributes:
        format: `table`, `json`, `csv` or `parquet`.
        file: None prints it.
        count: How many items at most, None for all.
    """

    format: str
    file: Path | None
    count: int | None


@dataclass(frozen=True, kw_only=True)
class TransactionFilter:
    """Which transactions, as typed."""

    destination: str | None
    state: str
    reason: str | None
    customer: str | None
    order: str | None
    event: str | None
    since: str | None
    until: str | None


@dataclass(frozen=True, kw_only=True)
class EventFilter:
    """Which events, as typed."""

    source: str | None
    type: str | None
    name: str | None
    status: str | None
    destination: str | None
    reason: str | None
    since: str | None
    until: str | None


def read_output(format: str, *, file: Path | None, count: int | None) -> Output:
    """Return where a list goes, as typed.

    Raises:
        ConfigurationError: There is no such format, or a Parquet file would be printed to a terminal.
    """
    if format not in _FORMATS:
        raise ConfigurationError(f"--format is {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}, not {format!r}.")
    if format == ExportFormat.PARQUET and file is None and sys.stdout.isatty():
        raise ConfigurationError("Parquet is not text. Name a file with --output.")
    return Output(format=format, file=file, count=None if count is None else min(count, sys.maxsize))


def print_sources(settings: Settings, *, as_json: bool) -> None:
    """Print the sources.

    Raises:
        StorageError: The store is unavailable.
    """
    with _opened(settings) as (_, workspace):
        sources = sorted(map(mask_source, workspace.sources), key=lambda source: source.slug)

    def body(source: Any) -> object:
        from punchcard.api.sources import source_view

        return source_view(source)

    print_list(
        sources,
        columns={
            "source": lambda source: source.slug,
            "name": lambda source: source.name,
            "type": lambda source: source.type,
            "write keys": lambda source: ", ".join(source.write_keys),
            "enabled": lambda source: "yes" if source.enabled else "no",
        },
        body=body,
        as_json=as_json,
        empty="No sources. Add one in the App, the Public API or the config file.",
    )


def print_destinations(settings: Settings, *, as_json: bool) -> None:
    """Print the destinations.

    Raises:
        StorageError: The store is unavailable.
    """
    with _opened(settings) as (_, workspace):
        destinations = sorted(workspace.destinations, key=lambda destination: destination.slug)

    def body(destination: Any) -> object:
        from punchcard.api.destination_views import destination_view

        return destination_view(destination)

    print_list(
        destinations,
        columns={
            "destination": lambda destination: destination.slug,
            "name": lambda destination: destination.name,
            "type": lambda destination: destination.type,
            "sources": lambda destination: ", ".join(destination.sources),
            "enabled": lambda destination: "yes" if destination.enabled else "no",
        },
        body=body,
        as_json=as_json,
        empty="No destinations. Add one in the App, the Public API or the config file.",
    )


def print_transactions(settings: Settings, chosen: TransactionFilter, output: Output) -> None:
    """Print or export transactions.

    Raises:
        ConfigurationError: An option has no valid value, or no transaction matches and there is no such destination.
        StorageError: The store is unavailable.
    """
    with _opened(settings) as (store, workspace):
        begin, end = _period(chosen.since, chosen.until, workspace)
        query = ledger.LedgerQuery(
            destination=_destination(workspace, chosen.destination),
            statuses=parse_ledger_statuses(chosen.state),
            reason=chosen.reason,
            customer=chosen.customer,
            order_id=chosen.order,
            event_name=chosen.event,
            begin=begin,
            end=end,
        )
        types = {destination.slug: destination.type for destination in workspace.destinations}

        def bodies_of(rows: Sequence[Any]) -> Iterable[object]:
            from punchcard.api.bodies import ledger_row

            with store.reading() as work:
                ids = [row.id for row in rows]
                attempts, conflicts = ledger.attempts_of(work, ids), conflicts_of(work, ids)
            return [ledger_row(row, attempts[row.id], conflicts[row.id], types=types) for row in rows]

        export = export_transactions(store, query, types=types)
        hidden = ("id", "detail", "source", "effectKey", "attempts", "attributes", "summary", "finishedAt")
        shown = [column.name for column in export.columns if column.name not in hidden]
        named = [named_destination(workspace, chosen.destination)]
        _write(export, output, bodies_of, shown=shown, empty="No transaction matches.", named=named)


def print_events(settings: Settings, chosen: EventFilter, output: Output) -> None:
    """Print or export events.

    Raises:
        ConfigurationError: An option has no valid value, or no event matches and source or destination is unknown.
        StorageError: Log, lake or store is unavailable.
    """

    def bodies_of(events: Sequence[Any]) -> Iterable[object]:
        from punchcard.api.lists import listed_event

        return map(listed_event, events)

    with _opened(settings) as (store, workspace), open_log(settings) as log:
        begin, end = _period(chosen.since, chosen.until, workspace)
        query = EventQuery(
            source=chosen.source,
            type=parse_event_type(chosen.type),
            name=chosen.name,
            status=parse_routing_status(chosen.status, destination=chosen.destination, reason=chosen.reason),
            destination=chosen.destination,
            reason=chosen.reason,
            begin=begin,
            end=end,
        )
        browser = EventBrowser(log=log, lake=open_lake(settings, store), store=store)
        shown = ("receivedAt", "type", "event", "email", "userId", "source", "messageId", "results")
        sources = [source.slug for source in workspace.sources]
        named = [
            NamedPart(option="--source", name=chosen.source, kind="source", known=sources),
            named_destination(workspace, chosen.destination),
        ]
        _write(export_events(browser, query), output, bodies_of, shown=shown, empty="No event matches.", named=named)


def print_customers(settings: Settings, trait: str, output: Output) -> None:
    """Print or export profiles, or those with a trait.

    Raises:
        StorageError: The store is unavailable.
    """

    def bodies_of(people: Sequence[Any]) -> Iterable[object]:
        from punchcard.api.lists import listed_customer

        return map(listed_customer, people)

    with _opened(settings) as (store, _):
        export = export_customers(store, trait=trait)
        shown = [column.name for column in export.columns if column.name != "externalIds"]
        _write(export, output, bodies_of, shown=shown, empty="Nobody at the moment." if trait else "No customers yet.")


def print_members(settings: Settings, key: str, output: Output) -> None:
    """Print or export the members of an audience, or the people with a computed trait.

    Raises:
        ConfigurationError: There is no such audience or computed trait.
        StorageError: The store is unavailable.
    """
    with _opened(settings) as (_, workspace):
        known = sorted(computation.key for computation in workspace.computations)
    if key not in known:
        raise ConfigurationError(f"There is no audience or computed trait {key} (known: {', '.join(known) or 'none'}).")
    print_customers(settings, key, output)


def print_audit(settings: Settings, since: str | None, until: str | None, output: Output) -> None:
    """Print or export the audit log.

    Raises:
        ConfigurationError: An option has no valid value.
        StorageError: The store is unavailable.
    """

    def bodies_of(changes: Sequence[Any]) -> Iterable[object]:
        from punchcard.api.audit import audit_view

        return map(audit_view, changes)

    with _opened(settings) as (store, workspace):
        begin, end = _period(since, until, workspace)
        shown = ("timestamp", "actor", "type", "resourceId", "changes")
        export = export_audit(store, AuditQuery(begin=begin, end=end))
        _write(export, output, bodies_of, shown=shown, empty="No change matches.")


def _write(
    export: Export,
    output: Output,
    bodies_of: _Bodies,
    *,
    shown: Sequence[str],
    empty: str,
    named: Iterable[NamedPart] = (),
) -> None:
    """Write a list as it is requested.

    Args:
        bodies_of: Returns the items of a page as in the Public API.
        shown: The columns of the table.
        named: What the list is filtered by.

    Raises:
        ConfigurationError: The list is empty, and a name is unknown.
    """
    first = next(export.pages, ())
    if not first:
        for name in named:
            name.verify()
    export = replace(export, pages=chain([first], export.pages))
    if output.format == "table":
        columns = [column for column in export.columns if column.name in shown]
        items = take(export, output.count or _TABLE_ROWS)
        if not items:
            print(empty)
            return
        rows = ([_cell(column, item) for column in columns] for item in items)
        print_table([column.name for column in columns], rows)
        if output.count is None and len(items) == _TABLE_ROWS:
            print(f"The newest {_TABLE_ROWS}. --count shows more; --format csv --output FILE exports all.")
        return
    limited = replace(export, pages=export.pages if output.count is None else _first(export.pages, output.count))
    with _open_output(output) as file:
        if output.format == "json":
            _write_json(file, limited, bodies_of)
        else:
            for piece in write_export(limited, ExportFormat(output.format)):
                file.write(piece)


def _write_json(file: BinaryIO, export: Export, bodies_of: _Bodies) -> None:
    import msgspec

    for page in export.pages:
        for body in bodies_of(page):
            file.write(msgspec.json.encode(body) + b"\n")


@contextmanager
def _open_output(output: Output) -> Iterator[BinaryIO]:
    """Yield the file to write; a named one appears only once it is whole."""
    if output.file is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        return
    with whole_file(output.file) as file:
        yield file


def _first(pages: Iterator[Sequence[Any]], count: int) -> Iterator[Sequence[Any]]:
    for page in pages:
        yield page[:count]
        count -= len(page)
        if count <= 0:
            return


def _cell(column: Column, item: object) -> object:
    if isinstance(item, SeenEvent) and column.name == "results":
        return ", ".join(f"{result.destination or ''} {result.status}".strip() for result in item.results)
    value = column.read(item)
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else value


def _destination(workspace: Workspace, slug: str | None) -> str:
    known = sorted(destination.slug for destination in workspace.destinations)
    if slug is None and len(known) == 1:
        return known[0]
    if slug is None:
        raise ConfigurationError(f"Name a destination with --destination (configured: {', '.join(known) or 'none'}).")
    return slug


def _period(since: str | None, until: str | None, workspace: Workspace) -> tuple[datetime | None, datetime | None]:
    now, zone = SystemClock().now(), workspace.zone()
    begin, end = (
        None if text is None else read_instant(text, option=option, now=now, zone=zone, is_past=True)
        for option, text in (("--since", since), ("--until", until))
    )
    return begin, end


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Store, Workspace]]:
    store = open_store(settings)
    try:
        yield store, persistence.load(store, open_keyring(settings)).workspace
    finally:
        store.close()
