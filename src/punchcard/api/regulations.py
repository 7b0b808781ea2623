"""Regulations and suppressions.

Source: Segment's Public API, "Deletion and Suppression".
"""

from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import REQUIRED_ROLE, ApiDependencies, Dependencies
from punchcard.api.errors import bad_request
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, read_row_cursor
from punchcard.clock import to_iso
from punchcard.operations.executor import run_in_executor
from punchcard.operations.regulations import (
    NewRegulation,
    cancel_regulation,
    create_regulation,
    get_regulation,
    name_subject,
    named_subjects,
    read_regulation_type,
    read_subject_type,
)
from punchcard.operations.row_ids import is_row_id
from punchcard.store.access.token_store import Role
from punchcard.store.privacy.regulations import (
    Regulation,
    RegulationQuery,
    RegulationStatus,
    RegulationType,
    count_regulations,
    list_regulations,
)
from punchcard.store.privacy.suppressions import count_suppressed, list_suppressed
from punchcard.workspace.editing import NotFoundError, find_source

_CURSOR = "pagination[cursor]"


class NewRegulationBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A request: `subjectIds` are up to 5,000 ids of `subjectType`."""

    regulation_type: str
    subject_type: str
    subject_ids: list[str]


class NewCloudSourceRegulationBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A request about objects of a `collection`: `subjectIds` are ids of the type OBJECT_ID."""

    regulation_type: str
    subject_type: str
    subject_ids: list[str]
    collection: str


class RegulateId(msgspec.Struct, rename="camel"):
    """The id of a created regulation."""

    regulate_id: str


class RegulationEntry(msgspec.Struct, rename="camel"):
    """A regulation in a list. `subjects` are as they were named; `hash:…` once they are deleted."""

    id: str
    regulation_type: str
    subject_type: str
    subjects: list[str]
    status: str
    source: str | None
    message_id: str | None
    created_at: str
    finished_at: str | None


class RegulationPage(msgspec.Struct):
    """A page of regulations, newest first."""

    regulations: list[RegulationEntry]
    pagination: bodies.Pagination


class DestinationStatus(msgspec.Struct, rename="camel"):
    """How far a regulation is at a destination: `errString` says why it is not done, or what to do."""

    name: str
    id: str
    status: str
    err_string: str
    finished_at: str | None


class StreamStatus(msgspec.Struct, rename="camel"):
    """The destinations of a regulation; `id` is the source, or `workspace`."""

    id: str
    destination_status: list[DestinationStatus]


class StoreStatus(msgspec.Struct, rename="camel"):
    """How far a deletion is in one of Punchcard's own stores: `count` rows were deleted or changed."""

    id: str
    name: str
    status: str
    count: int
    detail: str
    finished_at: str | None


class RegulationView(msgspec.Struct, rename="camel"):
    """A regulation with its progress.

    `storeStatus` has the steps in Punchcard's own stores, `lastTraceAt` is when the last copy was deleted that
    Punchcard held, and `detail` is what it waits for.
    """

    id: str
    workspace_id: str
    regulation_type: str
    subject_type: str
    overall_status: str
    created_at: str
    finished_at: str | None
    stream_status: list[StreamStatus]
    store_status: list[StoreStatus]
    last_trace_at: str | None
    detail: str | None


class Suppressed(msgspec.Struct, rename="camel"):
    """Suppressed subjects of one type: `hash:…` for those that were deleted, too."""

    subject_type: str
    subject_ids: list[str]
    source: str | None = None


class SuppressionPage(msgspec.Struct):
    """A page of suppressed subjects."""

    suppressed: list[Suppressed]
    pagination: bodies.Pagination


class DeletedRegulation(msgspec.Struct):
    """The result of a removal."""

    status: str


@post(
    "/regulations",
    status_code=200,
    opt={REQUIRED_ROLE: Role.OWNER},
    summary="Create a regulation of the workspace",
)
@run_in_executor
def create_workspace_regulation(data: JSONBody[NewRegulationBody], dependencies: Dependencies) -> dict[str, RegulateId]:
    """Suppress or delete persons: takes effect for all sources within a second, and deletes within minutes."""
    return _create(data, dependencies, source="")


