"""Customers: the search, and everything about one customer, including why an event earned nothing."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from urllib.parse import unquote

from litestar import get
from litestar.params import FromPath

from punchcard.app.paths import page_path
from punchcard.app.request_context import SHOWS_AWARDS, ContextDependency, Page, RequestContext
from punchcard.destinations.port import CustomerBalance
from punchcard.engage.demand import request_engage
from punchcard.events.model import EventType
from punchcard.operations.executor import run_in_executor
from punchcard.operations.partner_queries import find_customer
from punchcard.operations.row_ids import is_row_id
from punchcard.operations.statuses import OPEN_STATUSES
from punchcard.profiles.rules import ANONYMOUS_ID, EMAIL, USER_ID
from punchcard.store.delivery import ledger
from punchcard.store.delivery.effects import StoredEffect
from punchcard.store.engage import profile_queries, profile_search
from punchcard.store.engage.profile_queries import StoredConflict, StoredExternalId, StoredProfile, TraitChange
from punchcard.store.engage.profiles import StoredTrait
from punchcard.store.routing.event_results import EventStatus
from punchcard.traces.browse import EventPage, SeenEvent
from punchcard.traces.customer_events import CustomerIds
from punchcard.traces.trace import current_status
from punchcard.workspace.snapshot import RoutedDestination

_EVENTS = 50
_TRANSACTIONS = 50
_LIKE_SHOWN = 20
_HISTORY = 30
_PEOPLE = 50
_NAMES = 200
_TABS = ("awards", "events", "audiences", "profile")
_EARNED = frozenset({EventStatus.DELIVERED, *OPEN_STATUSES})


@dataclass(frozen=True, kw_only=True)
class _Account:
    """A customer at one destination.

    Attributes:
        units: Delivered units of the listed transactions.
        balance: The customer's balance at the partner, None if the partner does not know the customer.
        problem: Why the partner could not be queried, None if it could.
    """

    destination: RoutedDestination
    transactions: list[tuple[StoredEffect, EventStatus]]
    units: Decimal
    balance: CustomerBalance | None
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class _Profile:
    """A profile of Engage.

    Attributes:
        audiences: Audiences that the person is in.
        traits: All other traits by name.
        labels: Names of audiences and computed traits by key.
        other_audiences: Keys of the audiences that the person is not in.
    """

    profile: StoredProfile
    ids: Sequence[StoredExternalId]
    audiences: Sequence[StoredTrait]
    traits: Sequence[StoredTrait]
    history: Sequence[TraitChange]
    merges: Sequence[tuple[str, datetime, str]]
    conflicts: Sequence[StoredConflict]
    labels: Mapping[str, str]
    other_audiences: Sequence[str] = ()

    def values(self, type_: str) -> list[str]:
        """Return the external ids of a type, newest first."""
        return [external_id.value for external_id in reversed(self.ids) if external_id.type == type_]


@get("/customers")
@run_in_executor
def find_customers(context: ContextDependency) -> Page:
    """Search for customers, and list people with a trait or the newest people."""
    search, trait, value = (context.query(name).replace("\x00", "") for name in ("q", "trait", "value"))
    if "@" in search and "." in search.rpartition("@")[2]:
        return context.redirect(page_path("customers", search))
    before = context.query("before")
    before_id = int(before) if is_row_id(before) else None
    workspace = context.dependencies.workspace()
    matches: Sequence[profile_search.FoundPerson] = ()
    customers: list[str] = []
    with context.dependencies.store.reading() as work:
        if search:
            matches = profile_search.named(work, search, limit=_LIKE_SHOWN)
            known = {value for match in matches for type_, value in match.ids if type_ == EMAIL}
            emails = ledger.customers_like(work, search, limit=_LIKE_SHOWN)
            customers = [email for email in emails if email not in known]
        if trait:
            texts = json_texts(value)
            people = profile_search.with_trait(work, trait, values=texts, limit=_PEOPLE + 1, before=before_id)
        else:
            people = profile_search.newest(work, limit=_PEOPLE + 1, before=before_id)
        names = profile_search.names_of_traits(work, limit=_NAMES)
    if not people:
        request_engage(context.dependencies.store)  # it may not have run yet, because nothing needed profiles
    return context.page(
        "customers.html",
        search=search,
        matches=matches,
        customers=customers,
        people=people[:_PEOPLE],
        trait=trait,
        value=value,
        following=str(people[_PEOPLE - 1].profile_id) if len(people) > _PEOPLE else "",
        is_first=before_id is None,
        labels={computation.key: computation.name for computation in workspace.computations},
        kinds={computation.key: computation.kind for computation in workspace.computations},
        names=sorted({*names, *(computation.key for computation in workspace.computations)}),
    )


@get("/customers/{customer_id:path}", opt={SHOWS_AWARDS: True})
async def show_customer(context: ContextDependency, customer_id: FromPath[str]) -> Page:
    """Show one tab about a customer; the first one has balances, transactions, and why events earned nothing."""
    customer_id = unquote(context.request.scope["raw_path"].partition(b"/customers/")[2]).strip()
    tab = context.query("tab") if context.query("tab") in _TABS else _TABS[0]
    profile, person, events, has_events = await asyncio.to_thread(_find_profile, context, customer_id, tab=tab)
    accounts: list[_Account] = []
    if tab == _TABS[0] and person.emails:
        snapshot = await asyncio.to_thread(context.dependencies.current)
        accounts = await asyncio.gather(
            *(_account(context, destination, person) for destination in snapshot.destinations.values())
        )
    is_known = tab != _TABS[0] or bool(has_events or profile or any(account.transactions for account in accounts))
    return await asyncio.to_thread(
        _rendered, context, customer_id, person, profile, events, accounts, tab=tab, is_known=is_known
    )


async def _account(context: RequestContext, destination: RoutedDestination, person: CustomerIds) -> _Account:
    transactions = await asyncio.to_thread(_transactions, context, destination.slug, person.emails)
    balance, problem = None, None
    if destination.destination.enabled or transactions:
        balance, problem = await find_customer(destination, person.emails[0])
    units = sum(
        (
            effect.quantity or Decimal(0)
            for effect, status in transactions
            if status is EventStatus.DELIVERED and effect.item
        ),
        Decimal(0),
    )
    return _Account(destination=destination, transactions=transactions, units=units, balance=balance, problem=problem)


def _transactions(context: RequestContext, slug: str, emails: Sequence[str]) -> list[tuple[StoredEffect, EventStatus]]:
    with context.dependencies.store.reading() as work:
        effects_found = [
            effect
            for email in emails
            for effect in ledger.page(work, ledger.LedgerQuery(destination=slug, customer=email), count=_TRANSACTIONS)
        ]
    effects_found.sort(key=lambda effect: effect.id, reverse=True)
    return [(effect, current_status(effect)) for effect in effects_found]


def _rendered(
    context: RequestContext,
    customer_id: str,
    person: CustomerIds,
    profile: _Profile | None,
    events: EventPage,
    accounts: list[_Account],
    *,
    tab: str,
    is_known: bool,
) -> Page:
    following = events.following
    heading = customer_id
    if profile is not None and customer_id == profile.profile.public_id:
        heading = next(iter([*person.emails, *person.user_ids]), "Person without email and user id")
    return context.page(
        "customer.html",
        customer_id=customer_id,
        heading=heading,
        person=person,
        profile=profile,
        accounts=accounts,
        unearned=[event for event in events.events if not _has_earned(event)],
        events=events.events,
        following=f"{following[0]}-{following[1]}" if following else "",
        tab=tab,
        is_known=is_known,
        calls=context.query("calls"),
        replay_paths=[
            (
                account.destination.slug,
                page_path("destinations", account.destination.slug, "replays", customer=person.emails[0]),
            )
            for account in accounts  # there are none without an email
        ],
    )


def _find_profile(
    context: RequestContext, customer_id: str, *, tab: str
) -> tuple[_Profile | None, CustomerIds, EventPage, bool]:
    """Find a customer by an id of any type.

    Returns:
        The profile, None if there is none; the ids that its events are found by; a page of these events, and whether
        there are any.
    """
    browser, before = context.dependencies.browser, _place(context.query("before"))
    # Only track calls earn points at most destinations: other calls would hide the events that should have.
    types = None if tab == "events" or context.query("calls") == "all" else (EventType.TRACK.value,)
    with context.dependencies.store.reading() as work:
        stored_profile = profile_search.find(work, customer_id)
    if stored_profile is None:
        request_engage(context.dependencies.store)
    profile = _profile(context, stored_profile) if stored_profile is not None else None
    person, known = CustomerIds(), _ids_of(profile)
    named = None  # events cannot be searched by other types of ids
    if profile is None or {customer_id, customer_id.lower()} & {*known.emails, *known.user_ids}:
        named = browser.find_customer(customer_id, known=known, limit=_EVENTS, before=before, types=types)
        person = named.ids
    if profile is None:
        profile = _profile_of_events(context, person)
    person = person.joined(_ids_of(profile))
    late = None if named is None else named.late
    events = browser.events_of(person, limit=_EVENTS, before=before, types=types, late=late)
    return profile, person, events, bool(events.events) or (named is not None and named.has_events)


def _ids_of(profile: _Profile | None) -> CustomerIds:
    if profile is None:
        return CustomerIds()
    emails, user_ids, anonymous_ids = (profile.values(type_) for type_ in (EMAIL, USER_ID, ANONYMOUS_ID))
    return CustomerIds(emails=emails, user_ids=user_ids, anonymous_ids=anonymous_ids)


def _profile_of_events(context: RequestContext, person: CustomerIds) -> _Profile | None:
    """Return the profile that has one of the ids of a person's events."""
    ids = [(EMAIL, email) for email in person.emails] + [(USER_ID, user_id) for user_id in person.user_ids]
    with context.dependencies.store.reading() as work:
        for type_, value in ids:
            profile = profile_queries.find_profile(work, type_, value)
            if profile is not None:
                break
        else:
            return None
    return _profile(context, profile)


