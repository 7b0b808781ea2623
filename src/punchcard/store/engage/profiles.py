"""Profiles in the store: external ids, traits with their history, merges and conflicts.

One writer at a time: the process that leads Engage.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, bindparam, distinct, func, insert, select, update

from punchcard.store.bulk import BulkStatement, execute_many, is_listed
from punchcard.store.engage.schema import (
    external_ids,
    profile_conflicts,
    profile_merges,
    profile_trait_changes,
    profile_traits,
    profiles,
)
from punchcard.store.upsert import insert_into

LAST_EVENT_ACCURACY = timedelta(minutes=1)
"""The recorded last event of a profile is at most this much older or newer than the last one."""

_PER_QUERY = 450  # pairs; both engines take some hundreds of values in a statement
_PER_LIST = 10_000  # keys in a list that is one parameter
_NAMES_CHARACTERS_MAX = 1_000  # of repeated traits in the row of a profile: it is rewritten with each identify call
_T = TypeVar("_T")
_names = msgspec.json.Decoder(tuple[str, ...])

# Built once: building them costs more than running them.
_OWNERS = select(external_ids.c.value, external_ids.c.profile_id).where(
    external_ids.c.type == bindparam("b_type"), is_listed(external_ids.c.value, "b_values")
)
_IDS = select(external_ids.c.profile_id, external_ids.c.type, external_ids.c.value).where(
    is_listed(external_ids.c.profile_id, "b_profiles")
)
_LAST_EVENTS = select(profiles.c.id, profiles.c.updated_at).where(is_listed(profiles.c.id, "b_profiles"))
_REPEATS = select(profiles.c.id, profiles.c.repeated_traits, profiles.c.repeated_at, profiles.c.repeated_seq).where(
    is_listed(profiles.c.id, "b_profiles"), profiles.c.repeated_traits.is_not(None)
)
_LAST_EVENT: dict[str, Any] = {
    "updated_at": bindparam("b_at"),
    "last_message_id": bindparam("b_message_id"),
    "last_source": bindparam("b_source"),
}
_RECORD_LAST_EVENT = BulkStatement(
    update(profiles).where(profiles.c.id == bindparam("b_profile")).values(**_LAST_EVENT)
)
_RECORD_REPEATS = BulkStatement(
    update(profiles)
    .where(profiles.c.id == bindparam("b_profile"))
    .values(
        **_LAST_EVENT,
        repeated_traits=bindparam("b_names"),
        repeated_at=bindparam("b_repeated_at"),
        repeated_seq=bindparam("b_repeated_seq"),
    )
)


class StoredTrait(msgspec.Struct, frozen=True, gc=False):
    """A trait of a profile as it stands.

    Attributes:
        value: JSON text; `null` for a custom trait that was taken away, or a computed one without a value any more.
        computation: `audience`, `computed_trait`, or "" for a custom one.
        updated_at: When that happened of which the value is.
        seq: Place in the log of the event that gave it; 0 for a computed one.
        repeated_at: Time of the newest identify call with the value that the trait had already.
        repeated_seq: Place in the log of that call.
    """

    profile_id: int
    name: str
    value: str
    computation: str
    updated_at: datetime
    source: str
    message_id: str
    seq: int = 0
    repeated_at: datetime | None = None
    repeated_seq: int = 0


# In the order of the fields of `StoredTrait`.
_TRAITS = select(*(profile_traits.c[name] for name in StoredTrait.__struct_fields__)).where(
    is_listed(profile_traits.c.profile_id, "b_profiles")
)


class RepeatedTraits(msgspec.Struct, frozen=True, gc=False):
    """The traits that the newest repeating identify call of a profile has repeated: one row instead of one per trait.

    Attributes:
        names: Sorted.
        at: Time of the call.
        seq: Place in the log of the call.
    """

    names: tuple[str, ...] = ()
    at: datetime | None = None
    seq: int = 0

    def fits(self) -> bool:
        """Return whether the names are short enough for the row of a profile."""
        return sum(map(len, self.names)) <= _NAMES_CHARACTERS_MAX


def chunks(values: Collection[_T], size: int = _PER_QUERY) -> Iterator[list[_T]]:
    """The values in lists of at most `size`."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def next_profile_id(work: Connection) -> int:
    """The number of the next new profile."""
    return (work.scalar(select(func.max(profiles.c.id))) or 0) + 1


