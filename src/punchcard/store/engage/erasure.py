"""Delete the profiles of persons. Only the process that leads Engage does this, because it alone writes profiles."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, and_, delete, func, or_, select, true

from punchcard.profiles.erasure import ErasedIds
from punchcard.store.engage.profiles import chunks
from punchcard.store.engage.schema import (
    engage_requests,
    external_ids,
    list_entries,
    profile_conflicts,
    profile_merges,
    profile_trait_changes,
    profile_traits,
    profiles,
    sync_calls,
    sync_queue,
    synced,
)
from punchcard.store.engage.static_lists import entries_of_ids
from punchcard.store.text_scrubbing import delete_mentioning, scrub_columns


def with_merged(work: Connection, profile_ids: Collection[int]) -> set[int]:
    """Return the profiles and all that were merged into them."""
    members = set(profile_ids)
    for chunk in chunks(profile_ids):
        members.update(work.scalars(select(profiles.c.id).where(profiles.c.merged_into.in_(chunk))))
    return members


def erase_profiles(work: Connection, profile_ids: Collection[int]) -> int:
    """Delete profiles with their ids, traits, history, memberships and syncs; return the number of profiles."""
    deleted = 0
    for chunk in chunks(profile_ids):
        for table in (external_ids, profile_traits, profile_trait_changes, sync_queue, synced):
            work.execute(delete(table).where(table.c.profile_id.in_(chunk)))
        merges, conflicts = profile_merges.c, profile_conflicts.c
        work.execute(delete(profile_merges).where(or_(merges.profile_id.in_(chunk), merges.merged_id.in_(chunk))))
        work.execute(
            delete(profile_conflicts).where(or_(conflicts.profile_id.in_(chunk), conflicts.owner_id.in_(chunk)))
        )
        deleted += work.execute(delete(profiles).where(profiles.c.id.in_(chunk))).rowcount
    return deleted


def erase_profile_ids(work: Connection, ids: ErasedIds) -> None:
    """Delete the ids of subjects wherever they are without their profiles, and what waits to be synced about them."""
    values = ids.user_ids | ids.emails | ids.anonymous_ids | ids.others
    # With all leading columns of each primary key: without them, each portion would read the whole table.
    types = [external_ids.c.type == type_ for type_ in _types_of_ids(work)]
    _delete_values(work, external_ids.c.value, values, among=types)
    _delete_values(work, list_entries.c.value, values, among=[true()])
    pairs = work.execute(select(synced.c.destination, synced.c.key).distinct()).all()
    syncs = [and_(synced.c.destination == destination, synced.c.key == key) for destination, key in pairs]
    _delete_values(work, synced.c.email, ids.emails, among=syncs)
    rows = work.execute(select(profile_conflicts.c.id, profile_conflicts.c.value)).all()
    for chunk in chunks([row.id for row in rows if row.value in values]):
        work.execute(delete(profile_conflicts).where(profile_conflicts.c.id.in_(chunk)))
    delete_mentioning(work, sync_calls, [sync_calls.c.body], ids)
    delete_mentioning(work, engage_requests, [engage_requests.c.body, engage_requests.c.result], ids)
    scrub_columns(work, sync_queue, [sync_queue.c.detail], ids)
    scrub_columns(work, profile_conflicts, [profile_conflicts.c.reason], ids)


def erase_named_traits(work: Connection, profile_ids: Collection[int], ids: ErasedIds) -> None:
    """Delete the traits of others with texts that name a subject, also from their history and from what was synced."""
    texts = (
        (profile_traits, [profile_traits.c.value]),
        (profile_trait_changes, [profile_trait_changes.c.value]),
        (synced, [synced.c.value, synced.c.changes, synced.c.tracked]),
    )
    for chunk in chunks(profile_ids):
        for table, columns in texts:
            delete_mentioning(work, table, columns, ids, where=table.c.profile_id.in_(chunk))


def _types_of_ids(work: Connection) -> list[str]:
    """Return the types that any external id has, by one look into the index for each."""
    types: list[str] = []
    following = select(func.min(external_ids.c.type))
    while (type_ := work.scalar(following)) is not None:
        types.append(type_)
        following = select(func.min(external_ids.c.type)).where(external_ids.c.type > type_)
    return types


def _delete_values(
    work: Connection, column: Column[str], values: Collection[str], *, among: Sequence[ColumnElement[bool]]
) -> None:
    """Delete the rows with these values among the rows that meet one of the conditions."""
    for chunk in chunks(values):
        for condition in among:
            work.execute(delete(column.table).where(condition, column.in_(chunk)))


def profile_data(work: Connection, profile_ids: Collection[int]) -> list[dict[str, Any]]:
    """Return everything that is stored of profiles: ids, traits, their history, merges, and what was synced."""
    stored: list[dict[str, Any]] = []
    tables = {
        "externalIds": (external_ids, external_ids.c.profile_id),
        "traits": (profile_traits, profile_traits.c.profile_id),
        "history": (profile_trait_changes, profile_trait_changes.c.profile_id),
        "merges": (profile_merges, profile_merges.c.profile_id),
        "synced": (synced, synced.c.profile_id),
    }
    for row in work.execute(select(profiles).where(profiles.c.id.in_(list(profile_ids)))):
        parts = {
            name: [dict(each._mapping) for each in work.execute(select(table).where(column == row.id))]
            for name, (table, column) in tables.items()
        }
        ids = {(each["type"], each["value"]) for each in parts["externalIds"]}
        stored.append({**row._mapping, **parts, "lists": entries_of_ids(work, ids)})
    return stored
