"""Warns of unknown event, property and trait names in a saved definition: a misspelt name matches nobody."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from punchcard.engage.warnings import find_warnings, objects_in, values_in
from punchcard.errors import ConfigurationError, StorageError
from punchcard.events.faults import UNREADABLE
from punchcard.lake.person_query import PAGE_VIEWED, SCREEN_VIEWED
from punchcard.lake.reader import LakeReader
from punchcard.store.delivery.counts import seen_names
from punchcard.store.engage import profile_search
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
    """Names known to store and lake, for processes other than Engage, which alone has the fact store.

    Args:
        workspace: Events of its sources are read; its audiences and computed traits count as known traits.
    """

    def __init__(self, store: Store, lake: LakeReader, workspace: Workspace, *, now: datetime) -> None:
        self._store = store
        self._lake = lake
        self._workspace = workspace
        self._since = now - _SINCE
        self._sources = [source.slug for source in workspace.sources]

    def events(self) -> Collection[str]:
        """Return the names of all received events; page and screen calls always count as known."""
        with self._store.reading() as work:
            seen = seen_names(work, sources=self._sources, since=self._since)
        return {*seen, PAGE_VIEWED, SCREEN_VIEWED}

    def properties(self, event: str) -> Sequence[Mapping[str, object]]:
        """Return the properties of a sample of the newest events with a name."""
        rows = self._lake.recent_events(names=[event], sources=self._sources, since=self._since, limit=_SAMPLE)
        return objects_in(_properties(row.payload) for row in rows)

    def traits(self) -> Collection[str]:
        """Return the names of all traits of profiles, and the keys of all computations."""
        with self._store.reading() as work:
            names = profile_search.names_of_traits(work, limit=_NAMES_MAX)
        return {*names, *(computation.key for computation in self._workspace.computations)}

    def trait_values(self, name: str) -> Sequence[object]:
        """Return a sample of a trait's values."""
        with self._store.reading() as work:
            return values_in(iter(profile_search.values_of_trait(work, name, limit=_SAMPLE)))


def find_unknown_names(
    before: Workspace, after: Workspace, *, store: Store, lake: LakeReader, now: datetime
) -> list[str]:
    """Return a warning for each unknown event, property and trait in new and changed definitions.

    Properties of an event that the lake does not contain yet are not checked.
    """
    old_definitions = {computation.key: computation.definition for computation in before.computations}
    known = StoredNames(store, lake, after, now=now)
    sentences: list[str] = []
    for computation in after.computations:
        if old_definitions.get(computation.key) == computation.definition:
            continue
        try:
            sentences += [
                f"{computation.name}: {warning}" for warning in find_warnings(known, read_definition(computation))
            ]
        except StorageError as error:
            sentences.append(f"{computation.name}: The names in its definition could not be checked. {error.message}")
        except ConfigurationError:
            continue  # an invalid definition is refused when it is saved
    return sentences


def _properties(payload: bytes) -> bytes | None:
    try:
        return bytes(_payload.decode(payload).properties) or None
    except UNREADABLE:
        return None
