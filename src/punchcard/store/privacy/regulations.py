"""Regulations in the store: requests to suppress or delete persons, and how far each is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from punchcard.store.privacy.schema import regulation_subjects, regulations
from punchcard.store.stored_enum import StoredEnum
from punchcard.store.values import storable, storable_or_none

_IDS_PER_QUERY: Final = 400


class RegulationType(StoredEnum):
    """The types of regulations, as in Segment's Public API."""

    SUPPRESS_ONLY = "SUPPRESS_ONLY"
    UNSUPPRESS = "UNSUPPRESS"
    SUPPRESS_WITH_DELETE = "SUPPRESS_WITH_DELETE"
    SUPPRESS_WITH_DELETE_INTERNAL = "SUPPRESS_WITH_DELETE_INTERNAL"
    DELETE_ONLY = "DELETE_ONLY"
    DELETE_INTERNAL = "DELETE_INTERNAL"
    DELETE_ARCHIVE_ONLY = "DELETE_ARCHIVE_ONLY"  # of a source

    @property
    def suppresses(self) -> bool:
        """True if new events of the subjects are refused."""
        return self.value.startswith("SUPPRESS")

    @property
    def deletes(self) -> bool:
        """True if what is stored of the subjects is deleted."""
        return "DELETE" in self.value

    @property
    def forwards(self) -> bool:
        """True if destinations are requested to delete the subjects, too."""
        return self.value in ("DELETE_ONLY", "SUPPRESS_WITH_DELETE")


class SubjectType(StoredEnum):
    """What the subjects of a regulation are named by. Segment has the first."""

    USER_ID = "USER_ID"
    EMAIL = "EMAIL"
    ANONYMOUS_ID = "ANONYMOUS_ID"


class RegulationStatus(StoredEnum):
    """The statuses of a regulation and of each of its steps, as in Segment's Public API."""

    INITIALIZED = "INITIALIZED"
    INVALID = "INVALID"
    NOT_SUPPORTED = "NOT_SUPPORTED"
    RUNNING = "RUNNING"
    PARTIAL_SUCCESS = "PARTIAL_SUCCESS"
    FAILED = "FAILED"
    FINISHED = "FINISHED"

    @property
    def is_over(self) -> bool:
        """True if nothing more is done."""
        return self not in (RegulationStatus.INITIALIZED, RegulationStatus.RUNNING)


