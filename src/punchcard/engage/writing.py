"""Writes down what has changed: values as traits of their people, and what is to be told of it."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection

from punchcard.clock import from_micros
from punchcard.engage.computing import Change
from punchcard.engage.states import States, due_at
from punchcard.store import engage_tables, profiles
from punchcard.store.engage_tables import NOBODY
from punchcard.store.profiles import StoredTrait
from punchcard.workspace.snapshot import Snapshot


def write_changes(
    work: Connection, changes: Sequence[Change], *, states: States, snapshot: Snapshot, kinds: dict[str, str], now: int
) -> None:
    """New values become traits of their people, and wait to be told.

    Args:
        kinds: `audience` or `computed_trait`, by key.
        now: When they became so, microseconds since 1970.
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
        grown[change.key] += _difference(change)
        if (ready := snapshot.computations.get(change.key)) is None:
            continue
        due = due_at(at, ready.sync_interval)
        queue += [
            {"destination": slug, "key": change.key, "profile_id": change.profile, "queued_at": at, "due_at": due}
            for slug in ready.configured.destinations
        ]
    engage_tables.enqueue(work, queue)
    for key, difference in grown.items():
        size = states.standing[key].size + difference
        states.update(key, size=size, computed_at=at)
        engage_tables.save_size(work, key, size=size, at=at, bucket=hour_of(now))


def resync(work: Connection, people: set[int], keys: Collection[str], snapshot: Snapshot, at: datetime) -> None:
    """Whoever has an email more is told of there too."""
    queue = [
        {"destination": slug, "key": trait.name, "profile_id": trait.profile_id, "queued_at": at, "due_at": at}
        for trait in profiles.traits_of(work, people, list(keys))
        if trait.computation and trait.name in snapshot.computations
        for slug in snapshot.computations[trait.name].configured.destinations
    ]
    engage_tables.enqueue(work, queue)


def queue_everybody(work: Connection, key: str, snapshot: Snapshot, at: datetime) -> None:
    """Let its destinations be told of everybody who has a value.

    Not only of those who have changed: of a computation that was switched off, some were told otherwise meanwhile.
    """
    ready = snapshot.computations.get(key)
    for slug in ready.configured.destinations if ready is not None else ():
        engage_tables.enqueue_everybody(work, destination=slug, key=key, at=at)


def hour_of(now: int) -> datetime:
    """The hour that a size stands for."""
    return from_micros(now - now % engage_tables.HOUR_MICROS)


def _difference(change: Change) -> int:
    """How many people more have a value."""
    was = change.before is not None and change.before not in NOBODY
    return int(change.value not in NOBODY) - int(was)
