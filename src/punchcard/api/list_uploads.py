"""Files as the members of static lists. Segment's Public API has no such calls."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from punchcard.api.api_dependencies import Dependencies
from punchcard.clock import to_iso
from punchcard.engage.sync_calls import computation_id
from punchcard.operations.downloads import download
from punchcard.operations.executor import run_in_executor
from punchcard.operations.export_files import ExportFormat
from punchcard.operations.list_uploads import (
    ListUploads,
    NewUpload,
    RowProblem,
    export_list,
    find_static_list,
    find_upload,
    read_problems,
)
from punchcard.operations.request_bodies import FILE_BYTES_MAX, FileReader
from punchcard.store.engage.static_lists import ListUpload, list_uploads_of
from punchcard.workspace.model import Computation

_UPLOADS_MAX = 100
_file_reader = FileReader()

Mode = Literal["replace", "add"]


class UploadView(msgspec.Struct, frozen=True, rename="camel"):
    """An uploaded file. `added` and `removed` compare it with the list at the time of the upload."""

    id: str
    status: str
    mode: str | None
    file_name: str
    column: str
    id_type: str
    rows: int
    ids: int
    duplicates: int
    invalid: int
    known: int
    without_email: int
    added: int
    removed: int
    problems: list[RowProblem]
    created_by: str
    created_at: str
    saved_at: str | None


class SaveOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What saving does with the list."""

    mode: Mode = "replace"


@post(
    "/spaces/{space_id:str}/audiences/{id:str}/uploads",
    status_code=200,
    request_max_body_size=FILE_BYTES_MAX,
    summary="Upload a file to a static list",
)
async def create_upload(
    space_id: FromPath[str],
    id: FromPath[str],
    request: Request[Any, Any, Any],
    dependencies: Dependencies,
    mode: Annotated[
        Mode | None, QueryParameter(description="Save it at once; without it, the file is only read.")
    ] = None,
    column: Annotated[str, QueryParameter(description="Name of the column with the ids; recognized by default.")] = "",
    type: Annotated[
        Literal["email", "user_id"] | None, QueryParameter(description="Type of the ids; recognized by default.")
    ] = None,
    file_name: Annotated[str, QueryParameter(name="fileName", description="Shown in lists of uploads.")] = "upload.csv",
) -> dict[str, dict[str, UploadView]]:
    """Upload a CSV file, as the body, with one customer per row: `text/csv`, UTF-8, up to a million rows."""
    uploads = _uploads(dependencies)

    def stage(pieces: Any) -> ListUpload:
        key = _find(dependencies, id).key
        new = NewUpload(key=key, file_name=file_name, actor=dependencies.actor, column=column, id_type=type or "")
        upload = uploads.stage(new, pieces)
        return upload if mode is None else uploads.save(upload, mode, actor=dependencies.actor)

    return {"data": {"upload": upload_view(await _file_reader.read(request.stream(), stage))}}


@get("/spaces/{space_id:str}/audiences/{id:str}/uploads", summary="List uploads of a static list")
@run_in_executor
def list_uploads(
    space_id: FromPath[str], id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, list[UploadView]]]:
    """List the files that were uploaded, newest first. Files that were replaced a week ago are deleted."""
    key = _find(dependencies, id).key
    with dependencies.store.reading() as work:
        uploads = list_uploads_of(work, key, limit=_UPLOADS_MAX)
    return {"data": {"uploads": [upload_view(upload) for upload in uploads]}}


@get("/spaces/{space_id:str}/audiences/{id:str}/uploads/{upload_id:str}", summary="Get an upload")
@run_in_executor
def get_upload(
    space_id: FromPath[str], id: FromPath[str], upload_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, UploadView]]:
    """Get an upload with its counts and its first invalid rows."""
    return {"data": {"upload": upload_view(_find_upload(dependencies, id, upload_id))}}


@post(
    "/spaces/{space_id:str}/audiences/{id:str}/uploads/{upload_id:str}/save", status_code=200, summary="Save an upload"
)
@run_in_executor
def save_upload(
    space_id: FromPath[str],
    id: FromPath[str],
    upload_id: FromPath[str],
    data: JSONBody[SaveOrder],
    dependencies: Dependencies,
) -> dict[str, dict[str, UploadView]]:
    """Make a file the list, or add it; or restore one that was replaced within a week."""
    upload = _find_upload(dependencies, id, upload_id)
    saved = _uploads(dependencies).save(upload, data.mode, actor=dependencies.actor)
    return {"data": {"upload": upload_view(saved)}}


@delete(
    "/spaces/{space_id:str}/audiences/{id:str}/uploads/{upload_id:str}", status_code=200, summary="Discard an upload"
)
@run_in_executor
def discard_upload(
    space_id: FromPath[str], id: FromPath[str], upload_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Discard a file that is not saved."""
    _uploads(dependencies).discard(_find_upload(dependencies, id, upload_id), actor=dependencies.actor)
    return {"data": {"status": "SUCCESS"}}


@get("/spaces/{space_id:str}/audiences/{id:str}/list", summary="Download a static list")
@run_in_executor
def download_list(space_id: FromPath[str], id: FromPath[str], dependencies: Dependencies) -> Response[Any]:
    """Download the ids of a static list as CSV, whether or not somebody has them."""
    return download(export_list(dependencies.store, _find(dependencies, id).key), ExportFormat.CSV)


HANDLERS = (create_upload, list_uploads, get_upload, save_upload, discard_upload, download_list)


def upload_view(upload: ListUpload) -> UploadView:
    """Return the body of an upload."""
    return UploadView(
        id=upload.id,
        status=upload.status,
        mode=upload.mode or None,
        file_name=upload.file_name,
        column=upload.column_name,
        id_type=upload.id_type,
        rows=upload.row_count,
        ids=upload.entry_count,
        duplicates=upload.duplicate_count,
        invalid=upload.invalid_count,
        known=upload.known_count,
        without_email=upload.without_email_count,
        added=upload.added_count,
        removed=upload.removed_count,
        problems=read_problems(upload),
        created_by=upload.actor,
        created_at=to_iso(upload.created_at),
        saved_at=None if upload.saved_at is None else to_iso(upload.saved_at),
    )


def _find(dependencies: Dependencies, id: str) -> Computation:
    workspace = dependencies.workspace()
    keys = {computation_id("audience", each.key): each.key for each in workspace.computations}
    return find_static_list(workspace, keys.get(id, id))


def _find_upload(dependencies: Dependencies, id: str, upload_id: str) -> ListUpload:
    key = _find(dependencies, id).key
    with dependencies.store.reading() as work:
        return find_upload(work, key, upload_id)


def _uploads(dependencies: Dependencies) -> ListUploads:
    return ListUploads(
        dependencies.store,
        vault=dependencies.configuration.subjects,
        rules=dependencies.current().identity,
        clock=dependencies.clock,
    )
