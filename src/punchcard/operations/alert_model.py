"""What an alert is, and what finds alerts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from punchcard.workspace.alert_rules import AlertKind
from punchcard.workspace.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A condition that an operator must act on.

    Attributes:
        subject: A destination's slug, or an event's name.
        destination: Slug; "" if none is concerned.
        destination_name: What texts call it; "" while only the slug is known.
        name: What texts call the subject if it is a part of the configuration; "" for any other subject.
        sources: Slugs of the sources that sent what it is about; their names in texts.
        count: How many events or awards; 0 where that says nothing.
        detail: A sentence, "" if the kind says all.
        until: When it ended, None while it lasts.
        next_check_at: When Punchcard looks again by itself, None if it does not.
        actor: Who caused the condition, "" if nobody did.
        customers: How many customers wait for points; 0 where that says nothing.
        amounts: Units that wait, by item.
        value: What was measured, such as the free share of a disk.
    """

    kind: AlertKind
    subject: str
    destination: str = ""
    destination_name: str = ""
    name: str = ""
    sources: tuple[str, ...] = ()
    count: int = 0
    reason: str = ""
    detail: str = ""
    since: datetime | None = None
    until: datetime | None = None
    next_check_at: datetime | None = None
    actor: str = ""
    customers: int = 0
    amounts: Mapping[str, Decimal] = field(default_factory=dict)
    value: float = 0.0

    @property
    def subject_name(self) -> str:
        """What texts call the subject."""
        return self.name or self.subject


@dataclass(frozen=True, kw_only=True)
class AlertText:
    """What an alert says.

    Attributes:
        title: What is wrong, as one short sentence.
        detail: What else is known, as sentences; "" if nothing is.
        remedy: What to do, as sentences; "" if nothing has to be done.
        path: Where in the App something can be done, "" if nowhere.
    """

    title: str
    detail: str = ""
    remedy: str = ""
    path: str = ""


Find = Callable[[Connection, Snapshot, datetime], Iterable[Alert]]
"""Finds alerts of some kinds in one view of the store."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What is looked at together, and the kinds of alerts that it finds."""

    kinds: frozenset[AlertKind]
    find: Find
