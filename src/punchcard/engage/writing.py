"""Save changes: values as traits of their profiles, and rows of the sync queue."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection

from punchcard.clock import from_micros
from punchcard.engage.computing import Change
from punchcard.engage.states import States, due_at
from punchcard.store.engage import engage_tables, profiles
from punchcard.store.engage.engage_tables import NOBODY
from punchcard.store.engage.profiles import StoredTrait
from punchcard.store.engage.synced import enqueue_synced
from punchcard.workspace.snapshot import Snapshot


def write_changes(
    work: Connection, changes: Sequence[Change], *, states: States, snapshot: Snapshot, kinds: dict[str, str], now: int
) -> None:
    """Save new values as traits and queue them for sync.

    Args:
        kinds: `audience` or `computed_trait`, by key.
        now: Time of the changes, microseconds since 1970.
    """
    at = from_micros(now)
    traits = [
        StoredTrait(change.profile, change.key, change.value, kinds[change.key], at, "", "") for change in changes
    ]
    profiles.keep_traits(work, traits)
    profiles.add_history(work, traits)
    queue = []
    grown: Counter[str] = Counter()
    for change in changes:
        grown[change.key] += _size_change(change)
        if (ready := snapshot.computations.get(change.key)) is None:
            continue
        due = due_at(at, ready.sync_interval)
        queue += [
            {"destination": slug, "key": change.key, "profile_id": change.profile, "queued_at": at, "due_at": due}
            for slug in ready.configured.destinations
        ]
    engage_tables.enqueue(work, queue)
    for key, difference in grown.items():
        size = states.current[key].size + difference
        states.update(key, size=size, computed_at=at)
        engage_tables.save_size(work, key, size=size, at=at, bucket=hour_start(now))


def resync(work: Connection, people: set[int], keys: Collection[str], snapshot: Snapshot, at: datetime) -> None:
    """Queue the values of profiles that have a new email."""
    queue = [
        {"destination": slug, "key": trait.name, "profile_id": trait.profile_id, "queued_at": at, "due_at": at}
        for trait in profiles.traits_of(work, people, list(keys))
        if trait.computation and trait.name in snapshot.computations
        for slug in snapshot.computations[trait.name].configured.destinations
    ]
    engage_tables.enqueue(work, queue)


def queue_all_profiles(work: Connection, key: str, snapshot: Snapshot, at: datetime) -> None:
    """Queue everybody who has a value, or had one at a destination, for the destinations of a computation.

    Not only those who have changed: some were synced with another value before it was disabled, or deleted.
    """
    ready = snapshot.computations.get(key)
    for slug in ready.configured.destinations if ready is not None else ():
        engage_tables.enqueue_everybody(work, destination=slug, key=key, at=at)
        enqueue_synced(work, destination=slug, key=key, at=at)


def hour_start(now: int) -> datetime:
    """Return the hour that a size belongs to."""
    return from_micros(now - now % engage_tables.HOUR_MICROS)


def _size_change(change: Change) -> int:
    """Return the change of the number of people with a value."""
    was = change.before is not None and change.before not in NOBODY
    return int(change.value not in NOBODY) - int(was)