def owners_of(work: Connection, ids: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The profiles that external ids lead to; those that lead nowhere are left out."""
    owners: dict[tuple[str, str], int] = {}
    by_type: dict[str, list[str]] = {}
    for type_, value in ids:
        by_type.setdefault(type_, []).append(value)
    for type_, values in by_type.items():
        for chunk in chunks(values, _PER_LIST):
            rows = work.execute(_OWNERS, {"b_type": type_, "b_values": chunk})
            owners.update({(type_, value): profile for value, profile in rows})
    return owners


def ids_of(work: Connection, profile_ids: Collection[int]) -> dict[int, set[tuple[str, str]]]:
    """All external ids of these profiles."""
    ids: dict[int, set[tuple[str, str]]] = {profile_id: set() for profile_id in profile_ids}
    for chunk in chunks(profile_ids, _PER_LIST):
        for profile_id, type_, value in work.execute(_IDS, {"b_profiles": chunk}):
            ids[profile_id].add((type_, value))
    return ids


def count_with_email(work: Connection, profile_ids: Collection[int]) -> int:
    """Return how many of these profiles have an email."""
    columns = external_ids.c
    return sum(
        work.scalar(
            select(func.count(distinct(columns.profile_id))).where(
                columns.profile_id.in_(chunk), columns.type == "email"
            )
        )
        or 0
        for chunk in chunks(profile_ids)
    )


def since_of(work: Connection, profile_ids: Collection[int]) -> dict[tuple[str, str], datetime]:
    """Return when each external id of these profiles came."""
    since: dict[tuple[str, str], datetime] = {}
    columns = (external_ids.c.type, external_ids.c.value, external_ids.c.created_at)
    for chunk in chunks(profile_ids):
        rows = select(*columns).where(external_ids.c.profile_id.in_(chunk))
        since.update({(row.type, row.value): row.created_at for row in work.execute(rows)})
    return since


def merges_of(work: Connection, profile_ids: Collection[int]) -> dict[int, int]:
    """Return how many profiles each of these has taken in; those that have not are left out."""
    merges: dict[int, int] = {}
    for chunk in chunks(profile_ids):
        rows = (
            select(profile_merges.c.profile_id, func.count())
            .where(profile_merges.c.profile_id.in_(chunk))
            .group_by(profile_merges.c.profile_id)
        )
        merges.update({row[0]: row[1] for row in work.execute(rows)})
    return merges


def add_profiles(work: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add profiles; the columns of the table by name."""
    execute_many(work, insert(profiles), rows)


def last_events_of(work: Connection, profile_ids: Collection[int]) -> dict[int, datetime]:
    """Return when the recorded last event of each profile was received."""
    received: dict[int, datetime] = {}
    for chunk in chunks(profile_ids, _PER_LIST):
        for profile, received_at in work.execute(_LAST_EVENTS, {"b_profiles": chunk}):
            received[profile] = received_at
    return received


def record_last_events(work: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Record the last event of profiles: `b_profile`, `b_at`, `b_message_id`, `b_source`."""
    _RECORD_LAST_EVENT.execute(work, rows)


def repeats_of(work: Connection, profile_ids: Collection[int]) -> dict[int, RepeatedTraits]:
    """Return the repeated traits of profiles; those without are left out."""
    repeats: dict[int, RepeatedTraits] = {}
    for chunk in chunks(profile_ids, _PER_LIST):
        for profile, names, at, seq in work.execute(_REPEATS, {"b_profiles": chunk}):
            repeats[profile] = RepeatedTraits(_names.decode(names), at, seq)
    return repeats


def record_repeats(
    work: Connection, repeats: Mapping[int, RepeatedTraits], last: Mapping[int, Mapping[str, Any]]
) -> None:
    """Replace the repeated traits of profiles, and record their last events, which are in the same row.

    Args:
        last: The last event of each of these profiles, as `record_last_events` takes it.
    """
    rows = [
        {
            **last[profile],
            "b_names": msgspec.json.encode(repeated.names).decode() if repeated.names else None,
            "b_repeated_at": repeated.at,
            "b_repeated_seq": repeated.seq,
        }
        for profile, repeated in repeats.items()
    ]
    _RECORD_REPEATS.execute(work, rows)


def make_known(work: Connection, profile_ids: Collection[int]) -> None:
    """Note that more than an anonymous id leads to these profiles."""
    for chunk in chunks(profile_ids):
        work.execute(update(profiles).where(profiles.c.id.in_(chunk)).values(is_known=True))


def add_ids(work: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add external ids; the columns of the table by name."""
    execute_many(work, insert(external_ids), rows)


def add_conflicts(work: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep conflicts, each once."""
    execute_many(work, insert_into(work, profile_conflicts).on_conflict_do_nothing(), rows)


def traits_of(
    work: Connection, profile_ids: Collection[int], names: Collection[str] | None = None
) -> list[StoredTrait]:
    """The traits of these profiles, all or those of these names."""
    traits: list[StoredTrait] = []
    query = _TRAITS if names is None else _TRAITS.where(profile_traits.c.name.in_(list(names)))
    for chunk in chunks(profile_ids, _PER_LIST):
        traits += [StoredTrait(*row) for row in work.execute(query, {"b_profiles": chunk})]
    return traits


def keep_traits(work: Connection, traits: Sequence[StoredTrait]) -> None:
    """Write current traits; each replaces the profile's trait of the same name."""
    added = insert_into(work, profile_traits)
    columns = ("value", "computation", "updated_at", "source", "message_id", "seq", "repeated_at", "repeated_seq")
    changed = added.on_conflict_do_update(
        index_elements=["profile_id", "name"], set_={name: added.excluded[name] for name in columns}
    )
    execute_many(work, changed, [_values(trait) for trait in traits])


def add_history(work: Connection, traits: Sequence[StoredTrait]) -> None:
    """Note what traits have become, oldest first."""
    execute_many(work, insert(profile_trait_changes), [_change(trait) for trait in traits])


def leave_traits_as_custom(work: Connection, name: str) -> None:
    """Turn the last values of a deleted computation into custom traits."""
    work.execute(update(profile_traits).where(profile_traits.c.name == name).values(computation=""))


def _values(trait: StoredTrait) -> dict[str, Any]:
    return msgspec.structs.asdict(trait)


def _change(trait: StoredTrait) -> dict[str, Any]:
    return {
        "profile_id": trait.profile_id,
        "name": trait.name,
        "value": trait.value if trait.value != "null" or trait.computation else None,
        "computation": trait.computation,
        "at": trait.updated_at,
        "message_id": trait.message_id,
    }


def read_profiles(work: Connection, *, rows_per_batch: int) -> Iterator[list[tuple[int, bool]]]:
    """Yield all profiles that were not merged, in batches: id, and whether it is known."""
    chosen = select(profiles.c.id, profiles.c.is_known).where(profiles.c.merged_into.is_(None))
    rows = work.execution_options(yield_per=rows_per_batch).execute(chosen)
    for batch in rows.partitions(rows_per_batch):
        yield [(row[0], bool(row[1])) for row in batch]


def read_traits(work: Connection, *, rows_per_batch: int) -> Iterator[list[tuple[int, str, str, str]]]:
    """Yield all current traits, in batches: profile, name, value as JSON, computation, "" for a custom trait."""
    columns = profile_traits.c
    chosen = select(columns.profile_id, columns.name, columns.value, columns.computation)
    rows = work.execution_options(yield_per=rows_per_batch).execute(chosen)
    for batch in rows.partitions(rows_per_batch):
        yield [(row[0], row[1], row[2], row[3]) for row in batch]
