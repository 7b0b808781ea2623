"""What every page is made with: the templates, the notices, and the state behind them."""

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
from punchcard.sandbox.faults import Faults, Misfortune
from punchcard.sandbox.web import Request, SandboxResponse, html_response

FOLDER = Path(__file__).parent
ROWS_PER_PAGE = 50

NOTICES = {
    "token_made": "A token was made. Show it below, and copy it into the destination's API Key.",
    "token_revoked": "The token was revoked: requests with it are answered 401 from now on.",
    "token_restored": "The development token works again.",
    "perk_added": "The perk was added. Map an event to its id.",
    "perk_saved": "The perk was saved. Transactions from before keep the points they had.",
    "voided": "The transaction was voided and its points were taken back.",
    "not_voided": "That transaction is not active, so there is nothing to void.",
    "faults_on": "These faults are switched on.",
    "faults_off": "All faults are off.",
}
"""What a page may say about the form just sent; the address carries the key, never the text."""


@dataclass(frozen=True, slots=True)
class Pager:
    """Where a long list stands; pages count from 1."""

    number: int
    rows_total: int

    @property
    def pages_total(self) -> int:
        """How many pages there are, at least one."""
        return max(1, -(-self.rows_total // ROWS_PER_PAGE))

    @property
    def offset(self) -> int:
        """How many rows stand before this page."""
        return (self.number - 1) * ROWS_PER_PAGE


class View:
    """Renders a page from a template and values."""

    def __init__(self, database: Database, clock: Clock, misfortune: Misfortune) -> None:
        self.database = database
        self.clock = clock
        self.misfortune = misfortune
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
        """The page of this template."""
        text = self._templates.get_template(template).render(
            path=request.path,
            base_url=f"http://{request.headers.get('host', '')}",
            notice=NOTICES.get(query_field(request, "done")),
            faults_on=self.misfortune.faults != Faults(),
            **values,
        )
        return html_response(status, text)


def query_field(request: Request, name: str) -> str:
    """One field of the query, stripped; empty if it is not there or the query cannot be read."""
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
    """Send the browser on with a GET, so that reloading does not post again."""
    return SandboxResponse(303, headers=(("Location", f"{path}?{urlencode(query)}" if query else path),))


def like(text: str) -> str:
    r"""A LIKE pattern that finds the text anywhere; use with `ESCAPE '\'`."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _moment(micros: int | None) -> str:
    if micros is None:
        return "never"
    local: datetime = from_micros(micros).astimezone(ZoneInfo(TIMEZONE))
    return local.strftime("%Y-%m-%d %H:%M:%S")


def _amount(value: str | Decimal) -> str:
    """A decimal for reading, with thousands apart."""
    return f"{Decimal(value):,f}"


def _points(row: sqlite3.Row) -> str:
    """What a transaction did to the balance, with its sign."""
    total = points_total(classification=row["classification"], points=row["points"], quantity=Decimal(row["quantity"]))
    return f"+{_amount(total)}" if total > 0 else _amount(total)
