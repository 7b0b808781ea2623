"""Profiles as people look at them: found by any external id, with traits, history, merges and conflicts."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import BigInteger, Connection, func, or_, select, type_coerce

from punchcard.clock import from_micros
from punchcard.store.engage.profiles import StoredTrait, ids_of, traits_of
from punchcard.store.engage.schema import (
    HAS_TRAIT,
    external_ids,
    profile_conflicts,
    profile_merges,
    profile_trait_changes,
    profile_traits,
    profiles,
)

_QUARTER_MICROS = 15 * 60 * 1_000_000


@dataclass(frozen=True, kw_only=True)
class StoredProfile:
    """A profile; ids as everybody sees them are `public_id`.

    Attributes:
        updated_at: When the recorded last event was received, accurate to `LAST_EVENT_ACCURACY`.
    """

    id: int
    public_id: str
    created_at: datetime
    updated_at: datetime
    first_message_id: str
    first_source: str
    last_message_id: str
    last_source: str
    is_known: bool


@dataclass(frozen=True, kw_only=True)
class StoredExternalId:
    """An external id of a profile."""

    type: str
    value: str
    created_at: datetime
    source: str
    message_id: str


@dataclass(frozen=True, kw_only=True)
class TraitChange:
    """A trait's new value; None if it is gone."""

    profile_id: int
    name: str
    value: str | None
    computation: str
    at: datetime
    message_id: str


@dataclass(frozen=True, kw_only=True)
class StoredConflict:
    """An external id that an event brought and that its profile did not get."""

    profile_id: int
    type: str
    value: str
    owner_id: int | None
    at: datetime
    source: str
    message_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Member:
    """Somebody with a value of a computation."""

    profile_id: int
    value: str
    since: datetime
    ids: Sequence[tuple[str, str]]


def find_profile(work: Connection, type_: str, value: str) -> StoredProfile | None:
    """The profile that an external id leads to, or the one with this public id (`use_…`, also of a merged one)."""
    if type_ == "profile":
        row = work.execute(select(profiles.c.id, profiles.c.merged_into).where(profiles.c.public_id == value)).first()
        profile_id = None if row is None else row.merged_into or row.id
    else:
        profile_id = work.scalar(
            select(external_ids.c.profile_id).where(external_ids.c.type == type_, external_ids.c.value == value)
        )
        if profile_id is None and value != value.lower():
            profile_id = work.scalar(
                select(external_ids.c.profile_id).where(
                    external_ids.c.type == type_, external_ids.c.value == value.lower()
                )
            )
    return None if profile_id is None else get_profile(work, profile_id)


def get_profile(work: Connection, profile_id: int) -> StoredProfile | None:
    """The profile with this number."""
    columns = [profiles.c[field.name] for field in fields(StoredProfile)]
    row = work.execute(select(*columns).where(profiles.c.id == profile_id)).first()
    return None if row is None else StoredProfile(**row._mapping)


def external_ids_of(work: Connection, profile_id: int) -> list[StoredExternalId]:
    """The external ids of a profile, oldest first."""
    query = (
        select(external_ids)
        .where(external_ids.c.profile_id == profile_id)
        .order_by(external_ids.c.created_at, external_ids.c.type, external_ids.c.value)
    )
    return [
        StoredExternalId(
            type=row.type, value=row.value, created_at=row.created_at, source=row.source, message_id=row.message_id
        )
        for row in work.execute(query)
    ]


def traits_by_name(work: Connection, profile_id: int, names: Collection[str] | None = None) -> list[StoredTrait]:
    """The traits of a profile by name, without those that were taken away."""
    present_traits = (
        trait for trait in traits_of(work, [profile_id], names) if trait.computation or trait.value != "null"
    )
    return sorted(present_traits, key=lambda trait: trait.name)


def history_of(work: Connection, profile_id: int, *, limit: int) -> list[TraitChange]:
    """What the traits of a profile were, newest first."""
    query = (
        select(profile_trait_changes)
        .where(profile_trait_changes.c.profile_id == profile_id)
        .order_by(profile_trait_changes.c.id.desc())
        .limit(limit)
    )
    return _changes(work, query)


def changes_of(work: Connection, name: str, *, limit: int) -> list[TraitChange]:
    """Return who got or lost a trait last, newest first."""
    query = (
        select(profile_trait_changes)
        .where(profile_trait_changes.c.name == name, profile_trait_changes.c.computation != "")
        .order_by(profile_trait_changes.c.id.desc())
        .limit(limit)
    )
    return _changes(work, query)


def count_newest_changes(work: Connection, name: str, *, limit: int) -> list[tuple[datetime, bool, int]]:
    """Return how many of the newest changes of an audience were entries and exits, by the quarter of an hour.

    Days of every time zone begin with a quarter.

    Args:
        limit: How many changes are counted.

    Returns:
        When a quarter begins, True for entries, and their number; oldest first.
    """
    columns = profile_trait_changes.c
    at = type_coerce(columns.at, BigInteger)
    newest = (
        select((at - at % _QUARTER_MICROS).label("quarter"), (columns.value == "true").label("is_entry"))
        .where(columns.name == name, columns.computation != "")
        .order_by(columns.id.desc())
        .limit(limit)
        .subquery()
    )
    counted = select(newest.c.quarter, newest.c.is_entry, func.count()).group_by(newest.c.quarter, newest.c.is_entry)
    return [
        (from_micros(quarter), bool(is_entry), number)
        for quarter, is_entry, number in work.execute(counted.order_by(newest.c.quarter))
    ]


def conflicts_of(work: Connection, profile_id: int, *, limit: int) -> list[StoredConflict]:
    """External ids that a profile did not get, or kept from others; newest first."""
    query = (
        select(profile_conflicts)
        .where(or_(profile_conflicts.c.profile_id == profile_id, profile_conflicts.c.owner_id == profile_id))
        .order_by(profile_conflicts.c.id.desc())
        .limit(limit)
    )
    conflicts = []
    for row in work.execute(query):
        values = dict(row._mapping)
        del values["id"]
        conflicts.append(StoredConflict(**values))
    return conflicts


def merges_into(work: Connection, profile_id: int) -> list[tuple[str, datetime, str]]:
    """The profiles that were merged into one: public id, when, and the message id of the event that showed it."""
    query = (
        select(profiles.c.public_id, profile_merges.c.at, profile_merges.c.message_id)
        .join(profiles, profiles.c.id == profile_merges.c.merged_id)
        .where(profile_merges.c.profile_id == profile_id)
        .order_by(profile_merges.c.id.desc())
    )
    return [(row[0], row[1], row[2]) for row in work.execute(query)]


def members(work: Connection, key: str, *, limit: int) -> list[Member]:
    """Return people with a value of a computation, in the order of their profiles' numbers."""
    query = (
        select(profile_traits)
        .where(profile_traits.c.name == key, profile_traits.c.computation != "", HAS_TRAIT)
        .order_by(profile_traits.c.profile_id)
        .limit(limit)
    )
    rows = work.execute(query).all()
    ids = ids_of(work, [row.profile_id for row in rows])
    return [
        Member(profile_id=row.profile_id, value=row.value, since=row.updated_at, ids=tuple(sorted(ids[row.profile_id])))
        for row in rows
    ]


def _changes(work: Connection, query: object) -> list[TraitChange]:
    changes = []
    for row in work.execute(query):  # type: ignore[call-overload]  # a select of one of the functions above
        values = dict(row._mapping)
        del values["id"]
        changes.append(TraitChange(**values))
    return changes
