"""The inventory of personal data: every property and trait that sources send, and how sensitive it looks.

The classification is that of Segment's Privacy Portal: Red is highly sensitive, Yellow names or describes a person,
Green is anything else. It comes from the samples that the source schema counts; values are not stored.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final

from sqlalchemy import Connection

from punchcard.clock import to_iso
from punchcard.events.personal_data import PersonalData
from punchcard.store.source_schema.inventory import SentProperty, list_sent_properties

TRAITS: Final = "traits"
PROPERTIES: Final = "properties"
_CALLS_WITH_TRAITS: Final = ("identify", "group")


class Classification(IntEnum):
    """How sensitive a property is, most sensitive first."""

    RED = 1
    YELLOW = 2
    GREEN = 3

    @property
    def label(self) -> str:
        """The name, as Segment writes it."""
        return self.name.capitalize()


_RED: Final = frozenset(
    {PersonalData.CARD_NUMBER, PersonalData.SECRET, PersonalData.BIRTH_DATE, PersonalData.PERSON_ID}
)


@dataclass(frozen=True, kw_only=True)
class InventoryItem:
    """A property or trait, whichever sources and events it is sent with.

    Attributes:
        section: `properties` or `traits`.
        path: Path below the section.
        kinds: Number of sampled values by what they look like; empty for nothing personal.
        count: Sampled events that have it.
        types: JSON types, most frequent first.
        events: Source, type and name of the events with it, most frequent first.
    """

    section: str
    path: str
    classification: Classification
    kinds: Mapping[str, int]
    count: int
    types: Sequence[str]
    sources: Sequence[str]
    events: Sequence[tuple[str, str, str]]
    first_seen: datetime
    last_seen: datetime


def read_inventory(work: Connection) -> list[InventoryItem]:
    """Return every property and trait, the most sensitive first, then the most frequent."""
    grouped: dict[tuple[str, str], list[SentProperty]] = {}
    for sent in list_sent_properties(work):
        section = TRAITS if sent.key.event_type in _CALLS_WITH_TRAITS else PROPERTIES
        grouped.setdefault((section, sent.known.path), []).append(sent)
    items = [_item(section, path, members) for (section, path), members in grouped.items()]
    return sorted(items, key=lambda item: (item.classification, -item.count, item.section, item.path))


def classify(kinds: Mapping[str, int]) -> Classification:
    """Return the classification of a property with values that look like this."""
    if not kinds:
        return Classification.GREEN
    return Classification.RED if any(kind in _RED for kind in kinds) else Classification.YELLOW


def item_body(item: InventoryItem) -> dict[str, object]:
    """Return an item as JSON."""
    return {
        "section": item.section,
        "path": item.path,
        "classification": item.classification.name,
        "personalData": dict(item.kinds),
        "count": item.count,
        "types": list(item.types),
        "sources": list(item.sources),
        "events": [{"source": source, "type": type_, "event": name or None} for source, type_, name in item.events],
        "firstSeen": to_iso(item.first_seen),
        "lastSeen": to_iso(item.last_seen),
    }


def _item(section: str, path: str, members: Sequence[SentProperty]) -> InventoryItem:
    kinds: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for member in members:
        kinds.update(member.known.personal)
        types.update(member.known.types)
    ordered = sorted(members, key=lambda member: (-member.known.count, member.key))
    return InventoryItem(
        section=section,
        path=path,
        classification=classify(kinds),
        kinds=dict(kinds.most_common()),
        count=sum(member.known.count for member in members),
        types=[type_ for type_, _ in types.most_common()],
        sources=sorted({member.key.source for member in members}),
        events=[(member.key.source, member.key.event_type, member.key.event_name) for member in ordered],
        first_seen=min(member.known.first_seen for member in members),
        last_seen=max(member.known.last_seen for member in members),
    )
