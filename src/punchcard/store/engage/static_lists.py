"""Static lists in the store: uploaded files and their entries.

A list is what its active uploads hold together. Entries of an upload count only once the upload is active, which is one
row in one unit of work: a list is the old or the new one, whatever happens while a file is read.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    distinct,
    exists,
    func,
    insert,
    select,
    update,
)

from punchcard.store.bulk import execute_many
from punchcard.store.engage.profiles import chunks
from punchcard.store.engage.schema import list_entries, list_uploads
from punchcard.store.stored_enum import StoredEnum
from punchcard.store.values import storable

RETENTION: Final = timedelta(days=7)
"""How long the entries of a replaced upload stay, and those of a list without an audience: both may be restored."""

STAGED_RETENTION: Final = timedelta(days=1)
"""How long an upload may wait to be saved."""

_VALUES_PER_QUERY: Final = 900


class UploadStatus(StoredEnum):
    """The state of an upload."""

    STAGING = "staging"  # the file is being read
    STAGED = "staged"  # read, and not saved yet
    ACTIVE = "active"  # part of the list
    ENDED = "ended"  # replaced, discarded, or its audience was deleted; its entries are deleted some time later


class UploadMode(StoredEnum):
    """What saving an upload does with the list."""

    REPLACE = "replace"
    ADD = "add"


@dataclass(frozen=True, kw_only=True)
class ListUpload:
    """An uploaded file.

    Attributes:
        id_type: Type of the external ids: `email` or `user_id`.
        mode: "" until it is saved.
        column_name: The column of the file with the ids.
        row_count: Rows below the header, empty ones not counted.
        entry_count: Distinct valid ids.
        known_count: Entries that led to a profile when they were read.
        without_email_count: Entries without a known email.
        added_count: Entries that the list did not have.
        removed_count: Entries of the list that the file does not have.
        problems: JSON: the first invalid rows.
    """

    id: str
    list_key: str
    status: UploadStatus
    mode: str
    id_type: str
    column_name: str
    file_name: str
    actor: str
    created_at: datetime
    saved_at: datetime | None = None
    ended_at: datetime | None = None
    row_count: int = 0
    entry_count: int = 0
    duplicate_count: int = 0
    invalid_count: int = 0
    known_count: int = 0
    without_email_count: int = 0
    added_count: int = 0
    removed_count: int = 0
    problems: str = "[]"


@dataclass(frozen=True, kw_only=True)
class ListPart:
    """Consecutive entries of the active uploads of a list.

    Attributes:
        entries: Type and value of each id.
        cursor: Where the next part begins, None after the last one.
    """

    entries: Sequence[tuple[str, str]]
    cursor: tuple[str, str] | None


def save_upload(work: Connection, upload: ListUpload) -> None:
    """Write an upload, in the place of the one with its id."""
    values: dict[str, Any] = {name: getattr(upload, name) for name in list_uploads.c.keys()}  # noqa: SIM118
    values |= {name: storable(values[name]) for name in ("file_name", "column_name", "actor", "problems")}
    if not work.execute(update(list_uploads).where(list_uploads.c.id == upload.id).values(**values)).rowcount:
        work.execute(insert(list_uploads).values(**values))


def find_upload(work: Connection, upload_id: str) -> ListUpload | None:
    """Return an upload, None if there is none."""
    row = work.execute(select(list_uploads).where(list_uploads.c.id == upload_id)).one_or_none()
    return None if row is None else _upload(row._mapping)


def list_uploads_of(work: Connection, key: str, *, limit: int) -> list[ListUpload]:
    """Return the uploads of a list, newest first."""
    rows = select(list_uploads).where(list_uploads.c.list_key == key)
    ordered = rows.order_by(list_uploads.c.created_at.desc(), list_uploads.c.id.desc()).limit(limit)
    return [_upload(row._mapping) for row in work.execute(ordered)]


def add_entries(work: Connection, upload_id: str, entries: Mapping[str, int]) -> set[str]:
    """Add entries, each with its line; return the values that the upload did not have."""
    values = list(entries)
    present: set[str] = set()
    for chunk in chunks(values, _VALUES_PER_QUERY):
        query = select(list_entries.c.value).where(
            list_entries.c.upload_id == upload_id, list_entries.c.value.in_(bindparam("values", expanding=True))
        )
        present.update(work.scalars(query, {"values": chunk}))
    new = [value for value in values if value not in present]
    rows = [{"upload_id": upload_id, "value": value, "line": entries[value]} for value in new]
    execute_many(work, insert(list_entries), rows)
    return set(new)


def count_differences(work: Connection, upload: ListUpload) -> tuple[int, int]:
    """Return how many entries of an upload its list lacks, and how many of the list the upload lacks."""
    active = work.execute(
        select(list_uploads.c.id, list_uploads.c.id_type).where(
            _is_active(upload.list_key), list_uploads.c.id != upload.id
        )
    ).all()
    comparable = [row.id for row in active if row.id_type == upload.id_type]
    added = _count_missing(work, [upload.id], comparable)
    removed = _count_missing(work, comparable, [upload.id])
    others = [row.id for row in active if row.id_type != upload.id_type]
    return added, removed + _count_missing(work, others, [])


def _count_missing(work: Connection, uploads: Sequence[str], others: Sequence[str]) -> int:
    """Return the number of distinct values of some uploads that others do not have."""
    if not uploads:
        return 0
    entry, other = list_entries.alias("entry"), list_entries.alias("other")
    counted = func.count(distinct(entry.c.value)) if len(uploads) > 1 else func.count()
    query = select(counted).select_from(entry).where(entry.c.upload_id.in_(uploads))
    if others:
        query = query.where(~exists().where(other.c.upload_id.in_(others), other.c.value == entry.c.value))
    return work.scalar(query) or 0


def first_entries(work: Connection, upload_id: str, *, limit: int) -> list[tuple[int, str]]:
    """Return the first entries of an upload in the order of the file: line and value."""
    columns = list_entries.c
    query = select(columns.line, columns.value).where(columns.upload_id == upload_id)
    return [(line, value) for line, value in work.execute(query.order_by(columns.line).limit(limit))]


def activate(work: Connection, upload: ListUpload, mode: UploadMode, *, at: datetime) -> ListUpload:
    """Make an upload the list, or a part of it."""
    if mode is UploadMode.REPLACE:
        ended = update(list_uploads).where(_is_active(upload.list_key), list_uploads.c.id != upload.id)
        work.execute(ended.values(status=UploadStatus.ENDED.value, ended_at=at))
    saved = replace(upload, status=UploadStatus.ACTIVE, mode=mode.value, saved_at=at, ended_at=None)
    save_upload(work, saved)
    return saved


def has_uploads(work: Connection) -> bool:
    """Return whether there is any upload."""
    return work.scalar(select(list_uploads.c.id).limit(1)) is not None


def list_revisions(work: Connection, keys: Collection[str]) -> dict[str, str]:
    """Return a text for each list that changes whenever its active uploads do; "" for a list without any."""
    active: dict[str, list[str]] = {key: [] for key in keys}
    query = select(list_uploads.c.list_key, list_uploads.c.id).where(
        list_uploads.c.status == UploadStatus.ACTIVE.value,
        list_uploads.c.list_key.in_(bindparam("keys", expanding=True)),
    )
    for key, upload_id in work.execute(query, {"keys": list(keys)}) if keys else ():
        active[key].append(upload_id)
    return {key: _digest(ids) if ids else "" for key, ids in active.items()}


def read_part(work: Connection, key: str, *, after: tuple[str, str] | None, limit: int) -> ListPart:
    """Return the next entries of a list, each upload of it by value; an id of two uploads comes twice.

    Args:
        after: Cursor of the part before, None for the first part.
    """
    entries: list[tuple[str, str]] = []
    uploads = work.execute(
        select(list_uploads.c.id, list_uploads.c.id_type).where(_is_active(key)).order_by(list_uploads.c.id)
    ).all()
    for upload_id, id_type in uploads:
        if after is not None and upload_id < after[0]:
            continue
        columns = list_entries.c
        query = select(columns.value).where(columns.upload_id == upload_id)
        if after is not None and upload_id == after[0]:
            query = query.where(columns.value > after[1])
        values = work.scalars(query.order_by(columns.value).limit(limit - len(entries))).all()
        entries += [(id_type, value) for value in values]
        if len(entries) >= limit:
            return ListPart(entries=entries, cursor=(upload_id, values[-1]))
    return ListPart(entries=entries, cursor=None)


def id_types_of(work: Connection, key: str) -> list[str]:
    """Return the types of the ids of a list, in alphabetical order."""
    return sorted(set(work.scalars(select(list_uploads.c.id_type).where(_is_active(key)))))


def entries_of_ids(work: Connection, ids: Collection[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the entries of lists with one of these external ids, for the report about a person."""
    entries: list[dict[str, Any]] = []
    columns = (list_uploads.c.list_key, list_uploads.c.file_name, list_uploads.c.created_at, list_entries.c.value)
    joined = select(*columns, list_uploads.c.id_type).join(list_uploads, list_uploads.c.id == list_entries.c.upload_id)
    for chunk in chunks({value for _, value in ids}):
        for row in work.execute(joined.where(list_entries.c.value.in_(chunk))):
            if (row.id_type, row.value) in ids:
                entries.append(dict(row._mapping))
    return entries