def _profile(context: RequestContext, profile: StoredProfile) -> _Profile:
    computations = context.dependencies.workspace().computations
    with context.dependencies.store.reading() as work:
        traits = [trait for trait in profile_queries.traits_by_name(work, profile.id) if trait.value != "null"]
        audiences = [trait for trait in traits if trait.computation == "audience" and trait.value == "true"]
        keys = {trait.name for trait in audiences}
        return _Profile(
            profile=profile,
            ids=profile_queries.external_ids_of(work, profile.id),
            audiences=audiences,
            traits=[trait for trait in traits if trait.computation != "audience"],
            history=profile_queries.history_of(work, profile.id, limit=_HISTORY),
            merges=profile_queries.merges_into(work, profile.id),
            conflicts=profile_queries.conflicts_of(work, profile.id, limit=_HISTORY),
            labels={computation.key: computation.name for computation in computations},
            other_audiences=[
                computation.key
                for computation in computations
                if computation.kind == "audience" and computation.key not in keys
            ],
        )


def json_texts(value: str) -> Sequence[str]:
    """Return the JSON values that a typed text may mean: a text, or a number, true or false."""
    if not value:
        return ()
    return tuple({value, json.dumps(value), json.dumps(value, ensure_ascii=False)})


def _has_earned(seen: SeenEvent) -> bool:
    return any(status.status in _EARNED for status in seen.results)


def _place(text: str) -> tuple[int, int] | None:
    position, dash, index = text.partition("-")
    return (int(position), int(index)) if dash and is_row_id(position) and is_row_id(index) else None


HANDLERS = (find_customers, show_customer)