@post(
    "/regulations/sources/{source_id:str}",
    status_code=200,
    opt={REQUIRED_ROLE: Role.OWNER},
    summary="Create a regulation of a source",
)
@run_in_executor
def create_source_regulation(
    source_id: FromPath[str], data: JSONBody[NewRegulationBody], dependencies: Dependencies
) -> dict[str, RegulateId]:
    """Suppress persons for one source, end that, or delete what the source has sent of them."""
    find_source(dependencies.workspace(), source_id)
    return _create(data, dependencies, source=source_id)


@post(
    "/regulations/cloudsources/{source_id:str}",
    status_code=200,
    opt={REQUIRED_ROLE: Role.OWNER},
    summary="Create a regulation of a cloud source",
)
@run_in_executor
def create_cloud_source_regulation(
    source_id: FromPath[str], data: JSONBody[NewCloudSourceRegulationBody], dependencies: Dependencies
) -> dict[str, RegulateId]:
    """Answer that there is no such cloud source: all sources of Punchcard send events, not collections of objects."""
    if (type_ := read_regulation_type(data.regulation_type)) is RegulationType.DELETE_ARCHIVE_ONLY:
        raise bad_request(f"{type_} is not for cloud sources.", "regulationType")
    if data.subject_type != "OBJECT_ID":
        raise bad_request("The subject type of a cloud source is OBJECT_ID.", "subjectType")
    hint = ""
    if any(source.slug == source_id for source in dependencies.workspace().sources):
        hint = f" {source_id} is a source of events: use /regulations/sources/{source_id}."
    raise NotFoundError(f"There is no cloud source {source_id[:40]}.{hint}")


@get("/regulations", summary="List the regulations")
@run_in_executor
def list_workspace_regulations(
    dependencies: Dependencies,
    status: FromQuery[str | None] = None,
    types: Annotated[list[str] | None, QueryParameter(name="regulationTypes")] = None,
    count: Count = COUNT_DEFAULT,
    cursor: Cursor = None,
) -> dict[str, RegulationPage]:
    """Regulations of the workspace and of its sources, newest first."""
    return _list(dependencies, None, status, types, count, cursor)


@get("/regulations/sources/{source_id:str}", summary="List the regulations of a source")
@run_in_executor
def list_source_regulations(
    source_id: FromPath[str],
    dependencies: Dependencies,
    status: FromQuery[str | None] = None,
    types: Annotated[list[str] | None, QueryParameter(name="regulationTypes")] = None,
    count: Count = COUNT_DEFAULT,
    cursor: Cursor = None,
) -> dict[str, RegulationPage]:
    """Regulations that were created for a source or requested through it, newest first."""
    find_source(dependencies.workspace(), source_id)
    return _list(dependencies, source_id, status, types, count, cursor)


@get("/regulations/{regulate_id:str}", summary="One regulation")
@run_in_executor
def get_one_regulation(regulate_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, RegulationView]]:
    """Its status, and its progress in each store and at each destination."""
    with dependencies.store.reading() as work:
        regulation = get_regulation(work, _read_id(regulate_id))
    return {"data": {"regulation": _view(regulation)}}


@delete(
    "/regulations/{regulate_id:str}",
    status_code=200,
    opt={REQUIRED_ROLE: Role.OWNER},
    summary="Remove a regulation that has not begun",
)
@run_in_executor
def delete_regulation(regulate_id: FromPath[str], dependencies: Dependencies) -> dict[str, DeletedRegulation]:
    """Remove an INITIALIZED regulation, and end what it suppresses."""
    with dependencies.store.unit_of_work() as work:
        cancel_regulation(work, _read_id(regulate_id), actor=dependencies.actor, now=dependencies.clock.now())
    return {"data": DeletedRegulation(status="SUCCESS")}


@get("/suppressions", summary="List suppressed subjects")
@run_in_executor
def list_all_suppressions(
    dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, SuppressionPage]:
    """Subjects with events that are refused, by type and source."""
    if cursor and (len(cursor) != 32 or not cursor.isalnum()):
        raise bad_request("The cursor is invalid. Use the cursor of a page of this list.", _CURSOR)
    vault = dependencies.configuration.subjects
    with dependencies.store.reading() as work:
        rows = list_suppressed(work, count=count + 1, after=cursor)
        total = count_suppressed(work)
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows[:count]:
        name = name_subject(vault, row.value, row.digest)
        groups.setdefault((row.subject_type.value, row.source), []).append(name)
    suppressed = [
        Suppressed(subject_type=subject_type, subject_ids=names, source=source or None)
        for (subject_type, source), names in sorted(groups.items())
    ]
    following = rows[count - 1].digest if len(rows) > count else None
    pagination = bodies.Pagination(current=cursor or "", total_entries=total, next=following)
    return {"data": SuppressionPage(suppressed=suppressed, pagination=pagination)}


