"""The page for "why did Ann not get her points?": by an email, everything of one customer."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import quote, unquote

from litestar import get
from litestar.params import FromPath

from punchcard.app.visit import Page, Visit, Visiting
from punchcard.destinations.port import CustomerStanding
from punchcard.operations.asking import find_customer
from punchcard.operations.threads import in_thread
from punchcard.store import ledger
from punchcard.store.effects import StoredEffect
from punchcard.store.fates import FateKind
from punchcard.traces.browse import EventPage, Person, SeenEvent
from punchcard.traces.story import current_fate
from punchcard.workspace.snapshot import RoutedDestination

_EVENTS = 50
_TRANSACTIONS = 50
_LIKE_SHOWN = 20
_EARNED = frozenset({FateKind.DELIVERED, FateKind.PENDING, FateKind.RETRYING, FateKind.UNKNOWN})


@dataclass(frozen=True, kw_only=True)
class _Account:
    """A customer at one destination.

    Attributes:
        units: What was delivered, of the transactions shown.
        standing: What the partner says, None if it does not know them.
        problem: Why the partner could not be asked, None if it could.
    """

    destination: RoutedDestination
    transactions: list[tuple[StoredEffect, FateKind]]
    units: Decimal
    standing: CustomerStanding | None
    problem: str | None


@get("/customers")
@in_thread
def find_customers(visit: Visiting) -> Page:
    """The search for a customer."""
    asked = visit.query("q")
    if "@" in asked and "." in asked.rpartition("@")[2]:
        return visit.redirect("/customers/" + quote(asked, safe=""))
    found: list[str] = []
    if asked:
        with visit.parts.store.reading() as work:
            found = ledger.customers_like(work, asked, limit=_LIKE_SHOWN)
    return visit.page("customers.html", asked=asked, found=found)


@get("/customers/{who:path}")
async def show_customer(visit: Visiting, who: FromPath[str]) -> Page:
    """Balance, transactions, and for each event that earned nothing, why."""
    who = unquote(visit.request.scope["raw_path"].partition(b"/customers/")[2]).strip()
    person = await asyncio.to_thread(visit.parts.browser.person, who)
    before = _place(visit.query("before"))
    events = await asyncio.to_thread(visit.parts.browser.events_of, person, limit=_EVENTS, before=before)
    snapshot = await asyncio.to_thread(visit.parts.current)
    accounts = await asyncio.gather(
        *(_account(visit, one, person) for one in snapshot.destinations.values() if person.emails)
    )
    return await asyncio.to_thread(_rendered, visit, who, person, events, accounts)


async def _account(visit: Visit, destination: RoutedDestination, person: Person) -> _Account:
    transactions = await asyncio.to_thread(_transactions, visit, destination.slug, person.emails)
    standing, problem = None, None
    if destination.destination.enabled or transactions:
        standing, problem = await find_customer(destination, person.emails[0])
    units = sum(
        (one.quantity or Decimal(0) for one, fate in transactions if fate is FateKind.DELIVERED and one.perk),
        Decimal(0),
    )
    return _Account(destination=destination, transactions=transactions, units=units, standing=standing, problem=problem)


def _transactions(visit: Visit, slug: str, emails: Sequence[str]) -> list[tuple[StoredEffect, FateKind]]:
    with visit.parts.store.reading() as work:
        found = [
            one
            for email in emails
            for one in ledger.page(work, ledger.LedgerQuestion(destination=slug, customer=email), count=_TRANSACTIONS)
        ]
    found.sort(key=lambda one: one.id, reverse=True)
    return [(one, current_fate(one)) for one in found]


def _rendered(visit: Visit, who: str, person: Person, events: EventPage, accounts: list[_Account]) -> Page:
    following = events.following
    return visit.page(
        "customer.html",
        who=who,
        person=person,
        accounts=accounts,
        barren=[one for one in events.events if not _has_earned(one)],
        events=events.events,
        following=f"{following[0]}-{following[1]}" if following else "",
    )


def _has_earned(seen: SeenEvent) -> bool:
    return any(fate.fate in _EARNED for fate in seen.fates)


def _place(text: str) -> tuple[int, int] | None:
    position, found, index = text.partition("-")
    return (int(position), int(index)) if found and position.isdecimal() and index.isdecimal() else None


HANDLERS = (find_customers, show_customer)
