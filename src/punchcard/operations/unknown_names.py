"""Says when a definition is saved what in it nobody has: a word spelt wrong holds for nobody, silently."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from punchcard.engage.warnings import find_warnings, objects_in, values_in
from punchcard.errors import ConfigurationError, StorageError
from punchcard.events.faults import UNREADABLE
from punchcard.lake.person_query import PAGE_VIEWED, SCREEN_VIEWED
from punchcard.lake.reader import LakeReader
from punchcard.store import profile_search
from punchcard.store.counts import seen_names
from punchcard.store.engine import Store
from punchcard.workspace.computations import read_definition
from punchcard.workspace.model import Workspace

_SAMPLE = 200
_NAMES_MAX = 10_000
_SINCE = timedelta(days=365)


class _Payload(msgspec.Struct, gc=False):
    properties: msgspec.Raw = msgspec.Raw()


_payload = msgspec.json.Decoder(_Payload)


class StoredNames:
    """What store and lake know, for who has no facts at hand: they belong to the Engage process.

    Args:
        workspace: Its sources are asked; its audiences and computed traits are traits that there will be.
    """

    def __init__(self, store: Store, lake: LakeReader, workspace: Workspace, *, now: datetime) -> None:
        self._store = store
        self._lake = lake
        self._workspace = workspace
        self._since = now - _SINCE
        self._sources = [source.slug for source in workspace.sources]

    def events(self) -> Collection[str]:
        """The names of all events that have come; page and screen calls are never called unknown."""
        with self._store.reading() as work:
            seen = seen_names(work, sources=self._sources, since=self._since)
        return {*seen, PAGE_VIEWED, SCREEN_VIEWED}

    def properties(self, event: str) -> Sequence[Mapping[str, object]]:
        """The properties of some of the newest events of a name."""
        rows = self._lake.recent_events(names=[event], sources=self._sources, since=self._since, limit=_SAMPLE)
        return objects_in(_properties(row.payload) for row in rows)

    def traits(self) -> Collection[str]:
        """The names of all traits that somebody has or will have."""
        with self._store.reading() as work:
            names = profile_search.names_of_traits(work, limit=_NAMES_MAX)
        return {*names, *(computation.key for computation in self._workspace.computations)}

    def trait_values(self, name: str) -> Sequence[object]:
        """The values that some people have of a trait."""
        with self._store.reading() as work:
            return values_in(iter(profile_search.values_of_trait(work, name, limit=_SAMPLE)))


def find_unknown_names(
    before: Workspace, after: Workspace, *, store: Store, lake: LakeReader, now: datetime
) -> list[str]:
    """A sentence for each event, property and trait that nobody has and that a new or changed definition asks for.

    Nothing is said of the properties of an event that the lake does not have yet.
    """
    standing = {computation.key: computation.definition for computation in before.computations}
    known = StoredNames(store, lake, after, now=now)
    sentences: list[str] = []
    for computation in after.computations:
        if standing.get(computation.key) == computation.definition:
            continue
        try:
            sentences += [
                f"{computation.key}: {warning}" for warning in find_warnings(known, read_definition(computation))
            ]
        except StorageError as error:
            sentences.append(f"{computation.key}: whether anybody has what it asks for cannot be told: {error.message}")
        except ConfigurationError:
            continue  # it is refused when it is saved, and then nothing stands
    return sentences


def _properties(payload: bytes) -> bytes | None:
    try:
        return bytes(_payload.decode(payload).properties) or None
    except UNREADABLE:
        return None