def _create(data: NewRegulationBody, dependencies: ApiDependencies, *, source: str) -> dict[str, RegulateId]:
    request = NewRegulation(
        type=read_regulation_type(data.regulation_type),
        subject_type=read_subject_type(data.subject_type),
        subjects=data.subject_ids,
        source=source,
    )
    with dependencies.store.unit_of_work() as work:
        regulation_id = create_regulation(
            work,
            dependencies.configuration.subjects,
            request,
            actor=dependencies.actor,
            now=dependencies.clock.now(),
        )
    return {"data": RegulateId(regulate_id=str(regulation_id))}


def _list(
    dependencies: ApiDependencies,
    source: str | None,
    status: str | None,
    types: list[str] | None,
    count: int,
    cursor: str | None,
) -> dict[str, RegulationPage]:
    if status is not None and status not in RegulationStatus.__members__:
        known = ", ".join(RegulationStatus.__members__)
        raise bad_request(f'The status "{status[:40]}" is not known. Known statuses: {known}.', "status")
    query = RegulationQuery(
        source=source,
        statuses=() if status is None else (RegulationStatus(status),),
        types=[read_regulation_type(text) for text in types or ()],
    )
    with dependencies.store.reading() as work:
        regulations = list_regulations(work, query, count=count + 1, before_id=read_row_cursor(cursor, _CURSOR))
        total = count_regulations(work, query)
        shown = regulations[:count]
        subjects = named_subjects(work, dependencies.configuration.subjects, shown)
    following = str(shown[-1].id) if len(regulations) > count else None
    entries = [_entry(regulation, subjects[regulation.id]) for regulation in shown]
    pagination = bodies.Pagination(current=cursor or "", total_entries=total, next=following)
    return {"data": RegulationPage(regulations=entries, pagination=pagination)}


def _read_id(text: str) -> int:
    if not is_row_id(text):
        raise NotFoundError(f"There is no regulation {text[:40]}.")
    return int(text)


def _entry(regulation: Regulation, subjects: list[str]) -> RegulationEntry:
    return RegulationEntry(
        id=str(regulation.id),
        regulation_type=regulation.type.value,
        subject_type=regulation.subject_type.value,
        subjects=subjects,
        status=regulation.status.value,
        source=regulation.source or None,
        message_id=regulation.message_id,
        created_at=to_iso(regulation.created_at),
        finished_at=None if regulation.finished_at is None else to_iso(regulation.finished_at),
    )


def _view(regulation: Regulation) -> RegulationView:
    progress = regulation.progress
    destinations = [
        DestinationStatus(
            name=step.name,
            id=step.id,
            status=step.status.value,
            err_string=step.detail,
            finished_at=None if step.finished_at is None else to_iso(step.finished_at),
        )
        for step in progress.destinations
    ]
    stores = [
        StoreStatus(
            id=step.id,
            name=step.name,
            status=step.status.value,
            count=step.count,
            detail=step.detail,
            finished_at=None if step.finished_at is None else to_iso(step.finished_at),
        )
        for step in progress.stores
    ]
    return RegulationView(
        id=str(regulation.id),
        workspace_id="workspace",
        regulation_type=regulation.type.value,
        subject_type=regulation.subject_type.value,
        overall_status=regulation.status.value,
        created_at=to_iso(regulation.created_at),
        finished_at=None if regulation.finished_at is None else to_iso(regulation.finished_at),
        stream_status=[StreamStatus(id=regulation.source or "workspace", destination_status=destinations)],
        store_status=stores,
        last_trace_at=None if progress.last_trace_at is None else to_iso(progress.last_trace_at),
        detail=regulation.detail or None,
    )


HANDLERS = (
    create_workspace_regulation,
    create_source_regulation,
    create_cloud_source_regulation,
    list_workspace_regulations,
    list_source_regulations,
    get_one_regulation,
    delete_regulation,
    list_all_suppressions,
)
