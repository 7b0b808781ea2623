"""Merge profiles of one person in the store: ids, traits, history, queue and conflicts go to the remaining profile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from punchcard.store.engage.profiles import StoredTrait, add_conflicts, chunks, keep_traits
from punchcard.store.engage.schema import (
    external_ids,
    profile_conflicts,
    profile_merges,
    profile_trait_changes,
    profile_traits,
    profiles,
    sync_queue,
    synced,
)
from punchcard.store.upsert import insert_into


@dataclass(frozen=True, kw_only=True)
class MergedProfile:
    """A profile that has become part of another, by an event."""

    profile: int
    merged: int
    at: datetime
    message_id: str


def merge_profiles(work: Connection, merges: Sequence[MergedProfile], *, traits: Sequence[StoredTrait]) -> None:
    """Merge profiles into others, with their ids, history and synced values.

    Args:
        merges: In order; one may be merged into one that is merged in turn.
        traits: The current traits of those that go on in the end, of each the newer one.
    """
    if not merges:
        return
    pairs = [{"winner": merge.profile, "loser": merge.merged} for merge in merges]
    for table in (external_ids, profile_merges, profile_trait_changes, synced):
        moved = update(table).where(table.c.profile_id == bindparam("loser")).values(profile_id=bindparam("winner"))
        work.execute(moved, pairs)
    work.execute(
        insert(profile_merges),
        [
            {"profile_id": merge.profile, "merged_id": merge.merged, "at": merge.at, "message_id": merge.message_id}
            for merge in merges
        ],
    )
    into = final_profiles([(merge.profile, merge.merged) for merge in merges])
    _join_profiles(work, into)
    for chunk in chunks({*into, *into.values()}):
        work.execute(delete(profile_traits).where(profile_traits.c.profile_id.in_(chunk)))
    keep_traits(work, traits)
    _merge_queue(work, into)
    _merge_conflicts(work, into)


def final_profiles(merges: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Return where each merged profile is in the end, of (profile, merged) in order."""
    into = {merged: profile for profile, merged in merges}
    final = {}
    for merged in into:
        profile = into[merged]
        while profile in into:
            profile = into[profile]
        final[merged] = profile
    return final


def _join_profiles(work: Connection, into: Mapping[int, int]) -> None:
    """The one that goes on is as old as the oldest, and known if one of them was."""
    rows = {}
    for chunk in chunks({*into, *into.values()}):
        query = select(profiles.c.id, profiles.c.created_at, profiles.c.is_known).where(profiles.c.id.in_(chunk))
        rows.update({row.id: row for row in work.execute(query)})
    joined: dict[int, dict[str, Any]] = {}
    for merged, profile in into.items():
        joined_profile = joined.setdefault(
            profile, {"one": profile, "created": rows[profile].created_at, "known": bool(rows[profile].is_known)}
        )
        joined_profile["created"] = min(joined_profile["created"], rows[merged].created_at)
        joined_profile["known"] = joined_profile["known"] or bool(rows[merged].is_known)
    work.execute(
        update(profiles)
        .where(profiles.c.id == bindparam("one"))
        .values(created_at=bindparam("created"), is_known=bindparam("known")),
        list(joined.values()),
    )
    pairs = [{"loser": merged, "winner": profile} for merged, profile in into.items()]
    for column in (profiles.c.id, profiles.c.merged_into):
        work.execute(
            update(profiles).where(column == bindparam("loser")).values(merged_into=bindparam("winner")), pairs
        )


def _merge_queue(work: Connection, into: Mapping[int, int]) -> None:
    rows = []
    for chunk in chunks(into):
        moved = sync_queue.c.profile_id.in_(chunk)
        rows += [dict(row._mapping) for row in work.execute(select(sync_queue).where(moved))]
        work.execute(delete(sync_queue).where(moved))
    if rows:
        work.execute(
            insert_into(work, sync_queue).on_conflict_do_nothing(),
            [{**row, "profile_id": into[row["profile_id"]]} for row in rows],
        )


def _merge_conflicts(work: Connection, into: Mapping[int, int]) -> None:
    rows = {}
    for chunk in chunks(into):
        own = profile_conflicts.c.profile_id.in_(chunk) | profile_conflicts.c.owner_id.in_(chunk)
        rows.update({row.id: dict(row._mapping) for row in work.execute(select(profile_conflicts).where(own))})
    for chunk in chunks(rows):
        work.execute(delete(profile_conflicts).where(profile_conflicts.c.id.in_(chunk)))
    moved = []
    for row in rows.values():
        del row["id"]
        row["profile_id"] = into.get(row["profile_id"], row["profile_id"])
        row["owner_id"] = into.get(row["owner_id"], row["owner_id"])
        if row["profile_id"] != row["owner_id"]:
            moved.append(row)
    add_conflicts(work, moved)


def list_merges(work: Connection) -> list[tuple[int, int]]:
    """Return all merged profiles: the one that remains, and the merged one."""
    rows = work.execute(select(profiles.c.merged_into, profiles.c.id).where(profiles.c.merged_into.is_not(None)))
    return [(into, merged) for into, merged in rows if into is not None]
