"""Events of suppressed subjects: recognized before anything of them is planned, and stored without what names a person.

Comparing an id with the hashes of a million takes a microsecond. Their checksums spare that for nearly all ids, and the
others are remembered for a while. Subjects that an earlier version has suppressed may have no checksum: while there is
one, every id that was not compared lately is hashed.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate, chain
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from punchcard.clock import EPOCH, Clock
from punchcard.events.emails import trimmed_email
from punchcard.events.faults import UNREADABLE
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.events.parse import IngestFailure
from punchcard.lake.extraction import ExtractedColumns, extract_column_lists, extract_email, part_columns
from punchcard.routing.checksum_filter import ChecksumFilter
from punchcard.routing.records import Item
from punchcard.store.engine import Store
from punchcard.store.privacy.regulations import SubjectType
from punchcard.store.privacy.suppressions import ChangedSuppression, changed_since, read_revision
from punchcard.store.routing.event_results import EventResult, EventStatus
from punchcard.workspace.subject_vault import SubjectHashes, SubjectVault

SUPPRESSED: Final = "suppressed"
"""Reason of the result of an event of a suppressed subject."""

_RESULT: Final = EventResult(
    None,
    EventStatus.FILTERED_AT_SOURCE,
    "suppressed",
    "a person of this event is suppressed: nothing was planned, and nothing that names the person was stored",
)
SUPPRESSED_RESULTS: Final = (_RESULT,)
_REFRESH_SECONDS: Final = 0.4  # a regulation takes effect within a second
_REMEMBERED_MAX: Final = 200_000
_NO_WIRE: Final = WireEvent()
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_id: Final = msgspec.json.Decoder(str | int)
_encode = msgspec.json.Encoder().encode
_ids_of: Final[Mapping[SubjectType, Callable[[WireEvent], str | None]]] = {
    SubjectType.USER_ID: attrgetter("user_id"),
    SubjectType.ANONYMOUS_ID: attrgetter("anonymous_id"),
}


class SuppressedEvents(NamedTuple):
    """The events of suppressed subjects in log records.

    Attributes:
        indices: Those of a record by its number; records without such events are absent.
        extracted: The columns of each record's events, if they were read to find emails; otherwise empty.
    """

    indices: dict[int, set[int]]
    extracted: Sequence[ExtractedColumns]


class Suppressions:
    """What is suppressed, as routing knows it. For the one thread that routes.

    Args:
        vault: Opens the key of the hashes.
    """

    def __init__(self, store: Store, vault: SubjectVault, *, clock: Clock) -> None:
        self.vault = vault
        self._store = store
        self._clock = clock
        self._due_at = 0.0
        self._revision = 0
        self._hashes: SubjectHashes | None = None
        self._digests: dict[SubjectType, dict[str, set[bytes]]] = {}  # by type and source, "" for all sources
        self._filters = {subject_type: ChecksumFilter() for subject_type in SubjectType}
        # What is suppressed without a known checksum, by hash and source.
        self._unfiltered: dict[SubjectType, set[tuple[bytes, str]]] = {
            subject_type: set() for subject_type in SubjectType
        }
        self._clear: dict[SubjectType, set[str | None]] = {subject_type: set() for subject_type in SubjectType}

    def __bool__(self) -> bool:
        """True if anybody is suppressed."""
        return bool(self._digests)

    def refresh(self) -> None:
        """Read what has changed, unless that was done a moment ago.

        Raises:
            StorageError: The store is unavailable.
            ConfigurationError: The key of the hashes cannot be decrypted.
        """
        if self._clock.monotonic() < self._due_at:
            return
        with self._store.reading() as work:
            revision = read_revision(work)
            if revision != self._revision:
                self._hashes = self.vault.open(work)
                for batch in changed_since(work, self._revision if revision > self._revision else 0):
                    for change in batch:
                        self._change(change)
                self._digests = {
                    subject_type: by_source
                    for subject_type, digests_by_source in self._digests.items()
                    if (by_source := {source: digests for source, digests in digests_by_source.items() if digests})
                }
                for remembered in self._clear.values():
                    remembered.clear()
                self._revision = revision
        self._due_at = self._clock.monotonic() + _REFRESH_SECONDS

    def find_in_records(self, items_by_record: Sequence[Sequence[Item]], sources: Sequence[str]) -> "SuppressedEvents":
        """Return the events of suppressed subjects in log records, looked up together.

        Args:
            items_by_record: The events of each record.
            sources: Slug of each record's source, "" if unknown.
        """
        items = list(chain.from_iterable(items_by_record))
        begins = list(accumulate(map(len, items_by_record), initial=0))
        columns = extract_column_lists(items) if SubjectType.EMAIL in self._digests else None
        emails = None if columns is None else columns[0]
        indices: dict[int, set[int]] = {}
        for index in self._find(items, lambda index: sources[bisect_right(begins, index) - 1], emails=emails):
            number = bisect_right(begins, index) - 1
            indices.setdefault(number, set()).add(index - begins[number])
        extracted = [] if columns is None else part_columns(columns, begins)
        return SuppressedEvents(indices, extracted)

    def find(self, events: Sequence[Item], source: str) -> set[int]:
        """Return the indices of the events of suppressed subjects.

        Args:
            source: Slug of their source.
        """
        return self._find(events, lambda _: source) if events else set()

    def is_suppressed(self, event: Event, source: str) -> bool:
        """Return whether an event is of a suppressed subject.

        Args:
            source: Slug of its source.
        """
        return bool(self.find([event], source))

    def is_suppressed_customer(self, email: str, source: str) -> bool:
        """Return whether the customer of an award is suppressed.

        Args:
            source: Slug of the source of its event.
        """
        value, digests = trimmed_email(email), self._digests.get(SubjectType.EMAIL)
        if value is None or digests is None or value in self._clear[SubjectType.EMAIL]:
            return False
        return not self._find_unknown(SubjectType.EMAIL, digests, [value]).get(value, set()).isdisjoint(("", source))

    def _find(
        self, items: Sequence[Item], source_of: Callable[[int], str], *, emails: Sequence[str | None] | None = None
    ) -> set[int]:
        """Return the indices of the events of suppressed subjects.

        Args:
            source_of: Returns the slug of the source of the item at an index.
            emails: The items' emails, if they have been read.
        """
        suppressed: set[int] = set()
        wires = [item.wire if isinstance(item, Event) else _NO_WIRE for item in items]
        failures = {index: as_event(item) for index, item in enumerate(items) if isinstance(item, IngestFailure)}
        for index, event in failures.items():
            wires[index] = event.wire
        aliases = _previous_ids_of(wires)
        for subject_type, digests_by_source in self._digests.items():
            if aliases and subject_type is not SubjectType.EMAIL:
                matches = self._find_unknown(subject_type, digests_by_source, aliases.values())
                suppressed.update(_matching(aliases.items(), matches, source_of))
            if subject_type is SubjectType.EMAIL:
                values = list(emails) if emails is not None else _emails_of(items)
                for index, event in failures.items():
                    values[index] = extract_email(event)
            else:
                values = list(map(_ids_of[subject_type], wires))
            # As for most batches: all persons were seen before, or the events have no such id.
            if self._clear[subject_type].issuperset(values):
                continue
            matches = self._find_unknown(subject_type, digests_by_source, values)
            suppressed.update(_matching(enumerate(values), matches, source_of))
        return suppressed

    def _find_unknown(
        self, subject_type: SubjectType, digests_by_source: Mapping[str, set[bytes]], values: Iterable[str | None]
    ) -> dict[str | None, set[str]]:
        """Return the sources at which each suppressed value is suppressed; remember the values hashed for nothing."""
        clear = self._clear[subject_type]
        hashes = self._hashes
        assert hashes is not None, "who is suppressed was read together with the key"
        possible: Sequence[str] = [value for value in values if value is not None]
        if not self._unfiltered[subject_type]:
            possible = self._filters[subject_type].possible(possible, partial(hashes.checksums, subject_type))
        unknown = list(set(possible) - clear)
        if not unknown:
            return {}
        digests = list(map(hashes.hasher(subject_type), unknown))
        matches: dict[str | None, set[str]] = {}
        for source, suppressed in digests_by_source.items():
            if not suppressed.isdisjoint(digests):
                for value, digest in zip(unknown, digests, strict=True):
                    if digest in suppressed:
                        matches.setdefault(value, set()).add(source)
        if len(clear) > _REMEMBERED_MAX:
            clear.clear()
        clear.add(None)
        clear.update(unknown if not matches else (value for value in unknown if value not in matches))
        return matches

    def _change(self, change: ChangedSuppression) -> None:
        digest, subject_type = bytes.fromhex(change.digest), SubjectType(change.subject_type)
        digests = self._digests.setdefault(subject_type, {}).setdefault(change.source, set())
        unfiltered = self._unfiltered[subject_type]
        unfiltered.discard((digest, change.source))
        if not change.is_active:
            digests.discard(digest)
            return
        digests.add(digest)
        if change.checksum is None:
            unfiltered.add((digest, change.source))
        else:
            assert self._hashes is not None, "who is suppressed was read together with the key"
            self._filters[subject_type].add(self._hashes.unmask(digest, change.checksum))


def is_suppressed(results: Sequence[EventResult]) -> bool:
    """Return whether the event with these results is of a suppressed subject."""
    return any(result.reason == SUPPRESSED for result in results)


def suppressed_at(destination: str) -> EventResult:
    """Return the result of a replayed or held event of a suppressed subject."""
    return EventResult(
        destination,
        EventStatus.FILTERED_AT_SOURCE,
        SUPPRESSED,
        "a person of this event is suppressed: nothing was sent",
    )


def _matching(
    values: Iterable[tuple[int, str | None]], matches: Mapping[str | None, set[str]], source_of: Callable[[int], str]
) -> Iterator[int]:
    """Yield the indices of values that are suppressed at the source of their event, or at all."""
    if matches:
        for index, value in values:
            if value in matches and not matches[value].isdisjoint(("", source_of(index))):
                yield index


def as_event(failure: IngestFailure) -> Event:
    """Return an item that is not a valid event as one with the ids that can be read of it."""
    try:
        members = _members.decode(failure.raw)
    except UNREADABLE:
        members = {}
    nothing = msgspec.Raw()
    wire = WireEvent(
        user_id=_id_in(members.get("userId")),
        anonymous_id=_id_in(members.get("anonymousId")),
        previous_id=_id_in(members.get("previousId")),
        email=members.get("email", nothing),
        properties=members.get("properties", nothing),
        traits=members.get("traits", nothing),
        context=members.get("context", nothing),
    )
    return Event(EventType.TRACK, MessageId(failure.message_id), EPOCH, EPOCH, wire, failure.raw)


def _id_in(raw: msgspec.Raw | None) -> str | None:
    try:
        return None if raw is None else str(_id.decode(raw)).strip() or None
    except UNREADABLE:
        return None


def without_person(item: Item) -> Item:
    """Return the event with nothing that names a person: its type, its name, its times and its message id."""
    if isinstance(item, IngestFailure):
        message_id = "suppressed" if _names_person(as_event(item)) else item.message_id
        return IngestFailure(item.reason, item.detail, message_id, b"{}")
    message_id = MessageId("suppressed") if _names_person(item) else item.message_id
    wire = WireEvent(type=item.type.value, event=item.wire.event, message_id=message_id)
    return Event(item.type, message_id, item.timestamp, item.received_at, wire, _encode(wire))


def _names_person(event: Event) -> bool:
    """Return whether the message id of an event contains an id of its person."""
    message_id = event.message_id.lower()
    ids = (event.wire.user_id, event.wire.anonymous_id, event.wire.previous_id, extract_email(event))
    return any(value and value.lower() in message_id for value in ids)


def _previous_ids_of(wires: Sequence[WireEvent]) -> dict[int, str | None]:
    """Return the previous ids of alias calls by index: each may be a user id or an anonymous id."""
    previous_ids = [wire.previous_id for wire in wires]
    if previous_ids.count(None) == len(previous_ids):  # as for most batches
        return {}
    return {index: previous_id for index, previous_id in enumerate(previous_ids) if previous_id is not None}


def _emails_of(items: Sequence[Item]) -> list[str | None]:
    return [extract_email(item) if isinstance(item, Event) else None for item in items]
