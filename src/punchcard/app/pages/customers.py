"""The page for "why did Ann not get her points?": by an email, everything of one customer."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from urllib.parse import quote, unquote

from litestar import get
from litestar.params import FromPath

from punchcard.app.visit import Page, Visit, Visiting
from punchcard.destinations.port import CustomerStanding
from punchcard.operations.asking import find_customer
from punchcard.operations.threads import in_thread
from punchcard.store import ledger, profile_reading
from punchcard.store.effects import StoredEffect
from punchcard.store.fates import FateKind
from punchcard.store.profile_reading import StoredConflict, StoredExternalId, StoredProfile, TraitChange
from punchcard.store.profiles import StoredTrait
from punchcard.traces.browse import EventPage, Person, SeenEvent
from punchcard.traces.story import current_fate
from punchcard.workspace.snapshot import RoutedDestination

_EVENTS = 50
_TRANSACTIONS = 50
_LIKE_SHOWN = 20
_HISTORY = 30
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


@dataclass(frozen=True, kw_only=True)
class _Profile:
    """What Engage knows of a person.

    Attributes:
        traits: By name; `labels` are the names of audiences and computed traits by key.
        kept_by: Public ids of profiles by number, for conflicts.
    """

    profile: StoredProfile
    ids: Sequence[StoredExternalId]
    traits: Sequence[StoredTrait]
    history: Sequence[TraitChange]
    merges: Sequence[tuple[str, datetime, str]]
    conflicts: Sequence[StoredConflict]
    labels: Mapping[str, str]


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
        known=_profile(visit, person, who),
        accounts=accounts,
        barren=[one for one in events.events if not _has_earned(one)],
        events=events.events,
        following=f"{following[0]}-{following[1]}" if following else "",
    )


def _profile(visit: Visit, person: Person, who: str) -> _Profile | None:
    """The profile that one of the customer's ids leads to, None if there is none (yet)."""
    asked = [("email", one) for one in person.emails] + [("user_id", one) for one in person.user_ids]
    with visit.parts.store.reading() as work:
        for type_, value in (*asked, ("profile", who)):
            found = profile_reading.find_profile(work, type_, value)
            if found is not None:
                break
        else:
            return None
        return _Profile(
            profile=found,
            ids=profile_reading.external_ids_of(work, found.id),
            traits=profile_reading.traits_by_name(work, found.id),
            history=profile_reading.history_of(work, found.id, limit=_HISTORY),
            merges=profile_reading.merges_into(work, found.id),
            conflicts=profile_reading.conflicts_of(work, found.id, limit=_HISTORY),
            labels={one.key: one.name for one in visit.parts.workspace().computations},
        )


def _has_earned(seen: SeenEvent) -> bool:
    return any(fate.fate in _EARNED for fate in seen.fates)


def _place(text: str) -> tuple[int, int] | None:
    position, found, index = text.partition("-")
    return (int(position), int(index)) if found and position.isdecimal() and index.isdecimal() else None


HANDLERS = (find_customers, show_customer)