class Step(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How far a regulation is in one store or at one destination.

    Attributes:
        id: Slug of the destination, or name of the store.
        count: Rows or calls that it has changed or deleted.
        detail: A sentence for people, "" for none.
    """

    id: str
    name: str
    status: RegulationStatus
    count: int = 0
    detail: str = ""
    finished_at: datetime | None = None


class Progress(msgspec.Struct, frozen=True, rename="camel"):
    """The steps of a deletion.

    Attributes:
        files: Files of the lake that are deleted once nobody reads them any more, relative to its root.
        files_due_at: When that is.
        log_through: The last log position of the subjects, if the log cannot replace records: the deletion waits until
            the log's retention has passed it; otherwise 0.
        log_until: When that will be.
        last_trace_at: When the last copy was deleted that Punchcard itself held.
    """

    stores: tuple[Step, ...] = ()
    destinations: tuple[Step, ...] = ()
    files: tuple[str, ...] = ()
    files_due_at: datetime | None = None
    log_through: int = 0
    log_until: datetime | None = None
    last_trace_at: datetime | None = None

    def with_store(self, step: Step) -> "Progress":
        """Return the progress with the step in place of the one with its id."""
        return msgspec.structs.replace(self, stores=_replaced(self.stores, step))

    def with_destination(self, step: Step) -> "Progress":
        """Return the progress with the step in place of the one with its id."""
        return msgspec.structs.replace(self, destinations=_replaced(self.destinations, step))


def _replaced(steps: tuple[Step, ...], step: Step) -> tuple[Step, ...]:
    if all(existing.id != step.id for existing in steps):
        return (*steps, step)
    return tuple(step if existing.id == step.id else existing for existing in steps)


@dataclass(frozen=True, kw_only=True)
class Regulation:
    """A regulation.

    Attributes:
        source: Slug; "" for all sources.
        message_id: Of the `delete` message that has requested it.
        stage: The step that a deletion is at, "" for any other regulation.
        log_position: What was received up to here is deleted; 0 while that is not known.
        identity: Encrypted ids of the subjects while a deletion runs.
        detail: What it waits for, or why it failed.
    """

    id: int
    type: RegulationType
    subject_type: SubjectType
    subject_count: int
    source: str
    requested_by: str
    created_at: datetime
    status: RegulationStatus
    stage: str
    message_id: str | None = None
    finished_at: datetime | None = None
    log_position: int = 0
    identity: str | None = None
    progress: Progress = field(default_factory=Progress)
    detail: str = ""

    @property
    def only_source(self) -> str:
        """The source that it is limited to, "" for all: a `delete` message is about all, wherever it came from."""
        return self.source if self.message_id is None else ""


@dataclass(frozen=True, kw_only=True)
class StoredSubject:
    """A subject of a regulation: its keyed hash, and its encrypted value until it is deleted."""

    digest: str
    value: str | None


@dataclass(frozen=True, kw_only=True)
class RegulationQuery:
    """Which regulations are listed; None and () match all."""

    source: str | None = None
    statuses: Collection[RegulationStatus] = ()
    types: Collection[RegulationType] = ()


_progress = msgspec.json.Decoder(Progress)
_json = msgspec.json.Encoder()


def add_regulation(
    work: Connection,
    *,
    type: RegulationType,
    subject_type: SubjectType,
    subjects: Sequence[StoredSubject],
    source: str,
    message_id: str | None,
    requested_by: str,
    status: RegulationStatus,
    stage: str,
    detail: str,
    now: datetime,
) -> int:
    """Add a regulation; return its id."""
    regulation_id = work.execute(
        insert(regulations)
        .values(
            type=type,
            subject_type=subject_type,
            subject_count=len(subjects),
            source=source,
            message_id=storable_or_none(message_id),
            requested_by=storable(requested_by),
            created_at=now,
            finished_at=now if status.is_over else None,
            status=status,
            stage=stage,
            log_position=0,
            progress=_json.encode(Progress()).decode(),
            detail=storable(detail),
        )
        .returning(regulations.c.id)
    ).scalar_one()
    work.execute(
        insert(regulation_subjects),
        [
            {"regulation_id": regulation_id, "number": number, "digest": subject.digest, "value": subject.value}
            for number, subject in enumerate(subjects)
        ],
    )
    return int(regulation_id)


def find_regulation(work: Connection, id: int) -> Regulation | None:
    """Return the regulation with this id, None if there is none."""
    row = work.execute(select(regulations).where(regulations.c.id == id)).one_or_none()
    return None if row is None else _regulation_of(row)


def find_by_message(work: Connection, source: str, message_id: str) -> int | None:
    """Return the id of the regulation that a message has requested, None if there is none."""
    return work.scalar(
        select(regulations.c.id).where(regulations.c.source == source, regulations.c.message_id == storable(message_id))
    )


def list_regulations(
    work: Connection, query: RegulationQuery, *, count: int, before_id: int | None = None
) -> list[Regulation]:
    """Return a page of regulations, newest first."""
    statement = _matching(select(regulations), query).order_by(regulations.c.id.desc()).limit(count)
    if before_id is not None:
        statement = statement.where(regulations.c.id < before_id)
    return [_regulation_of(row) for row in work.execute(statement)]


def count_regulations(work: Connection, query: RegulationQuery) -> int:
    """Return the number of regulations that match."""
    return work.scalar(_matching(select(func.count()).select_from(regulations), query)) or 0


def unfinished_regulations(work: Connection) -> list[Regulation]:
    """Return the regulations that are not over, oldest first."""
    open_statuses = [RegulationStatus.INITIALIZED, RegulationStatus.RUNNING]
    statement = select(regulations).where(regulations.c.status.in_(open_statuses)).order_by(regulations.c.id)
    return [_regulation_of(row) for row in work.execute(statement)]


def subjects_of(work: Connection, regulation_ids: Collection[int]) -> dict[int, list[StoredSubject]]:
    """Return the subjects of each regulation, in the order in which they were named."""
    subjects: dict[int, list[StoredSubject]] = {regulation_id: [] for regulation_id in regulation_ids}
    ids = list(regulation_ids)
    for begin in range(0, len(ids), _IDS_PER_QUERY):
        statement = (
            select(regulation_subjects)
            .where(regulation_subjects.c.regulation_id.in_(ids[begin : begin + _IDS_PER_QUERY]))
            .order_by(regulation_subjects.c.regulation_id, regulation_subjects.c.number)
        )
        for row in work.execute(statement):
            subjects[row.regulation_id].append(StoredSubject(digest=row.digest, value=row.value))
    return subjects


def update_regulation(work: Connection, regulation: Regulation, **values: Any) -> bool:
    """Change a regulation that is still at the stage where it was read; False if it is not.

    Args:
        values: Columns by name; `progress` as a `Progress`.
    """
    if isinstance(progress := values.get("progress"), Progress):
        values["progress"] = storable(_json.encode(progress).decode())
    changed = update(regulations).where(
        regulations.c.id == regulation.id,
        regulations.c.stage == regulation.stage,
        regulations.c.status == regulation.status,
    )
    return work.execute(changed.values(**values)).rowcount == 1


def forget_subjects(work: Connection, digests: Collection[str]) -> None:
    """Drop the values of subjects in all regulations; the hashes stay."""
    ids = list(digests)
    for begin in range(0, len(ids), _IDS_PER_QUERY):
        work.execute(
            update(regulation_subjects)
            .where(regulation_subjects.c.digest.in_(ids[begin : begin + _IDS_PER_QUERY]))
            .values(value=None)
        )


def forget_subjects_of(work: Connection, regulation: Regulation) -> None:
    """Drop the values of the subjects of one regulation; the hashes stay."""
    columns = regulation_subjects.c
    work.execute(update(regulation_subjects).where(columns.regulation_id == regulation.id).values(value=None))


def _matching(statement: Select[Any], query: RegulationQuery) -> Select[Any]:
    if query.source is not None:
        statement = statement.where(regulations.c.source == query.source)
    if query.statuses:
        statement = statement.where(regulations.c.status.in_(list(query.statuses)))
    if query.types:
        statement = statement.where(regulations.c.type.in_(list(query.types)))
    return statement


def _regulation_of(row: Row[Any]) -> Regulation:
    return Regulation(
        **{
            **row._mapping,
            "type": RegulationType(row.type),
            "subject_type": SubjectType(row.subject_type),
            "status": RegulationStatus(row.status),
            "progress": _progress.decode(row.progress),
        }
    )


def remove_regulation(work: Connection, regulation: Regulation) -> bool:
    """Remove a regulation that has not begun; False if it has."""
    work.execute(delete(regulation_subjects).where(regulation_subjects.c.regulation_id == regulation.id))
    removed = delete(regulations).where(
        regulations.c.id == regulation.id, regulations.c.status == RegulationStatus.INITIALIZED
    )
    return work.execute(removed).rowcount == 1
