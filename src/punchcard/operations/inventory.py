"""The inventory of personal data: every property and trait that sources send, and how sensitive it is.

The classification is that of Segment's Privacy Portal: Red is highly sensitive, Yellow names or describes a person,
Green is anything else. It is proposed from the samples that the source schema counts, of which values are not stored,
until people say what it is: what they have not classified is new.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection

from punchcard.clock import to_iso
from punchcard.errors import ConfigurationError
from punchcard.events.personal_data import PersonalData
from punchcard.filters.transformation_definitions import split_path
from punchcard.store.access import audit
from punchcard.store.privacy.classifications import (
    PropertyKey,
    StoredClassification,
    read_classifications,
    remove_classifications,
    write_classifications,
)
from punchcard.store.source_schema.inventory import SentProperty, list_sent_properties
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.model import Source
from punchcard.workspace.property_controls import control_paths

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


_ALARMING: Final = MappingProxyType(
    {PersonalData.CARD_NUMBER: "card numbers", PersonalData.SECRET: "passwords or tokens"}
)


@dataclass(frozen=True, kw_only=True)
class InventoryItem:
    """A property or trait, whichever sources and events it is sent with.

    Attributes:
        section: `properties` or `traits`.
        path: Path below the section.
        proposed: What its values and its name look like.
        classified: The classification by people, None while it is new.
        kinds: Number of sampled values by what they look like; empty for nothing personal.
        count: Sampled events that have it.
        types: JSON types, most frequent first.
        events: Source, type and name of the events with it, most frequent first.
    """

    section: str
    path: str
    proposed: Classification
    classified: StoredClassification | None = None
    kinds: Mapping[str, int]
    count: int
    types: Sequence[str]
    sources: Sequence[str]
    events: Sequence[tuple[str, str, str]]
    first_seen: datetime
    last_seen: datetime

    @property
    def name(self) -> str:
        """Section and path, as controls name it."""
        return f"{self.section}.{self.path}"

    @property
    def classification(self) -> Classification:
        """The classification by people, else the proposed one."""
        stored = None if self.classified is None else Classification.__members__.get(self.classified.classification)
        return stored or self.proposed

    @property
    def is_new(self) -> bool:
        """True if nobody has classified it."""
        return self.classified is None

    @property
    def alarming(self) -> Sequence[str]:
        """What its values look like that nobody should send, in the plural, such as `card numbers`."""
        return [text for kind, text in _ALARMING.items() if kind in self.kinds]


def read_inventory(work: Connection) -> list[InventoryItem]:
    """Return every property and trait, the most sensitive first, then the most frequent."""
    return _items(work, list_sent_properties(work))


def read_alarming(work: Connection, sources: Iterable[Source]) -> list[InventoryItem]:
    """Return the properties that need attention: see `needing_attention`. Cheap if there are none."""
    return needing_attention(_items(work, list_sent_properties(work, kinds=tuple(_ALARMING))), sources)


def needing_attention(items: Iterable[InventoryItem], sources: Iterable[Source]) -> list[InventoryItem]:
    """Return properties with values that nobody should send, unless people have classified or controlled them.

    Args:
        sources: With their controls.
    """
    controlled = {source.slug: {split_path(path) for path in control_paths(source.controls)} for source in sources}
    return [
        item
        for item in items
        if item.alarming
        and item.is_new
        and any(controlled.get(slug, set()).isdisjoint(covering_paths(item.name)) for slug in item.sources)
    ]


def covering_paths(name: str) -> Iterator[tuple[str, ...]]:
    """Yield the paths of controls that change a property: its own, that of its items, and those of what it is in."""
    parts = split_path(name)
    yield (*parts[:-1], f"{parts[-1]}[]")
    for count in range(len(parts), 1, -1):
        yield parts[:count]
        yield (*parts[: count - 1], parts[count - 1].removesuffix("[]"))


def _items(work: Connection, properties: Iterable[SentProperty]) -> list[InventoryItem]:
    grouped: dict[tuple[str, str], list[SentProperty]] = {}
    for sent in properties:
        section = TRAITS if sent.key.event_type in _CALLS_WITH_TRAITS else PROPERTIES
        grouped.setdefault((section, sent.known.path), []).append(sent)
    classified = read_classifications(work)
    items = [_item(key, members, classified.get(key)) for key, members in grouped.items()]
    return sorted(items, key=lambda item: (item.classification, -item.count, item.section, item.path))


def propose_classification(kinds: Mapping[str, int]) -> Classification:
    """Return the classification that is proposed for a property with values that look like this."""
    if not kinds:
        return Classification.GREEN
    return Classification.RED if any(kind in _RED for kind in kinds) else Classification.YELLOW


def item_body(item: InventoryItem) -> dict[str, object]:
    """Return an item as JSON."""
    return {
        "section": item.section,
        "path": item.path,
        "classification": item.classification.name,
        "proposedClassification": item.proposed.name,
        "status": "NEW" if item.classified is None else "CLASSIFIED",
        "classifiedBy": None if item.classified is None else item.classified.changed_by,
        "classifiedAt": None if item.classified is None else to_iso(item.classified.changed_at),
        "personalData": dict(item.kinds),
        "count": item.count,
        "types": list(item.types),
        "sources": list(item.sources),
        "events": [{"source": source, "type": type_, "event": name or None} for source, type_, name in item.events],
        "firstSeen": to_iso(item.first_seen),
        "lastSeen": to_iso(item.last_seen),
    }


def find_item(work: Connection, section: str, path: str) -> InventoryItem:
    """Return a property or trait.

    Raises:
        NotFoundError: No source sends it.
    """
    for item in read_inventory(work):
        if (item.section, item.path) == (section, path):
            return item
    raise NotFoundError(f"No source sends {section}.{path}.")


def read_classification(text: str) -> Classification:
    """Return the classification with this name, in any case.

    Raises:
        ConfigurationError: There is none.
    """
    classification = Classification.__members__.get(text.upper())
    if classification is None:
        known = ", ".join(Classification.__members__)
        raise ConfigurationError(
            f'"{text[:40]}" is not a classification. Use {known}.', code="invalid_request", field="classification"
        )
    return classification


def classify(
    work: Connection, names: Sequence[str], classification: Classification | None, *, actor: str, now: datetime
) -> int:
    """Say how sensitive properties are; return how many have changed.

    Args:
        names: Such as `properties.card`.
        classification: None makes them new again.

    Raises:
        NotFoundError: No source sends one of them. Nothing was changed.
    """
    items = {item.name: item for item in read_inventory(work)}
    for name in names:
        if name not in items:
            raise NotFoundError(f"No source sends {name[:200]}.")
    after = None if classification is None else classification.name
    before = {name: _stored_name(items[name]) for name in dict.fromkeys(names)}
    changed = [items[name] for name in before if before[name] != after]
    keys: list[PropertyKey] = [(item.section, item.path) for item in changed]
    if classification is None:
        remove_classifications(work, keys)
    else:
        write_classifications(work, keys, classification.name, actor=actor, now=now)
    for item in changed:
        audit.record(
            work,
            at=now,
            actor=actor,
            kind="change",
            resource_type="classification",
            resource_id=item.name,
            changes=audit.changes_json(audit.ChangedValue("classification", before=before[item.name], after=after)),
        )
    return len(changed)


def _stored_name(item: InventoryItem) -> str | None:
    return None if item.classified is None else item.classified.classification


def _item(key: PropertyKey, members: Sequence[SentProperty], classified: StoredClassification | None) -> InventoryItem:
    kinds: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for member in members:
        kinds.update(member.known.personal)
        types.update(member.known.types)
    ordered = sorted(members, key=lambda member: (-member.known.count, member.key))
    return InventoryItem(
        section=key[0],
        path=key[1],
        proposed=propose_classification(kinds),
        classified=classified,
        kinds=dict(kinds.most_common()),
        count=sum(member.known.count for member in members),
        types=[type_ for type_, _ in types.most_common()],
        sources=sorted({member.key.source for member in members}),
        events=[(member.key.source, member.key.event_type, member.key.event_name) for member in ordered],
        first_seen=min(member.known.first_seen for member in members),
        last_seen=max(member.known.last_seen for member in members),
    )
