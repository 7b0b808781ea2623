"""The pages for "why did Ann not get her points?", and for who else is there: everything of one customer."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from urllib.parse import quote, unquote, urlencode

from litestar import get
from litestar.params import FromPath

from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.destinations.port import CustomerBalance
from punchcard.operations.executor import run_in_executor
from punchcard.operations.partner_queries import find_customer
from punchcard.profiles.rules import ANONYMOUS_ID, EMAIL, USER_ID
from punchcard.store import ledger, profile_queries, profile_search
from punchcard.store.effects import StoredEffect
from punchcard.store.event_results import EventStatus
from punchcard.store.profile_queries import StoredConflict, StoredExternalId, StoredProfile, TraitChange
from punchcard.store.profiles import StoredTrait
from punchcard.traces.browse import CustomerIds, EventPage, SeenEvent
from punchcard.traces.trace import current_status
from punchcard.workspace.snapshot import RoutedDestination

_EVENTS = 50
_TRANSACTIONS = 50
_LIKE_SHOWN = 20
_HISTORY = 30
_PEOPLE = 50
_NAMES = 200
_IDS_MAX = 10
_DIGITS_MAX = 19
_EARNED = frozenset({EventStatus.DELIVERED, EventStatus.PENDING, EventStatus.RETRYING, EventStatus.UNKNOWN})


@dataclass(frozen=True, kw_only=True)
class _Account:
    """A customer at one destination.

    Attributes:
        units: What was delivered, of the transactions shown.
        standing: What the partner says, None if it does not know them.
        problem: Why the partner could not be asked, None if it could.
    """

    destination: RoutedDestination
    transactions: list[tuple[StoredEffect, EventStatus]]
    units: Decimal
    standing: CustomerBalance | None
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class _Profile:
    """What Engage knows of a person.

    Attributes:
        audiences: Those that they are in.
        traits: All others by name; `labels` are the names of audiences and computed traits by key.
    """

    profile: StoredProfile
    ids: Sequence[StoredExternalId]
    audiences: Sequence[StoredTrait]
    traits: Sequence[StoredTrait]
    history: Sequence[TraitChange]
    merges: Sequence[tuple[str, datetime, str]]
    conflicts: Sequence[StoredConflict]
    labels: Mapping[str, str]

    def values(self, type_: str) -> list[str]:
        """Their external ids of a type, newest first."""
        return [one.value for one in reversed(self.ids) if one.type == type_]


@get("/customers")
@run_in_executor
def find_customers(context: ContextDependency) -> Page:
    """The search for a customer, and below it people: with a trait, or those who came last."""
    asked, trait, value = (context.query(name).replace("\x00", "") for name in ("q", "trait", "value"))
    if "@" in asked and "." in asked.rpartition("@")[2]:
        return context.redirect("/customers/" + quote(asked, safe=""))
    before = context.query("before")
    place = int(before) if before.isdecimal() and len(before) < _DIGITS_MAX else None
    workspace = context.dependencies.workspace()
    found: Sequence[profile_search.FoundPerson] = ()
    customers: list[str] = []
    with context.dependencies.store.reading() as work:
        if asked:
            found = profile_search.named(work, asked, limit=_LIKE_SHOWN)
            known = {value for one in found for type_, value in one.ids if type_ == EMAIL}
            customers = [one for one in ledger.customers_like(work, asked, limit=_LIKE_SHOWN) if one not in known]
        if trait:
            texts = _json_texts(value)
            people = profile_search.with_trait(work, trait, values=texts, limit=_PEOPLE + 1, before=place)
        else:
            people = profile_search.newest(work, limit=_PEOPLE + 1, before=place)
        names = profile_search.names_of_traits(work, limit=_NAMES)
    page = {
        "trait": trait,
        "value": value,
        "before": str(people[_PEOPLE - 1].profile_id) if len(people) > _PEOPLE else "",
    }
    return context.page(
        "customers.html",
        asked=asked,
        found=found,
        customers=customers,
        people=people[:_PEOPLE],
        trait=trait,
        value=value,
        following=urlencode({name: one for name, one in page.items() if one}) if page["before"] else "",
        is_first=place is None,
        labels={computation.key: computation.name for computation in workspace.computations},
        kinds={computation.key: computation.kind for computation in workspace.computations},
        names=sorted({*names, *(computation.key for computation in workspace.computations)}),
    )


@get("/customers/{who:path}")
async def show_customer(context: ContextDependency, who: FromPath[str]) -> Page:
    """Balance, transactions, and for each event that earned nothing, why."""
    who = unquote(context.request.scope["raw_path"].partition(b"/customers/")[2]).strip()
    known, person = await asyncio.to_thread(_who, context, who)
    before = _place(context.query("before"))
    events = await asyncio.to_thread(context.dependencies.browser.events_of, person, limit=_EVENTS, before=before)
    snapshot = await asyncio.to_thread(context.dependencies.current)
    accounts = await asyncio.gather(
        *(_account(context, destination, person) for destination in snapshot.destinations.values() if person.emails)
    )
    return await asyncio.to_thread(_rendered, context, who, person, known, events, accounts)


async def _account(context: RequestContext, destination: RoutedDestination, person: CustomerIds) -> _Account:
    transactions = await asyncio.to_thread(_transactions, context, destination.slug, person.emails)
    standing, problem = None, None
    if destination.destination.enabled or transactions:
        standing, problem = await find_customer(destination, person.emails[0])
    units = sum(
        (one.quantity or Decimal(0) for one, status in transactions if status is EventStatus.DELIVERED and one.item),
        Decimal(0),
    )
    return _Account(destination=destination, transactions=transactions, units=units, standing=standing, problem=problem)


def _transactions(context: RequestContext, slug: str, emails: Sequence[str]) -> list[tuple[StoredEffect, EventStatus]]:
    with context.dependencies.store.reading() as work:
        found = [
            one
            for email in emails
            for one in ledger.page(work, ledger.LedgerQuery(destination=slug, customer=email), count=_TRANSACTIONS)
        ]
    found.sort(key=lambda one: one.id, reverse=True)
    return [(one, current_status(one)) for one in found]


def _rendered(
    context: RequestContext,
    who: str,
    person: CustomerIds,
    known: _Profile | None,
    events: EventPage,
    accounts: list[_Account],
) -> Page:
    following = events.following
    heading = who
    if known is not None and who == known.profile.public_id:
        heading = next(iter([*person.emails, *person.user_ids]), "Somebody without email and user id")
    return context.page(
        "customer.html",
        who=who,
        heading=heading,
        person=person,
        known=known,
        accounts=accounts,
        barren=[event for event in events.events if not _has_earned(event)],
        events=events.events,
        following=f"{following[0]}-{following[1]}" if following else "",
    )


def _who(context: RequestContext, who: str) -> tuple[_Profile | None, CustomerIds]:
    """The profile that an id of whatever type leads to, if there is one, and by what its events are found."""
    with context.dependencies.store.reading() as work:
        found = profile_search.find(work, who)
    known = _profile(context, found) if found is not None else None
    own = known.values(EMAIL) + known.values(USER_ID) if known is not None else []
    if known is not None and not {who, who.lower()} & set(own):
        person = CustomerIds(emails=(), user_ids=())  # named by an id that events are not found by
    else:
        person = context.dependencies.browser.person(who)
    if known is None:
        known = _profile_of_events(context, person)
    if known is not None:
        person = CustomerIds(
            emails=_joined(person.emails, known.values(EMAIL)),
            user_ids=_joined(person.user_ids, known.values(USER_ID)),
            anonymous_ids=tuple(known.values(ANONYMOUS_ID))[:_IDS_MAX],
        )
    return known, person


def _joined(some: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*some, *others]))[:_IDS_MAX]


def _profile_of_events(context: RequestContext, person: CustomerIds) -> _Profile | None:
    """The profile that one of the ids leads to with which somebody's events came."""
    asked = [(EMAIL, email) for email in person.emails] + [(USER_ID, user_id) for user_id in person.user_ids]
    with context.dependencies.store.reading() as work:
        for type_, value in asked:
            profile = profile_queries.find_profile(work, type_, value)
            if profile is not None:
                break
        else:
            return None
    return _profile(context, profile)


