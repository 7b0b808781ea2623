"""Events of suppressed subjects: recognized before anything of them is planned, and stored without what names a person.

Ids that were compared with the hashes lately are remembered, because most events are of persons seen before: comparing
a remembered id takes a tenth of hashing it.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from punchcard.clock import Clock
from punchcard.events.model import Event, MessageId, WireEvent
from punchcard.events.parse import IngestFailure
from punchcard.lake.extraction import extract_email
from punchcard.routing.records import Item
from punchcard.store.engine import Store
from punchcard.store.privacy.regulations import SubjectType
from punchcard.store.privacy.suppressions import changed_since, read_revision
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
_encode = msgspec.json.Encoder().encode


class Suppressions:
    """What is suppressed, as routing knows it. For the one thread that routes.

    Args:
        vault: Opens the key of the hashes.
    """

    def __init__(self, store: Store, vault: SubjectVault, *, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._due_at = 0.0
        self._revision = 0
        self._hashes: SubjectHashes | None = None
        self._digests: dict[tuple[str, SubjectType], set[bytes]] = {}  # by source ("" for all) and type
        self._clear: dict[SubjectType, set[str]] = {subject_type: set() for subject_type in SubjectType}

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
                self._hashes = self._vault.open(work)
                for batch in changed_since(work, self._revision if revision > self._revision else 0):
                    for digest, source, subject_type, is_active in batch:
                        self._change(bytes.fromhex(digest), source, SubjectType(subject_type), is_active=is_active)
                self._digests = {scope: digests for scope, digests in self._digests.items() if digests}
                for remembered in self._clear.values():
                    remembered.clear()
                self._revision = revision
        self._due_at = self._clock.monotonic() + _REFRESH_SECONDS

    def find(self, items: Sequence[Item], source: str) -> Collection[int]:
        """Return the indices of the events of suppressed subjects.

        Args:
            items: The events of a record.
            source: Slug of their source, "" if unknown.
        """
        if not self._digests:
            return ()
        suppressed: set[int] = set()
        for subject_type, read in _READERS.items():
            sets = [self._digests[scope] for scope in _scopes(source, subject_type) if scope in self._digests]
            if sets:
                self._match(items, subject_type, read, sets, suppressed)
        return suppressed

    def _match(
        self,
        items: Sequence[Item],
        subject_type: SubjectType,
        read: Callable[[Item], str | None],
        sets: Sequence[set[bytes]],
        suppressed: set[int],
    ) -> None:
        """Add the indices of the events with a suppressed id of a type."""
        clear = self._clear[subject_type]
        values = list(map(read, items))
        unknown = set(values) - clear
        unknown.discard(None)
        if not unknown or self._hashes is None:
            return
        hasher = self._hashes.hasher(subject_type)
        matches: set[str] = set()
        for value in unknown:
            if value is not None:
                digest = hasher(value)
                (matches if any(digest in digests for digests in sets) else clear).add(value)
        if matches:
            suppressed.update(index for index, value in enumerate(values) if value in matches)
        if len(clear) > _REMEMBERED_MAX:
            clear.clear()

    def _change(self, digest: bytes, source: str, subject_type: SubjectType, *, is_active: bool) -> None:
        digests = self._digests.setdefault((source, subject_type), set())
        if is_active:
            digests.add(digest)
        else:
            digests.discard(digest)


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


def without_person(item: Item) -> Item:
    """Return the event with nothing that names a person: its type, its name, its times and its message id."""
    if isinstance(item, IngestFailure):
        return IngestFailure(item.reason, item.detail, item.message_id, b"{}")
    message_id = MessageId("suppressed") if _names_person(item) else item.message_id
    wire = WireEvent(type=item.type.value, event=item.wire.event, message_id=message_id)
    return Event(item.type, message_id, item.timestamp, item.received_at, wire, _encode(wire))


def _names_person(event: Event) -> bool:
    """Return whether the message id of an event contains an id of its person."""
    message_id = event.message_id.lower()
    ids = (event.wire.user_id, event.wire.anonymous_id, _email_of(event))
    return any(value and value.lower() in message_id for value in ids)


def _scopes(source: str, subject_type: SubjectType) -> Sequence[tuple[str, SubjectType]]:
    return (("", subject_type), (source, subject_type)) if source else (("", subject_type),)


def _user_id_of(item: Item) -> str | None:
    return item.wire.user_id if isinstance(item, Event) else None


def _anonymous_id_of(item: Item) -> str | None:
    return item.wire.anonymous_id if isinstance(item, Event) else None


def _email_of(item: Item) -> str | None:
    return extract_email(item) if isinstance(item, Event) else None


_READERS: Final[dict[SubjectType, Callable[[Item], str | None]]] = {
    SubjectType.USER_ID: _user_id_of,
    SubjectType.EMAIL: _email_of,
    SubjectType.ANONYMOUS_ID: _anonymous_id_of,
}
