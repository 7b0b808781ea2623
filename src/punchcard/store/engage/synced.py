"""What each destination has of each email and computation, as far as it was sent."""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, func, literal, select, update

from punchcard.store.engage.engage_tables import NOBODY
from punchcard.store.engage.schema import IS_CUT, sync_queue, synced
from punchcard.store.engage.sync_accounts import UNSYNCED, current_account, current_digests
from punchcard.store.upsert import insert_into


@dataclass(frozen=True, kw_only=True)
class Synced:
    """The last synced value of one email and key in an account at a destination.

    Attributes:
        changes: JSON of the changes of the last minute, "" for none; see `engage.debounce`.
        tracked: The value that a track call has brought of the person, at this or another email; "" for none.
        track_sequence: The sequence of the last track call to this email, 0 for none.
        entries_cut: How many entries of a list were left out of the value so that the call is not too large.
        account: Digest of the account, see `sync_accounts`.
    """

    destination: str
    key: str
    email: str
    profile_id: int
    value: str
    sequence: int
    sent_at: datetime
    changes: str = ""
    tracked: str = ""
    track_sequence: int = 0
    entries_cut: int = 0
    account: str = ""


def synced_values_of(work: Connection, *, destination: str, key: str, profile_id: int) -> list[Synced]:
    """Return the last synced values of a profile in every account at a destination, by email."""
    query = select(synced).where(
        synced.c.profile_id == profile_id, synced.c.destination == destination, synced.c.key == key
    )
    return [Synced(**dict(row._mapping)) for row in work.execute(query)]


def synced_value_of_email(work: Connection, *, destination: str, key: str, email: str, account: str) -> Synced | None:
    """Return the last synced value of an email in an account at a destination, of whatever profile."""
    query = select(synced).where(
        synced.c.destination == destination,
        synced.c.key == key,
        synced.c.email == email,
        synced.c.account == account,
    )
    row = work.execute(query).first()
    return None if row is None else Synced(**dict(row._mapping))


def waiting_of(work: Connection, *, destination: str, key: str, profile_id: int) -> tuple[str, str] | None:
    """Return what a profile waits for in the queue of a destination ("" for its turn), and why; None if it is not."""
    where = (
        sync_queue.c.destination == destination,
        sync_queue.c.key == key,
        sync_queue.c.profile_id == profile_id,
    )
    row = work.execute(select(sync_queue.c.waits_for, sync_queue.c.detail).where(*where)).first()
    return None if row is None else (row.waits_for, row.detail)


def save_synced(work: Connection, value: Synced) -> None:
    """Store a synced value in the place of the one before."""
    values = {name: getattr(value, name) for name in synced.c.keys()}  # noqa: SIM118
    added = insert_into(work, synced).values(**values)
    work.execute(added.on_conflict_do_update(index_elements=["destination", "key", "email", "account"], set_=values))


def mark_unsynced(
    work: Connection, *, destination: str, key: str, email: str, account: str, sequence: int, call: str
) -> int | None:
    """Note that a call did not arrive, unless a later one was sent; returns the profile to sync again."""
    known = synced_value_of_email(work, destination=destination, key=key, email=email, account=account)
    if known is None or sequence != (known.track_sequence if call == "track" else known.sequence):
        return None
    if call == "track":
        # At none of the person's emails: else it would seem that another one has brought it.
        not_tracked = update(synced).where(
            synced.c.profile_id == known.profile_id, synced.c.destination == destination, synced.c.key == key
        )
        work.execute(not_tracked.values(tracked=UNSYNCED))
    else:
        save_synced(work, replace(known, value=UNSYNCED))
    return known.profile_id


def enqueue_synced(work: Connection, *, destination: str, key: str, at: datetime) -> None:
    """Queue every profile with a value at a destination, in its account of now, that perhaps no longer holds."""
    last_sync = (
        select(
            literal(destination),
            literal(key),
            synced.c.profile_id,
            literal(at, sync_queue.c.queued_at.type),
            literal(at, sync_queue.c.due_at.type),
        )
        .where(
            synced.c.destination == destination,
            synced.c.key == key,
            synced.c.value.not_in(NOBODY),
            synced.c.account == current_account(work, destination)[1],
        )
        .distinct()
    )
    added = insert_into(work, sync_queue).from_select(
        ["destination", "key", "profile_id", "queued_at", "due_at"], last_sync
    )
    work.execute(added.on_conflict_do_nothing())


def count_members_at(work: Connection, *, destination: str, key: str) -> int:
    """Return how many email addresses a destination has as members of an audience."""
    columns = synced.c
    _, digest = current_account(work, destination)
    query = select(func.count()).where(
        columns.destination == destination,
        columns.key == key,
        columns.value.not_in((*NOBODY, UNSYNCED)),
        columns.account == digest,
    )
    return int(work.scalar(query) or 0)


def count_cut_lists(work: Connection) -> dict[tuple[str, str], int]:
    """Return how many emails have a list that was cut, by destination and computation."""
    place = (synced.c.destination, synced.c.key)
    rows = work.execute(select(*place, synced.c.account, func.count()).where(IS_CUT).group_by(*place, synced.c.account))
    digests = current_digests(work)
    return {
        (destination, key): number
        for destination, key, account, number in rows
        if account == digests.get(destination, "")
    }