def end_abandoned(work: Connection, referenced: Collection[str], *, now: datetime) -> None:
    """End uploads that were not saved in time, and those of lists without an audience for `RETENTION`."""
    columns, keys = list_uploads.c, list(referenced)
    is_open = columns.status.in_([UploadStatus.STAGING.value, UploadStatus.STAGED.value])
    expired = and_(is_open, columns.created_at < now - STAGED_RETENTION)
    work.execute(update(list_uploads).where(expired).values(status=UploadStatus.ENDED.value, ended_at=now - RETENTION))
    is_active = columns.status == UploadStatus.ACTIVE.value
    used, unused = columns.list_key.in_(keys), columns.list_key.not_in(keys)
    work.execute(update(list_uploads).where(is_active, used, columns.ended_at.is_not(None)).values(ended_at=None))
    work.execute(update(list_uploads).where(is_active, unused, columns.ended_at.is_(None)).values(ended_at=now))
    forgotten = and_(is_active, unused, columns.ended_at <= now - RETENTION)
    work.execute(update(list_uploads).where(forgotten).values(status=UploadStatus.ENDED.value))


def delete_ended(work: Connection, *, now: datetime, limit: int) -> bool:
    """Delete some entries of an upload that ended long ago, at last the upload; return whether there was any."""
    columns = list_uploads.c
    is_due = and_(columns.status == UploadStatus.ENDED.value, columns.ended_at <= now - RETENTION)
    upload_id = work.scalar(select(columns.id).where(is_due).order_by(columns.ended_at).limit(1))
    if upload_id is None:
        return False
    of_upload = list_entries.c.upload_id == upload_id
    values = work.scalars(select(list_entries.c.value).where(of_upload).limit(limit)).all()
    for chunk in chunks(values, _VALUES_PER_QUERY):
        work.execute(delete(list_entries).where(of_upload, list_entries.c.value.in_(chunk)))
    if len(values) < limit:
        work.execute(delete(list_uploads).where(columns.id == upload_id))
    return True


def _is_active(key: str) -> ColumnElement[bool]:
    return and_(list_uploads.c.list_key == key, list_uploads.c.status == UploadStatus.ACTIVE.value)


def _digest(ids: Collection[str]) -> str:
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:32]


def _upload(row: Mapping[Any, Any]) -> ListUpload:
    return ListUpload(**{**row, "status": UploadStatus(row["status"])})
