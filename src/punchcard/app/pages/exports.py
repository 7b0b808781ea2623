"""Downloads of whole lists as CSV or Parquet, with the filter of the list."""

from typing import Any

from litestar import Response, get
from litestar.params import FromPath

from punchcard.app.pages.customers import json_texts
from punchcard.app.pages.events import read_event_query
from punchcard.app.pages.inventory import select_items
from punchcard.app.pages.transactions import read_ledger_query
from punchcard.app.request_context import ContextDependency, RequestContext
from punchcard.operations.downloads import download
from punchcard.operations.executor import run_in_executor
from punchcard.operations.export_files import parse_export_format
from punchcard.operations.exports import (
    Export,
    export_audit,
    export_customers,
    export_events,
    export_inventory,
    export_transactions,
)
from punchcard.operations.inventory import read_inventory
from punchcard.store.access.audit import AuditQuery
from punchcard.workspace.editing import find_destination


@get("/exports/transactions/{slug:str}")
@run_in_executor
def download_transactions(context: ContextDependency, slug: FromPath[str]) -> Response[Any]:
    """Download the transactions of a destination."""
    query, _ = read_ledger_query(context, find_destination(context.dependencies.workspace(), slug))
    types = context.dependencies.current().destination_types
    return _download(context, export_transactions(context.dependencies.store, query, types=types))


@get("/exports/events")
@run_in_executor
def download_events(context: ContextDependency) -> Response[Any]:
    """Download events."""
    query, _ = read_event_query(context)
    return _download(context, export_events(context.dependencies.browser, query))


@get("/exports/customers")
@run_in_executor
def download_customers(context: ContextDependency) -> Response[Any]:
    """Download profiles, or those with a trait: the members of an audience, say."""
    trait, value = (context.query(name).replace("\x00", "") for name in ("trait", "value"))
    export = export_customers(context.dependencies.store, trait=trait, values=json_texts(value) if trait else ())
    return _download(context, export)


@get("/exports/audit")
@run_in_executor
def download_audit(context: ContextDependency) -> Response[Any]:
    """Download the audit log."""
    return _download(context, export_audit(context.dependencies.store, AuditQuery()))


@get("/exports/inventory")
@run_in_executor
def download_inventory(context: ContextDependency) -> Response[Any]:
    """Download the inventory of personal data, as the page lists it."""
    with context.dependencies.store.reading() as work:
        items = read_inventory(work)
    return _download(context, export_inventory(select_items(context, items)))


def _download(context: RequestContext, export: Export) -> Response[Any]:
    return download(export, parse_export_format(context.query("format")))


HANDLERS = (download_transactions, download_events, download_customers, download_audit, download_inventory)
