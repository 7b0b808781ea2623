"""What all pages share: templates, notices, and access to the state."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from punchcard.clock import Clock, from_micros
from punchcard.sandbox.awards import points_total
from punchcard.sandbox.database import DEVELOPMENT_TOKEN, TIMEZONE, Database
from punchcard.sandbox.faults import FaultInjector, Faults
from punchcard.sandbox.web import Request, SandboxResponse, html_response

FOLDER = Path(__file__).parent
ROWS_PER_PAGE = 50

NOTICES = {
    "token_created": "The token was created. Show it below, and copy it into the destination's API Key.",
    "token_revoked": "The token was revoked: requests with it now get 401.",
    "token_restored": "The development token works again.",
    "perk_added": "The perk was added. Map an event to its id.",
    "perk_saved": "The perk was saved. Earlier transactions keep their points.",
    "voided": "The transaction was voided and its points were taken back.",
    "not_voided": "The transaction is not active and cannot be voided.",
    "faults_on": "These faults are enabled.",
    "faults_off": "All faults are disabled.",
}
"""Notices about the form just sent; the URL has the key, never the text."""


@dataclass(frozen=True, slots=True)
class Pager:
    """A page of a long list; pages count from 1."""

    number: int
    rows_total: int

    @property
    def pages_total(self) -> int:
        """Number of pages, at least one."""
        return max(1, -(-self.rows_total // ROWS_PER_PAGE))

    @property
    def offset(self) -> int:
        """Number of rows before this page."""
        return (self.number - 1) * ROWS_PER_PAGE


class View:
    """Renders pages from templates and values."""

    def __init__(self, database: Database, clock: Clock, injector: FaultInjector) -> None:
        self.database = database
        self.clock = clock
        self.injector = injector
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["moment"] = _moment
        self._templates.filters["amount"] = _amount
        self._templates.filters["points"] = _points
        self._templates.globals["development_token"] = DEVELOPMENT_TOKEN

    def page(self, template: str, request: Request, *, status: int = 200, **values: object) -> SandboxResponse:
        """Return a page rendered from a template."""
        text = self._templates.get_template(template).render(
            path=request.path,
            base_url=f"http://{request.headers.get('host', '')}",
            notice=NOTICES.get(query_field(request, "done")),
            faults_on=self.injector.faults != Faults(),
            **values,
        )
        return html_response(status, text)


def query_field(request: Request, name: str) -> str:
    """Return a field of the query, stripped; empty if it is missing or the query is invalid."""
    try:
        return request.query().get(name, "").strip()
    except ValueError:
        return ""


def read_pager(request: Request, rows_total: int) -> Pager:
    """Return the requested page, limited to the existing ones."""
    text = query_field(request, "page")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1
    return Pager(max(1, min(number, Pager(1, rows_total).pages_total)), rows_total)


def redirect(path: str, **query: object) -> SandboxResponse:
    """Redirect the browser with a GET, so that a reload does not post again."""
    return SandboxResponse(303, headers=(("Location", f"{path}?{urlencode(query)}" if query else path),))


def like(text: str) -> str:
    r"""Return a LIKE pattern that finds the text anywhere; use with `ESCAPE '\'`."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _moment(micros: int | None) -> str:
    if micros is None:
        return "never"
    local: datetime = from_micros(micros).astimezone(ZoneInfo(TIMEZONE))
    return local.strftime("%Y-%m-%d %H:%M:%S")


def _amount(value: str | Decimal) -> str:
    """Format a decimal with thousands separators."""
    return f"{Decimal(value):,f}"


def _points(row: sqlite3.Row) -> str:
    """Format the change of the balance by a transaction, with its sign."""
    total = points_total(classification=row["classification"], points=row["points"], quantity=Decimal(row["quantity"]))
    return f"+{_amount(total)}" if total > 0 else _amount(total)
