"""The global search: customers, orders and events by their ids, parts of the configuration, pages and actions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from punchcard.app.navigation import ENTRIES
from punchcard.app.paths import page_path
from punchcard.app.rendering import has_event_map, lists_transactions
from punchcard.app.request_context import RequestContext
from punchcard.operations.statuses import status_label
from punchcard.profiles.rules import EMAIL, USER_ID
from punchcard.store.access.token_store import Role
from punchcard.store.delivery import ledger
from punchcard.store.delivery.orders import effects_by_order, refusals_by_order
from punchcard.store.engage import profile_search
from punchcard.traces.reasons import find_reason, plain
from punchcard.traces.trace import current_status
from punchcard.workspace.model import Destination
from punchcard.workspace.part_names import destination_title

TEXT_CHARACTERS_MAX = 200
_LOOKUP_CHARACTERS_MIN = 2  # shorter texts begin too many emails and names
_NO_ID = frozenset(" \t\n@")  # a text with one of these is not a message id or an order id
_EXACT, _BEGIN, _WORD_BEGIN, _WITHIN = range(4)  # how well a result matches, the best first
_GROUPS = ("Customers", "Orders", "Events", "Audiences", "Computed traits", "Destinations", "Filters", "Sources")
_ACTIONS, _PAGES = "Actions", "Pages"


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """A result.

    Attributes:
        detail: Secondary text, "" for none.
        match: How well it matches; lower is better.
    """

    title: str
    path: str
    detail: str = ""
    match: int = _EXACT


@dataclass(frozen=True, kw_only=True)
class ResultGroup:
    """The results of one kind, the best first."""

    title: str
    results: Sequence[SearchResult]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """Something that is found by its words: a part of the configuration, a page or an action.

    Attributes:
        group: Title of its group.
        words: Further text that it is found by, such as a slug.
        needs: Role that is required to open it.
    """

    group: str
    title: str
    path: str
    detail: str = ""
    words: str = ""
    needs: Role = Role.READ_ONLY


def search(context: RequestContext, text: str, *, limit: int) -> Sequence[ResultGroup]:
    """Return what matches a text, the group with the best match first. Without a text: actions and pages.

    Every lookup is by an index and bounded, so that it takes as long in a large store as in a small one.

    Args:
        limit: Results per group.

    Raises:
        StorageError: The store is unavailable.
    """
    text = " ".join(text.replace("\x00", "").split())[:TEXT_CHARACTERS_MAX]
    by_group: dict[str, list[SearchResult]] = {group: [] for group in (*_GROUPS, _ACTIONS, _PAGES)}
    for entry in _entries(context):
        if context.may(entry.needs) and (match := _match(entry, text)) is not None:
            result = SearchResult(title=entry.title, path=entry.path, detail=entry.detail, match=match)
            by_group[entry.group].append(result)
    if not text:
        by_group = {group: by_group[group] for group in (_ACTIONS, _PAGES)}
    if len(text) >= _LOOKUP_CHARACTERS_MIN:
        with context.dependencies.store.reading() as work:
            by_group["Customers"] += _customers(work, text, limit=limit)
            if not _NO_ID & set(text):
                by_group["Orders"] += _orders(work, text, context.dependencies.workspace().destinations, limit=limit)
                by_group["Events"] += _events(work, text, limit=limit)
    for results in by_group.values():
        results.sort(key=lambda result: result.match)  # stable: equal ones stay in their order
    groups = [ResultGroup(title=title, results=results[:limit]) for title, results in by_group.items() if results]
    return sorted(groups, key=lambda group: group.results[0].match) if text else groups


def _match(entry: _Entry, text: str) -> int | None:
    """Return how well an entry matches, None if it lacks a word of the text."""
    title, typed = entry.title.casefold(), text.casefold()
    haystack = f"{title} {entry.words.casefold()}"
    if not all(word in haystack for word in typed.split()):
        return None
    if typed and typed in (title, entry.words.casefold()):
        return _EXACT
    if title.startswith(typed):
        return _BEGIN
    return _WORD_BEGIN if f" {typed}" in f" {haystack}" else _WITHIN


# --- rows of the store ---


def _customers(work: Connection, text: str, *, limit: int) -> list[SearchResult]:
    """Return customers with this email, id or name, or one that begins so."""
    people = {person.profile_id: person for person in profile_search.named(work, text, limit=limit)}
    for person in profile_search.with_name(work, text, limit=limit):
        people.setdefault(person.profile_id, person)
    names = profile_search.names_of(work, list(people))
    results: list[SearchResult] = []
    emails: set[str] = set()
    for person in people.values():
        ids = dict(reversed(person.ids))
        emails |= {value for type_, value in person.ids if type_ == EMAIL}
        title = ids.get(EMAIL) or ids.get(USER_ID) or person.public_id
        detail = " · ".join(
            value for value in (names.get(person.profile_id), ids.get(USER_ID)) if value and value != title
        )
        is_exact = text.lower() in {value.lower() for value in (*ids.values(), person.public_id)}
        results.append(
            SearchResult(
                title=title, path=page_path("customers", title), detail=detail, match=_EXACT if is_exact else _BEGIN
            )
        )
    for email in ledger.customers_like(work, text, limit=limit):
        if email not in emails:
            match = _EXACT if email == text.lower() else _BEGIN
            results.append(SearchResult(title=email, path=page_path("customers", email), match=match))
    return results


def _orders(work: Connection, text: str, destinations: Sequence[Destination], *, limit: int) -> list[SearchResult]:
    """Return the orders with this id: their awards, and events that were refused."""
    results = []
    for destination in destinations:
        title, slug = destination_title(destination), destination.slug
        for *_, effect in effects_by_order(work, slug, [text]).values():
            results.append(
                SearchResult(
                    title=f"Order {effect.order_id}",
                    path=page_path("destinations", slug, "transactions", q=text),
                    detail=f"{title} · {effect.email or 'no customer'} · {status_label(current_status(effect))}",
                )
            )
        for refused in refusals_by_order(work, slug, [text]).values():
            reason = find_reason(refused[0].reason)
            results.append(
                SearchResult(
                    title=f"Order {refused[0].order_id}",
                    path=page_path("events", refused[0].message_id),
                    detail=f"{title} · refused: {plain(reason.means) if reason else refused[0].reason}",
                )
            )
    return results[:limit]


def _events(work: Connection, text: str, *, limit: int) -> list[SearchResult]:
    """Return the event with this message id.

    Only events with an effect are looked up here; any other one is opened by the page of the event, which reads the
    data lake.
    """
    effects = ledger.effects_of_message(work, text)
    by_name = {effect.event_name: effect for effect in effects}
    results = [
        SearchResult(title=name, path=page_path("events", text), detail=f"{effect.email} · {text}".strip(" ·"))
        for name, effect in by_name.items()
    ]
    if not results and any(character.isdigit() for character in text):  # as in almost every id
        results = [
            SearchResult(title=f"Event with the message id {text}", path=page_path("events", text), match=_WITHIN)
        ]
    return results[:limit]


# --- what is found by its words ---


def _entries(context: RequestContext) -> Iterator[_Entry]:
    """Yield parts of the configuration, actions and pages."""
    workspace = context.dependencies.workspace()
    yield from _ACTION_ENTRIES
    for computation in workspace.computations:
        yield _Entry(
            group="Audiences" if computation.kind == "audience" else "Computed traits",
            title=computation.name,
            path=page_path("audiences", computation.key),
            detail=computation.description or computation.key,
            words=computation.key,
        )
    for destination in workspace.destinations:
        yield from _of_destination(context, destination)
    for source in workspace.sources:
        title, slug = source.name or source.slug, source.slug
        yield _Entry(group="Sources", title=title, path=page_path("sources", slug), detail=slug, words=slug)
        for segment, label in (("schema", "Schema"), ("debugger", "Debugger")):
            yield _Entry(group=_PAGES, title=f"{title}: {label}", path=page_path("sources", slug, segment), words=slug)
    for entry in ENTRIES:
        yield _Entry(group=_PAGES, title=entry.label, path=entry.path, needs=entry.needs)
    yield from _PAGE_ENTRIES


def _of_destination(context: RequestContext, destination: Destination) -> Iterator[_Entry]:
    title, slug = destination_title(destination), destination.slug
    yield _Entry(group="Destinations", title=title, path=page_path("destinations", slug), detail=slug, words=slug)
    for destination_filter in destination.filters:
        yield _Entry(
            group="Filters",
            title=destination_filter.title,
            path=page_path("destinations", slug, "filters", destination_filter.id),
            detail=title,
            words=f"{destination_filter.description} {slug}",
        )
    actions = {
        "state": f"Pause or resume delivery of {title}",
        "replays": f"Replay events to {title}",
        "tester": f"Send a test event to {title}",
    }
    pages = {"settings": "Settings", "filters": "Filters", "tester": "Event Tester", "transactions": "Transactions"}
    pages |= {"conflicts": "Conflicts", "replays": "Replays"}
    if has_event_map(destination):
        pages |= {"map": "Event map"}
    if lists_transactions(destination):
        pages |= {"reconciliations": "Reconciliation"}
        actions |= {"reconciliations": f"Reconcile {title}"}
    for segment, label in actions.items():
        yield _Entry(
            group=_ACTIONS,
            title=label,
            path=page_path("destinations", slug, segment),
            words=f"{slug} {_ACTION_WORDS.get(segment, '')}",
            needs=Role.EDITOR,
        )
    if context.may_change("destination", slug):
        path = page_path("destinations", slug, "filters", "new")
        yield _Entry(group=_ACTIONS, title=f"New filter of {title}", path=path, words=f"{slug} add", needs=Role.EDITOR)
    for segment, label in pages.items():
        yield _Entry(group=_PAGES, title=f"{title}: {label}", path=page_path("destinations", slug, segment), words=slug)


_ACTION_WORDS: Mapping[str, str] = {"state": "stop start switch off on", "replays": "backfill", "tester": "try preview"}
_ACTION_ENTRIES = (
    _Entry(group=_ACTIONS, title="New audience", path="/audiences/new", words="add create segment", needs=Role.EDITOR),
    _Entry(
        group=_ACTIONS,
        title="New computed trait",
        path="/audiences/new?kind=computed_trait",
        words="add create",
        needs=Role.EDITOR,
    ),
    _Entry(group=_ACTIONS, title="Add source", path="/sources/_new", words="new create write key", needs=Role.EDITOR),
    _Entry(group=_ACTIONS, title="Add destination", path="/catalog", words="new create", needs=Role.EDITOR),
    _Entry(group=_ACTIONS, title="Invite a member", path="/settings/team", words="add user operator", needs=Role.OWNER),
    _Entry(group=_ACTIONS, title="Create API token", path="/settings/tokens", words="new add", needs=Role.OWNER),
    _Entry(group=_ACTIONS, title="Add alert channel", path="/alerts/channels", words="new slack", needs=Role.OWNER),
    _Entry(group=_ACTIONS, title="Delete a person", path="/privacy", words="gdpr suppress erase", needs=Role.EDITOR),
    _Entry(group=_ACTIONS, title="Change your password", path="/settings/password"),
)
_PAGE_ENTRIES = (
    _Entry(group=_PAGES, title="Alerts: Rules", path="/alerts/rules"),
    _Entry(group=_PAGES, title="Alerts: Channels", path="/alerts/channels"),
    _Entry(group=_PAGES, title="Settings: Team", path="/settings/team", words="members users", needs=Role.OWNER),
    _Entry(group=_PAGES, title="Settings: API tokens", path="/settings/tokens", needs=Role.OWNER),
    _Entry(group=_PAGES, title="Settings: Versions", path="/settings/versions", words="history restore undo"),
    _Entry(group=_PAGES, title="Settings: Audit log", path="/settings/audit", words="history changes"),
    _Entry(group=_PAGES, title="What is new", path="/whats-new", words="changelog release"),
)
