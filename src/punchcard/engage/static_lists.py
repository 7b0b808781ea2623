"""Read uploaded lists into the facts, in parts, so that audiences of them are computed like all others.

An id that leads to no profile gets one, by the same rules as the ids of an event. The members of a list count once all
of them are read. What a file of facts lacks is read again, so a crash between two parts costs only time.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from punchcard.clock import Clock
from punchcard.computations.model import StaticList
from punchcard.engage.computing import RequestedComputation
from punchcard.engage.facts import Facts
from punchcard.engage.person_events import PersonEvent
from punchcard.profiles.external_ids import IdReader
from punchcard.profiles.rules import EMAIL, USER_ID, ExternalId
from punchcard.store.engage import static_lists
from punchcard.store.engage.profiles import owners_of
from punchcard.store.engine import Store
from punchcard.workspace.snapshot import Snapshot

ENTRIES_PER_PART = 5_000  # each may be a new profile: awards must not wait until all of them are written
_SWEEP_SECONDS = 60.0
_ENTRIES_DELETED_PER_STEP = 5_000
_SOURCE = "uploaded list"  # of profiles that a list has created; no source has a slug with a blank


@dataclass
class ListPart:
    """A part of a list that is being read.

    Attributes:
        name: Key of the list's audience.
        ids: The external ids in it.
        people: Those without a profile.
        is_last: True if the list is complete with it.
    """

    name: str
    revision: str
    ids: list[ExternalId]
    people: list[PersonEvent]
    is_last: bool


@dataclass
class _Reading:
    """How far a list is read."""

    name: str
    revision: str
    cursor: tuple[str, str] | None = None
    read: int = 0


@dataclass
class StaticLists:
    """Reads lists. Use one at a time, in the process that leads Engage.

    Attributes:
        failed: Revisions by list that Punchcard has failed on; they are read again after a restart.
    """

    store: Store
    facts: Facts
    clock: Clock
    failed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._loaded = self.facts.list_revisions()
        self._current: Mapping[str, str] = {}
        self._reading: _Reading | None = None
        self._sweep_at = 0.0

    def refresh(self, computations: Collection[RequestedComputation]) -> None:
        """Look which lists have changed."""
        names = {name for computation in computations if (name := list_of(computation)) is not None}
        if not names:
            self._current, self._reading = {}, None
            return
        with self.store.reading() as work:
            self._current = static_lists.list_revisions(work, names)

    def with_revision(self, computation: RequestedComputation) -> RequestedComputation:
        """Return a computation with the revision of its list that is in the facts."""
        name = list_of(computation)
        return computation if name is None else replace(computation, list_revision=self._loaded.get(name, ""))

    def is_complete(self, computation: RequestedComputation) -> bool:
        """Return whether the members of the computation's list are those of the store; True without a list."""
        name = list_of(computation)
        return name is None or self._loaded.get(name) == self._current.get(name)

    def has_unread(self) -> bool:
        """Return whether there is a part to read."""
        return any(
            self._loaded.get(name) != revision and self.failed.get(name) != revision
            for name, revision in self._current.items()
        )

    def next_part(self, ids: IdReader) -> ListPart | None:
        """Return the next part of a list with incomplete members; None if there is none.

        Args:
            ids: Reads ids by the current rules; those that the rules block are left out.
        """
        reading = self._next_reading()
        if reading is None:
            return None
        with self.store.reading() as work:
            part = static_lists.read_part(work, reading.name, after=reading.cursor, limit=ENTRIES_PER_PART)
            allowed = [external_id for type_, value in part.entries for external_id in _read_id(ids, type_, value)]
            owners = owners_of(work, allowed)
        now = self.clock.now()
        unknown = dict.fromkeys(external_id for external_id in allowed if external_id not in owners)
        people = [
            PersonEvent((external_id,), now, now, _SOURCE, f"list-{reading.name}", 0, None) for external_id in unknown
        ]
        reading.cursor, reading.read = part.cursor, reading.read + len(part.entries)
        return ListPart(reading.name, reading.revision, allowed, people, part.cursor is None)

    def add(self, part: ListPart) -> None:
        """Add a part to the facts, in a unit of work of theirs. Its people must have their profiles by now."""
        with self.store.reading() as work:
            profiles = set(owners_of(work, part.ids).values())
        self.facts.add_list_members(part.name, profiles)
        if part.is_last:
            self.facts.complete_list(part.name, part.revision)

    def mark_added(self, part: ListPart) -> None:
        """Note that a part is committed."""
        if part.is_last:
            self._loaded[part.name] = part.revision
            self._reading = None

    def fail(self) -> str | None:
        """Give up the list that is being read; return its name, None if none is."""
        reading, self._reading = self._reading, None
        if reading is None:
            return None
        self.failed[reading.name] = reading.revision
        return reading.name

    def progress(self) -> str:
        """Return a sentence about the list that is being read, "" if none is."""
        reading = self._reading
        return f"{reading.read:,} rows of the uploaded list are read." if reading is not None else ""

    def sweep(self, snapshot: Snapshot) -> bool:
        """Delete a part of what is left of uploads that ended long ago; return whether there was any."""
        if self.clock.monotonic() < self._sweep_at:
            return False
        now = self.clock.now()
        with self.store.reading() as work:
            if not static_lists.has_uploads(work):
                self._sweep_at = self.clock.monotonic() + _SWEEP_SECONDS
                return False
        definitions = [ready.definition for ready in snapshot.computations.values()]
        referenced = {definition.name for definition in definitions if isinstance(definition, StaticList)}
        referenced.update(snapshot.invalid_computations)  # a list is named like its audience, which stays for now
        with self.store.unit_of_work() as work:
            static_lists.end_abandoned(work, referenced, now=now)
            if static_lists.delete_ended(work, now=now, limit=_ENTRIES_DELETED_PER_STEP):
                return True
        self._sweep_at = self.clock.monotonic() + _SWEEP_SECONDS
        return False

    def _next_reading(self) -> _Reading | None:
        reading = self._reading
        if reading is not None and self._current.get(reading.name) == reading.revision:
            return reading
        self._reading = None
        for name, revision in sorted(self._current.items()):
            if self._loaded.get(name) != revision and self.failed.get(name) != revision:
                with self.facts.unit_of_work():
                    self.facts.begin_list(name)
                self._reading = _Reading(name, revision)
                break
        return self._reading


def list_of(computation: RequestedComputation) -> str | None:
    """Return the name of the list that a computation has the members of, None for a computed one."""
    return computation.definition.name if isinstance(computation.definition, StaticList) else None


def _read_id(ids: IdReader, type_: str, value: str) -> Sequence[ExternalId]:
    common = {USER_ID: None, EMAIL: None, type_: value}
    return ids.ids_of(user_id=common[USER_ID], email=common[EMAIL], anonymous_id=None, payload=b"")
