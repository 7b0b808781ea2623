"""Suppressed subjects in the store: keyed hashes, read by routing, and the key of the hashes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final, NamedTuple

from sqlalchemy import Connection, Insert, bindparam, delete, func, select, true, update

from punchcard.store.bulk import BulkStatement, execute_many
from punchcard.store.privacy.regulations import SubjectType
from punchcard.store.privacy.schema import subject_keys, suppressed_records, suppressed_subjects
from punchcard.store.upsert import insert_in, insert_into

_ROWS_PER_BATCH: Final = 10_000
_KEYS_PER_QUERY: Final = 400


def _adding_records(engine: str) -> Insert:
    adding: Insert = insert_in(engine, suppressed_records).on_conflict_do_nothing()
    return adding


_ADD_RECORDS: Final = BulkStatement(_adding_records, ["log_position"])  # routing runs it for each batch


@dataclass(frozen=True, kw_only=True)
class SuppressionChange:
    """A subject that is suppressed, or not any more.

    Attributes:
        digest: Keyed hash of type and value.
        source: Slug; "" for all sources.
        value: Encrypted; None for a subject that is deleted, too.
        checksum: Masked; None if it is not known.
    """

    digest: str
    source: str
    subject_type: SubjectType
    value: str | None
    is_active: bool
    regulation_id: int
    checksum: int | None


@dataclass(frozen=True, kw_only=True)
class SuppressedSubject:
    """A row of the list of suppressed subjects, as `SuppressionChange`."""

    digest: str
    source: str
    subject_type: SubjectType
    value: str | None
    created_at: datetime


class SubjectKey(IntEnum):
    """What the keys of hashes are for: the ids of their rows."""

    REGULATIONS = 1  # subjects of regulations, suppressed subjects, deleted customers, and hashed properties
    EFFECTS = 2  # user ids and anonymous ids of the events that have made effects


def read_key(work: Connection, key_id: SubjectKey = SubjectKey.REGULATIONS) -> str | None:
    """Return an encrypted key of hashes, None if it was not needed yet."""
    return work.scalar(select(subject_keys.c.key).where(subject_keys.c.id == key_id))


def add_key(work: Connection, key: str, key_id: SubjectKey = SubjectKey.REGULATIONS) -> str:
    """Store an encrypted key unless there is one; return the stored one."""
    work.execute(insert_into(work, subject_keys).values(id=key_id, key=key, revision=0).on_conflict_do_nothing())
    return read_key(work, key_id) or key


def read_revision(work: Connection) -> int:
    """Return the revision of the suppressed subjects, 0 before the first regulation."""
    return work.scalar(select(subject_keys.c.revision).where(subject_keys.c.id == SubjectKey.REGULATIONS)) or 0


def change_suppressions(work: Connection, changes: Sequence[SuppressionChange], *, now: datetime) -> None:
    """Suppress subjects, or end that; the key must exist."""
    revision = _next_revision(work)
    added = insert_into(work, suppressed_subjects)
    columns = ("value", "checksum", "is_active", "revision", "created_at", "regulation_id")
    execute_many(
        work,
        added.on_conflict_do_update(
            index_elements=["digest", "source"], set_={name: added.excluded[name] for name in columns}
        ),
        [
            {
                "digest": change.digest,
                "source": change.source,
                "subject_type": change.subject_type,
                "value": change.value if change.is_active else None,
                "checksum": change.checksum,
                "is_active": change.is_active,
                "revision": revision,
                "created_at": now,
                "regulation_id": change.regulation_id,
            }
            for change in changes
        ],
    )


def _next_revision(work: Connection) -> int:
    raised = (
        update(subject_keys)
        .where(subject_keys.c.id == SubjectKey.REGULATIONS)
        .values(revision=subject_keys.c.revision + 1)
    )
    return int(work.execute(raised.returning(subject_keys.c.revision)).scalar_one())


class ChangedSuppression(NamedTuple):
    """What routing reads of a suppressed subject, as `SuppressionChange`."""

    digest: str
    source: str
    subject_type: str
    is_active: bool
    checksum: int | None


def changed_since(work: Connection, revision: int) -> Iterator[list[ChangedSuppression]]:
    """Yield what has changed after a revision, in batches."""
    columns = suppressed_subjects.c
    statement = select(columns.digest, columns.source, columns.subject_type, columns.is_active, columns.checksum).where(
        columns.revision > revision
    )
    rows = work.execution_options(yield_per=_ROWS_PER_BATCH).execute(statement)
    for batch in rows.partitions(_ROWS_PER_BATCH):
        yield [ChangedSuppression(row[0], row[1], row[2], bool(row[3]), row[4]) for row in batch]


def without_checksum(work: Connection, *, after: str, count: int) -> list[SuppressedSubject]:
    """Return the next subjects that an earlier version has suppressed and that are known by more than their hash.

    Args:
        after: The hash after which they begin, "" for the first ones.
    """
    columns = suppressed_subjects.c
    statement = (
        select(columns.digest, columns.source, columns.subject_type, columns.value, columns.created_at)
        .where(
            columns.digest > after,
            columns.checksum.is_(None),
            columns.value.is_not(None),
            columns.is_active == true(),
        )
        .order_by(columns.digest, columns.source)
        .limit(count)
    )
    return [
        SuppressedSubject(**{**row._mapping, "subject_type": SubjectType(row.subject_type)})
        for row in work.execute(statement)
    ]


def add_checksums(work: Connection, checksums: Mapping[str, int]) -> None:
    """Store the checksums of subjects, masked, by their hashes."""
    execute_many(
        work,
        update(suppressed_subjects).where(suppressed_subjects.c.digest == bindparam("b_digest")),
        [
            {"b_digest": digest, "checksum": checksum, "revision": revision}
            for revision in [_next_revision(work)]
            for digest, checksum in checksums.items()
        ],
    )


def list_suppressed(work: Connection, *, count: int, after: str | None = None) -> list[SuppressedSubject]:
    """Return a page of the suppressed subjects, in the order of their hashes.

    Args:
        after: The hash after which the page begins.
    """
    columns = suppressed_subjects.c
    statement = (
        select(columns.digest, columns.source, columns.subject_type, columns.value, columns.created_at)
        .where(columns.is_active == true())
        .order_by(columns.digest, columns.source)
        .limit(count)
    )
    if after is not None:
        statement = statement.where(columns.digest > after)
    return [
        SuppressedSubject(**{**row._mapping, "subject_type": SubjectType(row.subject_type)})
        for row in work.execute(statement)
    ]


def count_suppressed(work: Connection) -> int:
    """Return the number of suppressed subjects."""
    return (
        work.scalar(
            select(func.count()).select_from(suppressed_subjects).where(suppressed_subjects.c.is_active == true())
        )
        or 0
    )


def active_of(work: Connection, digests: Collection[str], *, source: str) -> set[str]:
    """Return those of the hashes that are suppressed for a source ("" for all sources)."""
    active: set[str] = set()
    ids = list(digests)
    columns = suppressed_subjects.c
    for begin in range(0, len(ids), _KEYS_PER_QUERY):
        active.update(
            work.scalars(
                select(columns.digest).where(
                    columns.digest.in_(ids[begin : begin + _KEYS_PER_QUERY]),
                    columns.source == source,
                    columns.is_active == true(),
                )
            )
        )
    return active


def forget_suppressed_values(work: Connection, digests: Collection[str]) -> None:
    """Drop the values of suppressed subjects; they stay suppressed by their hashes."""
    ids = list(digests)
    for begin in range(0, len(ids), _KEYS_PER_QUERY):
        work.execute(
            update(suppressed_subjects)
            .where(suppressed_subjects.c.digest.in_(ids[begin : begin + _KEYS_PER_QUERY]))
            .values(value=None)
        )


def add_suppressed_records(work: Connection, positions: Collection[int]) -> None:
    """Note log records with events of suppressed subjects: their bodies are replaced."""
    _ADD_RECORDS.execute(work, [{"log_position": position} for position in sorted(positions)])


def next_suppressed_records(work: Connection, *, count: int) -> list[int]:
    """Return the first of these records."""
    ordered = select(suppressed_records.c.log_position).order_by(suppressed_records.c.log_position)
    return list(work.scalars(ordered.limit(count)))


def forget_suppressed_records(work: Connection, positions: Collection[int]) -> None:
    """Drop the notes about records with replaced bodies."""
    ids = list(positions)
    for begin in range(0, len(ids), _KEYS_PER_QUERY):
        work.execute(
            delete(suppressed_records).where(
                suppressed_records.c.log_position.in_(ids[begin : begin + _KEYS_PER_QUERY])
            )
        )


def suppressions_of(work: Connection, regulation_id: int) -> list[SuppressionChange]:
    """Return what a regulation suppresses."""
    columns = suppressed_subjects.c
    statement = select(
        columns.digest,
        columns.source,
        columns.subject_type,
        columns.value,
        columns.is_active,
        columns.regulation_id,
        columns.checksum,
    ).where(columns.regulation_id == regulation_id, columns.is_active == true())
    return [
        SuppressionChange(**{**row._mapping, "subject_type": SubjectType(row.subject_type)})
        for row in work.execute(statement)
    ]