def _profile(context: RequestContext, found: StoredProfile) -> _Profile:
    with context.dependencies.store.reading() as work:
        traits = [trait for trait in profile_queries.traits_by_name(work, found.id) if trait.value != "null"]
        return _Profile(
            profile=found,
            ids=profile_queries.external_ids_of(work, found.id),
            audiences=[trait for trait in traits if trait.computation == "audience" and trait.value == "true"],
            traits=[trait for trait in traits if trait.computation != "audience"],
            history=profile_queries.history_of(work, found.id, limit=_HISTORY),
            merges=profile_queries.merges_into(work, found.id),
            conflicts=profile_queries.conflicts_of(work, found.id, limit=_HISTORY),
            labels={computation.key: computation.name for computation in context.dependencies.workspace().computations},
        )


def _json_texts(value: str) -> Sequence[str]:
    """What a trait may hold that somebody types so: a text, or a number, true or false."""
    if not value:
        return ()
    return tuple({value, json.dumps(value), json.dumps(value, ensure_ascii=False)})


def _has_earned(seen: SeenEvent) -> bool:
    return any(status.status in _EARNED for status in seen.results)


def _place(text: str) -> tuple[int, int] | None:
    position, found, index = text.partition("-")
    return (int(position), int(index)) if found and position.isdecimal() and index.isdecimal() else None


HANDLERS = (find_customers, show_customer)
