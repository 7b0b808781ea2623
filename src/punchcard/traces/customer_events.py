"""Whom a customer's id means, and which events are theirs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from punchcard.lake.person_query import PersonQuery
from punchcard.lake.reader import LakeEvent

IDS_MAX = 10
"""How many ids of a type are searched for at most."""


@dataclass(frozen=True, kw_only=True)
class CustomerIds:
    """Who is meant by an email or a user id: what its events name together with it.

    Attributes:
        emails: Lower-cased.
    """

    emails: Sequence[str] = ()
    user_ids: Sequence[str] = ()
    anonymous_ids: Sequence[str] = ()

    def joined(self, other: "CustomerIds") -> "CustomerIds":
        """Return the ids of both, these first."""
        return CustomerIds(
            emails=_first(self.emails, other.emails),
            user_ids=_first(self.user_ids, other.user_ids),
            anonymous_ids=_first(self.anonymous_ids, other.anonymous_ids),
        )

    def query(self, types: Sequence[str] | None = None) -> PersonQuery:
        """Return the query for the events with one of the ids."""
        return PersonQuery(emails=self.emails, user_ids=self.user_ids, anonymous_ids=self.anonymous_ids, types=types)

    def owns(self, event: LakeEvent) -> bool:
        """Return whether an event with one of the ids is theirs: it has no email or user id of somebody else."""
        named = (event.email, event.user_id)
        return event.email in self.emails or event.user_id in self.user_ids or named == (None, None)


@dataclass(frozen=True, kw_only=True)
class LateEvents:
    """The newest events of a customer that the lake may lack, read while the customer was sought.

    Attributes:
        query: What they match, before the place `before`; all of them, or one more than `limit`.
    """

    query: PersonQuery
    limit: int
    before: tuple[int, int] | None
    events: Sequence[LakeEvent]

    def are_those_of(self, query: PersonQuery, *, limit: int, before: tuple[int, int] | None) -> bool:
        """Return whether a query selects the same events: not if it has ids that the events themselves brought."""
        selected = (set(self.query.ids), self.query.types, self.limit, self.before)
        return selected == (set(query.ids), query.types, limit, before)


@dataclass(frozen=True, kw_only=True)
class NamedCustomer:
    """Who is meant by an email or a user id.

    Attributes:
        has_events: Whether an event names them.
        late: For `EventBrowser.events_of`, so that it need not read the end of the log again.
    """

    ids: CustomerIds
    has_events: bool
    late: LateEvents


def ids_of(named: str) -> CustomerIds:
    """Return a typed email, lower-cased, or user id."""
    named = named.strip()
    return CustomerIds(emails=(named.lower(),)) if "@" in named else CustomerIds(user_ids=(named,) if named else ())


def ids_in(events: Iterable[LakeEvent]) -> CustomerIds:
    """Return the emails and user ids that events have."""
    events = list(events)
    return CustomerIds(
        emails=_first([event.email for event in events if event.email]),
        user_ids=_first([event.user_id for event in events if event.user_id]),
    )


def _first(*ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for values in ids for value in values))[:IDS_MAX]
