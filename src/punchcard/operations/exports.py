"""Whole lists as rows: what an export of transactions, events, customers or the audit log contains.

Every list is read page by page, newest first, so that an export needs the memory of one page however long the list is,
and holds no transaction open while somebody reads it slowly. What is added meanwhile is newer and not in the export.
"""

import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from punchcard.destinations.definition import LedgerColumn
from punchcard.lake.listing import EventQuery
from punchcard.operations.inventory import InventoryItem
from punchcard.profiles.rules import EMAIL, USER_ID
from punchcard.store.access.audit import AuditEvent, AuditQuery, list_events
from punchcard.store.delivery import ledger
from punchcard.store.delivery.effects import StoredEffect
from punchcard.store.engage import profile_search
from punchcard.store.engage.profile_search import FoundPerson
from punchcard.store.engine import Store
from punchcard.traces.browse import EventBrowser, SeenEvent
from punchcard.traces.redaction import mask_write_keys
from punchcard.traces.summary import definition_of
from punchcard.traces.trace import current_status

# Rows of a page: enough that a query is cheap beside its rows, few enough that they fit into some megabytes.
_PAGE_ROWS: Final = 2_000
_EVENTS_MAX: Final = 500  # of a page: each has a payload of up to 32 KB


class Kind(StrEnum):
    """What the cells of a column are."""

    TEXT = "text"
    INTEGER = "integer"
    INSTANT = "instant"  # aware datetimes


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of an export.

    Attributes:
        name: As the member of the Public API that has the same value, if there is one.
        read: Returns the cell of an item of the list; None for an empty one.
    """

    name: str
    read: Callable[[Any], str | int | datetime | None]
    kind: Kind = Kind.TEXT


@dataclass(frozen=True, kw_only=True)
class Export:
    """A whole list.

    Attributes:
        name: Name of its file without the ending.
        pages: Its items in pages, read while they are iterated over.
    """

    name: str
    columns: Sequence[Column]
    pages: Iterator[Sequence[Any]]


def export_transactions(store: Store, query: ledger.LedgerQuery, *, types: Mapping[str, str]) -> Export:
    """Return the transactions of a destination that match.

    Args:
        types: The type of each configured destination by its slug.
    """

    def read_page(before: int | None) -> tuple[Sequence[StoredEffect], int | None]:
        with store.reading() as work:
            rows = ledger.page(work, query, count=_PAGE_ROWS, before_id=before)
        return rows, rows[-1].id if len(rows) == _PAGE_ROWS else None

    definition = definition_of(query.destination, "", types=types)
    shown = () if definition is None else definition.summary_columns
    return Export(
        name=f"transactions-{query.destination}",
        columns=(
            Column(name="id", read=lambda effect: effect.id, kind=Kind.INTEGER),
            Column(name="receivedAt", read=lambda effect: effect.received_at, kind=Kind.INSTANT),
            Column(name="eventName", read=lambda effect: effect.event_name),
            Column(name="email", read=lambda effect: effect.email),
            *(Column(name=column.member, read=functools.partial(_value, column=column.column)) for column in shown),
            Column(name="summary", read=lambda effect: effect.summary),
            Column(name="attributes", read=lambda effect: _json(effect.attributes)),
            Column(name="status", read=current_status),
            Column(name="reason", read=lambda effect: effect.reason),
            Column(name="detail", read=lambda effect: effect.detail),
            Column(name="orderId", read=lambda effect: effect.order_id),
            Column(name="source", read=lambda effect: effect.source),
            Column(name="messageId", read=lambda effect: effect.message_id),
            Column(name="effectKey", read=lambda effect: effect.effect_key),
            Column(name="attempts", read=lambda effect: effect.attempts, kind=Kind.INTEGER),
            Column(name="finishedAt", read=lambda effect: effect.finished_at, kind=Kind.INSTANT),
        ),
        pages=_pages(read_page),
    )


def export_events(browser: EventBrowser, query: EventQuery) -> Export:
    """Return the events that match, with their results and payloads; write keys in payloads are masked."""

    def read_page(before: tuple[int, int] | None) -> tuple[Sequence[SeenEvent], tuple[int, int] | None]:
        page = browser.page(query, limit=min(_PAGE_ROWS, _EVENTS_MAX), before=before)
        return page.events, page.following

    return Export(
        name="events",
        columns=(
            Column(name="receivedAt", read=lambda seen: seen.event.received_at, kind=Kind.INSTANT),
            Column(name="timestamp", read=lambda seen: seen.event.timestamp, kind=Kind.INSTANT),
            Column(name="type", read=lambda seen: seen.event.type),
            Column(name="event", read=lambda seen: seen.event.event),
            Column(name="email", read=lambda seen: seen.event.email),
            Column(name="userId", read=lambda seen: seen.event.user_id),
            Column(name="anonymousId", read=lambda seen: seen.event.anonymous_id),
            Column(name="source", read=lambda seen: seen.event.source),
            Column(name="messageId", read=lambda seen: seen.event.message_id),
            Column(name="results", read=lambda seen: _json(result_bodies(seen))),
            Column(name="payload", read=lambda seen: mask_write_keys(seen.event.payload).decode(errors="replace")),
        ),
        pages=_pages(read_page),
    )


def export_customers(store: Store, *, trait: str = "", values: Collection[str] = ()) -> Export:
    """Return all profiles, or those with a trait: the members of an audience, say.

    Args:
        trait: Key of an audience or name of a trait, "" for everybody.
        values: JSON texts: only with one of these values of the trait.
    """

    def read_page(before: int | None) -> tuple[Sequence[FoundPerson], int | None]:
        with store.reading() as work:
            if trait:
                people = profile_search.with_trait(work, trait, values=values, limit=_PAGE_ROWS, before=before)
            else:
                people = profile_search.newest(work, limit=_PAGE_ROWS, before=before)
        return people, people[-1].profile_id if len(people) == _PAGE_ROWS else None

    value = [Column(name="value", read=lambda person: person.value)] if trait else []
    return Export(
        name=f"members-{trait}" if trait else "customers",
        columns=(
            Column(name="id", read=lambda person: person.public_id),
            Column(name="email", read=lambda person: _ids(person, EMAIL)),
            Column(name="userId", read=lambda person: _ids(person, USER_ID)),
            Column(name="externalIds", read=lambda person: _json(external_ids(person))),
            *value,
            Column(name="since", read=lambda person: person.since, kind=Kind.INSTANT),
        ),
        pages=_pages(read_page),
    )


def export_audit(store: Store, query: AuditQuery) -> Export:
    """Return the changes that match; secrets and write keys in them are masked when they are recorded."""

    def read_page(before: int | None) -> tuple[Sequence[AuditEvent], int | None]:
        with store.reading() as work:
            events = list_events(work, query, count=_PAGE_ROWS, before_id=before)
        return events, events[-1].id if len(events) == _PAGE_ROWS else None

    return Export(
        name="audit-events",
        columns=(
            Column(name="id", read=lambda event: event.id, kind=Kind.INTEGER),
            Column(name="timestamp", read=lambda event: event.at, kind=Kind.INSTANT),
            Column(name="actor", read=lambda event: event.actor),
            Column(name="type", read=lambda event: f"{event.resource_type}.{event.kind}"),
            Column(name="resourceType", read=lambda event: event.resource_type),
            Column(name="resourceId", read=lambda event: event.resource_id),
            Column(name="changes", read=lambda event: event.changes),
        ),
        pages=_pages(read_page),
    )


def export_inventory(items: Sequence[InventoryItem]) -> Export:
    """Return properties and traits with how sensitive they are."""
    return Export(
        name="inventory",
        columns=(
            Column(name="property", read=lambda item: item.name),
            Column(name="classification", read=lambda item: item.classification.name),
            Column(name="proposedClassification", read=lambda item: item.proposed.name),
            Column(name="status", read=lambda item: "NEW" if item.is_new else "CLASSIFIED"),
            Column(name="personalData", read=lambda item: " ".join(item.kinds)),
            Column(name="types", read=lambda item: " ".join(item.types)),
            Column(name="count", read=lambda item: item.count, kind=Kind.INTEGER),
            Column(name="sources", read=lambda item: " ".join(item.sources)),
            Column(name="firstSeen", read=lambda item: item.first_seen, kind=Kind.INSTANT),
            Column(name="lastSeen", read=lambda item: item.last_seen, kind=Kind.INSTANT),
        ),
        pages=iter([items]),
    )


def result_bodies(seen: SeenEvent) -> list[dict[str, str | None]]:
    """Return the results of an event as in the Public API, without transactions and attempts."""
    return [
        {
            "destination": result.destination,
            "status": result.status,
            "reason": result.reason,
            "detail": result.detail,
        }
        for result in seen.results
    ]


def external_ids(person: FoundPerson) -> list[dict[str, str]]:
    """Return the external ids of a person as in the Public API."""
    return [{"type": type_, "id": value} for type_, value in person.ids]


def take(export: Export, count: int) -> list[Any]:
    """Return the first items of an export."""
    return list(itertools.islice(itertools.chain.from_iterable(export.pages), count))


def _pages(read_page: Callable[[Any], tuple[Sequence[Any], Any]]) -> Iterator[Sequence[Any]]:
    """Yield pages until one has no place where the next one begins."""
    before: Any = None
    while True:
        page, before = read_page(before)
        yield page
        if before is None:
            return


def _value(effect: StoredEffect, *, column: LedgerColumn) -> str | None:
    """Return the value of a column that a destination names, as `TransactionTrace.value_of` does."""
    match column:
        case LedgerColumn.ITEM:
            return effect.item
        case LedgerColumn.QUANTITY:
            quantity = effect.quantity if effect.quantity is not None else effect.requested_quantity
            return None if quantity is None else f"{quantity:f}"
        case LedgerColumn.PARTNER_ID:
            return effect.partner_id


def _ids(person: FoundPerson, type_: str) -> str | None:
    return "; ".join(value for id_type, value in person.ids if id_type == type_) or None


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
